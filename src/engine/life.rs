//! The life of a service: start, check, serve, drain, stop.

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Announced, Command, Engine, Settled, defect,
    health::{CHECK_INTERVAL, Checks},
    hook::panicked,
    stage_failure, up,
};
use crate::{
    codes::{LOCK_LOST, STARTUP_INTERRUPTED, STARTUP_TIMEOUT},
    contract::{
        board::Board,
        context::{ServeContext, StageContext},
        event::Event,
        guard::LockLost,
        outcome::{
            FailurePhase, NeverStarted, StageFailure, StartupError, StopHook, StopProblem, StopReport,
            StopSummary,
        },
        panic::Contained,
        state::{Change, Phase, StageState, StopReason, format_elapsed},
        status::Status,
    },
    error::{StageError, StageResult},
    ids::StageId,
};

/// Whom to tell that the service is ready, or why it is not.
pub(crate) type ReadySender = oneshot::Sender<Result<(), Box<StartupError>>>;

/// The `serve` hook while it runs.
type Serving = JoinSet<StageResult<()>>;

impl Engine {
    /// The whole life. It ends by itself when it was asked to stop, or when every handle is gone.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut ready: ReadySender,
    ) -> StopReport {
        if !self.start(&mut commands, &mut ready).await {
            return self.roll_back(ready).await;
        }
        self.board.set_phase(Phase::Ready);
        let took = self.board.ready_after().unwrap_or_default();
        self.board.emit(&Event::Ready { took });
        // If nobody waits for the answer any more, every handle is gone, and `commands` says so next.
        let _nobody_waits = ready.send(Ok(()));
        self.serve(&mut commands).await
    }

    /// Starts every stage and checks it. `false` as soon as there is a reason not to go on.
    async fn start(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        ready: &mut ReadySender,
    ) -> bool {
        let deadline = sleep_until(self.board.began + self.limits.startup);
        tokio::pin!(deadline);
        let mut checks = Checks::new();
        let mut checked = false;
        self.launch_first();
        loop {
            if self.starting == 0 && !checked {
                checked = true;
                self.launch_checks(&mut checks, &[]);
            }
            if checked && checks.is_empty() {
                return true;
            }
            tokio::select! {
                biased;
                Some(joined) = self.tasks.join_next() => self.settled_while_starting(joined),
                Some(Ok((id, result))) = checks.join_next() => {
                    self.failures.extend(self.book_check(id, result));
                }
                Some(announced) = self.announced.recv() => self.hear(announced),
                command = commands.recv() => self.command_while_starting(command),
                () = ready.closed() => self.interrupt("the start was given up by its caller"),
                lost = lost(&self.board) => {
                    let failure = self.lock_lost(&lost);
                    self.failures.push(failure);
                }
                () = &mut deadline => self.startup_timeout(),
            }
            if !self.failures.is_empty() {
                checks.shutdown().await;
                return false;
            }
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
        let limits = self.limits;
        let timeout = self.board.cell(id).timeout;
        let start = self.specs[id.index()].start.take();
        self.change(id, Change::Launch);
        self.board.emit(&Event::StageStarting { stage: self.name(id) });
        let bound =
            start.and_then(|mut start| self.with_outputs(|outputs| start.bind(outputs)).then_some(start));
        let Some(start) = bound else {
            let error = defect("a stage was launched without its prerequisites");
            self.change(id, Change::Fail);
            self.note_failure(id, stage_failure(&self.board, id, FailurePhase::Start, error, 1));
            return;
        };
        let deadline = Instant::now() + timeout;
        let cx = StageContext::new(self.board.clone(), id, self.cancel.child_token(), deadline);
        let announce = self.announce.clone();
        let task = up::StartTask { cx, timeout, shutdown: limits.shutdown, announce };
        self.tasks.spawn(task.run(start));
    }

    fn settled_while_starting(&mut self, joined: Result<Settled, tokio::task::JoinError>) {
        let Some(id) = self.settle(joined) else { return };
        if self.state(id) == StageState::Up && self.board.cell(id).is_given_up() {
            // An optional stage came up after its time-out: it counts as failed, so it is stopped.
            self.stop(id, &StopReason::Rollback, Instant::now() + self.limits.shutdown);
            return;
        }
        self.starting -= 1;
        if !self.failures.is_empty() {
            return;
        }
        let board = self.board.clone();
        for dependant in board.graph.dependants(id) {
            let count = &mut self.waiting[dependant.index()];
            *count -= 1;
            if *count == 0 {
                self.launch(dependant);
            }
        }
    }

    /// A stage tells its failure before it has settled.
    pub(super) fn hear(&mut self, Announced { id, failure }: Announced) {
        if self.state(id) == StageState::Starting {
            self.change(id, Change::Interrupt);
        }
        self.note_failure(id, failure);
    }

    /// A stage could not start: the end of the start, unless the service can do without the stage.
    pub(super) fn note_failure(&mut self, id: StageId, failure: StageFailure) {
        let cell = self.board.cell(id);
        if cell.is_given_up() {
            // The same failure once more, explained better by the stage itself.
            if let Some(known) = self.failures.iter_mut().find(|known| known.stage == failure.stage) {
                known.error = failure.error;
            }
            return;
        }
        cell.give_up();
        self.board.emit(&Event::StageFailed {
            stage: failure.stage.clone(),
            code: failure.error.failure_code(),
            error: failure.error.to_string(),
            optional: cell.optional,
        });
        if !cell.optional {
            self.failures.push(failure);
        }
    }

    fn command_while_starting(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Stop(reason)) => self.interrupt(&reason.to_string()),
            Some(Command::Blocking(id)) => self.stage_blocks(id),
            None => self.interrupt("the start was given up by its caller"),
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
    fn stage_blocks(&mut self, id: StageId) {
        let cell = self.board.cell(id);
        if cell.tell_blocking() {
            self.board.emit(&Event::StageBlocking { stage: self.name(id), step: cell.current_step() });
        }
        let running = self.board.now().saturating_sub(cell.launched_after().unwrap_or_default());
        if self.state(id) == StageState::Starting && running > cell.timeout {
            self.change(id, Change::Interrupt);
            let error = up::blocked_error();
            self.note_failure(id, stage_failure(&self.board, id, FailurePhase::Start, error, 1));
        }
    }

    fn lock_lost(&self, lost: &LockLost) -> StageFailure {
        let error = StageError::new(LOCK_LOST, lost.clone());
        self.failure_of("worker-mode", FailurePhase::Serve, error)
    }

    async fn roll_back(mut self, ready: ReadySender) -> StopReport {
        let causes: Vec<String> = self.failures.iter().map(|failure| failure.error.to_string()).collect();
        self.board.emit(&Event::RollingBack { error: causes.join("; ") });
        let timeline = Status(self.board.clone()).timeline();
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
            never_started: self.never_started(),
            rollback,
            timeline,
        };
        let report = StopReport {
            reason: StopReason::Rollback,
            failure: None,
            summary: StopSummary::default(),
            timeline: Status(self.board.clone()).timeline(),
        };
        if ready.send(Err(Box::new(error))).is_err() {
            tracing::warn!(target: "solostart", "the start was rolled back, and nobody waits to hear why");
        }
        report
    }

    fn never_started(&self) -> Vec<NeverStarted> {
        let describe = |id: StageId| NeverStarted {
            stage: self.name(id),
            waited_for: self
                .board
                .graph
                .prerequisites(id)
                .filter(|&each| !self.board.cell(each).was_up())
                .map(|each| (self.name(each), self.state(each)))
                .collect(),
        };
        self.in_state(&[StageState::Skipped]).into_iter().map(describe).collect()
    }

    /// Serves until there is a reason to stop, then stops everything.
    async fn serve(mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> StopReport {
        let shutdown = CancellationToken::new();
        let mut serving = Serving::new();
        let mut checks = Checks::new();
        let (mut reason, mut failure) = match self.launch_serve(&mut serving, &shutdown) {
            Ok(()) => self.until_asked(commands, &mut serving, &mut checks).await,
            Err(error) => (StopReason::Failed, Some(self.failure_of("serve", FailurePhase::Serve, error))),
        };
        if self.limits.drain > std::time::Duration::ZERO && !serving.is_empty() && failure.is_none() {
            self.board.set_phase(Phase::Draining);
            self.board.emit(&Event::Draining { reason: reason.clone() });
            tokio::select! {
                () = sleep(self.limits.drain) => {}
                Some(ended) = serving.join_next() => (reason, failure) = self.served(reason, ended),
                lost = lost(&self.board) => {
                    (reason, failure) = (StopReason::LockLost, Some(self.lock_lost(&lost)));
                }
            }
        }
        self.board.set_phase(Phase::Stopping);
        shutdown.cancel();
        checks.shutdown().await;
        let began = Instant::now();
        self.board.set_stop_deadline(began + self.limits.shutdown);
        self.end_serving(&mut serving, &reason, &mut failure).await;
        let mut summary = self.down(&reason).await;
        summary.elapsed = began.elapsed();
        StopReport { reason, failure, summary, timeline: Status(self.board.clone()).timeline() }
    }

    fn launch_serve(&mut self, serving: &mut Serving, shutdown: &CancellationToken) -> StageResult<()> {
        let Some(serve) = self.serve.take() else { return Ok(()) };
        let cx = ServeContext { shutdown: shutdown.clone(), status: Status(self.board.clone()) };
        let future = self
            .with_outputs(|outputs| serve(outputs, cx))
            .ok_or_else(|| defect("serve was launched without its prerequisites"))?;
        let mut contained = Contained::new(future);
        serving.spawn(async move {
            match (&mut contained).await {
                Ok(result) => result,
                Err(panic) => Err(panicked(panic)),
            }
        });
        Ok(())
    }

    async fn until_asked(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        serving: &mut Serving,
        checks: &mut Checks,
    ) -> (StopReason, Option<StageFailure>) {
        let mut ticks = interval_at(Instant::now() + CHECK_INTERVAL, CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let has_checks = self.specs.iter().any(|spec| spec.health.is_some());
        let mut running: Vec<StageId> = Vec::new();
        loop {
            tokio::select! {
                biased;
                lost = lost(&self.board) => return (StopReason::LockLost, Some(self.lock_lost(&lost))),
                command = commands.recv() => match command {
                    Some(Command::Stop(reason)) => return (reason, None),
                    Some(Command::Blocking(id)) => self.stage_blocks(id),
                    None => return (StopReason::Requested("every handle was dropped".to_owned()), None),
                },
                Some(ended) = serving.join_next() => return self.served(StopReason::Finished, ended),
                Some(Ok((id, result))) = checks.join_next() => {
                    running.retain(|&each| each != id);
                    // While serving, a failed check makes the service unready; it does not end it.
                    let _unready = self.book_check(id, result);
                }
                _ = ticks.tick(), if has_checks => running.extend(self.launch_checks(checks, &running)),
            }
        }
    }

    /// The `serve` hook has ended.
    fn served(
        &self,
        reason: StopReason,
        ended: Result<StageResult<()>, tokio::task::JoinError>,
    ) -> (StopReason, Option<StageFailure>) {
        match ended.unwrap_or_else(|error| Err(defect(&error.to_string()))) {
            Ok(()) => (reason, None),
            Err(error) => (StopReason::Failed, Some(self.failure_of("serve", FailurePhase::Serve, error))),
        }
    }

    /// Waits for the `serve` hook to finish, for at most half of the stop budget, then drops it.
    async fn end_serving(
        &mut self,
        serving: &mut Serving,
        reason: &StopReason,
        failure: &mut Option<StageFailure>,
    ) {
        let limit = self.limits.shutdown / 2;
        match timeout_at(Instant::now() + limit, serving.join_next()).await {
            Ok(None) => {}
            Ok(Some(ended)) => *failure = failure.take().or(self.served(reason.clone(), ended).1),
            Err(_elapsed) => {
                let error = format!("did not finish within {}", format_elapsed(limit));
                let problem = StopProblem {
                    stage: "serve".into(),
                    hook: StopHook::Serve,
                    error: StageError::from(error),
                };
                self.record_problem(problem);
                serving.shutdown().await;
            }
        }
    }
}

/// Resolves when the right to be the only worker is lost, and never where there is none to lose.
async fn lost(board: &Board) -> LockLost {
    match board.published_worker() {
        Some(guard) => guard.lost().await,
        None => std::future::pending().await,
    }
}
