//! The engine: one task that owns every stage's state and decides what happens next (invariant 12).
//!
//! # Rules (the numbers are those of `ARCHITECTURE.md`)
//! 1. A stage is launched only when every prerequisite has settled; outputs are handed over then.
//! 2. Whatever a start hook acquired is released once: by its stop hook if it succeeded, however late,
//!    by its undo hooks if it did not.
//! 3. A stage is stopped only when every dependant has settled.
//! 4. `down` is the one way to stop, for rollback and shutdown alike, on a budget of its own.
//! 5. Failures are kept in the order of their time; what they cause is kept apart.
//!
//! Every hook runs in a task of its own that contains its panics and enforces its time limits
//! ([`up`], [`down`]); the engine only reacts to what those tasks report.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    codes::{ROLLBACK_INCOMPLETE, STAGE_FAILED},
    contain::contain,
    contract::{
        analysis::{Analyser, analysed},
        board::Board,
        event::Event,
        needs::{Output, Outputs},
        outcome::{FailurePhase, StageFailure, StopHook, StopProblem, StopSummary},
        state::{Change, StageState, StopReason},
    },
    error::{BoxError, StageError},
    graph::StageName,
    ids::StageId,
};

mod budget;
mod down;
mod health;
mod hook;
mod life;
pub(crate) mod plan;
pub(crate) mod running;
mod serve;
pub(crate) mod start_hook;
mod tasks;
mod up;

use budget::Heights;
pub(crate) use hook::BLOCKING_TICKS;
use plan::{BoxServe, Spec};
use tasks::HookTasks;

/// The time limits of a whole start-up and shutdown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For the whole start.
    pub(crate) startup: Duration,
    /// For each stage, from when its prerequisites are up, unless it has its own.
    pub(crate) stage: Duration,
    /// For everything that stops: rollback or shutdown.
    pub(crate) shutdown: Duration,
    /// Between "not ready any more" and the end of serving, with or without a `serve` hook.
    pub(crate) drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            startup: Duration::from_secs(120),
            stage: Duration::from_secs(30),
            // Docker waits ten seconds between SIGTERM and SIGKILL unless told otherwise.
            shutdown: Duration::from_secs(8),
            drain: Duration::ZERO,
        }
    }
}

/// How long a start hook that was asked to end may take before its future is dropped.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// What the outside asks of the engine.
#[derive(Debug)]
pub(crate) enum Command {
    /// Stop, for this reason. During the start this means: roll back.
    Stop(StopReason),
    /// The watchdog saw a stage's hook block its thread.
    Blocking(StageId),
}

type SharedOutputs = Arc<Mutex<Vec<Option<Output>>>>;

/// What a plan is beside its graph.
pub(crate) struct Hooks {
    pub(crate) specs: Vec<Spec>,
    pub(crate) serve: Option<BoxServe>,
    pub(crate) serve_needs: Vec<StageId>,
    pub(crate) analysers: Vec<Analyser>,
}

pub(crate) struct Engine {
    board: Arc<Board>,
    limits: Limits,
    specs: Vec<Spec>,
    serve: Option<BoxServe>,
    serve_needs: Vec<StageId>,
    analysers: Vec<Analyser>,
    outputs: SharedOutputs,
    /// For each stage, how many prerequisites have not settled.
    waiting: Vec<u32>,
    /// How many stages have not come to the end of their start.
    starting: usize,
    tasks: HookTasks,
    /// Failures that end the start, in the order in which they became known.
    failures: Vec<StageFailure>,
    summary: StopSummary,
    /// Stages that a hook uses which can be neither ended nor dropped, with the name of whose hook it is:
    /// they stay up (docs/adr/0001).
    in_use: Vec<(StageId, StageName)>,
}

impl Engine {
    pub(crate) fn new(board: Arc<Board>, limits: Limits, hooks: Hooks) -> Self {
        let Hooks { specs, serve, serve_needs, analysers } = hooks;
        let waiting: Vec<u32> = board
            .graph
            .ids()
            .map(|id| u32::try_from(board.graph.prerequisites(id).len()).unwrap_or(u32::MAX))
            .collect();
        Self {
            outputs: Arc::new(Mutex::new(vec![None; specs.len()])),
            starting: specs.len(),
            tasks: HookTasks::new(Heights::new(&board), limits.shutdown, specs.len()),
            waiting,
            board,
            limits,
            specs,
            serve,
            serve_needs,
            analysers,
            failures: Vec::new(),
            summary: StopSummary::default(),
            in_use: Vec::new(),
        }
    }

    fn state(&self, id: StageId) -> StageState {
        self.board.cell(id).state()
    }

    fn name(&self, id: StageId) -> StageName {
        self.board.graph.name(id).clone()
    }

    /// The only place where a stage changes its state. A change that is not legal is a defect of the
    /// engine: it is reported with the rest, because a report is what helps to mend it.
    fn change_at(&mut self, id: StageId, change: Change, at: Instant) {
        let from = self.state(id);
        match from.next(change) {
            Some(to) => self.board.set_state(id, to, at),
            None => {
                let error = format!("engine defect: {change:?} is not legal while {from}");
                self.stop_problem(id, StopHook::Stop, error);
            }
        }
    }

    /// A change that happens now.
    fn change(&mut self, id: StageId, change: Change) {
        self.change_at(id, change, Instant::now());
    }

    fn stop_problem(&mut self, id: StageId, hook: StopHook, error: impl Into<BoxError>) {
        let problem =
            StopProblem { stage: self.name(id), hook, error: StageError::new(ROLLBACK_INCOMPLETE, error) };
        self.record_problem(problem);
    }

    fn record_problem(&mut self, problem: StopProblem) {
        let error = format!("{}: {}", problem.hook, problem.error);
        self.board.emit(&Event::StopFailed { stage: problem.stage.clone(), error });
        self.summary.problems.push(problem);
    }

    fn take_output(&self, id: StageId) -> Option<Output> {
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner)[id.index()].take()
    }

    fn with_outputs<T>(&self, look: impl FnOnce(&Outputs<'_>) -> T) -> T {
        look(&Outputs(&self.outputs.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// A failure that belongs to no stage's hook, of now.
    fn failure_of(
        &self,
        stage: impl Into<StageName>,
        phase: FailurePhase,
        error: StageError,
    ) -> StageFailure {
        let now = self.board.now();
        let failure = StageFailure {
            stage: stage.into(),
            phase,
            step: None,
            steps: Vec::new(),
            error,
            elapsed: now,
            attempts: 1,
            at: now,
        };
        analysed(&self.analysers, failure)
    }

    /// Says that stopping has begun, and returns when it must be over. What was said first holds.
    fn begin_stop(&self) -> Instant {
        self.board.set_stop_deadline(Instant::now() + self.limits.shutdown)
    }

    /// How long what was asked to end may take before it is dropped, and to be dropped.
    fn grace(&self) -> Duration {
        CANCEL_GRACE.min(self.limits.shutdown / 4)
    }

    /// The stages in one of the given states, in the order in which they were added.
    fn in_state(&self, states: &[StageState]) -> Vec<StageId> {
        self.board.graph.ids().filter(|&id| states.contains(&self.state(id))).collect()
    }
}

/// Like those of each [`Spec`], the destructors of what these closures hold must not end the engine's task: the report
/// of its end would be lost.
impl Drop for Engine {
    fn drop(&mut self) {
        let serve = self.serve.take();
        let _unheard = contain(move || drop(serve));
        for analyser in self.analysers.drain(..) {
            let _unheard = contain(move || drop(analyser));
        }
    }
}

/// A stage's failure, of now, with the steps that led to it.
fn stage_failure(board: &Board, id: StageId, phase: FailurePhase, error: StageError) -> StageFailure {
    let cell = board.cell(id);
    let at = board.now();
    let began = cell.launched_after().unwrap_or(at);
    StageFailure {
        stage: board.graph.name(id).clone(),
        phase,
        step: cell.current_step(),
        steps: cell.step_times(),
        error,
        elapsed: at.saturating_sub(began),
        attempts: cell.attempt(),
        at,
    }
}

/// An error for something that only a defect of the library can cause.
fn defect(text: &str) -> StageError {
    StageError::new(STAGE_FAILED, format!("engine defect: {text}")).fatal()
}

#[cfg(test)]
mod tests;
