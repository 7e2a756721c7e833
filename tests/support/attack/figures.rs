//! Random numbers that can be drawn again, and what many durations come to.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// A seed that nobody chose.
pub(crate) fn fresh_seed() -> u64 {
    // Short, because it is typed again by hand.
    RandomState::new().hash_one(0_u8) % 1_000_000
}

/// A row of random numbers, the same for the same seed: splitmix64 (Steele, Lea and Flood 2014).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The numbers of one process or purpose among those of a seed.
    pub(crate) fn new(seed: u64, lane: u64) -> Self {
        let mut mixed = Self(seed ^ lane.wrapping_mul(0xd134_2543_de82_ef95));
        let first = mixed.next();
        Self(first)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// A duration from `low` up to but not including `high`.
    pub(crate) fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let span = u64::try_from(high.saturating_sub(low).as_nanos()).unwrap();
        low + Duration::from_nanos(self.below(span))
    }
}

/// Many measured durations.
#[derive(Default, Debug)]
pub(crate) struct Spread(Vec<Duration>);

impl Spread {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(crate) fn max(&self) -> Duration {
        self.0.iter().copied().max().unwrap_or_default()
    }

    /// The smallest duration that is at least as long as this share of all.
    pub(crate) fn at(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// Median, 99th percentile and maximum, and of how many.
    pub(crate) fn text(&self) -> String {
        let ms = |took: Duration| format!("{:.2} ms", took.as_secs_f64() * 1e3);
        format!(
            "p50 {}, p99 {}, max {} (n = {})",
            ms(self.at(0.5)),
            ms(self.at(0.99)),
            ms(self.max()),
            self.0.len()
        )
    }
}
