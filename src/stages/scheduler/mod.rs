//! Jobs that run by the clock, as one stage.

mod cron;
mod job;

use std::{borrow::Cow, fmt, future::Future, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    time::{Instant, MissedTickBehavior, interval_at},
};

pub use self::job::JobStats;
use self::{cron::Cron, job::Job};
use crate::{
    contract::{
        context::{StageContext, StopContext},
        stage::Stage,
    },
    error::{ErrorKind, StageError, StageResult},
    settings::Env,
    stages::{
        RunContext,
        in_flight::{InFlight, soft_deadline},
        work::{Work, repeated_name},
    },
};

/// Named jobs that run by the clock; the stage's output is a [`JobScheduler`].
///
/// Each job is a closure that gets a [`RunContext`] and what the stage needs.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use solostart::stages::{RunContext, database::Database, scheduler::Scheduler};
///
/// let scheduler = Scheduler::new()
///     .every("expire-bans", Duration::from_secs(30), async |_: RunContext, database: Arc<Database>| {
///         database.write(|tx| Ok(tx.execute("DELETE FROM bans WHERE until < unixepoch()", [])?)).await?;
///         Ok(())
///     })
///     .time_limit(Duration::from_secs(600))
///     .cron("nightly-report", "0 30 2 * * *", async |cx: RunContext, database: Arc<Database>| {
///         cx.worker().check()?;
///         let bans: i64 = database
///             .read(|connection| Ok(connection.query_row("SELECT count(*) FROM bans", [], |row| row.get(0))?))
///             .await?;
///         println!("{bans} bans");
///         Ok(())
///     });
/// ```
///
/// # Guarantees
/// - A job never overlaps itself: a run that is due while the one before goes on is skipped and counted. Missed
///   runs are not made up for.
/// - A job that fails, panics or exceeds its time limit is told as an error and counted, and runs again
///   when it is due. It does not make the stage unhealthy.
/// - A job runs only while this process is the only worker: no run begins after that is lost, and a run that
///   goes on then is dropped.
/// - A stop begins no new run and waits for those that go on. What does not end in time is dropped, and named.
pub struct Scheduler<N = ()> {
    name: &'static str,
    time_limit: Duration,
    /// Whether anything is triggered at all.
    on: bool,
    jobs: Vec<Entry<N>>,
}

struct Entry<N> {
    name: Cow<'static, str>,
    schedule: Schedule,
    time_limit: Duration,
    work: Work<N>,
}

enum Schedule {
    Every(Duration),
    Cron(String),
}

impl<N: Send + 'static> Scheduler<N> {
    /// No jobs yet, as a stage named `scheduler`, with a time limit of 60 s for each run.
    #[must_use]
    pub fn new() -> Self {
        Self { name: "scheduler", time_limit: Duration::from_secs(60), on: true, jobs: Vec::new() }
    }

    /// The same, switched off where `<P>_SCHEDULER` is `off`: then no job runs, which is told as a warning.
    #[must_use]
    pub fn from_env(env: &Env) -> Self {
        let on = env
            .var("SCHEDULER")
            .describe("What runs the scheduled jobs: the service itself, or nothing.")
            .example("off")
            .choice([("internal", true), ("off", false)])
            .default(true);
        Self { on, ..Self::new() }
    }

    /// Names the stage, for a service with several schedulers.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// How long one run may take, for the jobs that are added after this call.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Adds a job that runs again and again, for the first time one `period` after the start. Its name is for
    /// logs and reports, and must differ from the others'.
    #[must_use]
    pub fn every<F, Fut>(self, name: impl Into<Cow<'static, str>>, period: Duration, job: F) -> Self
    where
        F: Fn(RunContext, N) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StageResult<()>> + Send + 'static,
    {
        self.add(name.into(), Schedule::Every(period), Work::new(job))
    }

    /// Adds a job that runs by a cron expression of six fields, in UTC: second, minute, hour, day of the
    /// month, month, day of the week. A run begins up to half a second late.
    #[must_use]
    pub fn cron<F, Fut>(
        self,
        name: impl Into<Cow<'static, str>>,
        expression: impl Into<String>,
        job: F,
    ) -> Self
    where
        F: Fn(RunContext, N) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StageResult<()>> + Send + 'static,
    {
        self.add(name.into(), Schedule::Cron(expression.into()), Work::new(job))
    }

    fn add(mut self, name: Cow<'static, str>, schedule: Schedule, work: Work<N>) -> Self {
        self.jobs.push(Entry { name, schedule, time_limit: self.time_limit, work });
        self
    }

    /// What is wrong with the jobs as they were added.
    fn check(&self) -> StageResult<()> {
        if let Some(name) = repeated_name(self.jobs.iter().map(|entry| &entry.name)) {
            return Err(StageError::from(format!("two jobs are named `{name}`")).fatal());
        }
        let endless = |entry: &&Entry<N>| matches!(entry.schedule, Schedule::Every(Duration::ZERO));
        match self.jobs.iter().find(endless) {
            None => Ok(()),
            Some(entry) => Err(StageError::from(format!("job `{}` has no period", entry.name)).fatal()),
        }
    }
}

impl<N: Send + 'static> Default for Scheduler<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<N: Clone + Send + Sync + 'static> Stage for Scheduler<N> {
    type Needs = N;
    type Output = JobScheduler;

    fn name(&self) -> &'static str {
        self.name
    }

    async fn start(&self, cx: StageContext, needs: N) -> StageResult<JobScheduler> {
        self.check()?;
        let in_flight = Arc::new(InFlight::default());
        let mut jobs = Vec::with_capacity(self.jobs.len());
        let (mut timers, mut crons) = (Vec::new(), Vec::new());
        for entry in &self.jobs {
            let run = RunContext::new(entry.name.clone(), in_flight.stopping().clone(), cx.worker());
            let (work, needs) = (entry.work.clone(), needs.clone());
            let job = Job::new(
                run,
                Box::new(move |run| Box::pin(work.run(run, needs.clone()))),
                entry.schedule.to_string(),
                entry.time_limit,
                in_flight.clone(),
            );
            match &entry.schedule {
                Schedule::Every(period) => timers.push((*period, job.clone())),
                Schedule::Cron(expression) => crons.push((expression.clone(), job.clone())),
            }
            jobs.push(job);
        }
        if !self.on {
            tracing::warn!(target: "solostart", stage = self.name, "the scheduler is switched off: no job runs");
            timers.clear();
            crons.clear();
        }
        let cron = start_cron(&cx, crons).await?;
        // From here on nothing can fail or wait, so there is nothing more to undo.
        for (period, job) in timers {
            in_flight.spawn_on(tick(period, job, in_flight.clone()), &Handle::current());
        }
        Ok(JobScheduler { jobs, in_flight, cron })
    }

    async fn stop(&self, scheduler: Arc<JobScheduler>, cx: StopContext) -> StageResult<()> {
        // First, so that nothing is triggered any more. It holds nothing that could take long.
        if let Some(cron) = &scheduler.cron {
            cron.stop().await;
        }
        if scheduler.in_flight.finish(soft_deadline(cx.deadline())).await == 0 {
            return Ok(());
        }
        let late = scheduler.running();
        let stuck = scheduler.in_flight.cut_short(soft_deadline(cx.deadline())).await;
        let how = if stuck == 0 { "and were dropped" } else { "and block their thread" };
        Err(StageError::from(format!("jobs that did not end in time {how}: {late}"))
            .kind(ErrorKind::Temporary))
    }

    async fn health(&self, scheduler: Arc<JobScheduler>) -> StageResult<()> {
        match &scheduler.cron {
            Some(cron) if cron.is_over() => {
                Err(StageError::from("the thread that runs the cron jobs has ended"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Starts the thread for cron expressions if there are any, and makes sure that it ends with a start that fails.
async fn start_cron(cx: &StageContext, entries: Vec<cron::Entry>) -> StageResult<Option<Arc<Cron>>> {
    if entries.is_empty() {
        return Ok(None);
    }
    cx.step("read the cron expressions");
    let (cron, ready) = Cron::start(entries)?;
    let cron = Arc::new(cron);
    let undo = cron.clone();
    cx.on_rollback(async move || {
        undo.stop().await;
        Ok(())
    });
    ready.await.map_err(|_| StageError::from("the thread for cron jobs ended early"))??;
    Ok(Some(cron))
}

/// Triggers a job once in each period, until the stage stops.
async fn tick(period: Duration, job: Arc<Job>, in_flight: Arc<InFlight>) {
    let mut ticks = interval_at(Instant::now() + period, period);
    // After a pause of the machine, the job is due once and not as often as it was missed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            () = in_flight.stopping().cancelled() => return,
            _ = ticks.tick() => job.trigger(),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(period) => write!(f, "every {period:?}"),
            Self::Cron(expression) => f.write_str(expression),
        }
    }
}

impl<N> fmt::Debug for Scheduler<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("name", &self.name)
            .field("jobs", &self.jobs.iter().map(|entry| &entry.name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The jobs that are up: how each of them fares.
pub struct JobScheduler {
    jobs: Vec<Arc<Job>>,
    in_flight: Arc<InFlight>,
    cron: Option<Arc<Cron>>,
}

impl JobScheduler {
    /// How each job fares at this moment, in the order in which they were added.
    #[must_use]
    pub fn stats(&self) -> Vec<JobStats> {
        self.jobs.iter().map(|job| job.stats()).collect()
    }

    fn running(&self) -> String {
        let running = self.stats().into_iter().filter(|stats| stats.running).map(|stats| stats.name);
        running.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Debug for JobScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.stats()).finish()
    }
}

#[cfg(test)]
mod tests;
