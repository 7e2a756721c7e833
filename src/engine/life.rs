//! The life of a service until it is ready, or rolled back. `serve` has the rest.

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tracing::{Instrument, Span, info_span};

use super::{Command, Engine, defect, health::Checks, stage_failure, tasks::Told, up};
use crate::{
    codes::{STARTUP_INTERRUPTED, STARTUP_TIMEOUT},
    contract::{
        analysis::analysed,
        board::{Board, GaveUp},
        context::StageContext,
        event::Event,
        guard::LockLost,
        outcome::{FailurePhase, NeverStarted, StageFailure, StartupError, StopReport, StopSummary},
        state::{Change, Phase, StageState, StopReason, format_elapsed},
        status::Status,
        tell::{settled, tell},
    },
    error::StageError,
    ids::StageId,
};

/// Whom to tell that the service is ready, or why it is not.
pub(crate) type ReadySender = oneshot::Sender<Result<(), Box<StartupError>>>;

impl Engine {
    /// The whole life. It ends by itself when it was asked to stop, or when every handle is gone. The start, and
    /// the rollback of one that fails, are told within `span`.
    pub(crate) async fn run(
        mut self,
        span: Span,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut ready: ReadySender,
    ) -> StopReport {
        if !self.start(&mut commands, &mut ready).instrument(span.clone()).await {
            return self.roll_back(ready).instrument(span).await;
        }
        self.board.set_phase(Phase::Ready);
        let took = self.board.ready_after().unwrap_or_default();
        span.in_scope(|| self.board.emit(&Event::Ready { took }));
        // What comes now is no part of the start.
        drop(span);
        // If nobody waits for the answer any more, every handle is gone, and `commands` says so next.
        let _nobody_waits = ready.send(Ok(()));
        self.tasks.end_idle();
        self.serve(&mut commands).await
    }

    /// Starts every stage and checks it. `false` as soon as there is a reason not to go on.
    async fn start(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        ready: &mut ReadySender,
    ) -> bool {
        let board = self.board.clone();
        let deadline = board.limit_start(self.limits.startup);
        // Polled only when something in it has happened, so that a stage that comes up does not pay for asking
        // everyone else.
        let mut outside = FuturesUnordered::from_iter([listen(&board, commands, ready, deadline)]);
        let mut checks = Checks::default();
        let mut checked = false;
        self.launch_first();
        loop {
            if self.starting == 0 && !checked {
                checked = true;
                self.launch_checks(&mut checks);
            }
            let up = checked && checks.is_empty();
            tokio::select! {
                biased;
                Some(told) = self.tasks.told() => self.told_while_starting(told),
                Some((id, result)) = checks.next(), if checked => {
                    self.failures.extend(self.book_check(id, result));
                }
                Some((happened, commands, ready)) = outside.next() => {
                    self.happened_while_starting(happened);
                    outside.push(listen(&board, commands, ready, deadline));
                }
                // Last, so that what happened while the last stage came up is heard first.
                () = std::future::ready(()), if up => return true,
            }
            if !self.failures.is_empty() {
                self.begin_stop();
                for (id, result) in self.end_checks(checks).await {
                    self.failures.extend(self.book_check(id, result));
                }
                return false;
            }
        }
    }

    fn happened_while_starting(&mut self, happened: Happened) {
        match happened {
            Happened::Command(Command::Blocking(id)) => self.stage_blocks(id),
            Happened::Command(Command::Stop(reason)) => self.interrupt(&reason.to_string()),
            Happened::GivenUp => self.interrupt("the start was given up by its caller"),
            Happened::LockLost(lost) => self.failures.push(self.lock_lost(&lost)),
            Happened::Failed => self.failures.extend(self.gave_up()),
            Happened::TimeIsUp => self.startup_timeout(),
        }
    }

    fn launch_first(&mut self) {
        for id in self.board.graph.ids() {
            if self.waiting[id.index()] == 0 {
                self.launch(id);
            }
        }
    }

    /// Starts a stage whose prerequisites have settled.
    fn launch(&mut self, id: StageId) {
        let start = self.specs[id.index()].start.take();
        self.change(id, Change::Launch);
        let span = info_span!(target: "solostart", "stage", name = %self.name(id));
        self.board.cell(id).set_span(span);
        self.board.emit_of(id, &Event::StageStarting { stage: self.name(id) });
        let bound =
            start.and_then(|mut start| self.with_outputs(|outputs| start.bind(outputs)).then_some(start));
        let Some(start) = bound else {
            let error = defect("a stage was launched without its prerequisites");
            self.change(id, Change::Fail);
            self.note_failure(id, stage_failure(&self.board, id, FailurePhase::Start, error));
            return;
        };
        let cx = StageContext::new(self.board.clone(), id);
        self.tasks.spawn(id, |to_engine| up::StartTask { cx, to_engine }.run(start));
    }

    fn told_while_starting(&mut self, told: Told) {
        let Some(id) = self.hear(told) else { return };
        if self.state(id) == StageState::Up && self.board.cell(id).is_given_up() {
            // An optional stage came up after its time-out: it counts as failed, so it is stopped.
            self.stop(id, &StopReason::Rollback.into(), Instant::now() + self.limits.shutdown);
            return;
        }
        self.starting -= 1;
        if !self.failures.is_empty() {
            return;
        }
        // By their places, because to share the board for each stage that ends would cost more.
        for place in 0..self.board.graph.dependants(id).len() {
            let dependant = self.board.graph.dependants(id)[place];
            let count = &mut self.waiting[dependant.index()];
            *count -= 1;
            if *count == 0 {
                self.launch(dependant);
            }
        }
    }

    /// A stage tells its failure before it has settled.
    pub(super) fn failed_early(&mut self, id: StageId, failure: StageFailure) {
        if self.state(id) == StageState::Starting {
            self.change(id, Change::Interrupt);
        }
        self.note_failure(id, failure);
    }

    /// A stage could not start: the end of the start, unless the service can do without the stage.
    pub(super) fn note_failure(&mut self, id: StageId, failure: StageFailure) {
        let failure = analysed(&self.analysers, failure);
        let cell = self.board.cell(id);
        if cell.is_given_up() {
            // The same failure once more, explained better by the stage itself.
            if let Some(known) = self.failures.iter_mut().find(|known| known.stage == failure.stage) {
                known.error = failure.error;
            }
            return;
        }
        cell.give_up();
        let event = Event::StageFailed {
            stage: failure.stage.clone(),
            code: failure.error.failure_code(),
            error: failure.error.to_string(),
            optional: cell.optional,
        };
        self.board.emit_of(id, &event);
        if !cell.optional {
            self.failures.push(failure);
        }
    }

    fn interrupt(&mut self, by: &str) {
        let error = StageError::new(STARTUP_INTERRUPTED, format!("the start was interrupted: {by}"));
        let failure = self.failure_of("startup", FailurePhase::Start, error);
        self.failures.push(failure);
    }

    fn startup_timeout(&mut self) {
        let limit = format_elapsed(self.limits.startup);
        let mut error = StageError::new(STARTUP_TIMEOUT, format!("the start did not finish within {limit}"));
        for id in self.in_state(&[StageState::Starting, StageState::Interrupting]) {
            let cell = self.board.cell(id);
            let since = self.board.now().saturating_sub(cell.launched_after().unwrap_or_default());
            let step = cell.current_step().map_or_else(String::new, |step| format!(" at `{step}`"));
            error = error.fact(self.name(id), format!("starting for {}{step}", format_elapsed(since)));
        }
        let failure = self.failure_of("startup", FailurePhase::Start, error);
        self.failures.push(failure);
    }

    /// The watchdog saw a hook keep its thread. It is told once; it fails the start when the stage's own
    /// time is up, because then the stage's task cannot say so itself.
    pub(super) fn stage_blocks(&mut self, id: StageId) {
        let cell = self.board.cell(id);
        if cell.tell_blocking() {
            let event = Event::StageBlocking { stage: self.name(id), step: cell.current_step() };
            self.board.emit_of(id, &event);
        }
        let running = self.board.now().saturating_sub(cell.launched_after().unwrap_or_default());
        if self.state(id) == StageState::Starting && running > cell.timeout {
            self.change(id, Change::Interrupt);
            let error = up::blocked_error();
            self.note_failure(id, stage_failure(&self.board, id, FailurePhase::Start, error));
        }
    }

    pub(super) fn lock_lost(&self, lost: &LockLost) -> StageFailure {
        self.failure_of("worker-mode", FailurePhase::Serve, lost.clone().into_error())
    }

    /// The stages that said that the service cannot go on.
    pub(super) fn gave_up(&self) -> Vec<StageFailure> {
        let failure = |GaveUp { stage, error, at }| StageFailure {
            elapsed: at,
            at,
            ..self.failure_of(self.name(stage), FailurePhase::Serve, error)
        };
        self.board.gave_up().into_iter().map(failure).collect()
    }

    async fn roll_back(mut self, ready: ReadySender) -> StopReport {
        let causes: Vec<String> = self.failures.iter().map(|failure| failure.error.to_string()).collect();
        let requested =
            self.failures.iter().all(|failure| failure.error.failure_code() == STARTUP_INTERRUPTED);
        self.board.emit(&Event::RollingBack { error: causes.join("; "), requested });
        let timeline = Status(self.board.clone()).timeline();
        let waiting = self.waiting();
        let rollback = self.down(&StopReason::Rollback).await;
        // A stable sort: of two failures at the same instant the one that was known first stays first.
        self.failures.sort_by_key(|failure| failure.at);
        let mut failures = std::mem::take(&mut self.failures).into_iter();
        let primary = failures
            .next()
            .unwrap_or_else(|| self.failure_of("startup", FailurePhase::Start, defect("no cause")));
        let error = StartupError {
            primary,
            also: failures.collect(),
            cancelled: self.in_state(&[StageState::Cancelled]).into_iter().map(|id| self.name(id)).collect(),
            never_started: waiting.into_iter().map(|each| self.never_started(each)).collect(),
            rollback,
            timeline,
        };
        let report = StopReport {
            reason: StopReason::Rollback,
            failure: None,
            also: Vec::new(),
            summary: StopSummary::default(),
            timeline: Status(self.board.clone()).timeline(),
        };
        settled().await;
        if ready.send(Err(Box::new(error))).is_err() {
            tell!(warn, "the start was rolled back, and nobody waits to hear why");
        }
        report
    }

    /// Each stage that was not launched, with the prerequisites that it waits for. What comes up later than
    /// this is no longer what anyone waited for.
    fn waiting(&self) -> Vec<(StageId, Vec<StageId>)> {
        let lets_go_on = |id: StageId| {
            let state = self.state(id);
            state == StageState::Up || (self.board.cell(id).optional && state.is_settled())
        };
        let waits_for = |id| {
            self.board.graph.prerequisites(id).iter().copied().filter(|&each| !lets_go_on(each)).collect()
        };
        self.in_state(&[StageState::Pending]).into_iter().map(|id| (id, waits_for(id))).collect()
    }

    fn never_started(&self, (id, waits_for): (StageId, Vec<StageId>)) -> NeverStarted {
        let waited_for = waits_for.into_iter().map(|each| (self.name(each), self.state(each))).collect();
        NeverStarted { stage: self.name(id), waited_for }
    }
}

/// What can happen during a start beside the end of a stage.
enum Happened {
    Command(Command),
    /// Nobody waits for the answer, or every handle is gone.
    GivenUp,
    LockLost(LockLost),
    /// A stage that is up says that the service cannot go on.
    Failed,
    TimeIsUp,
}

type Commands<'a> = &'a mut mpsc::UnboundedReceiver<Command>;

/// Waits until something happens, and gives back what it listened to.
async fn listen<'a>(
    board: &Board,
    commands: Commands<'a>,
    ready: &'a mut ReadySender,
    deadline: Instant,
) -> (Happened, Commands<'a>, &'a mut ReadySender) {
    let happened = tokio::select! {
        biased;
        command = commands.recv() => command.map_or(Happened::GivenUp, Happened::Command),
        () = ready.closed() => Happened::GivenUp,
        lost = board.lost() => Happened::LockLost(lost),
        () = board.failed() => Happened::Failed,
        () = sleep_until(deadline) => Happened::TimeIsUp,
    };
    (happened, commands, ready)
}
