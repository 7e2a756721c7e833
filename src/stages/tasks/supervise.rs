//! One task: running it, and starting it again when it fails.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    codes::{STAGE_FAILED, TASK_FAILED},
    contract::{event::Event, guard::LockLost, state::Phase},
    error::{StageError, StageResult},
    stages::{RunContext, flood::Flood, work::Work},
};

/// A task that ran this long was healthy: its next failure is a new one, not more of the last.
const HEALTHY: Duration = Duration::from_secs(60);

/// Where a task stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TaskState {
    /// It runs.
    Running,
    /// It failed and is started again after a pause.
    Waiting,
    /// It failed too often in a row and is not started again.
    GivenUp,
    /// It ended because the service stops.
    Ended,
}

/// How one task fares.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TaskStatus {
    /// The task's name.
    pub name: Cow<'static, str>,
    /// Where it stands.
    pub state: TaskState,
    /// How often it was started again, since the service started.
    pub restarts: u64,
    /// Why it ended the last time, if it ever did.
    pub last_error: Option<String>,
}

impl TaskStatus {
    /// What health says about it, if anything.
    pub(super) fn complaint(&self) -> Option<String> {
        let how = match self.state {
            TaskState::Running | TaskState::Ended => return None,
            TaskState::Waiting => "failed and will be started again",
            TaskState::GivenUp => "failed too often and is given up",
        };
        let why = self.last_error.as_deref().unwrap_or_default();
        Some(format!("task `{}` {how}: {why}", self.name))
    }
}

/// What becomes of a task that ends although nobody asked it to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// How often it is started again before it is given up.
    pub(super) restarts_in_a_row: u32,
    /// Whether the service ends when it is given up.
    pub(super) essential: bool,
}

/// What is known of a task, shared by its supervisor and whoever asks.
#[derive(Debug)]
pub(super) struct Task {
    run: RunContext,
    cut: CancellationToken,
    policy: Policy,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    status: TaskStatus,
    flood: Flood,
    /// What it failed with while it stopped.
    late: Option<StageError>,
}

impl Task {
    pub(super) fn new(run: RunContext, cut: CancellationToken, policy: Policy) -> Arc<Self> {
        let name = run.name().to_owned().into();
        let status = TaskStatus { name, state: TaskState::Running, restarts: 0, last_error: None };
        let state = Mutex::new(State { status, flood: Flood::default(), late: None });
        Arc::new(Self { run, cut, policy, state })
    }

    pub(super) fn status(&self) -> TaskStatus {
        self.lock().status.clone()
    }

    /// Runs the task until the service stops or the task is given up.
    pub(super) async fn supervise<N: Clone + Send + 'static>(self: Arc<Self>, work: Work<N>, needs: N) {
        let mut pauses = pauses();
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let outcome = tokio::select! {
                biased;
                () = self.cut.cancelled() => return self.lock().status.state = TaskState::Ended,
                outcome = work.run(self.run.clone(), &needs) => outcome,
            };
            if self.run.is_cancelled() {
                return self.end(outcome);
            }
            if began.elapsed() >= HEALTHY {
                (pauses, failures) = (self::pauses(), 0);
            }
            failures += 1;
            let pause = pauses.next().filter(|_| failures <= self.policy.restarts_in_a_row);
            if !self.wait_after(outcome, pause).await {
                return;
            }
        }
    }

    /// Tells of a failure and waits for the pause; `false` if the task is not to be started again.
    async fn wait_after(&self, outcome: StageResult<()>, pause: Option<Duration>) -> bool {
        let error = outcome.err().unwrap_or_else(|| StageError::new(TASK_FAILED, "it ended by itself"));
        // Another worker may run this task already, so it must not begin anew here.
        let held = self.run.worker().check().is_ok();
        let pause = pause.filter(|_| held);
        self.note_end(error.to_string(), pause);
        let Some(pause) = pause else {
            // A lost right ends the service by itself, and is what the report should say.
            if self.policy.essential && held {
                self.run.stage().fail(self.explained(error));
            }
            return false;
        };
        tokio::select! {
            () = self.run.cancelled() => {
                self.lock().status.state = TaskState::Ended;
                false
            }
            () = sleep(pause) => {
                let status = &mut self.lock().status;
                status.state = TaskState::Running;
                status.restarts += 1;
                true
            }
        }
    }

    /// Remembers that it ended although nobody asked it to, and tells everyone, unless that was just told.
    fn note_end(&self, error: String, pause: Option<Duration>) {
        let told = {
            let State { status, flood, .. } = &mut *self.lock();
            status.state = if pause.is_some() { TaskState::Waiting } else { TaskState::GivenUp };
            status.last_error = Some(error.clone());
            if pause.is_some() { flood.failed(&error) } else { Some(flood.untold()) }
        };
        if let Some(held_back) = told {
            self.tell(error, pause, held_back);
        }
    }

    /// The error under a failure code that says what failed, with the task's name.
    fn explained(&self, error: StageError) -> StageError {
        let lost = error.find::<LockLost>().map(LockLost::failure_code);
        let error = match (lost, error.failure_code()) {
            (Some(lost), STAGE_FAILED) => error.code(lost),
            (None, STAGE_FAILED) => error.code(TASK_FAILED),
            _ => error,
        };
        error.fact("task", self.run.name())
    }

    fn end(&self, outcome: StageResult<()>) {
        let State { status, late, .. } = &mut *self.lock();
        status.state = TaskState::Ended;
        let Err(error) = outcome else { return };
        status.last_error = Some(error.to_string());
        // A lost right ends the service by itself, and is what the report should say.
        *late = Some(error).filter(|error| error.find::<LockLost>().is_none());
    }

    /// What it failed with while it stopped: once.
    pub(super) fn failed_late(&self) -> Option<StageError> {
        let error = self.lock().late.take()?;
        let code = if error.failure_code() == STAGE_FAILED { TASK_FAILED } else { error.failure_code() };
        let text = format!("task `{}` failed while it was stopped: {error}", self.run.name());
        Some(StageError::new(code, text))
    }

    /// Whether the service is still starting.
    pub(super) fn is_early(&self) -> bool {
        self.run.stage().board().phase() == Phase::Starting
    }

    /// Tells of the ends that were held back, when no more can come.
    pub(super) fn tell_the_rest(&self) {
        let rest = self.lock().flood.rest();
        if let Some((error, held_back)) = rest {
            self.tell(error, None, held_back);
        }
    }

    /// Outside of the lock, because whoever listens may ask how the task fares.
    fn tell(&self, error: String, pause: Option<Duration>, held_back: u64) {
        let (stage, task) = (self.run.stage_name(), self.run.name().to_owned());
        self.run.tell(&Event::TaskEnded { stage, task, error, pause, held_back });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(Duration::from_secs(30))
        .without_max_times()
        .with_jitter()
        .build()
}
