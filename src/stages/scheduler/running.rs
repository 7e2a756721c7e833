//! The scheduler while it runs: from its start to its stop.

use std::{fmt, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::{
    Entry, Schedule, Scheduler,
    cron::{self, Cron},
    driver::Mode,
    job::{Job, JobStats},
    ticks::Ticks,
    timetable::Timetable,
};
use crate::{
    clock::suspension,
    contract::{
        context::{StageContext, StopContext},
        stage::Stage,
        tell::tell,
    },
    error::{ErrorKind, StageError, StageResult},
    ids::is_stage_name,
    stages::{
        RunContext,
        in_flight::{InFlight, soft_deadline},
        work::repeated_name,
    },
};

/// Timers of the runtime have this grain.
const SHORTEST: Duration = Duration::from_millis(1);
/// A period that is longer is none that anybody means, and no clock counts up to the end of the longest.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

impl<N: Send + 'static> Scheduler<N> {
    /// What is wrong with the jobs as they were added.
    fn judge(&self) -> StageResult<()> {
        if let Some(name) = repeated_name(self.jobs.iter().map(|entry| &entry.name)) {
            return Err(StageError::from(format!("two jobs are named `{name}`")).fatal());
        }
        match self.jobs.iter().find_map(Entry::problem) {
            None => Ok(()),
            Some(problem) => Err(StageError::from(problem).fatal()),
        }
    }
}

impl<N> Entry<N> {
    /// The timetable of a job that has one, and when it is due first.
    fn timetable(&self, now: DateTime<Utc>) -> StageResult<Option<(Timetable, DateTime<Utc>)>> {
        let Schedule::Cron { expression, zone } = &self.schedule else { return Ok(None) };
        let refused = |why| {
            let error = format!("the schedule `{expression}` of job `{}` {why}", self.name);
            StageError::from(error).kind(ErrorKind::Config)
        };
        let timetable = Timetable::parse(expression, zone).map_err(refused)?;
        let next = timetable.after(now).ok_or_else(|| refused("never comes true".to_owned()))?;
        if self.scatters_too_far(&timetable, next) {
            return Err(refused(format!(
                "comes true again before its jitter of {:?} has passed",
                self.rules.jitter
            )));
        }
        Ok(Some((timetable, next)))
    }

    fn problem(&self) -> Option<String> {
        let Self { name, schedule, rules, .. } = self;
        if !is_stage_name(name) {
            return Some(format!("a job cannot be named {name:?}: use lower-case words joined by hyphens"));
        }
        if rules.time_limit.is_zero() {
            return Some(format!("the time limit of job `{name}` leaves its runs no time"));
        }
        match schedule {
            Schedule::Every(Duration::ZERO) => Some(format!("job `{name}` has no period")),
            Schedule::Every(period) if *period < SHORTEST => Some(format!(
                "the period of job `{name}` is {period:?}, and no timer is that quick: 1 ms at least"
            )),
            Schedule::Every(period) if *period > LONGEST => {
                Some(format!("the period of job `{name}` is longer than 100 years"))
            }
            Schedule::Every(period) if rules.jitter >= *period => {
                Some(format!("the jitter of job `{name}` is as long as its period"))
            }
            Schedule::Every(_) | Schedule::Cron { .. } => None,
        }
    }

    /// Whether a run may still wait for its jitter to pass when the next one is due.
    fn scatters_too_far(&self, timetable: &Timetable, first: DateTime<Utc>) -> bool {
        // Enough to see nights, ends of weeks and changes of the clocks, for jobs that run often and for those that do not.
        const TIMES: usize = 100;
        const AHEAD: TimeDelta = TimeDelta::days(366);
        if self.rules.jitter.is_zero() {
            return false;
        }
        let Ok(jitter) = TimeDelta::from_std(self.rules.jitter) else { return true };
        let mut earlier = first;
        for _ in 0..TIMES {
            let Some(later) = timetable.after(earlier) else { return false };
            if jitter >= later - earlier {
                return true;
            } else if later - first > AHEAD {
                return false;
            }
            earlier = later;
        }
        false
    }
}

impl<N: Clone + Send + Sync + 'static> Stage for Scheduler<N> {
    type Needs = N;
    type Output = JobScheduler;

    fn name(&self) -> &'static str {
        self.name
    }

    fn check(&self) -> StageResult<()> {
        self.judge()?;
        let now = cron::now();
        self.jobs.iter().try_for_each(|entry| entry.timetable(now).map(drop))
    }

    async fn start(&self, cx: StageContext, needs: N) -> StageResult<JobScheduler> {
        self.judge()?;
        let in_flight = Arc::new(InFlight::default());
        let mut jobs = Vec::with_capacity(self.jobs.len());
        let (mut timers, mut crons) = (Vec::new(), Vec::new());
        let now = cron::now();
        for entry in &self.jobs {
            let run = RunContext::new(entry.name.clone(), in_flight.stopping().clone(), cx.clone());
            let (work, needs) = (entry.work.clone(), needs.clone());
            let job = Job::new(
                run,
                Box::new(move |run| Box::pin(work.run(run, &needs))),
                entry.schedule.to_string(),
                entry.rules,
                in_flight.clone(),
            );
            match &entry.schedule {
                Schedule::Every(period) => timers.push((*period, job.clone())),
                Schedule::Cron { .. } => {
                    if let Some((timetable, next)) = entry.timetable(now)? {
                        crons.push(cron::Entry::new(timetable, now, next, job.clone()));
                    }
                }
            }
            jobs.push(job);
        }
        cx.note(format!("{} {}", self.name, self.driver.note()));
        let ticks = Ticks::new(self.driver.secret(), &jobs);
        if self.driver.mode != Mode::Internal {
            if !ticks.is_open() {
                tell!(warn, "no job runs", stage = self.name, driver = self.driver.note());
            }
            return Ok(JobScheduler { jobs, in_flight, cron: None, ticks });
        }
        // It ends when it is dropped, and from here on nothing can fail or wait, so there is nothing to undo.
        let cron = if crons.is_empty() { None } else { Some(Cron::start(crons)?) };
        for (period, job) in timers {
            in_flight.spawn_on(every(period, job, in_flight.clone(), suspension()), &Handle::current());
        }
        Ok(JobScheduler { jobs, in_flight, cron, ticks })
    }

    async fn stop(&self, scheduler: Arc<JobScheduler>, cx: StopContext) -> StageResult<()> {
        // First, so that nothing is triggered any more. It holds nothing that could take long.
        if let Some(cron) = &scheduler.cron {
            cron.stop().await;
        }
        let ended = scheduler.finish(cx.deadline()).await;
        for job in &scheduler.jobs {
            job.tell_the_rest();
        }
        ended
    }

    async fn health(&self, scheduler: Arc<JobScheduler>) -> StageResult<()> {
        match &scheduler.cron {
            Some(cron) => cron.goes_on().await,
            None => Ok(()),
        }
    }
}

/// How long a timer runs at most before the clock is asked: so much later a suspension is noticed.
const LOOK: Duration = Duration::from_secs(60);

/// Says that a job is due once in each period, until the stage stops. The time that the machine was `suspended` counts.
pub(super) async fn every(
    period: Duration,
    job: Arc<Job>,
    in_flight: Arc<InFlight>,
    suspended: impl Fn() -> Duration,
) {
    let began = Instant::now();
    let mut due = period;
    loop {
        let wait = due.saturating_sub(began.elapsed() + suspended()).min(LOOK);
        tokio::select! {
            biased;
            () = in_flight.stopping().cancelled() => return,
            () = sleep(wait) => {}
        }
        let now = began.elapsed() + suspended();
        let Some(late) = now.checked_sub(due) else { continue };
        // After a pause, the job is due once and not as often as it was missed.
        let passed_over = u64::try_from(late.as_nanos() / period.as_nanos()).unwrap_or(u64::MAX);
        let newest_late =
            Duration::from_nanos(u64::try_from(late.as_nanos() % period.as_nanos()).unwrap_or(0));
        due = now - newest_late + period;
        job.due(newest_late, passed_over);
    }
}

/// The jobs that are up: how each of them fares.
pub struct JobScheduler {
    jobs: Vec<Arc<Job>>,
    in_flight: Arc<InFlight>,
    cron: Option<Cron>,
    ticks: Ticks,
}

impl JobScheduler {
    /// How each job fares at this moment, in the order in which they were added.
    #[must_use]
    pub fn stats(&self) -> Vec<JobStats> {
        self.jobs.iter().map(|job| job.stats()).collect()
    }

    /// What answers `POST /tick/<job>`. It keeps what the jobs need, so let it go before the service stops: what
    /// answers requests until `serve` returns, does.
    #[must_use]
    pub fn ticks(&self) -> Ticks {
        self.ticks.clone()
    }

    /// Waits for the runs that go on, and drops what does not end in time.
    async fn finish(&self, deadline: Instant) -> StageResult<()> {
        if self.in_flight.finish(soft_deadline(deadline)).await == 0 {
            return Ok(());
        }
        let late = self.running();
        let stuck = self.in_flight.cut_short(soft_deadline(deadline)).await;
        let how = if stuck == 0 { "and were dropped" } else { "and block their thread" };
        let error = format!("jobs that did not end in time {how}: {late}");
        Err(StageError::from(error).kind(ErrorKind::Temporary))
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
