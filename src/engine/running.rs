//! The handles to a service that runs.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::Span;

use super::{Command, Engine, Hooks, Limits, SharedOutputs, defect, plan::Plan};
use crate::{
    contain::contain,
    contract::{
        board::Board,
        cell::Cell,
        event::EventSink,
        guard::WorkerGuard,
        needs::{Handle, OptionalHandle, Outputs},
        outcome::{FailurePhase, StageFailure, StartupError, StopReport, StopSummary},
        state::StopReason,
        status::{Status, Timeline},
    },
    error::{StageError, StageResult},
    graph::StageName,
    ids::StageId,
};

/// Sends requests to the engine from anywhere: signal handlers, the watchdog, the application.
#[derive(Clone, Debug)]
pub(crate) struct Control(mpsc::UnboundedSender<Command>);

impl Control {
    /// Asks the service to stop. During the start this means: roll back. Only the first request counts.
    pub(crate) fn stop(&self, reason: StopReason) {
        // An engine that has ended has stopped already.
        let _ended = self.0.send(Command::Stop(reason));
    }

    /// Tells that a stage's hook keeps its thread to itself.
    pub(crate) fn blocking(&self, stage: StageId) {
        let _ended = self.0.send(Command::Blocking(stage));
    }
}

/// What the engine's own task does over and over, beside its work, from the first stage to the last stop.
///
/// Whoever sees it happen knows that the runtime schedules, that its timers run and that the engine does not
/// keep its thread: a ticker of its own would go on when all of that hangs.
pub(crate) struct Pulse {
    pub(crate) every: Duration,
    /// It must return at once.
    pub(crate) beat: Box<dyn Fn() + Send>,
}

impl Pulse {
    async fn through(self, mut engine: Pin<Box<dyn Future<Output = StopReport> + Send>>) -> StopReport {
        let mut beats = interval(self.every);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                report = &mut engine => return report,
                _ = beats.tick() => (self.beat)(),
            }
        }
    }
}

/// A start that was checked but not begun.
pub(crate) struct Prepared {
    engine: Engine,
    commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) control: Control,
    pub(crate) board: Arc<Board>,
    span: Span,
    pub(crate) pulse: Option<Pulse>,
}

impl Prepared {
    /// Checks the plan's graph. Nothing runs before it is known to be sound.
    pub(crate) fn new(
        plan: Plan,
        limits: Limits,
        sink: Option<EventSink>,
    ) -> Result<Self, Box<StartupError>> {
        let graph = plan.sound().map_err(|error| broken("graph", error))?;
        let cells =
            plan.specs.iter().map(|spec| Cell::new(spec.optional, spec.timeout.unwrap_or(limits.stage)));
        let board = Board::new(graph, cells.collect(), sink, plan.reported);
        let hooks = Hooks {
            specs: plan.specs,
            serve: plan.serve,
            serve_needs: plan.serve_needs,
            analysers: plan.analysers,
        };
        let engine = Engine::new(board.clone(), limits, hooks);
        let (sender, commands) = mpsc::unbounded_channel();
        Ok(Self { engine, commands, control: Control(sender), board, span: Span::none(), pulse: None })
    }

    /// Says within which span the start is told.
    pub(crate) fn within(self, span: Span) -> Self {
        Self { span, ..self }
    }

    /// Starts the service, and returns when it is ready or rolled back.
    pub(crate) async fn start(self) -> Result<Running, Box<StartupError>> {
        require_runtime().map_err(|missing| broken("runtime", missing))?;
        let Self { engine, commands, control, board, span, pulse } = self;
        let outputs = engine.outputs.clone();
        let (ready, is_ready) = oneshot::channel();
        // Driven from `block_on` of a multi-thread runtime, every hand-over would wake the main thread,
        // which costs 20 to 40 times as much as between workers (docs/performance.md).
        #[expect(clippy::disallowed_methods, reason = "the engine's one task; `Running` waits for it")]
        let task = match (Box::pin(engine.run(span, commands, ready)), pulse) {
            (engine, None) => tokio::spawn(engine),
            (engine, Some(pulse)) => tokio::spawn(pulse.through(engine)),
        };
        match is_ready.await {
            Ok(Ok(())) => Ok(Running { control, outputs, board, task }),
            Ok(Err(error)) => Err(error),
            Err(_sender_dropped) => Err(broken("startup", defect("the engine's task ended"))),
        }
    }
}

/// What every limit of the engine rests on: without it, the engine's own task would panic.
fn require_runtime() -> StageResult<()> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(StageError::from("the start does not run in a tokio runtime")
            .hint(
                "For its developers: await `Startup::start` inside `#[tokio::main]` or `Runtime::block_on`.",
            )
            .fatal());
    }
    // Tokio answers this question with a panic, and in no other way.
    contain(|| drop(sleep(Duration::ZERO))).map_err(|_no_timers| {
        StageError::from("the tokio runtime that the start runs in has no timers")
            .hint("For its developers: call `enable_time()` or `enable_all()` on the runtime's `Builder`.")
            .fatal()
    })
}

/// A service whose required stages are all up.
///
/// Dropping it asks the service to stop and does not wait for it; [`shutdown`](Self::shutdown) does. So whoever does not
/// keep it is warned by the compiler:
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # async fn example(startup: solostart::Startup) -> Result<(), Box<solostart::StartupError>> {
/// startup.start().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it asks the service to stop; `wait` for it, or `shutdown` when it is to end"]
pub struct Running {
    control: Control,
    outputs: SharedOutputs,
    board: Arc<Board>,
    task: JoinHandle<StopReport>,
}

impl Running {
    /// A stage's output; `None` once the stage is stopped.
    ///
    /// Whoever keeps the `Arc` while the service stops is reported as a leak.
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self, stage: Handle<T>) -> Option<Arc<T>> {
        self.output(stage.key.id)
    }

    /// An optional stage's output; `None` where it failed, or once it is stopped.
    #[must_use]
    pub fn get_optional<T: Send + Sync + 'static>(&self, stage: OptionalHandle<T>) -> Option<Arc<T>> {
        self.output(stage.key.id)
    }

    fn output<T: Send + Sync + 'static>(&self, id: StageId) -> Option<Arc<T>> {
        Outputs(&self.outputs.lock().unwrap_or_else(PoisonError::into_inner)).get(id)
    }

    /// Phase, stages and their times.
    #[must_use]
    pub fn status(&self) -> Status {
        Status(self.board.clone())
    }

    /// The proof that this process is the only worker.
    #[must_use]
    pub fn worker(&self) -> WorkerGuard {
        self.board.worker()
    }

    /// Stops the service and waits until everything that could be stopped is stopped. `reason` stands
    /// in logs and in the report.
    ///
    /// # Cancel safety
    /// The service goes on stopping when the future is dropped; only the report is lost.
    pub async fn shutdown(self, reason: impl Into<String>) -> StopReport {
        self.control.stop(StopReason::Requested(reason.into()));
        self.wait().await
    }

    /// Waits until the service has stopped for a reason of its own: `serve` returned, a signal came, the
    /// lock was lost.
    ///
    /// # Cancel safety
    /// Dropping the future drops the handle, which asks the service to stop.
    pub async fn wait(self) -> StopReport {
        let status = self.status();
        match self.task.await {
            Ok(report) => report,
            Err(error) => StopReport {
                reason: StopReason::Failed,
                failure: Some(failure("startup", FailurePhase::Serve, defect(&error.to_string()))),
                also: Vec::new(),
                summary: StopSummary::default(),
                timeline: status.timeline(),
            },
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("board", &self.board).finish()
    }
}

fn failure(stage: impl Into<StageName>, phase: FailurePhase, error: StageError) -> StageFailure {
    StageFailure {
        stage: stage.into(),
        phase,
        step: None,
        steps: Vec::new(),
        error,
        elapsed: Duration::ZERO,
        attempts: 1,
        at: Duration::ZERO,
    }
}

/// A start that ended before any stage was launched.
pub(crate) fn broken(stage: impl Into<StageName>, error: StageError) -> Box<StartupError> {
    Box::new(StartupError {
        primary: failure(stage, FailurePhase::Check, error),
        also: Vec::new(),
        cancelled: Vec::new(),
        never_started: Vec::new(),
        rollback: StopSummary::default(),
        timeline: Timeline { stages: Vec::new(), total: Duration::ZERO },
    })
}
