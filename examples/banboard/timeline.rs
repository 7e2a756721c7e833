//! The start-up as `/startupz` tells it and the page shows it.

use serde::Serialize;
use solostart::{StageState, Status};

use crate::text::millis;

/// The service's phase and how its start went.
#[derive(Serialize, Debug)]
pub(crate) struct Startup {
    pub(crate) phase: &'static str,
    /// What `/readyz` answers.
    pub(crate) ready: bool,
    /// The stages that work less well than they should.
    pub(crate) degraded: Vec<String>,
    pub(crate) total_ms: f64,
    pub(crate) stages: Vec<StageRow>,
}

/// One stage. Times are in milliseconds; they are `None` for a stage that never began.
#[derive(Serialize, Debug)]
pub(crate) struct StageRow {
    pub(crate) name: String,
    pub(crate) needs: Vec<String>,
    pub(crate) state: &'static str,
    pub(crate) start_ms: Option<f64>,
    pub(crate) ms: Option<f64>,
    /// How much later it could have been up without delaying the whole.
    pub(crate) slack_ms: f64,
    /// Whether it belongs to the chain that decided how long the start took.
    pub(crate) critical: bool,
}

impl Startup {
    /// What `status` says at this moment.
    pub(crate) fn of(status: &Status) -> Self {
        let timeline = status.timeline();
        let stages = timeline.stages.iter().map(|stage| StageRow {
            name: stage.name.to_string(),
            needs: stage.needs.iter().map(ToString::to_string).collect(),
            state: stage.state.word(),
            start_ms: stage.began.map(millis),
            ms: stage.took.map(millis),
            slack_ms: millis(stage.slack),
            critical: stage.critical,
        });
        Self {
            phase: status.phase().word(),
            ready: status.is_ready(),
            degraded: status.degraded().iter().map(ToString::to_string).collect(),
            total_ms: millis(timeline.total),
            stages: stages.collect(),
        }
    }
}

impl StageRow {
    pub(crate) fn is_up(&self) -> bool {
        self.state == StageState::Up.word()
    }
}
