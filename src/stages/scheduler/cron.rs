//! The only file that knows `tokio-cron-scheduler`. Measured on its 0.15.1:
//! - Its `shutdown()` returns while jobs still run, a job overlaps itself, and a job that panics is called
//!   again without a word. So its jobs do nothing but call [`Job::due`], which never waits.
//! - The tasks that it spawns hold each other's channels open and never end. So it gets a runtime of its
//!   own on a thread of its own: when that runtime is dropped, so is every task of it.
//! - It computes with the offset from UTC of when a job was added, so that a job in a time zone runs an hour
//!   off from the next change of the clocks on, and it does not say for when a run was due. So it has one job
//!   only, which is called every second, and [`Timetable`] says what is due by then.
//! - It looks every 500 ms whether something is due, so a run begins up to that much late.
//! - It waits for a moment of the wall clock, and so stands still for hours where that is set back by hours. So a
//!   second timer looks at the clocks each second, and the whole runtime is begun anew when that has happened.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::{Builder, JoinHandle},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::{sync::SetOnce, time::sleep};
use tokio_cron_scheduler::{Job as CronJob, JobScheduler};
use tokio_util::sync::CancellationToken;

use super::{job::Job, timetable::Timetable};
use crate::{
    clock::{boot_time, wall_clock},
    error::{StageError, StageResult},
    limits::no_thread,
};

/// How many times that have passed are counted one by one, before it counts as a clock that was set.
const COUNTED: u64 = 10_000;

/// Setting the clock back by more than this is a correction: what ran by the wrong time runs again by the right one. It
/// is the limit of Vixie cron (cron(8)).
const CORRECTION: TimeDelta = TimeDelta::hours(3);

/// A job, when it is due, and when for the next time.
pub(super) struct Entry {
    timetable: Timetable,
    next: DateTime<Utc>,
    /// The longest that there can be to wait until then. More than that, and the clock was set back so far that the
    /// job would stand still.
    most: TimeDelta,
    job: Arc<Job>,
}

impl Entry {
    /// A job that is due first at `next`, as found at `now`.
    pub(super) fn new(timetable: Timetable, now: DateTime<Utc>, next: DateTime<Utc>, job: Arc<Job>) -> Self {
        Self { timetable, next, most: next - now, job }
    }

    /// Starts a run if one is due by `now`. `false` if none will ever be again.
    pub(super) fn beat(&mut self, now: DateTime<Utc>) -> bool {
        if self.next - now > self.most {
            let next = self.timetable.after(now);
            // Nothing has run by this time yet, so however little the clock is set back again, it is looked for anew.
            return self.wait_for(next, |next| next - now);
        }
        if self.next > now {
            return true;
        }
        let (mut newest, mut passed_over) = (self.next, 0);
        let next = loop {
            match self.timetable.after(newest) {
                Some(due) if due <= now && passed_over < COUNTED => {
                    (newest, passed_over) = (due, passed_over + 1)
                }
                // So many have passed that the clock was set: the next is looked for from there.
                Some(due) if due <= now => break self.timetable.after(now),
                next => break next,
            }
        };
        self.job.due((now - newest).to_std().unwrap_or_default(), passed_over);
        // A clock that is set back a little is no reason to run again what has just run: the job rather waits once
        // more for as long as it does between two runs.
        self.wait_for(next, |next| (next - newest) + (next - newest).min(CORRECTION))
    }

    fn wait_for(
        &mut self,
        next: Option<DateTime<Utc>>,
        most: impl FnOnce(DateTime<Utc>) -> TimeDelta,
    ) -> bool {
        next.is_some_and(|next| {
            (self.next, self.most) = (next, most(next));
            true
        })
    }
}

/// The wall clock as the timetables read it.
pub(super) fn now() -> DateTime<Utc> {
    wall_clock().into()
}

/// The thread that says when jobs are due by their timetables.
pub(super) struct Cron {
    stop: CancellationToken,
    done: CancellationToken,
    /// Whether the beat was set going, or why it could not be.
    begun: Arc<SetOnce<Result<(), String>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Cron {
    /// Starts the thread, and does not wait until it beats: [`goes_on`](Self::goes_on) does.
    pub(super) fn start(entries: Vec<Entry>) -> StageResult<Self> {
        let (stop, done, begun) = (CancellationToken::new(), CancellationToken::new(), Arc::default());
        let (stopped, ended, told) = (stop.clone(), done.clone(), Arc::clone(&begun));
        let thread = Builder::new().name("solostart-cron".to_owned()).spawn(move || {
            // Set off by the end of the thread, however that comes.
            let _ended = ended.drop_guard();
            if let Err(error) = beat_until(&stopped, entries, &told) {
                // It is set once, and an error after that is none of the beginning's.
                let _begun_already = told.set(Err(error.to_string()));
            }
        });
        let thread = thread.map_err(|error| no_thread(&error, "the scheduler"))?;
        Ok(Self { stop, done, begun, thread: Mutex::new(Some(thread)) })
    }

    /// Waits until the beat was set going, and says whether it still goes on.
    ///
    /// # Errors
    /// It could not be set going, or its thread has ended.
    pub(super) async fn goes_on(&self) -> StageResult<()> {
        let begun = tokio::select! {
            biased;
            begun = self.begun.wait() => begun.clone(),
            () = self.done.cancelled() => Ok(()),
        };
        begun.map_err(|why| StageError::from(format!("the clock of the cron jobs does not run: {why}")))?;
        if self.done.is_cancelled() {
            return Err(StageError::from("the thread that runs the cron jobs has ended"));
        }
        Ok(())
    }

    /// Ends the thread and everything that was spawned on it.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.done.cancelled().await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Its work is done, so joining takes microseconds, and there is no result to look at.
        let _ended = thread.map(JoinHandle::join);
    }
}

impl Drop for Cron {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The thread's work, in a runtime of its own, and in a new one each time when the clock was set back.
fn beat_until(
    stopped: &CancellationToken,
    entries: Vec<Entry>,
    begun: &SetOnce<Result<(), String>>,
) -> StageResult<()> {
    let entries = Arc::new(Mutex::new(entries));
    loop {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let beating = async {
            schedule(entries.clone()).await?;
            let _set_once = begun.set(Ok(()));
            until_set_back().await;
            Ok::<_, StageError>(())
        };
        // Also a beginning that hangs ends at once where the stage is to stop.
        match runtime.block_on(stopped.run_until_cancelled(beating)) {
            None => return Ok(()),
            Some(ended) => ended?,
        }
        tracing::info!(target: "solostart", "the clock was set back: the cron jobs go by its new time");
    }
}

/// Returns once the wall clock shows less than it did, beside what has passed since.
async fn until_set_back() {
    const LOOK: Duration = Duration::from_secs(1);
    // The boot clock by the wall clock: it grows when the latter is set forward.
    let ahead = || now() - TimeDelta::from_std(boot_time()).unwrap_or_default();
    let mut before = ahead();
    loop {
        sleep(LOOK).await;
        let after = ahead();
        if before - after > TimeDelta::seconds(1) {
            return;
        }
        before = after;
    }
}

/// Sets the beat going. What is spawned here keeps itself alive until the runtime is dropped.
async fn schedule(entries: Arc<Mutex<Vec<Entry>>>) -> StageResult<()> {
    let mut scheduler = JobScheduler::new().await?;
    let beat = move |_, _| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        let now = now();
        entries.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(|entry| entry.beat(now));
        Box::pin(std::future::ready(()))
    };
    let id = scheduler.add(CronJob::new_async("* * * * * *", beat)?).await?;
    // One that it does not want it deletes without a word.
    if scheduler.next_tick_for_job(id).await?.is_none() {
        return Err(StageError::from("its only job was refused"));
    }
    Ok(scheduler.start().await?)
}
