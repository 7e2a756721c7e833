//! The thread that verifies the lock while it is held.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::file_lock::Doubt;
use crate::contract::guard::{GuardKeeper, LockLost, Loss};

/// How long a deleted or replaced lock file can go unnoticed.
pub(super) const INTERVAL: Duration = Duration::from_secs(3);

/// How often a look at the file may fail in a row, and how long to wait between two tries. A look can
/// fail for want of memory or for a network's hiccup while the lock is safe with the kernel. But who
/// cannot verify does not hold (invariant 7), so the patience is far shorter than the interval.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// Verifies the lock until it is dropped, which also ends the right: a guard that outlives its lock
/// must not say that all is well.
///
/// It is a thread of the operating system and not a task, because a stage that blocks the executor
/// would stop tasks, and the lock must be watched just then.
#[derive(Debug)]
pub(super) struct Heartbeat {
    keeper: Arc<GuardKeeper>,
    /// Dropped to end the thread at once, whatever it waits for.
    running: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// Starts the thread, which calls `verify` at each interval and loses the right by what it returns.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(
        verify: impl Fn() -> Result<(), Doubt> + Send + 'static,
        keeper: Arc<GuardKeeper>,
        interval: Duration,
    ) -> io::Result<Self> {
        let (running, ended) = mpsc::channel::<()>();
        let watched = Arc::clone(&keeper);
        let thread = thread::Builder::new().name("solostart-lock".to_owned()).spawn(move || {
            let _watch = LostInPanic(&watched);
            let mut failures = 0;
            let mut wait = interval;
            while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                watched.runs();
                match verify() {
                    Ok(()) => (failures, wait) = (0, interval),
                    Err(Doubt::Unclear(_)) if failures + 1 < TRIES => {
                        (failures, wait) = (failures + 1, PAUSE)
                    }
                    Err(doubt) => return watched.end(lost(&doubt)),
                }
            }
        })?;
        Ok(Self { keeper, running: Some(running), thread: Some(thread) })
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.keeper.give_back();
        self.running = None;
        if let Some(thread) = self.thread.take() {
            // A panic in the thread was already made known as a loss.
            let _panicked = thread.join();
        }
    }
}

/// A file that cannot be looked at was not taken by anybody: the disk does not answer.
fn lost(doubt: &Doubt) -> LockLost {
    match doubt {
        Doubt::Changed(_) => LockLost::taken(doubt.to_string()),
        Doubt::Unclear(_) => {
            LockLost::expired(doubt.to_string(), vec!["Look for errors of the disk: dmesg | tail".to_owned()])
        }
    }
}

/// Ends the right when the thread that has to see to it panics.
pub(super) struct LostInPanic<'a>(pub(super) &'a GuardKeeper);

impl Drop for LostInPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.end(LockLost::new(Loss::Defect, "the thread that verifies it panicked"));
        }
    }
}

#[cfg(test)]
mod tests;
