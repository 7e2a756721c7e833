//! Health checks: all once before ready, then periodically while the service runs.

use std::time::Duration;

use tokio::{
    task::{self, JoinSet},
    time::{Instant, timeout, timeout_at},
};
use tracing::info_span;

use super::{Engine, hook::Hook, hook::panicked, stage_failure};
use crate::{
    contract::{
        analysis::analysed,
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
#[derive(Default)]
pub(super) struct Checks {
    tasks: JoinSet<(StageId, StageResult<()>)>,
    running: Vec<(task::Id, StageId)>,
}

impl Checks {
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    fn is_running(&self, id: StageId) -> bool {
        self.running.iter().any(|&(_, each)| each == id)
    }

    /// The next answer, or `None` where no check runs. Checks that were ended have none.
    ///
    /// # Cancel safety
    /// Cancel safe: an answer is taken only when it is returned.
    pub(super) async fn next(&mut self) -> Option<(StageId, StageResult<()>)> {
        loop {
            let joined = self.tasks.join_next_with_id().await?;
            let ended = joined.as_ref().map_or_else(|ended| ended.id(), |(ended, _)| *ended);
            self.running.retain(|(each, _)| *each != ended);
            if let Ok((_, answer)) = joined {
                return Some(answer);
            }
        }
    }
}

impl Engine {
    /// Launches the check of every stage that is up and has one, except those whose last still runs.
    pub(super) fn launch_checks(&self, checks: &mut Checks) {
        for id in self.in_state(&[StageState::Up]) {
            let Some(health) = &self.specs[id.index()].health else { continue };
            let output = self.with_outputs(|outputs| outputs.0[id.index()].clone());
            let Some(output) = output.filter(|_| !checks.is_running(id)) else { continue };
            let span = info_span!(target: "solostart", "health", stage = %self.name(id));
            let answer = span.in_scope(|| health(output));
            let board = self.board.clone();
            let task = checks.tasks.spawn(async move {
                let mut hook = Hook::new(&board, id, span, answer);
                let result = match timeout(CHECK_TIMEOUT, &mut hook).await {
                    Ok(Ok(result)) => result,
                    Ok(Err(panic)) => Err(panicked(panic)),
                    Err(_elapsed) => Err(hook.discard().map_or_else(panicked, |()| {
                        StageError::from(format!("no answer within {}", format_elapsed(CHECK_TIMEOUT)))
                    })),
                };
                (id, result)
            });
            checks.running.push((task.id(), id));
        }
    }

    /// Ends the checks that run, and returns the answers that were there already. A check that keeps its
    /// thread cannot be ended: its stage is stuck, and stays up.
    pub(super) async fn end_checks(&mut self, mut checks: Checks) -> Vec<(StageId, StageResult<()>)> {
        checks.tasks.abort_all();
        let mut answers = Vec::new();
        let deadline = Instant::now() + self.grace();
        while let Ok(next) = timeout_at(deadline, checks.next()).await {
            match next {
                Some(answer) => answers.push(answer),
                None => return answers,
            }
        }
        for &(_, id) in &checks.running {
            self.summary.stuck.push((self.name(id), self.board.cell(id).current_step()));
            self.in_use.push((id, self.name(id)));
        }
        answers
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
        let failure = stage_failure(&self.board, id, FailurePhase::ReadyCheck, error);
        Some(analysed(&self.analysers, failure))
    }
}
