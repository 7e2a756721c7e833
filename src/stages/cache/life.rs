//! How long an entry lives. It is computed here, and not by moka's own two settings, because an entry that
//! is saved and loaded again must not be younger than it was, and because the time that the machine was suspended
//! counts: moka's clock stands still then. So moka only learns when an entry may be swept.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use moka::Expiry;

use crate::{clock::boot_time, contain::Quiet};

/// moka panics when it is given more than a thousand years.
pub(super) const LONGEST: Duration = Duration::from_secs(999 * 365 * 24 * 60 * 60);

/// The limits of one cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) to_live: Option<Duration>,
    pub(super) to_idle: Option<Duration>,
    /// It goes on while the machine is suspended.
    clock: fn() -> Duration,
}

/// A value, with what its age is computed from. Clones are the same.
pub(super) struct Held<V>(Arc<Entry<V>>);

struct Entry<V> {
    /// moka drops it at times and on threads of its own choice.
    value: Quiet<V>,
    /// By the clock of [`Life`].
    dies: Option<Duration>,
    /// Milliseconds of the same clock; below zero for an entry of an earlier process.
    used: AtomicI64,
    /// How often the cache had been cleared when the value was asked for.
    generation: u64,
}

impl<V> Held<V> {
    fn new(value: V, dies: Option<Duration>, used: i64, generation: u64) -> Self {
        Self(Arc::new(Entry { value: Quiet::new(value), dies, used: AtomicI64::new(used), generation }))
    }

    pub(super) fn value(&self) -> Option<&V> {
        self.0.value.get()
    }

    pub(super) fn generation(&self) -> u64 {
        self.0.generation
    }
}

impl<V> Clone for Held<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The age of an entry as it is saved, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Age {
    /// What is left of its time to live; `None` where it has no end.
    pub(super) left: Option<u64>,
    /// How long it was not used.
    pub(super) idle: u64,
}

impl Life {
    pub(super) fn new(to_live: Option<Duration>, to_idle: Option<Duration>) -> Self {
        Self::by(boot_time, to_live, to_idle)
    }

    /// By another clock than the machine's, for tests.
    pub(super) fn by(clock: fn() -> Duration, to_live: Option<Duration>, to_idle: Option<Duration>) -> Self {
        let limit = |time: Option<Duration>| time.map(|time| time.min(LONGEST));
        Self { to_live: limit(to_live), to_idle: limit(to_idle), clock }
    }

    pub(super) fn now(&self) -> Duration {
        (self.clock)()
    }

    pub(super) fn is_limited(&self) -> bool {
        self.to_live.is_some() || self.to_idle.is_some()
    }

    /// A value that is stored now.
    pub(super) fn begin<V>(&self, value: V, generation: u64) -> Held<V> {
        let now = self.now();
        let dies = self.to_live.map(|time| now.saturating_add(time));
        Held::new(value, dies, millis(now), generation)
    }

    /// Whether the entry's time is not over. The clock is not asked where nothing limits it.
    pub(super) fn is_alive<V>(&self, held: &Held<V>) -> bool {
        (held.0.dies.is_none() && self.to_idle.is_none())
            || self.left(held, self.now()).is_none_or(|left| !left.is_zero())
    }

    /// How long the entry may still live; `None` where nothing limits it.
    fn left<V>(&self, held: &Held<V>, now: Duration) -> Option<Duration> {
        let to_death = held.0.dies.map(|dies| dies.saturating_sub(now));
        let to_idle = self.to_idle.map(|time| time.saturating_sub(idle(held, now)));
        match (to_death, to_idle) {
            (Some(death), Some(idle)) => Some(death.min(idle)),
            (death, idle) => death.or(idle),
        }
    }

    /// The same, where it is used now. Whoever asks for an entry whose time is over does not bring it back.
    fn used<V>(&self, held: &Held<V>) -> Option<Duration> {
        let now = self.now();
        let left = self.left(held, now);
        if left.is_some_and(|left| left.is_zero()) {
            return left;
        }
        held.0.used.store(millis(now), Ordering::Relaxed);
        self.left(held, now)
    }

    pub(super) fn age<V>(&self, held: &Held<V>, now: Duration) -> Age {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Age { left: held.0.dies.map(|dies| millis(dies.saturating_sub(now))), idle: millis(idle(held, now)) }
    }

    /// A value that had `age` when it was saved, and was on disk for `away` since; `None` if it has died.
    /// Where the limits were changed in between, the stricter ones hold.
    pub(super) fn resume<V>(&self, value: V, age: Age, away: Duration) -> Option<Held<V>> {
        let now = self.now();
        let left = age.left.map(Duration::from_millis).into_iter().chain(self.to_live).min();
        let left = left.map(|left| left.saturating_sub(away));
        let idle = Duration::from_millis(age.idle).saturating_add(away);
        let used = i64::try_from(idle.as_millis()).map_or(i64::MIN, |idle| millis(now) - idle);
        let dies = left.map(|left| now.saturating_add(left.min(LONGEST)));
        let held = Held::new(value, dies, used, 0);
        self.left(&held, now).is_none_or(|left| !left.is_zero()).then_some(held)
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn idle<V>(held: &Held<V>, now: Duration) -> Duration {
    let idle = millis(now).saturating_sub(held.0.used.load(Ordering::Relaxed));
    Duration::from_millis(u64::try_from(idle).unwrap_or(0))
}

/// moka's own `now` is of the clock that stands still.
impl<K, V> Expiry<K, Held<V>> for Life {
    fn expire_after_create(&self, _: &K, held: &Held<V>, _: Instant) -> Option<Duration> {
        self.left(held, self.now())
    }

    fn expire_after_read(
        &self,
        _: &K,
        held: &Held<V>,
        _: Instant,
        _: Option<Duration>,
        _: Instant,
    ) -> Option<Duration> {
        self.used(held)
    }

    fn expire_after_update(
        &self,
        _: &K,
        held: &Held<V>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.left(held, self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seconds(left: Option<Duration>) -> Option<u64> {
        left.map(|left| (left + SECOND / 2).as_secs())
    }

    #[test]
    fn a_restart_makes_no_entry_younger() {
        let life = Life::new(Some(100 * SECOND), Some(30 * SECOND));
        let left = |age, away| {
            let held = life.resume((), age, away)?;
            seconds(life.left(&held, life.now()))
        };
        assert_eq!(left(Age { left: Some(100_000), idle: 0 }, Duration::ZERO), Some(30));
        assert_eq!(left(Age { left: Some(100_000), idle: 5_000 }, 10 * SECOND), Some(15));
        assert_eq!(left(Age { left: Some(20_000), idle: 0 }, 10 * SECOND), Some(10));
        assert_eq!(left(Age { left: Some(10_000), idle: 0 }, 10 * SECOND), None);
        assert_eq!(left(Age { left: Some(100_000), idle: 20_000 }, 10 * SECOND), None);
        assert_eq!(left(Age { left: Some(100_000), idle: u64::MAX }, Duration::MAX), None);
    }

    #[test]
    fn a_use_ends_the_idleness_and_not_the_time_to_live() {
        let life = Life::new(Some(100 * SECOND), Some(30 * SECOND));
        let held = life.resume((), Age { left: Some(20_000), idle: 25_000 }, Duration::ZERO).unwrap();
        assert_eq!(seconds(life.left(&held, life.now())), Some(5));
        assert_eq!(seconds(life.used(&held)), Some(20));
    }

    #[test]
    fn a_use_does_not_bring_back_what_died_of_idleness() {
        let life = Life::new(None, Some(30 * SECOND));
        let held = life.begin((), 0);
        held.0.used.store(i64::MIN, Ordering::Relaxed);
        assert_eq!(seconds(life.used(&held)), Some(0));
        assert!(!life.is_alive(&held));
    }

    #[test]
    fn the_stricter_of_the_old_and_the_new_limits_holds() {
        let shorter = Life::new(Some(10 * SECOND), None);
        let held = shorter.resume((), Age { left: Some(u64::MAX), idle: 0 }, SECOND).unwrap();
        assert_eq!(seconds(shorter.left(&held, shorter.now())), Some(9));
        let none = Life::new(None, None);
        let held = none.resume((), Age { left: Some(5_000), idle: 0 }, SECOND).unwrap();
        assert_eq!(seconds(none.left(&held, none.now())), Some(4));
        assert!(none.resume((), Age { left: None, idle: u64::MAX }, Duration::MAX).is_some());
    }

    #[test]
    fn limits_that_no_clock_reaches_are_no_panic() {
        let life = Life::new(Some(Duration::MAX), Some(Duration::MAX));
        assert!(life.left(&life.begin((), 0), life.now()).is_some_and(|left| left > SECOND));
        assert!(life.resume((), Age { left: Some(u64::MAX), idle: 0 }, Duration::ZERO).is_some());
    }
}
