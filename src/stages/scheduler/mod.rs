//! Jobs that run by the clock, as one stage.

mod cron;
mod driver;
mod job;
#[cfg(feature = "http-routes")]
mod routes;
mod running;
mod ticks;
mod timetable;

use std::{borrow::Cow, fmt, future::Future, time::Duration};

use self::driver::Driver;
pub use self::{
    job::JobStats,
    running::JobScheduler,
    ticks::{TickAnswer, Ticks},
};
use crate::{
    error::StageResult,
    settings::Env,
    stages::{RunContext, work::Work},
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
///     .time_zone("Europe/Berlin")
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
/// - A job never overlaps itself: a run that is due while the one before goes on is skipped and counted.
/// - A job that fails, panics or exceeds its time limit is told as [`Event::JobFailed`](crate::Event::JobFailed)
///   and counted, and runs again when it is due. Of failures that come again and again, one is told in 30 s.
///   They do not make the stage unhealthy.
/// - A job runs only while this process is the only worker: no run begins after that is lost, and a run that
///   goes on then is dropped.
/// - While the service drains, no run begins. A stop waits for those that go on; what does not end in time is
///   dropped, and named.
/// - What starts the jobs, `internal`, `external` or `off`, stands in the line that says the service is ready.
///
/// # Not guaranteed
/// - Nothing is remembered across a restart: a run that was due while the process was down is not made up for.
///   A job that must not be missed looks itself at what is to be done, and runs often.
/// - A run that was asked for does not begin at the very moment: a cron job up to a second late, any job later
///   where the machine is busy.
pub struct Scheduler<N = ()> {
    name: &'static str,
    driver: Driver,
    /// For the jobs that are added next.
    rules: Rules,
    zone: Cow<'static, str>,
    jobs: Vec<Entry<N>>,
}

struct Entry<N> {
    name: Cow<'static, str>,
    schedule: Schedule,
    rules: Rules,
    work: Work<N>,
}

enum Schedule {
    Every(Duration),
    Cron { expression: String, zone: Cow<'static, str> },
}

/// What holds for one job's runs.
#[derive(Clone, Copy, Debug)]
struct Rules {
    time_limit: Duration,
    jitter: Duration,
    missed: MissedRuns,
}

impl Rules {
    /// How long this run waits after it was due.
    fn draw_jitter(&self) -> Duration {
        let nanos = u64::try_from(self.jitter.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(fastrand::u64(..=nanos))
    }
}

/// What becomes of runs that were due while nobody could notice: the machine was suspended, the process was
/// stopped, its threads were blocked, the clock was set forward. They count as missed once they are noticed
/// more than five seconds late. A suspension is noticed up to a minute after it has ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum MissedRuns {
    /// One run makes up for all of them, at once.
    #[default]
    RunOnce,
    /// They are left out: the job runs when it is due for the next time.
    Skip,
}

impl<N: Send + 'static> Scheduler<N> {
    /// No jobs yet, as a stage named `scheduler`, with a time limit of 60 s for each run.
    #[must_use]
    pub fn new() -> Self {
        Self {
            name: "scheduler",
            driver: Driver::internal(),
            rules: Rules {
                time_limit: Duration::from_secs(60),
                jitter: Duration::ZERO,
                missed: MissedRuns::default(),
            },
            zone: Cow::Borrowed("UTC"),
            jobs: Vec::new(),
        }
    }

    /// The same with what the environment says. `<P>_SCHEDULER` is
    /// - `internal`, unless said otherwise: the jobs run by themselves;
    /// - `external`: they run when somebody calls `POST /tick/<job>` and knows `<P>_TICK_SECRET`: see [`Ticks`];
    /// - `off`: they do not run, which is told as a warning.
    #[must_use]
    pub fn from_env(env: &Env) -> Self {
        Self { driver: Driver::from_env(env), ..Self::new() }
    }

    /// Names the stage, for a service with several schedulers.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// How long one run may take, for the jobs that are added after this call. The time that the machine is suspended
    /// does not count: the run does not go on in it either.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.rules.time_limit = limit;
        self
    }

    /// Lets each run wait at random for up to `jitter` after it was due, for the jobs that are added after this
    /// call; none unless said otherwise. So the replicas of many services, or many jobs at midnight, do not
    /// ask the same upstream at the same instant. What is asked for from outside does not wait.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.rules.jitter = jitter;
        self
    }

    /// What becomes of missed runs, for the jobs that are added after this call.
    #[must_use]
    pub fn missed_runs(mut self, missed: MissedRuns) -> Self {
        self.rules.missed = missed;
        self
    }

    /// The time zone of the cron jobs that are added after this call, by its IANA name, such as
    /// `Europe/Berlin`; `UTC` unless said otherwise, and never that of the machine. The rules of all time
    /// zones are compiled in: a state that changes its rules is followed by an update of the program.
    #[must_use]
    pub fn time_zone(mut self, zone: impl Into<Cow<'static, str>>) -> Self {
        self.zone = zone.into();
        self
    }

    /// Adds a job that runs again and again, for the first time one `period` after the start. Its name is for
    /// logs, reports and `/tick/<job>`: lower-case words joined by hyphens, another for each job.
    ///
    /// The period is one millisecond at least and 100 years at most, and longer than the jitter. The time that the
    /// machine is suspended counts.
    #[must_use]
    pub fn every<F, Fut>(self, name: impl Into<Cow<'static, str>>, period: Duration, job: F) -> Self
    where
        F: Fn(RunContext, N) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StageResult<()>> + Send + 'static,
    {
        self.add(name.into(), Schedule::Every(period), Work::new(job))
    }

    /// Adds a job that runs by a cron expression of six fields: second, minute, hour, day of the month, month,
    /// day of the week. Where both days are given, both must be right. Sunday is `0` or `SUN`, the last one of a month
    /// `0L`. A run begins up to a second late.
    ///
    /// # Refused
    /// When the stage is checked or started: an expression that cannot be read or that no moment fulfils, and a jitter
    /// that is as long as the time between two runs. The error names the field.
    ///
    /// # A clock that is set
    /// Set forward, it is as after a suspension: see [`MissedRuns`]. Set back, the job goes by the new time within
    /// seconds. It does not run again what it has just run, unless it would otherwise wait for more than three hours, or
    /// for as long as it does between two runs, beyond its time: then the old time was wrong (cron(8)).
    ///
    /// # Summer time
    /// In a [`time_zone`](Self::time_zone) whose clocks change, as Vixie cron has it (cron(8)):
    /// - A job at one time of day, one number in each of the first three fields, runs once on every day. If its
    ///   time is left out when the clocks go forward, it runs at the moment of the change; if its time comes
    ///   twice when they go back, it runs the first time.
    /// - Any other job runs whenever the clocks show a time that its expression allows: not in the hour that
    ///   is left out, and in both hours that look alike. One for every minute runs every minute.
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
        let schedule = Schedule::Cron { expression: expression.into(), zone: self.zone.clone() };
        self.add(name.into(), schedule, Work::new(job))
    }

    fn add(mut self, name: Cow<'static, str>, schedule: Schedule, work: Work<N>) -> Self {
        self.jobs.push(Entry { name, schedule, rules: self.rules, work });
        self
    }
}

impl<N: Send + 'static> Default for Scheduler<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(period) => write!(f, "every {period:?}"),
            Self::Cron { expression, zone } => write!(f, "{expression} {zone}"),
        }
    }
}

impl<N> fmt::Debug for Scheduler<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("name", &self.name)
            .field("mode", &self.driver.mode)
            .field("jobs", &self.jobs.iter().map(|entry| &entry.name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
