//! `async_dag`: futures that it polls itself, in one task. It hands each stage the outputs of those that it needs.
//!
//! It does not isolate: one stage that blocks stalls all, and a panic of one ends all. No time-outs, no undo, no names,
//! no record. Its graph is not `Send` and so cannot be driven from a spawned task; it spawns nothing, so that driving
//! it from `block_on` costs it no wake-ups.

use std::time::Instant;

use async_dag::{Graph, NodeIndex};
use solostart_benches::shapes::Needs;
use tokio::runtime::Runtime;

use crate::engine::{Body, Round};

pub fn round(runtime: &Runtime, needs: &Needs, body: Body) -> Round {
    let began = Instant::now();
    runtime.block_on(async {
        let mut graph = Graph::new();
        let mut nodes: Vec<NodeIndex> = Vec::with_capacity(needs.len());
        for (index, needs) in needs.iter().enumerate() {
            nodes.push(add(&mut graph, index, needs, &nodes, body));
        }
        graph.run().await;
    });
    Round { started: began.elapsed(), stopped: None }
}

/// Its stages are functions of as many arguments as they have prerequisites.
fn add(graph: &mut Graph<'_>, index: usize, needs: &[usize], nodes: &[NodeIndex], body: Body) -> NodeIndex {
    let run = move || stage(index, body);
    let Some(&first) = needs.first() else {
        return graph.add_task(run);
    };
    let first = nodes[first];
    let node = match needs.len() {
        1 => graph.add_child_task(first, move |_: usize| run(), 0).ok(),
        2 => graph.add_child_task(first, move |_: usize, _: usize| run(), 0).ok(),
        3 => graph.add_child_task(first, move |_: usize, _: usize, _: usize| run(), 0).ok(),
        more => unreachable!("no shape has a stage with {more} prerequisites"),
    };
    let node = node.expect("the types agree");
    for (slot, &need) in (1..).zip(&needs[1..]) {
        graph.update_dependency(nodes[need], node, slot).expect("the types agree");
    }
    node
}

async fn stage(index: usize, body: Body) -> usize {
    body(index);
    index
}
