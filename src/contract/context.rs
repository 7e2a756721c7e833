//! What a hook may ask of the engine while it runs.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    board::Board, cell::Cell, event::SAID_MOST, guard::WorkerGuard, state::StopReason, status::Status,
    tell::tell,
};
use crate::{
    clean::clean,
    error::{StageError, StageResult},
    ids::StageId,
};

/// One undo, and the step during which it was registered.
pub(crate) struct Undo {
    pub(crate) step: Option<String>,
    pub(crate) run: Box<dyn FnOnce() -> BoxFuture<'static, StageResult<()>> + Send>,
}

/// What a start hook may ask and tell. Clones share one state.
#[derive(Clone)]
pub struct StageContext {
    board: Arc<Board>,
    id: StageId,
}

impl StageContext {
    /// For a stage that is launched.
    pub(crate) fn new(board: Arc<Board>, id: StageId) -> Self {
        Self { board, id }
    }

    /// The stage's own name.
    #[must_use]
    pub fn stage(&self) -> &str {
        self.board.graph.name(self.id)
    }

    /// Says what the stage is doing, for progress lines and time-out reports: `migration 8/12`.
    pub fn step(&self, step: impl Into<String>) {
        let (cell, step) = (self.cell(), step.into());
        cell.span().in_scope(|| {
            tell!(debug, "step", stage = self.stage().to_owned(), step = clean(&step, SAID_MOST));
        });
        cell.set_step(step);
    }

    /// Says that the stage will be up, but works less well than it should: with an empty cache, without its
    /// upstream. The service becomes ready all the same; its `READY` line, the log and
    /// [`Status::degraded`] say so. What is said last counts, until the process ends. Never a secret.
    pub fn degraded(&self, why: impl Into<String>) {
        let (cell, why) = (self.cell(), why.into());
        cell.span().in_scope(|| {
            let why = clean(&why, SAID_MOST);
            tell!(warn, "stage degraded", stage = self.stage().to_owned(), why = why);
        });
        cell.set_degraded(why);
    }

    /// Adds a word to the line that says the service is ready, for what an operator should see on every
    /// start: the mode of the stage, an address. One for each stage; the last counts. Never a secret.
    pub fn note(&self, note: impl Into<String>) {
        self.cell().set_note(note.into());
    }

    /// Ends the service, because what this stage holds has failed for good: a required stage does this from
    /// whatever it started, long after its start hook has returned. Everything is stopped in order, and
    /// `error` is the cause in the report and decides the exit code. Of several stages that call it the first is the
    /// cause, and the others stand beside it; after stopping has begun nobody is heard. While the others start, it
    /// ends the start. For an optional stage it does nothing, because the service can do without it.
    ///
    /// What may come back is better shown by the stage's health.
    pub fn fail(&self, error: StageError) {
        self.board.fail(self.id, error);
    }

    /// Registers the undo of something that was just acquired, in case this start does not succeed.
    ///
    /// Undos run last in, first out, when the hook has failed, panicked, run out of time or was
    /// cancelled, and before another attempt. A start that succeeds discards them: from then on the
    /// stop hook is responsible. One that is registered after the start is over is dropped at once.
    ///
    /// ```
    /// # use solostart::{StageContext, StageResult};
    /// # struct Pool;
    /// # impl Pool { async fn close(&self) -> StageResult<()> { Ok(()) } async fn migrate(&self) -> StageResult<()> { Ok(()) } }
    /// # async fn connect() -> StageResult<std::sync::Arc<Pool>> { Ok(std::sync::Arc::new(Pool)) }
    /// async fn start(cx: StageContext, (): ()) -> StageResult<std::sync::Arc<Pool>> {
    ///     let pool = connect().await?;
    ///     let half_done = pool.clone();
    ///     cx.on_rollback(async move || half_done.close().await);
    ///     pool.migrate().await?;
    ///     Ok(pool)
    /// }
    /// ```
    pub fn on_rollback<F, Fut>(&self, undo: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = StageResult<()>> + Send + 'static,
    {
        let run = Box::new(move || -> BoxFuture<'static, _> { Box::pin(async move { undo().await }) });
        self.cell().push_undo(Undo { step: self.cell().current_step(), run });
    }

    /// Resolves when this start should end early: another stage failed, a signal came, the time is up.
    /// The hook then has a grace of two seconds before its future is dropped.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn cancelled(&self) {
        self.cancel_token().cancelled().await;
    }

    /// Whether [`cancelled`](Self::cancelled) has resolved; for loops on a blocking thread.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.board.is_cancelled(self.id)
    }

    /// When the stage must be up, over all its attempts: its own time is over then, or that of the whole start.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.board.deadline(self.id)
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.cell().attempt()
    }

    /// The proof that this process is the only worker. Every stage can ask, because every stage starts
    /// after `worker-mode`.
    #[must_use]
    pub fn worker(&self) -> WorkerGuard {
        self.board.worker()
    }

    /// A view of the whole start-up: phase, stages and their times.
    #[must_use]
    pub fn status(&self) -> Status {
        Status(self.board.clone())
    }

    /// Hands the worker-mode stage's guard to all later stages.
    pub(crate) fn publish_worker(&self, guard: WorkerGuard) {
        self.board.publish_worker(guard);
    }

    pub(crate) fn cancel_token(&self) -> &CancellationToken {
        self.board.cancel_token(self.id)
    }

    pub(crate) fn board(&self) -> &Arc<Board> {
        &self.board
    }

    pub(crate) fn cell(&self) -> &Cell {
        self.board.cell(self.id)
    }

    pub(crate) fn id(&self) -> StageId {
        self.id
    }
}

impl fmt::Debug for StageContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageContext")
            .field("stage", &self.stage())
            .field("attempt", &self.attempt())
            .field("cancelled", &self.is_cancelled())
            .finish()
    }
}

/// What a stop hook may ask.
#[derive(Clone, Debug)]
pub struct StopContext {
    pub(crate) reason: Arc<StopReason>,
    pub(crate) deadline: Instant,
}

impl StopContext {
    /// Why the stage is stopped. The same hook serves rollback and shutdown.
    #[must_use]
    pub fn reason(&self) -> &StopReason {
        &self.reason
    }

    /// When this hook's slice of the budget ends. Its future is then dropped and the stage is reported.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// What the `serve` hook may ask.
#[derive(Clone, Debug)]
pub struct ServeContext {
    pub(crate) shutdown: CancellationToken,
    pub(crate) status: Status,
    pub(crate) stop_budget: Duration,
}

impl ServeContext {
    /// Resolves when the service should finish what it has in hand and return. In the time before, while
    /// it drains, [`Status::is_ready`] already is `false`.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn shutdown_requested(&self) {
        self.shutdown.cancelled().await;
    }

    /// The same as a future that borrows nothing, as `axum::serve(..).with_graceful_shutdown` wants it.
    pub fn on_shutdown(&self) -> impl Future<Output = ()> + Send + use<> {
        self.shutdown.clone().cancelled_owned()
    }

    /// How long the hook may take to return once it is asked to finish: half of `<P>_SHUTDOWN_TIMEOUT`. Its future is
    /// dropped then, and the stop is incomplete.
    #[must_use]
    pub fn stop_budget(&self) -> Duration {
        self.stop_budget
    }

    /// Phase, stages and their times, for health endpoints.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The proof that this process is the only worker.
    #[must_use]
    pub fn worker(&self) -> WorkerGuard {
        self.status.0.worker()
    }
}
