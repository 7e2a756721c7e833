//! Work that is under way and has to end before its stage is stopped: requests, job runs, tasks.

use std::{future::Future, time::Duration};

use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// The most that is kept back from a stop hook's time for what must still happen after the waiting.
const RESERVE: Duration = Duration::from_secs(1);

/// When a hook that must be done by `deadline` ends its waiting, so that it can still clean up and say
/// what remained: the engine drops the hook at the deadline, and with it everything it could have told.
pub(super) fn soft_deadline(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    deadline - RESERVE.min(left / 4)
}

/// Counts work, refuses new work once the end was announced, and waits for the rest.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    tracker: TaskTracker,
    /// Announces the end: nothing new begins, and whoever can end early does.
    stopping: CancellationToken,
    /// Says that the time for that is over.
    cut: CancellationToken,
}

impl InFlight {
    /// Counts a piece of work until the token is dropped; `None` once the end was announced.
    pub(super) fn enter(&self) -> Option<TaskTrackerToken> {
        // Counted before it is asked: the other way round, `finish` could look in between and see nobody.
        let token = self.tracker.token();
        (!self.stopping.is_cancelled()).then_some(token)
    }

    /// Runs `work` as a task that is counted until it has ended; once the end was announced, not at all.
    pub(super) fn spawn_on(&self, work: impl Future<Output = ()> + Send + 'static, runtime: &Handle) {
        if let Some(_counted) = self.enter() {
            // The tracker counts the task and is waited for, which is all that anybody wants to know of it.
            drop(self.tracker.spawn_on(work, runtime));
        }
    }

    /// Cancelled when the end is announced.
    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Cancelled when whatever still runs must be dropped. Everything that is counted has to watch it.
    pub(super) fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    /// Announces the end and waits until nothing is under way; returns how much still is at `until`.
    pub(super) async fn finish(&self, until: Instant) -> usize {
        self.stopping.cancel();
        self.tracker.close();
        match timeout_at(until, self.tracker.wait()).await {
            Ok(()) => 0,
            // At least one, even if it ends between these two lines.
            Err(_) => self.tracker.len().max(1),
        }
    }

    /// Has everything that is under way dropped; returns how much does not let go by `until`.
    pub(super) async fn cut_short(&self, until: Instant) -> usize {
        self.cut.cancel();
        self.finish(until).await
    }
}
