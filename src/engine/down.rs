//! The one way to stop: for rollback and for shutdown (invariants 2, 3, 4).

use std::{future::Future, sync::Arc};

use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{Span, info_span};

use super::{
    Engine, defect,
    hook::Hook,
    hook::panicked,
    plan::BoxStop,
    tasks::{ToEngine, Told},
    up,
};
use crate::{
    contain::contain,
    contract::{
        board::Board,
        context::StopContext,
        event::Event,
        needs::Output,
        outcome::{FailurePhase, StopHook, StopProblem, StopSummary},
        state::{Change, Phase, StageState, StopReason, format_elapsed},
        tell::{shown, tell},
    },
    error::StageError,
    ids::StageId,
};

/// How a stop ended.
pub(super) struct Outcome {
    result: Result<(), StageError>,
    leaked: usize,
    began: Instant,
    ended: Instant,
}

/// One stage's stop, as a task of its own.
struct StopTask {
    board: Arc<Board>,
    id: StageId,
    span: Span,
    began: Instant,
    to_engine: ToEngine,
}

impl StopTask {
    /// Only a hook has to wait, so the room for that is its own.
    #[expect(clippy::manual_async_fn, reason = "an async function keeps its arguments twice")]
    fn run(self, output: Output, hook: Option<(BoxStop, StopContext)>) -> impl Future<Output = ()> + Send {
        async move {
            let result = match hook {
                Some((stop, cx)) => Box::pin(self.hook(stop, output.clone(), cx)).await,
                None => Ok(()),
            };
            // Dependants have dropped theirs, the hook's is dropped, one is ours: what is left is leaked.
            let leaked = if result.is_ok() { Arc::strong_count(&output) - 1 } else { 0 };
            let dropped = self.span.in_scope(|| contain(|| drop(output))).map_err(panicked);
            let Self { board, id, span, began, to_engine } = self;
            let outcome = Outcome { result: result.and(dropped), leaked, began, ended: Instant::now() };
            drop((board, span));
            to_engine.end(Told::Stop { id, outcome });
        }
    }

    async fn hook(&self, stop: BoxStop, resource: Output, cx: StopContext) -> Result<(), StageError> {
        let deadline = cx.deadline;
        let future = Box::pin(async move { stop(resource, cx).await });
        let mut hook = Hook::new(&self.board, self.id, self.span.clone(), future);
        match timeout_at(deadline, &mut hook).await {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => Err(panicked(panic)),
            Err(_elapsed) => {
                let limit = format_elapsed(deadline.duration_since(self.began));
                let text = format!("did not finish within {limit}, its share of the time to stop");
                Err(hook.discard().map_or_else(panicked, |()| StageError::from(text)))
            }
        }
    }
}

impl Engine {
    /// Stops everything that is up, in reverse order of dependency, independent stages concurrently.
    ///
    /// Starts that are still in flight are cancelled and awaited first wherever they need something that
    /// is up. What has not settled when the budget ends is stuck: its task is dropped, and what it needs
    /// is left up, because closing a resource under its user is worse than leaving it to the end of the
    /// process (docs/adr/0001).
    pub(super) async fn down(&mut self, reason: &StopReason) -> StopSummary {
        let began = Instant::now();
        let reason = Arc::new(reason.clone());
        let deadline = self.begin_stop();
        self.board.set_phase(Phase::Stopping);
        for id in self.in_state(&[StageState::Pending]) {
            self.change(id, Change::Skip);
        }
        for id in self.in_state(&[StageState::Starting]) {
            self.change(id, Change::Interrupt);
        }
        let mut holding: Vec<usize> = self
            .board
            .graph
            .ids()
            .map(|id| {
                self.board.graph.dependants(id).iter().filter(|&&each| !self.state(each).is_settled()).count()
            })
            .collect();
        for (id, _) in &self.in_use {
            holding[id.index()] += 1;
        }
        for id in self.in_state(&[StageState::Up]) {
            if holding[id.index()] == 0 {
                self.stop(id, &reason, deadline);
            }
        }
        while !self.tasks.is_empty() {
            let settled = tokio::select! {
                biased;
                Some(told) = self.tasks.told() => self.hear(told),
                () = sleep_until(deadline) => break,
            };
            let Some(id) = settled else { continue };
            if self.state(id) == StageState::Up && holding[id.index()] == 0 {
                // It came up although it was asked to end: late success is stopped like any other.
                self.stop(id, &reason, deadline);
            }
            if self.state(id).is_settled() {
                self.release_prerequisites(id, &mut holding, &reason, deadline);
            }
        }
        self.abandon_the_rest();
        self.summary.elapsed = began.elapsed();
        self.board.set_phase(Phase::Stopped);
        self.board.emit(&Event::Stopped { took: self.summary.elapsed });
        std::mem::take(&mut self.summary)
    }

    /// Launches the stop of a stage that is up.
    pub(super) fn stop(&mut self, id: StageId, reason: &Arc<StopReason>, deadline: Instant) {
        let Some(output) = self.take_output(id) else {
            self.stop_problem(id, StopHook::Stop, "engine defect: a stage is up without its output");
            return;
        };
        let now = Instant::now();
        self.change_at(id, Change::Stop, now);
        let span = info_span!(target: "solostart", "stop", stage = %self.name(id));
        self.board.cell(id).set_span(span.clone());
        self.board.emit_of(id, &Event::StageStopping { stage: self.name(id) });
        let left = deadline.saturating_duration_since(now);
        let slice = self.tasks.heights().share(id, self.limits.shutdown).of(left);
        let spec = &mut self.specs[id.index()];
        let slice = spec.stop_timeout.map_or(slice, |own| own.min(slice));
        let hook = spec.stop.take();
        let hook = hook.map(|stop| (stop, StopContext { reason: reason.clone(), deadline: now + slice }));
        let board = self.board.clone();
        self.tasks
            .spawn(id, |to_engine| StopTask { board, id, span, began: now, to_engine }.run(output, hook));
    }

    /// Books what a task told, and returns its stage where that has come to an end.
    pub(super) fn hear(&mut self, told: Told) -> Option<StageId> {
        match told {
            Told::Failure(id, failure) => {
                self.failed_early(id, *failure);
                None
            }
            Told::Start { id, outcome, problems } => {
                for problem in problems {
                    self.record_problem(problem);
                }
                self.settle_start(id, outcome);
                Some(id)
            }
            Told::Stop { id, outcome } => {
                self.settle_stop(id, outcome);
                Some(id)
            }
            Told::Lost(id) => {
                // Its stage never settles, and is reported as stuck.
                let failure = self.failure_of(
                    self.name(id),
                    FailurePhase::Start,
                    defect("a task ended without a word"),
                );
                self.failures.push(failure);
                tell!(error, "engine defect: a task of the engine ended", stage = shown(self.name(id)));
                None
            }
        }
    }

    fn settle_start(&mut self, id: StageId, outcome: up::Outcome) {
        let stage = self.name(id);
        // The stage's span ends here: what it says from now on is said while it is up.
        let span = self.board.cell(id).span();
        self.board.cell(id).set_span(Span::none());
        let _inside = span.enter();
        match outcome {
            up::Outcome::Acquired(output, at) => {
                self.outputs.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[id.index()] =
                    Some(output);
                self.change_at(id, Change::Acquired, at);
                self.board.emit(&Event::StageUp { stage, took: self.board.cell(id).took() });
            }
            up::Outcome::Ended { announced: true } => self.change(id, Change::Fail),
            up::Outcome::Ended { announced: false } => {
                self.change(id, Change::Cancel);
                self.board.emit(&Event::StageCancelled { stage });
            }
            up::Outcome::Failed(failure) => {
                self.change(id, Change::Fail);
                self.note_failure(id, *failure);
            }
        }
    }

    fn settle_stop(&mut self, id: StageId, outcome: Outcome) {
        let stage = self.name(id);
        let span = self.board.cell(id).span();
        self.board.cell(id).set_span(Span::none());
        let _inside = span.enter();
        match outcome.result {
            Ok(()) => {
                self.change_at(id, Change::Released, outcome.ended);
                let took = outcome.ended.saturating_duration_since(outcome.began);
                self.board.emit(&Event::StageStopped { stage: stage.clone(), took });
                self.summary.stopped.push(stage.clone());
            }
            Err(error) => {
                self.change(id, Change::StopFail);
                self.record_problem(StopProblem { stage: stage.clone(), hook: StopHook::Stop, error });
            }
        }
        if outcome.leaked > 0 {
            self.board.emit(&Event::Leaked { stage: stage.clone(), clones: outcome.leaked });
            self.summary.leaked.push((stage, outcome.leaked));
        }
    }

    fn release_prerequisites(
        &mut self,
        id: StageId,
        holding: &mut [usize],
        reason: &Arc<StopReason>,
        deadline: Instant,
    ) {
        // By their places, because to share the board for each stage that ends would cost more.
        for place in 0..self.board.graph.prerequisites(id).len() {
            let prerequisite = self.board.graph.prerequisites(id)[place];
            let count = &mut holding[prerequisite.index()];
            *count -= 1;
            if *count == 0 && self.state(prerequisite) == StageState::Up {
                self.stop(prerequisite, reason, deadline);
            }
        }
    }

    /// The budget is spent. What still runs is named, and so is what had to be left up below it.
    fn abandon_the_rest(&mut self) {
        self.tasks.abort_all();
        for id in self.in_state(&[StageState::Starting, StageState::Interrupting, StageState::Stopping]) {
            self.change(id, Change::Abandon);
            let cell = self.board.cell(id);
            if let Err(panic) = contain(|| cell.discard_undos()) {
                self.stop_problem(id, StopHook::Undo, panic);
            }
            let step = self.board.cell(id).current_step();
            self.summary.stuck.push((self.name(id), step));
        }
        for id in self.in_state(&[StageState::Up]) {
            let dependants = self.board.graph.dependants(id);
            let dependant = dependants.iter().copied().find(|&each| !self.state(each).is_settled());
            let user = self.in_use.iter().find(|(used, _)| *used == id).map(|(_, user)| user.clone());
            let above = dependant.map(|each| self.name(each)).or(user).unwrap_or_else(|| self.name(id));
            self.summary.left_up.push((self.name(id), above));
        }
    }
}
