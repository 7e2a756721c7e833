//! Published crates that run a graph of asynchronous functions. Each module says what its crate does for a stage and
//! what it does not, because no two of them do the same work.

mod async_dag;
mod dag_flow;
mod dagrs;
mod fn_graph;
mod steno;

use crate::engine::Engine;

pub const ALL: [Engine; 5] = [
    Engine { name: "async_dag", round: async_dag::round },
    Engine { name: "dag-flow", round: dag_flow::round },
    Engine { name: "dagrs", round: dagrs::round },
    Engine { name: "fn_graph", round: fn_graph::round },
    Engine { name: "steno", round: steno::round },
];
