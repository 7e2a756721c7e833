//! One job: when it may run, running it, and what is remembered of it.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout},
};

use super::{MissedRuns, Rules};
use crate::{
    clock::wall_clock,
    contract::{
        tell::tell,
        {event::Event, state::Phase},
    },
    error::{ErrorKind, StageError, StageResult},
    stages::{RunContext, flood::Flood, in_flight::InFlight},
};

/// A run that is noticed later than this was missed: the machine was paused, or its clock was set.
pub(super) const NOTICED: Duration = Duration::from_secs(5);

/// How one job fares, for a status page.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct JobStats {
    /// The job's name.
    pub name: Cow<'static, str>,
    /// When it runs: a cron expression with its time zone, or `every` and a duration.
    pub schedule: String,
    /// Whether it runs at this moment, or waits for its jitter to pass.
    pub running: bool,
    /// How many runs have begun.
    pub runs: u64,
    /// How many of them failed: an error, a panic, the time limit, the loss of the right to run.
    pub failed: u64,
    /// How often it was due and did not run, because the run before was not over or because the right to be
    /// the only worker was lost.
    pub skipped: u64,
    /// How often it was due and nobody noticed in time, because the machine was paused or its clock was set.
    pub missed: u64,
    /// When the last run began, by the wall clock.
    pub last_began: Option<SystemTime>,
    /// How long the last run that has ended took.
    pub last_took: Option<Duration>,
    /// Why the last run that has ended failed, if it did.
    pub last_error: Option<String>,
}

/// What became of the wish that a job runs now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Triggered {
    Begun,
    /// The run before is not over.
    Running,
    /// Nothing begins any more: the service stops, or another one has the right to run.
    Over,
}

type Run = Box<dyn Fn(RunContext) -> BoxFuture<'static, StageResult<()>> + Send + Sync>;

/// A job with everything that its runs need.
pub(super) struct Job {
    cx: RunContext,
    run: Run,
    rules: Rules,
    in_flight: Arc<InFlight>,
    /// Where its runs are spawned: what triggers it may live on another runtime.
    runtime: Handle,
    state: Mutex<State>,
}

struct State {
    stats: JobStats,
    flood: Flood,
}

impl Job {
    pub(super) fn new(
        cx: RunContext,
        run: Run,
        schedule: String,
        rules: Rules,
        in_flight: Arc<InFlight>,
    ) -> Arc<Self> {
        let stats = JobStats {
            name: cx.name().to_owned().into(),
            schedule,
            running: false,
            runs: 0,
            failed: 0,
            skipped: 0,
            missed: 0,
            last_began: None,
            last_took: None,
            last_error: None,
        };
        let state = Mutex::new(State { stats, flood: Flood::default() });
        Arc::new(Self { cx, run, rules, in_flight, runtime: Handle::current(), state })
    }

    pub(super) fn name(&self) -> &str {
        self.cx.name()
    }

    pub(super) fn stats(&self) -> JobStats {
        self.lock().stats.clone()
    }

    /// The job was due `late` ago, and `passed_over` times before that which nobody noticed.
    pub(super) fn due(self: &Arc<Self>, late: Duration, passed_over: u64) {
        let left_out = late > NOTICED && self.rules.missed == MissedRuns::Skip;
        self.lock().stats.missed += passed_over + u64::from(left_out);
        if !left_out {
            let _counted_and_told = self.begin(self.rules.draw_jitter());
        }
    }

    /// Somebody asks for a run now.
    pub(super) fn tick(self: &Arc<Self>) -> Triggered {
        self.begin(Duration::ZERO)
    }

    /// Starts a run, unless there is a reason not to; never waits.
    fn begin(self: &Arc<Self>, after: Duration) -> Triggered {
        let Some(_counted) = self.in_flight.enter() else { return Triggered::Over };
        if !matches!(self.cx.stage().status().phase(), Phase::Starting | Phase::Ready) {
            // While the service drains, what begins would only be cut off.
            return Triggered::Over;
        }
        {
            let stats = &mut self.lock().stats;
            let lost = self.cx.worker().check().is_err();
            if stats.running || lost {
                stats.skipped += 1;
                tell!(debug, "job skipped", job = self.name().to_owned(), running = stats.running);
                return if lost { Triggered::Over } else { Triggered::Running };
            }
            stats.running = true;
        }
        self.in_flight.spawn_on(self.clone().run_once(after), &self.runtime);
        Triggered::Begun
    }

    async fn run_once(self: Arc<Self>, after: Duration) {
        if !self.may_begin(after).await {
            self.lock().stats.running = false;
            return;
        }
        let began = Instant::now();
        // The first two end the run at once, whatever it is doing: its future is dropped.
        let outcome = tokio::select! {
            biased;
            () = self.in_flight.cut().cancelled() => Err(unfinished("cut off, because the service stops")),
            lost = self.lost() => Err(lost),
            outcome = timeout(self.rules.time_limit, (self.run)(self.cx.clone())) => {
                outcome.unwrap_or_else(|_| Err(unfinished("not done within its time limit")))
            }
        };
        self.ended(began.elapsed(), outcome.err().map(|error| error.to_string()));
    }

    /// Lets the jitter pass and counts the run that begins then; `false` if none does.
    async fn may_begin(&self, after: Duration) -> bool {
        if !after.is_zero() {
            tokio::select! {
                biased;
                () = self.cx.cancelled() => return false,
                () = sleep(after) => {}
            }
        }
        let stats = &mut self.lock().stats;
        if self.cx.worker().check().is_err() {
            stats.skipped += 1;
            return false;
        }
        stats.runs += 1;
        stats.last_began = Some(wall_clock());
        true
    }

    fn ended(&self, took: Duration, error: Option<String>) {
        let told = {
            let State { stats, flood } = &mut *self.lock();
            stats.running = false;
            stats.failed += u64::from(error.is_some());
            stats.last_took = Some(took);
            stats.last_error.clone_from(&error);
            error.and_then(|error| flood.failed(&error).map(|held_back| (error, held_back)))
        };
        self.tell(told);
    }

    /// Tells of the failures that were held back, when no more can come.
    pub(super) fn tell_the_rest(&self) {
        let rest = self.lock().flood.rest();
        self.tell(rest);
    }

    /// Outside of the lock, because whoever listens may ask how the job fares.
    fn tell(&self, failure: Option<(String, u64)>) {
        let Some((error, held_back)) = failure else { return };
        let (stage, job) = (self.cx.stage_name(), self.name().to_owned());
        self.cx.tell(&Event::JobFailed { stage, job, error, held_back });
    }

    async fn lost(&self) -> StageError {
        // Another worker may run this job already; going on would be running it twice.
        self.cx.worker().lost().await.into_error()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unfinished(why: &'static str) -> StageError {
    StageError::from(why).kind(ErrorKind::Temporary)
}
