//! `steno`: sagas, whose every step is recorded in a store so that another process could go on or undo it. The store
//! here is its own in memory. A task of its own for each action; undo in reverse order; no time-outs. The
//! panic of an action ends its own task, and by its source nothing tells the saga, which waits on.
//!
//! Its builder knows only steps one after another and steps side by side. That is enough for a chain and a fan. The
//! other graphs are given in the serialised form from which it recovers a saga, and reading that is part of their
//! time. A saga must end in one node, so one more than the shape has is added where needed. An action sees the outputs
//! of all before it, which it collects along every path: where there are many paths it does not come to an end.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};
use solostart_benches::shapes::Needs;
use steno::{
    Action, ActionContext, ActionError, ActionRegistry, DagBuilder, InMemorySecStore, Node, SagaDag, SagaId,
    SagaName, SagaType,
};
use tokio::runtime::Runtime;

use crate::engine::{Body, Round, in_a_task};

#[derive(Debug)]
struct Saga;

impl SagaType for Saga {
    type ExecContextType = Context;
}

#[derive(Debug)]
struct Context {
    body: Body,
}

/// A name that no stage has, for the node that ends the saga.
const LAST: &str = "last";

async fn stage(context: ActionContext<Saga>) -> Result<(), ActionError> {
    if let Ok(index) = context.node_label().parse() {
        (context.user_data().body)(index);
    }
    Ok(())
}

static STAGE: LazyLock<Arc<dyn Action<Saga>>> = LazyLock::new(|| steno::new_action_noop_undo("stage", stage));

pub fn round(runtime: &Runtime, needs: &Needs, body: Body) -> Round {
    let needs = needs.clone();
    in_a_task(runtime, async move {
        let dag = if is_chain(&needs) || is_fan(&needs) { built(&needs) } else { read(&needs) };
        run(dag, body).await;
    })
}

async fn run(dag: SagaDag, body: Body) {
    let mut registry = ActionRegistry::new();
    registry.register(STAGE.clone());
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let sec = steno::sec(log, Arc::new(InMemorySecStore::new()));
    let id = SagaId::from_u128(1);
    let saga = sec.saga_create(id, Arc::new(Context { body }), Arc::new(dag), Arc::new(registry));
    let ended = saga.await.expect("the saga is sound");
    sec.saga_start(id).await.expect("it was created");
    ended.await.kind.expect("no stage fails");
    sec.shutdown().await;
}

fn is_chain(needs: &Needs) -> bool {
    needs.iter().enumerate().skip(1).all(|(index, needs)| needs[..] == [index - 1])
}

fn is_fan(needs: &Needs) -> bool {
    needs.iter().skip(1).all(|needs| needs[..] == [0])
}

fn node(index: usize) -> Node {
    Node::action(format!("s{index}"), index.to_string(), &**STAGE)
}

/// A chain or a fan, by its builder.
fn built(needs: &Needs) -> SagaDag {
    let mut builder = DagBuilder::new(SagaName::new("bench"));
    builder.append(node(0));
    if is_chain(needs) {
        (1..needs.len()).for_each(|index| builder.append(node(index)));
    } else {
        builder.append_parallel((1..needs.len()).map(node).collect());
        builder.append(Node::action(LAST, LAST, &**STAGE));
    }
    SagaDag::new(builder.build().expect("it is sound"), Value::Null)
}

/// Any graph, from its serialised form.
fn read(needs: &Needs) -> SagaDag {
    let action = |name: String, label: String| json!({ "Action": { "name": name, "label": label, "action_name": "stage" } });
    let mut nodes: Vec<Value> =
        (0..needs.len()).map(|index| action(format!("s{index}"), index.to_string())).collect();
    let (last, begin, end) = (needs.len(), needs.len() + 1, needs.len() + 2);
    nodes.push(action(LAST.to_owned(), LAST.to_owned()));
    nodes.push(json!({ "Start": { "params": null } }));
    nodes.push(json!("End"));
    let mut edges = vec![json!([last, end, null])];
    let mut needed = vec![false; needs.len()];
    for (index, needs) in needs.iter().enumerate() {
        if needs.is_empty() {
            edges.push(json!([begin, index, null]));
        }
        for &need in needs {
            needed[need] = true;
            edges.push(json!([need, index, null]));
        }
    }
    let leaves = needed.iter().enumerate().filter(|(_, needed)| !**needed);
    edges.extend(leaves.map(|(index, _)| json!([index, last, null])));
    let saga = json!({
        "saga_name": "bench",
        "graph": { "nodes": nodes, "node_holes": [], "edge_property": "directed", "edges": edges },
        "start_node": begin,
        "end_node": end,
    });
    serde_json::from_value(saga).expect("it is how a saga is stored")
}
