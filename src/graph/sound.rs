//! A graph that can be started, laid out for the engine: flat lists instead of petgraph's linked ones, because the
//! engine follows every edge at least twice, and a large graph does not fit into a processor's cache.

use petgraph::graph::DiGraph;

use super::{Edge, StageName, id};
use crate::ids::StageId;

/// Stages with the edges between them, and an order in which they can start.
#[derive(Debug)]
pub(crate) struct Sound {
    names: Vec<StageName>,
    prerequisites: Links,
    dependants: Links,
    order: Vec<StageId>,
}

impl Sound {
    /// Lays the graph out, unless some of its stages wait for each other.
    pub(super) fn new(graph: &DiGraph<StageName, Edge>) -> Option<Self> {
        let stages = graph.node_count();
        let edges = || graph.raw_edges().iter().map(|edge| (id(edge.source()), id(edge.target())));
        let prerequisites = Links::new(stages, || edges().map(|(from, to)| (to, from)));
        let dependants = Links::new(stages, edges);
        let order = kahn(&prerequisites, &dependants, stages)?;
        let names = graph.node_weights().cloned().collect();
        Some(Self { names, prerequisites, dependants, order })
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = StageId> + use<> {
        ids(self.len())
    }

    /// An order in which each stage stands after all of its prerequisites.
    pub(crate) fn order(&self) -> &[StageId] {
        &self.order
    }

    pub(crate) fn name(&self, stage: StageId) -> &StageName {
        &self.names[stage.index()]
    }

    /// What the stage waits for, in the order in which that was said.
    pub(crate) fn prerequisites(&self, stage: StageId) -> &[StageId] {
        self.prerequisites.of(stage)
    }

    /// What waits for the stage, in the order in which it was added.
    pub(crate) fn dependants(&self, stage: StageId) -> &[StageId] {
        self.dependants.of(stage)
    }
}

/// For each stage a list of others, one list after another.
#[derive(Debug)]
struct Links {
    /// Where each stage's list ends, and the next one's begins.
    ends: Vec<u32>,
    others: Vec<StageId>,
}

impl Links {
    /// Sorts pairs by their first stage, by counting.
    fn new<I: Iterator<Item = (StageId, StageId)>>(stages: usize, pairs: impl Fn() -> I) -> Self {
        let mut ends = vec![0_u32; stages];
        for (stage, _) in pairs() {
            ends[stage.index()] += 1;
        }
        let mut before = 0;
        for end in &mut ends {
            before += *end;
            // For now where the list begins; what is put into it moves that to its end.
            *end = before - *end;
        }
        let mut others = vec![StageId(0); before as usize];
        for (stage, other) in pairs() {
            let at = &mut ends[stage.index()];
            others[*at as usize] = other;
            *at += 1;
        }
        Self { ends, others }
    }

    fn of(&self, stage: StageId) -> &[StageId] {
        let begin = stage.index().checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.others[begin as usize..self.ends[stage.index()] as usize]
    }
}

fn ids(stages: usize) -> impl Iterator<Item = StageId> {
    (0..stages).map(|at| StageId(u32::try_from(at).unwrap_or(u32::MAX)))
}

/// Takes away, again and again, what waits for nothing (A. B. Kahn, "Topological sorting of large networks", 1962).
/// What is left of a graph with a cycle never comes to wait for nothing.
fn kahn(prerequisites: &Links, dependants: &Links, stages: usize) -> Option<Vec<StageId>> {
    let mut waiting: Vec<usize> = ids(stages).map(|stage| prerequisites.of(stage).len()).collect();
    let mut order: Vec<StageId> = ids(stages).filter(|stage| waiting[stage.index()] == 0).collect();
    let mut next = 0;
    while let Some(&stage) = order.get(next) {
        next += 1;
        for &dependant in dependants.of(stage) {
            waiting[dependant.index()] -= 1;
            if waiting[dependant.index()] == 0 {
                order.push(dependant);
            }
        }
    }
    (order.len() == stages).then_some(order)
}
