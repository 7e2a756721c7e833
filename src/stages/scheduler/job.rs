//! One job: when it may run, running it, and what is remembered of it.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

use crate::{
    clock::wall_clock,
    error::{ErrorKind, StageError, StageResult},
    stages::{RunContext, in_flight::InFlight},
};

/// How one job fares, for a status page.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct JobStats {
    /// The job's name.
    pub name: Cow<'static, str>,
    /// When it runs: a cron expression, or `every` and a duration.
    pub schedule: String,
    /// Whether it runs at this moment.
    pub running: bool,
    /// How many runs have begun.
    pub runs: u64,
    /// How many of them failed: an error, a panic, the time limit, the loss of the right to run.
    pub failed: u64,
    /// How often it was due and did not run, because the run before was not over or because the right to be
    /// the only worker was lost.
    pub skipped: u64,
    /// When the last run began, by the wall clock.
    pub last_began: Option<SystemTime>,
    /// How long the last run that has ended took.
    pub last_took: Option<Duration>,
    /// Why the last run that has ended failed, if it did.
    pub last_error: Option<String>,
}

type Run = Box<dyn Fn(RunContext) -> BoxFuture<'static, StageResult<()>> + Send + Sync>;

/// A job with everything that its runs need.
pub(super) struct Job {
    cx: RunContext,
    run: Run,
    time_limit: Duration,
    in_flight: Arc<InFlight>,
    /// Where its runs are spawned: what triggers it may live on another runtime.
    runtime: Handle,
    stats: Mutex<JobStats>,
}

impl Job {
    pub(super) fn new(
        cx: RunContext,
        run: Run,
        schedule: String,
        time_limit: Duration,
        in_flight: Arc<InFlight>,
    ) -> Arc<Self> {
        let stats = JobStats {
            name: cx.name().to_owned().into(),
            schedule,
            running: false,
            runs: 0,
            failed: 0,
            skipped: 0,
            last_began: None,
            last_took: None,
            last_error: None,
        };
        let runtime = Handle::current();
        Arc::new(Self { cx, run, time_limit, in_flight, runtime, stats: Mutex::new(stats) })
    }

    pub(super) fn stats(&self) -> JobStats {
        self.lock().clone()
    }

    /// The job is due. Starts a run, unless there is a reason not to; never waits.
    pub(super) fn trigger(self: &Arc<Self>) {
        let Some(_counted) = self.in_flight.enter() else { return };
        {
            let mut stats = self.lock();
            if stats.running || self.cx.worker().check().is_err() {
                stats.skipped += 1;
                tracing::debug!(target: "solostart", job = self.cx.name(), running = stats.running, "job skipped");
                return;
            }
            stats.running = true;
            stats.runs += 1;
            stats.last_began = Some(wall_clock().into());
        }
        self.in_flight.spawn_on(self.clone().run_once(), &self.runtime);
    }

    async fn run_once(self: Arc<Self>) {
        let began = Instant::now();
        // The first two end the run at once, whatever it is doing: its future is dropped.
        let outcome = tokio::select! {
            biased;
            () = self.in_flight.cut().cancelled() => Err(unfinished("cut off, because the service stops")),
            lost = self.lost() => Err(lost),
            outcome = timeout(self.time_limit, (self.run)(self.cx.clone())) => {
                outcome.unwrap_or_else(|_| Err(unfinished("not done within its time limit")))
            }
        };
        let error = outcome.err().map(|error| error.to_string());
        if let Some(error) = &error {
            tracing::error!(target: "solostart", job = self.cx.name(), error, "job failed");
        }
        let mut stats = self.lock();
        stats.running = false;
        stats.failed += u64::from(error.is_some());
        stats.last_took = Some(began.elapsed());
        stats.last_error = error;
    }

    async fn lost(&self) -> StageError {
        // Another worker may run this job already; going on would be running it twice.
        self.cx.worker().lost().await.into()
    }

    fn lock(&self) -> MutexGuard<'_, JobStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unfinished(why: &'static str) -> StageError {
    StageError::from(why).kind(ErrorKind::Temporary)
}
