//! The graph of stages, pure: what it must look like, in which order it starts, and which path through
//! it decided how long the start took. Floor 1: no tokio, no I/O.

use foldhash::{HashSet, HashSetExt};
use petgraph::{
    Direction,
    algo::toposort,
    graph::{DiGraph, NodeIndex},
    visit::EdgeRef,
};

pub(crate) use sound::Sound;

pub(crate) use crate::ids::StageName;
use crate::ids::{StageId, is_stage_name};

pub(crate) mod critical_path;
mod sound;

/// What an edge is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Edge {
    /// The dependant receives the prerequisite's output.
    Data,
    /// The dependant only starts later.
    Order,
}

/// Stages and what each of them waits for. An edge goes from the prerequisite to its dependant.
#[derive(Clone, Default, Debug)]
pub(crate) struct Graph {
    inner: DiGraph<StageName, Edge>,
}

/// Why a graph cannot be started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum GraphProblem {
    #[error(
        "two stages are named `{0}`; names must differ, because logs and settings are told apart by them"
    )]
    DuplicateName(StageName),
    #[error("`{0}` cannot name a stage; use at most 40 lower-case letters, digits and single hyphens")]
    InvalidName(String),
    #[error("stage `{0}` needs a stage of another start-up")]
    ForeignHandle(StageName),
    #[error("`serve` is called twice; a service has one: join both in it")]
    SecondServe,
    #[error("stage `{0}` is given no time to {1}")]
    NoTime(StageName, &'static str),
    #[error("the stages wait for each other: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
}

impl Graph {
    pub(crate) fn add(&mut self, name: StageName) -> StageId {
        id(self.inner.add_node(name))
    }

    /// Makes `stage` wait for `prerequisite`. Saying it twice is the same as saying it once; an edge
    /// that carries data stays one.
    pub(crate) fn depend(&mut self, stage: StageId, prerequisite: StageId, edge: Edge) {
        let (from, to) = (node(prerequisite), node(stage));
        // Looked up from the dependant's side: it has few prerequisites, while a stage that everything
        // needs has as many dependants as there are stages.
        let known = self.inner.edges_directed(to, Direction::Incoming).find(|edge| edge.source() == from);
        match known.map(|edge| edge.id()) {
            Some(known) if edge == Edge::Data => self.inner[known] = Edge::Data,
            Some(_) => {}
            None => {
                self.inner.add_edge(from, to, edge);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.inner.node_count()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = StageId> + use<> {
        self.inner.node_indices().map(id)
    }

    pub(crate) fn name(&self, stage: StageId) -> &StageName {
        &self.inner[node(stage)]
    }

    /// What the stage waits for, in the order in which that was said.
    pub(crate) fn prerequisites(&self, stage: StageId) -> impl Iterator<Item = StageId> + use<> {
        let mut said: Vec<_> =
            self.inner.neighbors_directed(node(stage), Direction::Incoming).map(id).collect();
        // petgraph gives the youngest edge first.
        said.reverse();
        said.into_iter()
    }

    /// Everything that is wrong with the graph, or the graph as the engine wants it.
    pub(crate) fn sound(&self) -> Result<Sound, Vec<GraphProblem>> {
        let mut problems = Vec::new();
        let mut seen = HashSet::with_capacity(self.len());
        for name in self.inner.node_weights() {
            if !is_stage_name(name) {
                problems.push(GraphProblem::InvalidName(name.escape_debug().take(80).collect()));
            } else if !seen.insert(name.as_str()) {
                problems.push(GraphProblem::DuplicateName(name.clone()));
            }
        }
        match Sound::new(&self.inner) {
            Some(sound) if problems.is_empty() => return Ok(sound),
            Some(_) => {}
            None => problems.extend(self.cycle()),
        }
        Err(problems)
    }

    /// The cycle that petgraph finds.
    fn cycle(&self) -> Option<GraphProblem> {
        let found = toposort(&self.inner, None).err()?;
        Some(GraphProblem::Cycle(self.cycle_through(found.node_id())))
    }

    /// The names along a cycle through `start`, which stands first and last.
    fn cycle_through(&self, start: NodeIndex) -> Vec<String> {
        let mut came_from = vec![None; self.len()];
        let mut frontier = vec![start];
        while let Some(at) = frontier.pop() {
            for next in self.inner.neighbors(at) {
                if next == start {
                    let mut path = vec![start];
                    let mut back = Some(at);
                    while let Some(step) = back.filter(|&step| step != start) {
                        path.push(step);
                        back = came_from[step.index()];
                    }
                    path.push(start);
                    return path.into_iter().rev().map(|each| self.inner[each].to_string()).collect();
                }
                if came_from[next.index()].is_none() {
                    came_from[next.index()] = Some(at);
                    frontier.push(next);
                }
            }
        }
        vec![self.inner[start].to_string()]
    }
}

fn id(node: NodeIndex) -> StageId {
    // petgraph's default index type is u32, so nothing is cut off here.
    StageId(u32::try_from(node.index()).unwrap_or(u32::MAX))
}

fn node(stage: StageId) -> NodeIndex {
    NodeIndex::new(stage.index())
}

#[cfg(test)]
mod tests;
