//! `fn_graph`: a graph of functions and of the data that they borrow, of which there is none here. It streams them in
//! order and polls what the caller makes of each, all in one task.
//!
//! It does not isolate: one stage that blocks stalls all, and a panic of one ends all. No time-outs, no undo, no names.

use fn_graph::{DataAccessDyn, FnGraphBuilder, TypeIds};
use solostart_benches::shapes::Needs;
use tokio::runtime::Runtime;

use crate::engine::{Body, Round, in_a_task};

struct Stage {
    index: usize,
    body: Body,
}

impl DataAccessDyn for Stage {
    fn borrows(&self) -> TypeIds {
        TypeIds::new()
    }

    fn borrow_muts(&self) -> TypeIds {
        TypeIds::new()
    }
}

impl Stage {
    /// Boxed, because the stages of a real graph are of many types.
    fn run(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async { (self.body)(self.index) })
    }
}

pub fn round(runtime: &Runtime, needs: &Needs, body: Body) -> Round {
    let needs = needs.clone();
    in_a_task(runtime, async move {
        let mut builder = FnGraphBuilder::new();
        let mut ids = Vec::with_capacity(needs.len());
        for (index, needs) in needs.iter().enumerate() {
            let id = builder.add_fn(Stage { index, body });
            for &need in needs {
                builder.add_logic_edge(ids[need], id).expect("there is no cycle");
            }
            ids.push(id);
        }
        builder.build().for_each_concurrent(None, Stage::run).await;
    })
}
