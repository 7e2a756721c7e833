//! The states of a stage and of the whole, and the one function that says which change is legal
//! (invariant 12).

use std::{fmt, time::Duration};

/// Where one stage stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
#[non_exhaustive]
pub enum StageState {
    /// Its prerequisites are not up yet.
    Pending,
    /// Its start hook runs.
    Starting,
    /// It failed or was asked to end while it was starting; it is settling and undoing its own half.
    Interrupting,
    /// It is up.
    Up,
    /// It could not start. What it had half done is undone.
    Failed,
    /// It was starting when something else ended the start. What it had half done is undone.
    Cancelled,
    /// Its stop hook runs.
    Stopping,
    /// It is stopped.
    Stopped,
    /// Its stop hook failed, panicked or took too long; the stage is given up.
    StopFailed,
    /// It did not settle within the budget; the end of the process is what ends it.
    Stuck,
    /// It never started.
    Skipped,
}

/// What can happen to a stage.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Change {
    /// The engine starts it.
    Launch,
    /// It must end before it is up: its own failure, or somebody else's.
    Interrupt,
    /// Its start hook returned a resource, perhaps too late.
    Acquired,
    /// Its start ended without a resource, for its own reason.
    Fail,
    /// Its start ended without a resource, because it was asked to end.
    Cancel,
    /// The engine stops it.
    Stop,
    /// Its stop hook is done.
    Released,
    /// Its stop hook failed.
    StopFail,
    /// The budget is spent and it still runs.
    Abandon,
    /// The start ended before its turn came.
    Skip,
}

impl StageState {
    /// The state after `change`, or `None` where the change is not legal in this state.
    #[must_use]
    pub(crate) fn next(self, change: Change) -> Option<Self> {
        use StageState as S;
        Some(match (self, change) {
            (S::Pending, Change::Launch) => S::Starting,
            (S::Pending, Change::Skip) => S::Skipped,
            (S::Starting, Change::Interrupt) => S::Interrupting,
            (S::Starting | S::Interrupting, Change::Acquired) => S::Up,
            (S::Starting | S::Interrupting, Change::Fail) => S::Failed,
            (S::Starting | S::Interrupting, Change::Cancel) => S::Cancelled,
            (S::Up, Change::Stop) => S::Stopping,
            (S::Stopping, Change::Released) => S::Stopped,
            (S::Stopping, Change::StopFail) => S::StopFailed,
            (S::Starting | S::Interrupting | S::Stopping, Change::Abandon) => S::Stuck,
            _ => return None,
        })
    }

    /// Whether nothing of this stage runs any more and it holds nothing, so that its prerequisites may
    /// stop (invariant 3).
    #[must_use]
    pub fn is_settled(self) -> bool {
        match self {
            Self::Failed | Self::Cancelled | Self::Stopped | Self::StopFailed | Self::Skipped => true,
            Self::Pending | Self::Starting | Self::Interrupting | Self::Up | Self::Stopping | Self::Stuck => {
                false
            }
        }
    }

    /// The word for it in reports and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Interrupting => "interrupting",
            Self::Up => "up",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::StopFailed => "stop-failed",
            Self::Stuck => "stuck",
            Self::Skipped => "not-started",
        }
    }

    pub(crate) const ALL: [Self; 11] = [
        Self::Pending,
        Self::Starting,
        Self::Interrupting,
        Self::Up,
        Self::Failed,
        Self::Cancelled,
        Self::Stopping,
        Self::Stopped,
        Self::StopFailed,
        Self::Stuck,
        Self::Skipped,
    ];
}

impl fmt::Display for StageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Where the service as a whole stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
#[non_exhaustive]
pub enum Phase {
    /// Stages are being started.
    Starting,
    /// Every required stage is up and its health is verified.
    Ready,
    /// It was asked to stop; it is not ready any more, but still serves.
    Draining,
    /// Stages are being stopped, after a failed start or at the end of service.
    Stopping,
    /// Nothing runs any more.
    Stopped,
}

impl Phase {
    pub(crate) const ALL: [Self; 5] =
        [Self::Starting, Self::Ready, Self::Draining, Self::Stopping, Self::Stopped];

    /// The word for it in reports and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why the service stops.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StopReason {
    /// A signal asked for it; the name is `SIGTERM` or `SIGINT`.
    Signal(&'static str),
    /// The application asked for it, in its own words.
    Requested(String),
    /// The `serve` hook returned by itself.
    Finished,
    /// The right to be the only worker was lost.
    LockLost,
    /// The start failed; what is up is rolled back.
    Rollback,
    /// The `serve` hook failed.
    Failed,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(name) => f.write_str(name),
            Self::Requested(text) => f.write_str(text),
            Self::Finished => f.write_str("the service finished"),
            Self::LockLost => f.write_str("the lock was lost"),
            Self::Rollback => f.write_str("the start failed"),
            Self::Failed => f.write_str("serving failed"),
        }
    }
}

/// Time as reports print it: three significant digits and a unit.
#[must_use]
pub(crate) fn format_elapsed(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if elapsed < Duration::from_millis(1) {
        format!("{}us", elapsed.as_micros())
    } else if seconds < 1.0 {
        format!("{}ms", elapsed.as_millis())
    } else if seconds < 60.0 {
        format!("{seconds:.2}s")
    } else {
        format!("{}m{:02}s", elapsed.as_secs() / 60, elapsed.as_secs() % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGES: [Change; 10] = [
        Change::Launch,
        Change::Interrupt,
        Change::Acquired,
        Change::Fail,
        Change::Cancel,
        Change::Stop,
        Change::Released,
        Change::StopFail,
        Change::Abandon,
        Change::Skip,
    ];

    #[test]
    fn a_settled_stage_never_changes_again() {
        for state in StageState::ALL.into_iter().filter(|state| state.is_settled()) {
            for change in CHANGES {
                assert_eq!(state.next(change), None, "{state} {change:?}");
            }
        }
    }

    #[test]
    fn only_a_stage_that_is_up_is_stopped() {
        for state in StageState::ALL {
            let stoppable = state.next(Change::Stop).is_some();
            assert_eq!(stoppable, state == StageState::Up, "{state}");
        }
    }

    #[test]
    fn every_state_that_owns_something_can_come_to_an_end() {
        for state in StageState::ALL.into_iter().filter(|state| !state.is_settled()) {
            let reachable = CHANGES.into_iter().filter_map(|change| state.next(change)).count();
            assert!(reachable > 0 || state == StageState::Stuck, "{state}");
        }
    }
}
