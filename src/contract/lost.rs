//! How the right to be the only worker ends, and what helps then.

use crate::{
    codes::{FailureCode, LOCK_EXPIRED, LOCK_LOST, STAGE_FAILED, STAGE_PANICKED},
    error::StageError,
};

/// How the right to be the only worker ended: it decides what helps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Loss {
    /// Somebody took, replaced, linked or deleted what the right rests on. A restart would not keep that from
    /// happening again: `lock.lost`.
    Taken,
    /// Its time ran out: this process stood still, or the disk or store that it had to be renewed in did not
    /// answer. Nobody took it, and the next start takes it again: `lock.expired`.
    Expired,
    /// A thread of this library that keeps the right panicked: `stage.panicked`.
    Defect,
    /// It was given back, or was not taken yet.
    NotHeld,
}

/// The right to be the only worker is gone.
///
/// ```
/// use solostart::{LockLost, WorkerGuard};
///
/// fn charge(worker: &WorkerGuard) -> Result<(), LockLost> {
///     worker.check()?;
///     // What only one worker may do.
///     Ok(())
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the right to be the only worker {}: {reason}", .loss.verb())]
#[non_exhaustive]
pub struct LockLost {
    /// Whether somebody took it, or its time ran out.
    pub loss: Loss,
    /// What was noticed, for people.
    pub reason: String,
    /// What the operator can do, where more is known than the code says.
    actions: Vec<String>,
}

impl Loss {
    fn verb(self) -> &'static str {
        match self {
            Self::Taken | Self::Defect => "is lost",
            Self::Expired => "ran out",
            Self::NotHeld => "is not held",
        }
    }
}

impl LockLost {
    pub(crate) fn new(loss: Loss, reason: impl Into<String>) -> Self {
        Self { loss, reason: reason.into(), actions: Vec::new() }
    }

    /// Somebody took it, or what it rests on.
    pub(crate) fn taken(reason: impl Into<String>) -> Self {
        Self::new(Loss::Taken, reason)
    }

    /// Its time ran out.
    pub(crate) fn expired(reason: impl Into<String>, actions: Vec<String>) -> Self {
        Self { actions, ..Self::new(Loss::Expired, reason) }
    }

    /// What an operator would look it up under: `lock.lost` where somebody took the right, `lock.expired` where
    /// its time ran out, `stage.panicked` and `stage.failed` for defects.
    #[must_use]
    pub fn failure_code(&self) -> FailureCode {
        match self.loss {
            Loss::Taken => LOCK_LOST,
            Loss::Expired => LOCK_EXPIRED,
            Loss::Defect => STAGE_PANICKED,
            Loss::NotHeld => STAGE_FAILED,
        }
    }

    /// What the operator can do, best first; empty where the failure code says all.
    #[must_use]
    pub fn actions(&self) -> &[String] {
        &self.actions
    }

    /// The error for the operator, under its failure code and with its actions.
    #[must_use]
    pub fn into_error(self) -> StageError {
        let actions = self.actions.clone();
        actions.into_iter().fold(StageError::new(self.failure_code(), self), StageError::hint).fatal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_lose_the_right_has_the_code_of_what_helps() {
        for (loss, code, exit, verb) in [
            (Loss::Taken, "lock.lost", 70, "is lost"),
            (Loss::Expired, "lock.expired", 75, "ran out"),
            (Loss::Defect, "stage.panicked", 70, "is lost"),
            (Loss::NotHeld, "stage.failed", 70, "is not held"),
        ] {
            let lost = LockLost::new(loss, "x");
            assert_eq!(lost.to_string(), format!("the right to be the only worker {verb}: x"));
            let error = lost.into_error();
            assert_eq!((error.failure_code().name, error.error_kind().exit_code()), (code, exit));
            assert!(!error.is_retryable(), "{loss:?}: the right never comes back in this process");
        }
        let lost = LockLost::expired("x", vec!["look at the disk".to_owned()]);
        assert_eq!(lost.into_error().actions(), ["look at the disk"]);
    }
}
