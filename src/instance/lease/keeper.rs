//! The thread that renews the lease while it is held.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    Lease, limit::Limit, protocol::Protocol, record::Now, store::StoreError, timings::Timings, trouble,
};
use crate::{
    clock::boot_time,
    contract::guard::{FencingToken, GuardKeeper, LockLost, Loss},
    instance::heartbeat::LostInPanic,
};

/// Which part of the interval between two renewals is waited before one that failed is tried again.
const RETRY: u32 = 6;

/// How long to wait before a lease that could not be given back is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// Keeps a lease until it is released or dropped, and ends the right when it cannot.
///
/// It goes on renewing after the right was lost for another reason, such as a deleted lock file: until the
/// service has stopped, the lease keeps the next instance away from what is still running.
pub(crate) struct LeaseKeeper {
    lease: Arc<Mutex<Lease>>,
    keeper: Arc<GuardKeeper>,
    /// Dropped to end the thread at once, whatever it waits for.
    running: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    limit: Option<Limit>,
    /// The longest that the store may take for one call.
    attempt: Duration,
}

impl LeaseKeeper {
    /// Starts to keep a lease that was asked for at `sent`, by the time since boot.
    ///
    /// # Errors
    /// The system has no thread to give. The lease is given back.
    pub(crate) fn start(
        lease: Lease,
        sent: Duration,
        times: Timings,
        keeper: Arc<GuardKeeper>,
    ) -> io::Result<Self> {
        keeper.issue(lease.token());
        keeper.limit(sent + times.soft, sent + times.hard);
        let lease = Arc::new(Mutex::new(lease));
        let mut kept = Self {
            lease: Arc::clone(&lease),
            keeper: Arc::clone(&keeper),
            running: None,
            thread: None,
            limit: Some(Limit::watch(Arc::clone(&keeper))?),
            attempt: times.attempt,
        };
        raise_on_demand(&lease, &keeper);
        let (running, ended) = mpsc::channel();
        kept.running = Some(running);
        let renew = move || {
            let _watch = LostInPanic(&keeper);
            keep(&lease, &keeper, times, &ended);
        };
        kept.thread = Some(thread::Builder::new().name("solostart-lease".to_owned()).spawn(renew)?);
        Ok(kept)
    }

    /// Ends the right, and gives the lease back. Where that fails it is tried again until `until`, or until this process
    /// must have ended: a lease that stays keeps the next instance waiting.
    ///
    /// # Errors
    /// It cannot be told whether the lease was given back. If not, it expires.
    pub(crate) fn release(mut self, until: Instant) -> Result<(), StoreError> {
        self.end(until)
    }

    fn end(&mut self, until: Instant) -> Result<(), StoreError> {
        // Guards go first: nobody may act on a right that is being given up.
        self.keeper.give_back();
        self.running = None;
        self.limit = None;
        if let Some(thread) = self.thread.take() {
            // A panic in the thread was already made known as a loss.
            let _panicked = thread.join();
        }
        let left = self.keeper.guard().until_hard_limit().unwrap_or_default();
        let until = until.min(Instant::now() + left);
        let released = loop {
            let released = lock(&self.lease).release();
            // A try that could end too late is not begun.
            if released.is_ok() || Instant::now() + 2 * PAUSE + self.attempt >= until {
                break released;
            }
            thread::sleep(PAUSE);
        };
        self.keeper.retire();
        released
    }
}

impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        // Dropping is for paths that have an error already; `release` reports this one.
        let _stays_until_it_expires = self.end(Instant::now());
    }
}

/// Renews until it is told to end or the lease is lost.
fn keep(lease: &Mutex<Lease>, keeper: &GuardKeeper, times: Timings, ended: &Receiver<()>) {
    let mut wait = times.renew.saturating_sub(since_renewal(keeper, times));
    while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        let now = Now::read();
        if now.boot > keeper.valid_until() {
            // This process stood still for too long: whoever took over is not disturbed.
            let _lost = keeper.guard().check();
            return;
        }
        keeper.runs();
        let mut lease = lock(lease);
        keeper.asked("the disk that the lease is on did not answer", || trouble::silence(lease.place()));
        match lease.renew(now) {
            Ok(true) => {
                let valid =
                    Protocol::WHOLE.valid_until(now.boot, boot_time(), keeper.valid_until(), times.soft);
                let Some(valid) = valid else {
                    let _lost = keeper.guard().check();
                    return;
                };
                keeper.limit(valid, now.boot + times.hard);
                wait = times.renew.saturating_sub(since_renewal(keeper, times));
            }
            Ok(false) => {
                return keeper.lose(format!("the lease was taken over: {}", lease.describe_holder()));
            }
            Err(error @ StoreError::Changed(_)) => return keeper.lose(format!("the lease {error}")),
            Err(error) => {
                keeper.trouble(format!("the lease {error}"), trouble::actions(&error, lease.place()));
                wait = times.renew / RETRY;
            }
        }
    }
}

/// How long ago the renewal was sent that the right counts from.
fn since_renewal(keeper: &GuardKeeper, times: Timings) -> Duration {
    (boot_time() + times.soft).saturating_sub(keeper.valid_until())
}

/// Lets the guards raise the token. They must not keep the lease, because a guard can outlive it.
fn raise_on_demand(lease: &Arc<Mutex<Lease>>, keeper: &Arc<GuardKeeper>) {
    let (kept_lease, kept_keeper) = (Arc::downgrade(lease), Arc::downgrade(keeper));
    keeper.raise_with(move |above: FencingToken| {
        let (Some(lease), Some(keeper)) = (kept_lease.upgrade(), kept_keeper.upgrade()) else {
            return Err(LockLost::new(Loss::NotHeld, "it was given back"));
        };
        let mut lease = lock(&lease);
        match lease.raise(above, Now::read()) {
            Ok(true) => keeper.issue(lease.token()),
            Ok(false) => keeper.lose(format!("the lease was taken over: {}", lease.describe_holder())),
            Err(error) => keeper.end(not_raised(&error, lease.place())),
        }
        keeper.guard().check().map(|()| lease.token())
    });
}

fn not_raised(error: &StoreError, place: &Path) -> LockLost {
    let reason = format!("its token could not be raised: the lease {error}");
    match error {
        StoreError::Changed(_) => LockLost::taken(reason),
        StoreError::Damaged(_)
        | StoreError::Busy
        | StoreError::Full(_)
        | StoreError::NotWritable(_)
        | StoreError::Unsupported(_)
        | StoreError::Failed(_) => LockLost::expired(reason, trouble::actions(error, place)),
    }
}

fn lock(lease: &Mutex<Lease>) -> MutexGuard<'_, Lease> {
    // A renewal that panicked left at worst an attempt that was not acknowledged, which the window allows.
    lease.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
