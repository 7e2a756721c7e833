//! The rules of the lease, as functions of values alone.
//!
//! Nothing here reads a clock or a file or imports another module, so that a model checker can include
//! this file by its path and run exactly these rules. Each rule that keeps two workers apart is a
//! [`Guard`], and a [`Protocol`] can be made [without](Protocol::without) one of them: a model that is not
//! broken by that shows the guard to be idle, or the model to be blind.
//!
//! All times are durations since boot, `CLOCK_BOOTTIME`, and are comparable under one name of a clock
//! only.

use std::time::Duration;

/// Which numbers can be tokens. All are microseconds, as the calendar is that tokens begin with.
///
/// A stored number counts only up to `calendar + horizon`; `docs/locking.md` has the arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bounds {
    /// The most that the calendar adds to a token.
    pub(crate) calendar_max: u64,
    /// How far ahead of the calendar a token may be. It is more than `calendar_max`, so that a clock that was
    /// set back to 1970 still knows every token that any calendar made.
    pub(crate) horizon: u64,
    /// The largest number that every store can keep.
    pub(crate) last: u64,
}

impl Bounds {
    /// 1,141 years, 2,283 years, and what `SQLite` keeps: 85 times their sum.
    pub(crate) const REAL: Self =
        Self { calendar_max: 1 << 55, horizon: 1 << 56, last: i64::MAX.unsigned_abs() };
}

/// One rule that keeps two workers apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Guard {
    /// An expiry counts only under the clock that it was written by.
    SameClock,
    /// A holder whose time is not up is left alone.
    Expiry,
    /// A lock proves the death of those alone who held the same lock.
    SameLock,
    /// A lock proves nothing where it can be granted twice.
    TrustedLock,
    /// A row that changes while it is watched is alive.
    Unchanged,
    /// A row is watched for longer than its holder may be silent.
    Patience,
    /// An observation that an earlier start began goes on only with the row, clock and lock that it is of.
    SameWatch,
    /// The row is taken only in the state in which it was judged.
    Compare,
    /// Only the holder renews.
    Holder,
    /// A holder renews only what it acquired, not what somebody acquired later.
    Token,
    /// Of two copies of one process, as after a virtual machine was cloned, one loses.
    Sequence,
    /// A token is higher than the one before it.
    Higher,
    /// A token is higher than those of a row that is gone.
    Calendar,
    /// A token is higher than every one that is remembered beside the row.
    Memory,
    /// A number that nobody can have been given is no token.
    Credible,
    /// A clock that is far ahead does not use the tokens up.
    Ceiling,
    /// The right counts from when its renewal was sent.
    FromSending,
    /// An answer that comes after the right has ended does not revive it.
    NoRevival,
    /// What was fenced off by a higher token stays out.
    Fence,
    /// Of two holders of one token, the one that did not fence stays out.
    FenceHolder,
}

#[cfg(test)]
impl Guard {
    /// Every one.
    pub(crate) const ALL: [Self; 20] = [
        Self::SameClock,
        Self::Expiry,
        Self::SameLock,
        Self::TrustedLock,
        Self::Unchanged,
        Self::Patience,
        Self::SameWatch,
        Self::Compare,
        Self::Holder,
        Self::Token,
        Self::Sequence,
        Self::Higher,
        Self::Calendar,
        Self::Memory,
        Self::Credible,
        Self::Ceiling,
        Self::FromSending,
        Self::NoRevival,
        Self::Fence,
        Self::FenceHolder,
    ];
}

/// The rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Protocol {
    removed: Option<Guard>,
    bounds: Bounds,
}

/// Which state of the row: every change raises at least one of the two.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Version {
    pub(crate) token: u64,
    pub(crate) seq: u64,
}

/// The row, as far as it decides anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) version: Version,
    /// Which start of which process has the lease; nobody has it after a release.
    pub(crate) holder: Option<&'a str>,
    /// By which clock `expires` was written.
    pub(crate) clock: &'a str,
    /// Which lock file the holder has locked.
    pub(crate) lock: &'a str,
    /// How long after a renewal was sent the holder counts as gone.
    pub(crate) ttl: Duration,
    /// When the holder counts as gone.
    pub(crate) expires: Duration,
}

/// Who wants the lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Contender<'a> {
    /// The clock of this machine; empty where it cannot be told which one it is.
    pub(crate) clock: &'a str,
    /// The lock file that the contender has locked.
    pub(crate) lock: &'a str,
    /// Whether nobody else can have locked the same file.
    pub(crate) lock_is_trusted: bool,
}

/// An observation that has begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Watch {
    /// The row at its beginning.
    pub(crate) version: Version,
    /// When the first look was over.
    pub(crate) since: Duration,
}

/// An observation that an earlier start began, and could not end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Earlier<'a> {
    /// Who observed, by which clock.
    pub(crate) clock: &'a str,
    pub(crate) lock: &'a str,
    /// The holder of the row that was observed, and its state.
    pub(crate) holder: &'a str,
    pub(crate) watch: Watch,
}

/// What a contender does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decision {
    /// Takes the row, if it still is as it was seen.
    Take(Reason),
    /// Looks again, at the latest at this time.
    Observe(Duration),
    /// Keeps away: the holder was seen to live.
    Alive,
}

/// Why a row may be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    /// There is no row, or nobody holds it.
    Free,
    /// Its holder would still have the lock that the contender has.
    ProvenDead,
    /// Its time is up, by the clock that both share.
    Expired,
    /// It did not change for longer than a living holder is silent.
    Silent,
}

/// What can be told from one look at a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pulse {
    /// Nobody holds it.
    Free,
    /// The holder renewed in time.
    Fresh,
    /// The holder did not renew in time.
    Stale,
    /// It was written by another clock: one look tells nothing.
    Foreign,
}

/// Which renewals of one acquisition the row may show: up to the last one that was attempted, because an
/// answer can be lost, and not before the last one that was answered. The renewal that is being attempted must
/// not be there yet: if it is, a copy of this process made it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Window {
    pub(crate) acknowledged: u64,
    pub(crate) attempted: u64,
}

/// What stands in the database that is protected: the token of the last acquisition that opened it, and whose
/// that was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fence<'a> {
    pub(crate) token: u64,
    pub(crate) holder: &'a str,
}

impl Protocol {
    /// All rules.
    pub(crate) const WHOLE: Self = Self { removed: None, bounds: Bounds::REAL };

    /// All rules but one, for tests that show what it is there for.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests and models leave a rule out"))]
    pub(crate) const fn without(guard: Guard) -> Self {
        Self { removed: Some(guard), ..Self::WHOLE }
    }

    /// The same rules in a world of smaller numbers.
    #[cfg_attr(not(test), expect(dead_code, reason = "only models have smaller worlds"))]
    pub(crate) const fn within(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// Whether a condition holds, or is not asked for.
    fn holds(self, guard: Guard, condition: bool) -> bool {
        condition || self.removed == Some(guard)
    }

    /// How long a row with this time to live must not change until its holder counts as gone: a fifth
    /// longer than the holder itself would wait, for two clocks that run at different rates.
    pub(crate) fn patience(ttl: Duration) -> Duration {
        ttl.saturating_add(ttl / 5)
    }

    /// With which observation a contender begins that sees this row at `now`.
    ///
    /// A row changes with every renewal and never back, so two looks tell as much as one at every moment between
    /// them: nobody needs to have run in the meantime.
    pub(crate) fn go_on(
        self,
        contender: &Contender<'_>,
        now: Duration,
        row: &Row<'_>,
        earlier: &Earlier<'_>,
    ) -> Option<Watch> {
        let same = self.same_clock_name(contender.clock, earlier.clock)
            && earlier.lock == contender.lock
            && Some(earlier.holder) == row.holder
            && earlier.watch.version == row.version
            && earlier.watch.since <= now;
        self.holds(Guard::SameWatch, same)
            .then_some(Watch { version: row.version, since: earlier.watch.since })
    }

    /// Decides after one look at the row. `now` is a time before the look.
    pub(crate) fn decide(
        self,
        contender: &Contender<'_>,
        now: Duration,
        row: Option<&Row<'_>>,
        watch: Option<&Watch>,
    ) -> Decision {
        let Some(row) = row.filter(|row| row.holder.is_some()) else { return Decision::Take(Reason::Free) };
        // A holder keeps its lock until its process ends or has given up the lease, so whoever has the
        // same lock now has outlived it. No clock is asked.
        if self.holds(Guard::TrustedLock, contender.lock_is_trusted)
            && self.holds(Guard::SameLock, row.lock == contender.lock)
        {
            return Decision::Take(Reason::ProvenDead);
        }
        if self.same_clock(contender.clock, row) && self.holds(Guard::Expiry, row.expires < now) {
            return Decision::Take(Reason::Expired);
        }
        let patience = Self::patience(row.ttl);
        match watch {
            None => Decision::Observe(now.saturating_add(patience)),
            Some(watch) if !self.holds(Guard::Unchanged, watch.version == row.version) => Decision::Alive,
            Some(watch) => {
                let until = watch.since.saturating_add(patience);
                if self.holds(Guard::Patience, now >= until) {
                    Decision::Take(Reason::Silent)
                } else {
                    Decision::Observe(until)
                }
            }
        }
    }

    /// What one look tells of a row, for people.
    pub(crate) fn pulse(self, clock: &str, now: Duration, row: &Row<'_>) -> Pulse {
        match () {
            () if row.holder.is_none() => Pulse::Free,
            () if !self.same_clock(clock, row) => Pulse::Foreign,
            () if row.expires < now => Pulse::Stale,
            () => Pulse::Fresh,
        }
    }

    fn same_clock(self, clock: &str, row: &Row<'_>) -> bool {
        self.same_clock_name(clock, row.clock)
    }

    fn same_clock_name(self, ours: &str, theirs: &str) -> bool {
        self.holds(Guard::SameClock, !ours.is_empty() && ours == theirs)
    }

    /// Whether a row may be replaced by somebody who judged it as `seen`.
    #[cfg_attr(not(test), expect(dead_code, reason = "stores say it in SQL; models ask it here"))]
    pub(crate) fn may_swap(self, row: Option<Version>, seen: Option<Version>) -> bool {
        self.holds(Guard::Compare, row == seen)
    }

    /// Whether a renewal meets the acquisition that it belongs to.
    #[cfg_attr(not(test), expect(dead_code, reason = "stores say it in SQL; models ask it here"))]
    pub(crate) fn may_renew(self, row: &Row<'_>, holder: &str, token: u64, window: Window) -> bool {
        let Version { token: stored, seq } = row.version;
        self.holds(Guard::Holder, row.holder == Some(holder))
            && self.holds(Guard::Token, stored == token)
            && self.holds(Guard::Sequence, (window.acknowledged..window.attempted).contains(&seq))
    }

    /// Whether a stored number may be the token of somebody who acquired before now. Any other one was damaged or
    /// forged, and says nothing about who acquired what.
    pub(crate) fn credible(self, number: u64, unix_us: u64) -> bool {
        let limit = self.calendar(unix_us).saturating_add(self.bounds.horizon);
        self.holds(Guard::Credible, (1..=limit).contains(&number))
    }

    fn calendar(self, unix_us: u64) -> u64 {
        let most = if self.removed == Some(Guard::Ceiling) { u64::MAX } else { self.bounds.calendar_max };
        unix_us.min(most)
    }

    /// The token of a new acquisition: more than the row's, more than any credible one that is remembered beside
    /// it, and at least the calendar's time, which exceeds the tokens of a row that was deleted.
    ///
    /// It is `None` where there is no higher one, which no credible `previous` brings about.
    pub(crate) fn next_token(self, previous: u64, remembered: u64, unix_us: u64) -> Option<u64> {
        let calendar = if self.removed == Some(Guard::Calendar) { 0 } else { self.calendar(unix_us) };
        let counts = self.removed != Some(Guard::Memory) && self.credible(remembered, unix_us);
        let remembered = if counts { remembered } else { 0 };
        let step = u64::from(self.removed != Some(Guard::Higher));
        let token = previous.max(remembered).checked_add(step)?.max(calendar).max(1);
        (token <= self.bounds.last).then_some(token)
    }

    /// Until when a right holds whose renewal was sent and answered at these times, or `None` if the
    /// answer came when it had already ended.
    pub(crate) fn valid_until(
        self,
        sent: Duration,
        answered: Duration,
        valid_before: Duration,
        limit: Duration,
    ) -> Option<Duration> {
        let from = if self.removed == Some(Guard::FromSending) { answered } else { sent };
        self.holds(Guard::NoRevival, answered <= valid_before).then(|| from.saturating_add(limit))
    }

    /// Whether an acquisition that opens the protected database writes itself into the fence that it finds there.
    ///
    /// Also over a number that is not credible, because a fence lets only the holder pass that it names. It must
    /// have the right while it writes, so that nobody writes over a later holder.
    #[cfg_attr(
        not(any(test, feature = "database")),
        expect(dead_code, reason = "the fence is the database's")
    )]
    pub(crate) fn fences(self, found: u64, token: u64, unix_us: u64) -> bool {
        found < token || !self.credible(found, unix_us)
    }

    /// Whether a fence lets a write of `holder` under `token` pass.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the database asks it of its own row; models ask it here")
    )]
    pub(crate) fn passes(self, fence: Fence<'_>, token: u64, holder: &str) -> bool {
        self.holds(Guard::Fence, fence.token <= token)
            && self.holds(Guard::FenceHolder, fence.holder == holder)
    }
}

#[cfg(test)]
mod model;
// Named by its path, which also holds where a model includes this file by its own.
#[cfg(test)]
#[path = "protocol/tests.rs"]
mod tests;
