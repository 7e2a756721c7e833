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
//!   second timer looks whether it beats, and the whole runtime is begun anew where it does not.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::{sync::SetOnce, time::sleep};
use tokio_cron_scheduler::{Job as CronJob, JobScheduler};
use tokio_util::sync::CancellationToken;

use super::{job::Job, timetable::Timetable};
use crate::{
    clock::wall_clock,
    contract::tell::tell,
    error::{StageError, StageResult},
    limits::no_thread,
};

/// How many times that have passed are counted one by one, before it counts as a clock that was set.
const COUNTED: u64 = 10_000;

/// In this time it beats three times.
const LOOK: Duration = Duration::from_secs(3);

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
            return self.look_anew(now);
        }
        if self.next > now {
            return true;
        }
        let (mut newest, mut passed_over) = (self.next, 0);
        while let Some(due) = self.timetable.after(newest).filter(|due| *due <= now) {
            (newest, passed_over) = (due, passed_over + 1);
            if passed_over == COUNTED {
                // So many have passed that the clock was set.
                self.job.due((now - newest).to_std().unwrap_or_default(), passed_over);
                return self.look_anew(now);
            }
        }
        self.job.due((now - newest).to_std().unwrap_or_default(), passed_over);
        let Some(next) = self.timetable.after(newest) else { return false };
        // A clock that is set back a little is no reason to run again what has just run: the job rather waits once
        // more for as long as it does between two runs.
        let between = next - newest;
        (self.next, self.most) = (next, between + between.min(CORRECTION));
        true
    }

    /// Looks for the next time from `now` on. Nothing has run by this time yet, so however little the clock is set
    /// back after that, it is looked for once more.
    fn look_anew(&mut self, now: DateTime<Utc>) -> bool {
        let Some(next) = self.timetable.after(now) else { return false };
        (self.next, self.most) = (next, next - now);
        true
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

/// What beats, and how often it did.
struct Beating {
    entries: Mutex<Vec<Entry>>,
    beats: AtomicU64,
}

/// The thread's work, in a runtime of its own, and in a new one each time when the beat has stopped.
fn beat_until(
    stopped: &CancellationToken,
    entries: Vec<Entry>,
    begun: &SetOnce<Result<(), String>>,
) -> StageResult<()> {
    let beating = Arc::new(Beating { entries: Mutex::new(entries), beats: AtomicU64::new(0) });
    loop {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let work = async {
            schedule(beating.clone()).await?;
            let _set_once = begun.set(Ok(()));
            until_it_stops(&beating.beats).await;
            Ok::<_, StageError>(())
        };
        // Also a beginning that hangs ends at once where the stage is to stop.
        match runtime.block_on(stopped.run_until_cancelled(work)) {
            None => return Ok(()),
            Some(ended) => ended?,
        }
        tell!(debug, "the beat of the cron jobs had stopped: was the clock set back?");
    }
}

/// Returns once no beat has come for three times as long as it takes.
async fn until_it_stops(beats: &AtomicU64) {
    let mut before = None;
    loop {
        let now = beats.load(Ordering::Relaxed);
        if before.replace(now) == Some(now) {
            return;
        }
        sleep(LOOK).await;
    }
}

/// Sets the beat going. What is spawned here keeps itself alive until the runtime is dropped.
async fn schedule(beating: Arc<Beating>) -> StageResult<()> {
    let mut scheduler = JobScheduler::new().await?;
    let beat = move |_, _| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        let now = now();
        beating.beats.fetch_add(1, Ordering::Relaxed);
        let mut entries = beating.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain_mut(|entry| entry.beat(now));
        Box::pin(std::future::ready(()))
    };
    let id = scheduler.add(CronJob::new_async("* * * * * *", beat)?).await?;
    // One that it does not want it deletes without a word.
    if scheduler.next_tick_for_job(id).await?.is_none() {
        return Err(StageError::from("its only job was refused"));
    }
    Ok(scheduler.start().await?)
}
