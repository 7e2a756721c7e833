//! Health checks: all once before ready, then periodically while the service runs.

use std::time::Duration;

use tokio::{task::JoinSet, time::timeout};

use super::{Engine, hook::Hook, hook::panicked, stage_failure};
use crate::{
    contract::{
        event::Event,
        outcome::{FailurePhase, StageFailure},
        state::{StageState, format_elapsed},
    },
    error::{StageError, StageResult},
    ids::StageId,
};

/// How long a check may take. Longer than a busy database needs, shorter than a probe's patience.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a running service checks itself.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The checks that are running. They hold the resources, so they end before anything stops.
pub(super) type Checks = JoinSet<(StageId, StageResult<()>)>;

impl Engine {
    /// Launches the check of every stage that is up and has one, except those in `running`.
    pub(super) fn launch_checks(&self, checks: &mut Checks, running: &[StageId]) -> Vec<StageId> {
        let mut launched = Vec::new();
        for id in self.in_state(&[StageState::Up]) {
            let Some(health) = &self.specs[id.index()].health else { continue };
            let output = self.with_outputs(|outputs| outputs.0[id.index()].clone());
            let Some(output) = output.filter(|_| !running.contains(&id)) else { continue };
            let mut hook = Hook::new(self.board.clone(), id, health(output));
            checks.spawn(async move {
                let result = match timeout(CHECK_TIMEOUT, &mut hook).await {
                    Ok(Ok(result)) => result,
                    Ok(Err(panic)) => Err(panicked(panic)),
                    Err(_elapsed) => Err(hook.discard().map_or_else(panicked, |()| {
                        StageError::from(format!("no answer within {}", format_elapsed(CHECK_TIMEOUT)))
                    })),
                };
                (id, result)
            });
            launched.push(id);
        }
        launched
    }

    /// Books one check's answer. Before the service is ready, a required stage's failure is returned.
    pub(super) fn book_check(&self, id: StageId, result: StageResult<()>) -> Option<StageFailure> {
        let cell = self.board.cell(id);
        if cell.set_healthy(result.is_ok()) {
            self.board.emit(&Event::HealthChanged {
                stage: self.name(id),
                healthy: result.is_ok(),
                error: result.as_ref().err().map(ToString::to_string),
            });
        }
        let error = result.err().filter(|_| !cell.optional)?;
        Some(stage_failure(&self.board, id, FailurePhase::ReadyCheck, error, 1))
    }
}
