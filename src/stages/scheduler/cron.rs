//! The only file that knows `tokio-cron-scheduler`, and that cures what was measured on its 0.15.1:
//! - Its `shutdown()` returns while jobs still run, a job overlaps itself, and a job that panics is called
//!   again without a word. So its jobs do nothing but call [`Job::trigger`], which never waits.
//! - The tasks that it spawns hold each other's channels open and never end. So it gets a runtime of its
//!   own on a thread of its own: when that runtime is dropped, so is every task of it.
//! - It looks every 500 ms whether something is due, so a job begins up to that much late.
//! - It takes an expression that never comes true, and deletes the job without a word. So it is asked when
//!   each job is due for the first time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::{Builder, JoinHandle},
};

use tokio::sync::oneshot;
use tokio_cron_scheduler::{Job as CronJob, JobScheduler};
use tokio_util::sync::CancellationToken;

use super::job::Job;
use crate::error::{ErrorKind, StageError, StageResult};

/// A cron expression with seconds, and what is triggered by it.
pub(super) type Entry = (String, Arc<Job>);

/// The thread that triggers jobs by cron expressions, in UTC.
pub(super) struct Cron {
    stop: CancellationToken,
    done: CancellationToken,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Cron {
    /// Starts the thread; the receiver is told whether every expression is usable.
    pub(super) fn start(entries: Vec<Entry>) -> StageResult<(Self, oneshot::Receiver<StageResult<()>>)> {
        let (stop, done) = (CancellationToken::new(), CancellationToken::new());
        let (ready, answer) = oneshot::channel();
        let (stopped, ended) = (stop.clone(), done.clone());
        let thread = Builder::new().name("solostart-cron".to_owned()).spawn(move || {
            // Set off by the end of the thread, however that comes.
            let _ended = ended.drop_guard();
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _unheard = ready.send(Err(error.into()));
                    return;
                }
            };
            runtime.block_on(async {
                let usable = schedule(entries).await;
                let goes_on = usable.is_ok();
                if ready.send(usable).is_ok() && goes_on {
                    stopped.cancelled().await;
                }
            });
        })?;
        Ok((Self { stop, done, thread: Mutex::new(Some(thread)) }, answer))
    }

    /// Whether the thread has ended.
    pub(super) fn is_over(&self) -> bool {
        self.done.is_cancelled()
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

/// Sets everything going. What is spawned here keeps itself alive until the runtime is dropped.
async fn schedule(entries: Vec<Entry>) -> StageResult<()> {
    // Jobs that are due at the same moment are sent through one channel, which drops what exceeds it.
    let channel = entries.len().saturating_mul(4).max(200);
    let mut scheduler = JobScheduler::new_with_channel_size(channel).await?;
    for (expression, job) in entries {
        let name = job.stats().name;
        let refused = |why: String| {
            StageError::from(format!("the schedule `{expression}` of job `{name}` {why}"))
                .kind(ErrorKind::Config)
        };
        let trigger = move |_, _| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
            job.trigger();
            Box::pin(std::future::ready(()))
        };
        let entry = CronJob::new_async(expression.as_str(), trigger)
            .map_err(|error| refused(format!("cannot be read: {error}")))?;
        let id = scheduler.add(entry).await?;
        if scheduler.next_tick_for_job(id).await?.is_none() {
            return Err(refused("never comes true".to_owned()));
        }
    }
    Ok(scheduler.start().await?)
}
