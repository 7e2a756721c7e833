//! How long an entry lives. It is computed here, and not by moka's own two settings, because an entry that
//! is saved and loaded again must not be younger than it was.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use moka::Expiry;

/// moka panics when it is given more than a thousand years.
pub(super) const LONGEST: Duration = Duration::from_secs(999 * 365 * 24 * 60 * 60);

/// The limits of one cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) to_live: Option<Duration>,
    pub(super) to_idle: Option<Duration>,
    /// From when uses are counted.
    epoch: Instant,
}

/// A value, with what its age is computed from.
#[derive(Clone)]
pub(super) struct Held<V> {
    pub(super) value: V,
    dies: Option<Instant>,
    /// Milliseconds after the epoch; before it, for an entry of an earlier process.
    used: Arc<AtomicI64>,
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
        let limit = |time: Option<Duration>| time.map(|time| time.min(LONGEST));
        Self { to_live: limit(to_live), to_idle: limit(to_idle), epoch: Instant::now() }
    }

    pub(super) fn is_limited(&self) -> bool {
        self.to_live.is_some() || self.to_idle.is_some()
    }

    /// A value that is stored now.
    pub(super) fn begin<V>(&self, value: V) -> Held<V> {
        let now = Instant::now();
        let dies = self.to_live.and_then(|time| now.checked_add(time));
        Held { value, dies, used: Arc::new(AtomicI64::new(self.since_epoch(now))) }
    }

    /// How long the entry may still live; `None` where nothing limits it.
    pub(super) fn left<V>(&self, held: &Held<V>, now: Instant) -> Option<Duration> {
        let to_death = held.dies.map(|dies| dies.saturating_duration_since(now));
        let to_idle = self.to_idle.map(|time| time.saturating_sub(self.idle(held, now)));
        match (to_death, to_idle) {
            (Some(death), Some(idle)) => Some(death.min(idle)),
            (death, idle) => death.or(idle),
        }
    }

    fn idle<V>(&self, held: &Held<V>, now: Instant) -> Duration {
        let idle = self.since_epoch(now).saturating_sub(held.used.load(Ordering::Relaxed));
        Duration::from_millis(u64::try_from(idle).unwrap_or(0))
    }

    fn since_epoch(&self, now: Instant) -> i64 {
        i64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(i64::MAX)
    }

    pub(super) fn age<V>(&self, held: &Held<V>, now: Instant) -> Age {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Age {
            left: held.dies.map(|dies| millis(dies.saturating_duration_since(now))),
            idle: millis(self.idle(held, now)),
        }
    }

    /// A value that had `age` when it was saved, and was on disk for `away` since; `None` if it has died.
    /// Where the limits were changed in between, the stricter ones hold.
    pub(super) fn resume<V>(&self, value: V, age: Age, away: Duration) -> Option<Held<V>> {
        let now = Instant::now();
        let left = age.left.map(Duration::from_millis).into_iter().chain(self.to_live).min();
        let left = left.map(|left| left.saturating_sub(away));
        let idle = Duration::from_millis(age.idle).saturating_add(away);
        let used = i64::try_from(idle.as_millis()).map_or(i64::MIN, |idle| self.since_epoch(now) - idle);
        let dies = left.and_then(|left| now.checked_add(left.min(LONGEST)));
        let held = Held { value, dies, used: Arc::new(AtomicI64::new(used)) };
        self.left(&held, now).is_none_or(|left| !left.is_zero()).then_some(held)
    }
}

impl<K, V> Expiry<K, Held<V>> for Life {
    fn expire_after_create(&self, _: &K, held: &Held<V>, now: Instant) -> Option<Duration> {
        self.left(held, now)
    }

    fn expire_after_read(
        &self,
        _: &K,
        held: &Held<V>,
        now: Instant,
        _: Option<Duration>,
        _: Instant,
    ) -> Option<Duration> {
        held.used.store(self.since_epoch(now), Ordering::Relaxed);
        self.left(held, now)
    }

    fn expire_after_update(
        &self,
        _: &K,
        held: &Held<V>,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.left(held, now)
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
            seconds(life.left(&held, Instant::now()))
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
        let now = Instant::now();
        assert_eq!(seconds(life.left(&held, now)), Some(5));
        assert_eq!(seconds(life.expire_after_read(&(), &held, now, None, now)), Some(20));
    }

    #[test]
    fn the_stricter_of_the_old_and_the_new_limits_holds() {
        let shorter = Life::new(Some(10 * SECOND), None);
        let held = shorter.resume((), Age { left: Some(u64::MAX), idle: 0 }, SECOND).unwrap();
        assert_eq!(seconds(shorter.left(&held, Instant::now())), Some(9));
        let none = Life::new(None, None);
        let held = none.resume((), Age { left: Some(5_000), idle: 0 }, SECOND).unwrap();
        assert_eq!(seconds(none.left(&held, Instant::now())), Some(4));
        assert!(none.resume((), Age { left: None, idle: u64::MAX }, Duration::MAX).is_some());
    }

    #[test]
    fn limits_that_no_clock_reaches_are_no_panic() {
        let life = Life::new(Some(Duration::MAX), Some(Duration::MAX));
        assert!(life.left(&life.begin(()), Instant::now()).is_some_and(|left| left > SECOND));
        assert!(life.resume((), Age { left: Some(u64::MAX), idle: 0 }, Duration::ZERO).is_some());
    }
}
