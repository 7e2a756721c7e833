//! One stage's start, as a task of its own: attempts, time limit, grace, undo.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{Span, debug_span};

use super::{
    CANCEL_GRACE,
    budget::Share,
    defect,
    hook::Hook,
    hook::panicked,
    stage_failure,
    start_hook::Start,
    tasks::{ToEngine, Told},
};
use crate::{
    codes::{STAGE_BLOCKED_EXECUTOR, STAGE_TIMEOUT, is_general},
    contain::{Panicked, contain},
    contract::{
        board::Board,
        cell::Cell,
        context::{StageContext, Undo},
        event::Event,
        needs::Output,
        outcome::{FailurePhase, StageFailure, StopHook, StopProblem},
        state::format_elapsed,
    },
    error::StageError,
    ids::StageId,
};

/// How a start ended. By then everything that it left half done is undone.
pub(super) enum Outcome {
    /// The resource is there, since when; too late, if the stage's failure was announced before.
    Acquired(Output, Instant),
    /// Nothing was acquired, and the cause is known: announced before, or somebody else's failure.
    Ended { announced: bool },
    /// Nothing was acquired, for this reason.
    Failed(Box<StageFailure>),
}

/// One stage's start. The hook itself is not part of it, because a hook need not be `Sync`.
pub(super) struct StartTask {
    pub(super) cx: StageContext,
    pub(super) to_engine: ToEngine,
}

/// An attempt whose hook was polled once.
enum Begun<'a> {
    Over(Attempt),
    /// It has to wait. What follows it belongs to the stage's own span again.
    Waiting {
        hook: Hook<'a, Output>,
        stage: Span,
    },
}

/// How one attempt ended.
enum Attempt {
    Acquired(Output, Instant),
    Ended { announced: bool },
    Error(StageError),
}

impl StartTask {
    /// The task's future is as small as a stage that starts at once allows, because a graph may launch thousands
    /// together. What takes longer, or goes wrong, has a box of its own.
    #[expect(clippy::manual_async_fn, reason = "an async function keeps its arguments twice")]
    pub(super) fn run(self, mut start: Box<dyn Start>) -> impl Future<Output = ()> + Send {
        async move {
            let mut problems = Vec::new();
            let outcome = match poll_fn(|cx| Poll::Ready(self.begin(start.as_mut(), cx))).await {
                Begun::Over(Attempt::Acquired(output, at)) => Outcome::Acquired(output, at),
                begun @ (Begun::Over(_) | Begun::Waiting { .. }) => {
                    Box::pin(self.go_on(begun, start.as_mut(), &mut problems)).await
                }
            };
            // What the hooks had captured is dropped here, and a destructor may panic.
            let id = self.cx.id();
            let span = self.cell().span();
            let dropped = span.in_scope(|| contain(|| (self.cell().discard_undos(), drop(start))));
            if let Err(panic) = dropped {
                problems.push(self.problem(panicked(panic)));
            }
            // Whoever hears of the end shall find nothing of it left.
            drop(self.cx);
            self.to_engine.end(Told::Start { id, outcome, problems });
        }
    }

    /// From the first poll of the first attempt's hook to the end of the last attempt.
    async fn go_on<'a>(
        &'a self,
        mut begun: Begun<'a>,
        start: &mut dyn Start,
        problems: &mut Vec<StopProblem>,
    ) -> Outcome {
        let mut delays = start.delays();
        // What the attempt before said: why there was no time left for this one.
        let mut before = None;
        loop {
            let error = match self.end(begun, before, problems).await {
                Attempt::Acquired(output, at) => return Outcome::Acquired(output, at),
                Attempt::Ended { announced } => {
                    self.undo(problems).await;
                    return Outcome::Ended { announced };
                }
                Attempt::Error(error) => error,
            };
            let Some(delay) = delays.next().filter(|_| error.is_retryable()) else {
                return self.fail(error, problems).await;
            };
            let is_late = || Instant::now() + delay >= self.cx.deadline();
            // What could not be undone may still be there: another attempt would acquire it twice. And
            // the undo may have used up the time that was left.
            if is_late() || !self.undo(problems).await || is_late() {
                let error = if is_late() { self.in_vain(error) } else { error };
                return self.fail(error, problems).await;
            }
            let retrying = Event::StageRetrying {
                stage: self.board().graph.name(self.id()).clone(),
                attempt: self.cx.attempt(),
                delay,
                error: error.to_string(),
            };
            self.board().emit_of(self.id(), &retrying);
            tokio::select! {
                biased;
                () = self.cx.cancelled() => return Outcome::Ended { announced: false },
                () = sleep(delay) => { self.cell().next_attempt(); }
            }
            before = Some(error);
            begun = poll_fn(|cx| Poll::Ready(self.begin(start, cx))).await;
        }
    }

    /// One attempt, in a span of its own, as far as its hook comes without waiting.
    fn begin(&self, start: &mut dyn Start, cx: &mut Context<'_>) -> Begun<'_> {
        if self.cx.is_cancelled() {
            // The end of the start came between the launch and the first poll: nothing more begins.
            return Begun::Over(Attempt::Ended { announced: false });
        }
        let cell = self.cell();
        let stage = cell.span();
        let span = debug_span!(target: "solostart", parent: &stage, "attempt", n = self.cx.attempt());
        // A subscriber that leaves attempts out still hears of steps within the stage.
        let span = if span.is_disabled() { stage.clone() } else { span };
        cell.set_span(span.clone());
        // To try again, a hook is copied, which is the application's code.
        let future = match span.in_scope(|| contain(|| start.attempt(self.cx.clone()))) {
            Ok(Some(future)) => future,
            Ok(None) => {
                cell.set_span(stage);
                return Begun::Over(Attempt::Error(defect("a start hook was asked for twice")));
            }
            Err(panic) => {
                cell.set_span(stage);
                return Begun::Over(Attempt::Error(panicked(panic)));
            }
        };
        let mut hook = Hook::new(self.board(), self.id(), span, future);
        match Pin::new(&mut hook).poll(cx) {
            Poll::Ready(result) => {
                let attempt = self.finished(result, hook.blocked);
                cell.set_span(stage);
                Begun::Over(attempt)
            }
            Poll::Pending => {
                hook.was_polled();
                Begun::Waiting { hook, stage }
            }
        }
    }

    /// The end of an attempt.
    async fn end(
        &self,
        begun: Begun<'_>,
        before: Option<StageError>,
        problems: &mut Vec<StopProblem>,
    ) -> Attempt {
        match begun {
            Begun::Over(attempt) => attempt,
            Begun::Waiting { hook, stage } => {
                let attempt = self.wait(hook, before, problems).await;
                self.cell().set_span(stage);
                attempt
            }
        }
    }

    /// Until the hook returns, is cancelled, or runs out of time.
    async fn wait(
        &self,
        mut hook: Hook<'_, Output>,
        before: Option<StageError>,
        problems: &mut Vec<StopProblem>,
    ) -> Attempt {
        let cancelled = tokio::select! {
            biased;
            result = &mut hook => return self.finished(result, hook.blocked),
            () = self.cx.cancelled() => true,
            () = sleep_until(self.own_deadline()) => false,
        };
        if !cancelled {
            match before {
                Some(error) => self.tell(self.in_vain(error)),
                None => self.announce_timeout(false),
            }
            self.cx.cancel_token().cancel();
        }
        self.grace(hook, !cancelled, problems).await
    }

    /// The hook returned by itself.
    fn finished(&self, result: Result<Result<Output, StageError>, Panicked>, blocked: bool) -> Attempt {
        match result {
            Ok(Ok(output)) => {
                let now = Instant::now();
                // A hook that blocks its thread returns before the timer can fire: late success.
                if now > self.own_deadline() && !self.cx.is_cancelled() {
                    self.announce_timeout(blocked);
                }
                Attempt::Acquired(output, now)
            }
            // An error after the cancellation was caused by it, as far as anyone can tell.
            Ok(Err(_knock_on)) if self.cx.is_cancelled() => Attempt::Ended { announced: false },
            Ok(Err(error)) => Attempt::Error(error),
            Err(panic) => Attempt::Error(panicked(panic)),
        }
    }

    /// The hook was asked to end: it may still do so by itself for a while, then it is dropped.
    async fn grace(
        &self,
        mut hook: Hook<'_, Output>,
        announced: bool,
        problems: &mut Vec<StopProblem>,
    ) -> Attempt {
        let grace = CANCEL_GRACE.min(self.to_engine.common.shutdown / 4);
        let panic = match timeout(grace, &mut hook).await {
            Ok(Ok(Ok(output))) => return Attempt::Acquired(output, Instant::now()),
            Ok(Ok(Err(error))) => {
                // A stage that ran out of time may know better than "time-out" what took so long.
                if announced && !is_general(error.failure_code()) {
                    self.tell(error);
                }
                return Attempt::Ended { announced };
            }
            Ok(Err(panic)) => panic,
            Err(_elapsed) => match hook.discard() {
                Ok(()) => return Attempt::Ended { announced },
                Err(panic) => panic,
            },
        };
        if announced {
            problems.push(self.problem(panicked(panic)));
            return Attempt::Ended { announced };
        }
        Attempt::Error(panicked(panic))
    }

    async fn fail(&self, error: StageError, problems: &mut Vec<StopProblem>) -> Outcome {
        let failure = stage_failure(self.board(), self.id(), FailurePhase::Start, error);
        if self.cell().undo_count() == 0 {
            return Outcome::Failed(Box::new(failure));
        }
        self.to_engine.failure(failure);
        self.undo(problems).await;
        Outcome::Ended { announced: true }
    }

    /// Runs the undos, last in, first out: all of them within this stage's slice of the budget, and each
    /// within a slice of that. Returns whether all of them succeeded.
    async fn undo(&self, problems: &mut Vec<StopProblem>) -> bool {
        let before = problems.len();
        let now = Instant::now();
        // An attempt may be undone long before anything stops; it then has a budget of its own.
        let whole = self.to_engine.common.shutdown;
        let left = self.board().stop_deadline().map_or(whole, |at| at.saturating_duration_since(now));
        let budget = self.to_engine.common.heights.share(self.id(), whole).of(left);
        let deadline = now + budget;
        let all = self.cell().undo_count();
        while let Some(undo) = self.cell().pop_undo() {
            let left = deadline.saturating_duration_since(Instant::now());
            let slice = Share::new(budget, all, self.cell().undo_count() + 1).of(left);
            if let Err(error) = self.run_undo(undo, slice).await {
                problems.push(self.problem(error));
            }
        }
        problems.len() == before
    }

    async fn run_undo(&self, undo: Undo, slice: Duration) -> Result<(), StageError> {
        let Undo { step, run } = undo;
        let during = step.map_or_else(String::new, |step| format!(" (registered during `{step}`)"));
        let future = Box::pin(async move { run().await });
        let stage = self.cell().span();
        let span = debug_span!(target: "solostart", parent: &stage, "undo");
        let span = if span.is_disabled() { stage } else { span };
        let mut hook = Hook::new(self.board(), self.id(), span, future);
        match timeout(slice, &mut hook).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(error),
            Ok(Err(panic)) => Err(panicked(panic)),
            Err(_elapsed) => {
                let dropped = hook.discard().map_err(|panic| format!("; dropping it {panic}")).err();
                Err(StageError::from(format!(
                    "did not finish within {}{during}{}",
                    format_elapsed(slice),
                    dropped.unwrap_or_default(),
                )))
            }
        }
    }

    fn problem(&self, error: StageError) -> StopProblem {
        StopProblem { stage: self.board().graph.name(self.id()).clone(), hook: StopHook::Undo, error }
    }

    /// The error of an attempt after which there is no time for another one. It says more than that the time was up.
    fn in_vain(&self, error: StageError) -> StageError {
        let time = if self.own_deadline() <= self.cx.deadline() {
            format!("its time of {}", format_elapsed(self.cell().timeout))
        } else {
            "the time of the whole start".to_owned()
        };
        error.fact("gave up", format!("{time} was up in attempt {}", self.cx.attempt()))
    }

    fn announce_timeout(&self, blocked: bool) {
        self.tell(if blocked { blocked_error() } else { timeout_error(self.cell().timeout) });
    }

    fn tell(&self, error: StageError) {
        self.to_engine.failure(stage_failure(self.board(), self.id(), FailurePhase::Start, error));
    }

    fn board(&self) -> &Board {
        self.cx.board()
    }

    fn cell(&self) -> &Cell {
        self.cx.cell()
    }

    fn id(&self) -> StageId {
        self.cx.id()
    }

    /// When the stage itself is late. That the whole start is, the engine says.
    fn own_deadline(&self) -> Instant {
        self.board().own_deadline(self.id())
    }
}

fn timeout_error(limit: Duration) -> StageError {
    StageError::new(STAGE_TIMEOUT, format!("it did not finish within {}", format_elapsed(limit))).fatal()
}

/// The error for a stage whose hook keeps a thread of the runtime to itself.
pub(super) fn blocked_error() -> StageError {
    StageError::new(
        STAGE_BLOCKED_EXECUTOR,
        "its hook does not return to the runtime, so neither its time limit nor others on its thread can run",
    )
    .fatal()
}
