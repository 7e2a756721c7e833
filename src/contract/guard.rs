//! The proof that this process is the only worker, as stages and applications see it.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::clock::boot_time;

/// The right to be the only worker is gone.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the right to be the only worker is lost: {reason}")]
pub struct LockLost {
    /// What was noticed, for people.
    pub reason: String,
}

/// Proof that this process is the only worker, for as long as [`check`](Self::check) says so.
///
/// Clones share one state. A guard cannot be made by an application: it comes from
/// `StageContext::worker`.
///
/// # Guarantees
/// `check` compares the clock and the verified state at each call; there is no cached "still mine".
/// Once lost, the right never comes back in the same process.
///
/// # Not promised
/// What a process does between `check()` and its effect can overlap with the next holder. Only a fenced
/// database transaction closes that gap.
#[derive(Clone)]
pub struct WorkerGuard(Arc<Shared>);

struct Shared {
    lost: CancellationToken,
    reason: OnceLock<LockLost>,
    /// Nanoseconds of [`boot_time`] up to which the right holds; `u64::MAX` where no lease limits it.
    valid_until: AtomicU64,
    exclusive: bool,
}

impl WorkerGuard {
    /// Whether this process still is the only worker, at this instant.
    ///
    /// # Errors
    /// [`LockLost`] once the right is lost or can no longer be shown to hold.
    pub fn check(&self) -> Result<(), LockLost> {
        if let Some(lost) = self.0.reason.get() {
            return Err(lost.clone());
        }
        let valid_until = self.0.valid_until.load(Ordering::Acquire);
        if valid_until != u64::MAX && nanos(boot_time()) > valid_until {
            return Err(LockLost { reason: "it was not renewed in time".to_owned() });
        }
        Ok(())
    }

    /// Waits until the right is lost; for ever where it never is.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost when the future is dropped.
    pub async fn lost(&self) -> LockLost {
        self.0.lost.cancelled().await;
        self.0.reason.get().cloned().unwrap_or_else(|| LockLost { reason: "it was given up".to_owned() })
    }

    /// Whether a lock stands behind this guard. It is `false` only where the application decided, by
    /// name, that several workers may run.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.0.exclusive
    }
}

impl fmt::Debug for WorkerGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerGuard")
            .field("exclusive", &self.0.exclusive)
            .field("held", &self.check().is_ok())
            .finish()
    }
}

/// The other end of a [`WorkerGuard`]: whoever holds the locks keeps it and says when they are lost.
#[derive(Debug)]
pub(crate) struct GuardKeeper(WorkerGuard);

impl GuardKeeper {
    /// A guard backed by locks, valid until [`lose`](Self::lose) is called or a limit passes.
    pub(crate) fn exclusive() -> Self {
        Self::new(true)
    }

    /// A guard for an application that opted out of the single-worker rule.
    pub(crate) fn unrestricted() -> Self {
        Self::new(false)
    }

    fn new(exclusive: bool) -> Self {
        Self(WorkerGuard(Arc::new(Shared {
            lost: CancellationToken::new(),
            reason: OnceLock::new(),
            valid_until: AtomicU64::new(u64::MAX),
            exclusive,
        })))
    }

    pub(crate) fn guard(&self) -> WorkerGuard {
        self.0.clone()
    }

    /// Declares the right lost. The first reason stays.
    pub(crate) fn lose(&self, reason: impl Into<String>) {
        // A second loss changes nothing: whoever looks wants to know what happened first.
        let _already_lost = self.0.0.reason.set(LockLost { reason: reason.into() });
        self.0.0.lost.cancel();
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lost_right_never_comes_back_and_keeps_its_first_reason() {
        let keeper = GuardKeeper::exclusive();
        let guard = keeper.guard();
        assert_eq!(guard.check(), Ok(()));
        keeper.lose("the lock file was replaced");
        keeper.lose("something later");
        let lost = LockLost { reason: "the lock file was replaced".to_owned() };
        assert_eq!(guard.check(), Err(lost.clone()));
        assert_eq!(guard.lost().await, lost);
    }
}
