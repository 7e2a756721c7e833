//! What a step turned out to be, to see that everything happens.

use super::super::Reason;

/// What a step turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    Plain,
    TookFree,
    TookProvenDead,
    TookExpired,
    TookSilent,
    SawLife,
    /// The row has a number that is no token.
    SawDamage,
    Observes,
    /// An observation goes on that an earlier start began.
    GoesOn,
    Overtaken,
    Renewed,
    NotRenewed,
    /// An answer that came when the right had ended.
    TooLate,
    /// The file that was renewed is not the one at the path.
    SeenDetached,
    Raised,
    NotRaised,
    CheckFails,
    Written,
    WriteRefused,
    GivenBack,
    NothingToGiveBack,
}

impl Event {
    pub(super) const ALL: [Self; 21] = [
        Self::Plain,
        Self::TookFree,
        Self::TookProvenDead,
        Self::TookExpired,
        Self::TookSilent,
        Self::SawLife,
        Self::SawDamage,
        Self::Observes,
        Self::GoesOn,
        Self::Overtaken,
        Self::Renewed,
        Self::NotRenewed,
        Self::TooLate,
        Self::SeenDetached,
        Self::Raised,
        Self::NotRaised,
        Self::CheckFails,
        Self::Written,
        Self::WriteRefused,
        Self::GivenBack,
        Self::NothingToGiveBack,
    ];

    /// One bit for each, above those of the faults.
    pub(super) const fn bit(self) -> u64 {
        1 << (16 + self as u64)
    }

    pub(super) const fn took(reason: Reason) -> Self {
        match reason {
            Reason::Free => Self::TookFree,
            Reason::ProvenDead => Self::TookProvenDead,
            Reason::Expired => Self::TookExpired,
            Reason::Silent => Self::TookSilent,
        }
    }
}
