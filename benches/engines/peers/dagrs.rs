//! `dagrs`: a task of its own for each node, which waits for its prerequisites by receiving from a channel for each
//! edge, and tells its dependants by sending.
//!
//! A panic is contained. Names, retries, outputs, a run report and hooks for checkpoints; no undo. All nodes are
//! spawned at once and wait, so each holds its task and channels from the beginning.

use std::sync::Arc;

use dagrs::{
    Action, Content, DefaultNode, EnvVar, Graph, InChannels, Node, NodeId, NodeTable, OutChannels, Output,
};
use solostart_benches::shapes::Needs;
use tokio::runtime::Runtime;

use crate::engine::{Body, Round, in_a_task};

struct Stage {
    index: usize,
    body: Body,
}

#[dagrs::async_trait::async_trait]
impl Action for Stage {
    async fn run(&self, inputs: &mut InChannels, outputs: &mut OutChannels, _: Arc<EnvVar>) -> Output {
        for sender in inputs.get_sender_ids() {
            inputs.recv_from(&sender).await.expect("a prerequisite sends before it ends");
        }
        (self.body)(self.index);
        outputs.broadcast(Content::new(self.index)).await;
        Output::empty()
    }
}

pub fn round(runtime: &Runtime, needs: &Needs, body: Body) -> Round {
    let needs = needs.clone();
    in_a_task(runtime, run(needs, body))
}

async fn run(needs: Needs, body: Body) {
    let mut graph = Graph::new();
    let mut table = NodeTable::new();
    let mut ids: Vec<NodeId> = Vec::with_capacity(needs.len());
    let mut dependants = vec![Vec::new(); needs.len()];
    for (index, needs) in needs.iter().enumerate() {
        let node = DefaultNode::with_action(format!("s{index}"), Stage { index, body }, &mut table);
        ids.push(node.id());
        graph.add_node(node).expect("the name is new");
        for &need in needs {
            dependants[need].push(ids[index]);
        }
    }
    for (&from, to) in ids.iter().zip(dependants) {
        if !to.is_empty() {
            graph.add_edge(from, to).expect("both nodes are there");
        }
    }
    graph.async_start().await.expect("no stage fails");
}
