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
    error::{StageError, StageResult},
    stages::{RunContext, work::Work},
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

/// What is known of a task, shared by its supervisor and whoever asks.
#[derive(Debug)]
pub(super) struct Task {
    run: RunContext,
    cut: CancellationToken,
    restarts_in_a_row: u32,
    status: Mutex<TaskStatus>,
}

impl Task {
    pub(super) fn new(run: RunContext, cut: CancellationToken, restarts_in_a_row: u32) -> Arc<Self> {
        let name = run.name().to_owned().into();
        let status = TaskStatus { name, state: TaskState::Running, restarts: 0, last_error: None };
        Arc::new(Self { run, cut, restarts_in_a_row, status: Mutex::new(status) })
    }

    pub(super) fn status(&self) -> TaskStatus {
        self.lock().clone()
    }

    /// Runs the task until the service stops or the task is given up.
    pub(super) async fn supervise<N: Clone + Send + 'static>(self: Arc<Self>, work: Work<N>, needs: N) {
        let mut pauses = pauses();
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let outcome = tokio::select! {
                biased;
                () = self.cut.cancelled() => return self.lock().state = TaskState::Ended,
                outcome = work.run(self.run.clone(), needs.clone()) => outcome,
            };
            if self.run.is_cancelled() {
                return self.end(outcome);
            }
            if began.elapsed() >= HEALTHY {
                (pauses, failures) = (self::pauses(), 0);
            }
            failures += 1;
            let pause = pauses.next().filter(|_| failures <= self.restarts_in_a_row);
            if !self.wait_after(outcome, pause).await {
                return;
            }
        }
    }

    /// Tells of a failure and waits for the pause; `false` if the task is not to be started again.
    async fn wait_after(&self, outcome: StageResult<()>, pause: Option<Duration>) -> bool {
        let task = self.run.name();
        let error = outcome.err().unwrap_or_else(|| StageError::from("it ended by itself")).to_string();
        // Another worker may run this task already, so it must not begin anew here.
        let pause = pause.filter(|_| self.run.worker().check().is_ok());
        {
            let mut status = self.lock();
            status.state = if pause.is_some() { TaskState::Waiting } else { TaskState::GivenUp };
            status.last_error = Some(error.clone());
        }
        let Some(pause) = pause else {
            tracing::error!(target: "solostart", task, error, "task given up");
            return false;
        };
        tracing::error!(target: "solostart", task, error, pause = ?pause, "task failed, will be started again");
        tokio::select! {
            () = self.run.cancelled() => {
                self.lock().state = TaskState::Ended;
                false
            }
            () = sleep(pause) => {
                let mut status = self.lock();
                status.state = TaskState::Running;
                status.restarts += 1;
                true
            }
        }
    }

    fn end(&self, outcome: StageResult<()>) {
        let mut status = self.lock();
        status.state = TaskState::Ended;
        if let Err(error) = outcome {
            tracing::warn!(target: "solostart", task = self.run.name(), %error, "task failed while it was stopped");
            status.last_error = Some(error.to_string());
        }
    }

    fn lock(&self) -> MutexGuard<'_, TaskStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
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
