//! The view of a running service for health endpoints, pages and reports.

use std::{sync::Arc, time::Duration};

use super::{
    board::Board,
    cell::Cell,
    state::{Phase, StageState},
};
use crate::graph::{StageName, critical_path::critical_path};

/// A live view of the service: its phase, its stages and how long they took. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Status(pub(crate) Arc<Board>);

/// What is known of one stage's start.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct StageTimes {
    /// The stage.
    pub name: StageName,
    /// What it waits for.
    pub needs: Vec<StageName>,
    /// Where it stands now.
    pub state: StageState,
    /// Whether its last health check, if it has any, succeeded.
    pub healthy: bool,
    /// What it does without, in its own words: see [`StageContext::degraded`](crate::StageContext::degraded).
    pub degraded: Option<String>,
    /// Whether the service can do without it.
    pub optional: bool,
    /// When it began, counted from the beginning of the start; `None` if it never did.
    pub began: Option<Duration>,
    /// How long its start took, waiting for prerequisites not counted; until now if it still runs.
    pub took: Option<Duration>,
    /// How much later it could have been up without delaying the whole.
    pub slack: Duration,
    /// Whether it belongs to the chain of stages that decided how long the start took.
    pub critical: bool,
}

/// How the start went, stage by stage, in the order in which the stages were added.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Timeline {
    /// Every stage.
    pub stages: Vec<StageTimes>,
    /// From the beginning until ready, or until now.
    pub total: Duration,
}

impl Timeline {
    /// The stage whose own start took longest.
    #[must_use]
    pub fn slowest(&self) -> Option<&StageTimes> {
        self.stages.iter().max_by_key(|stage| stage.took)
    }

    /// The chain of stages that decided how long the start took, first stage first.
    pub fn critical_path(&self) -> impl Iterator<Item = &StageTimes> {
        let mut path: Vec<_> = self.stages.iter().filter(|stage| stage.critical).collect();
        path.sort_by_key(|stage| stage.began);
        path.into_iter()
    }
}

impl Status {
    /// Where the service stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.phase()
    }

    /// Whether requests should come here: every required stage is up and healthy, and nobody asked the
    /// service to stop. What `/readyz` answers.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.phase() == Phase::Ready
            && self.0.graph.ids().all(|id| {
                let cell = self.0.cell(id);
                cell.optional || cell.is_healthy()
            })
    }

    /// The stages that work less well than they should: optional ones that failed, those whose last health
    /// check failed, and those that said so while they started.
    #[must_use]
    pub fn degraded(&self) -> Vec<StageName> {
        let impaired = |id: &crate::ids::StageId| {
            let cell = self.0.cell(*id);
            cell.state() == StageState::Failed || !cell.is_healthy() || cell.degraded().is_some()
        };
        self.0.graph.ids().filter(impaired).map(|id| self.0.graph.name(id).clone()).collect()
    }

    /// What the stages that are up want to be said in the line that says the service is ready.
    pub(crate) fn notes(&self) -> Vec<String> {
        let up = self.0.graph.ids().map(|id| self.0.cell(id)).filter(|cell| cell.state() == StageState::Up);
        up.filter_map(Cell::note).collect()
    }

    /// How the start went, or goes.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        let board = &self.0;
        let spans = board.spans();
        let path = critical_path(&board.graph, &spans);
        let mut critical = vec![false; spans.len()];
        for stage in &path.stages {
            critical[stage.index()] = true;
        }
        let stages = board
            .graph
            .ids()
            .map(|id| {
                let (cell, span) = (board.cell(id), spans[id.index()]);
                StageTimes {
                    name: board.graph.name(id).clone(),
                    needs: board
                        .graph
                        .prerequisites(id)
                        .iter()
                        .map(|&each| board.graph.name(each).clone())
                        .collect(),
                    state: cell.state(),
                    healthy: cell.is_healthy(),
                    degraded: cell.degraded(),
                    optional: cell.optional,
                    began: span.map(|span| span.began),
                    took: span.map(|span| span.ended.saturating_sub(span.began)),
                    slack: path.slack[id.index()],
                    critical: critical[id.index()],
                }
            })
            .collect();
        Timeline { stages, total: board.ready_after().unwrap_or_else(|| board.now()) }
    }
}
