//! How the time to stop is shared out among hooks that run one after another (invariant 4).

use std::time::Duration;

use crate::{contract::board::Board, ids::StageId};

/// Two ticks of tokio's timer, which counts milliseconds and rounds up: two deadlines that are closer than that
/// can be due at the same tick.
const TIMER_GRAIN: Duration = Duration::from_millis(2);

/// One hook's share: at least its part of half of the budget, and half of what nobody is sure to need.
///
/// Half of what is left, alone, would leave the last of twenty hooks that hang a few microseconds; equal
/// parts, alone, would drop the one hook that is slow although all others are quick.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// What each hook of the chain is sure to get.
    floor: Duration,
    /// How many hooks still run, one after another, this one counted.
    hooks: u32,
}

impl Share {
    /// The share of the first of the last `hooks` of a chain of `chain` hooks that has `budget` in all.
    pub(super) fn new(budget: Duration, chain: u32, hooks: u32) -> Self {
        Self { floor: budget / (2 * chain.max(1)), hooks: hooks.max(1) }
    }

    /// How long the hook may take where this much is left. The last one gets nearly all, so that the
    /// engine still hears of it before the budget itself ends.
    pub(super) fn of(self, left: Duration) -> Duration {
        if self.hooks == 1 {
            return left - (left / 16).max(TIMER_GRAIN.min(left / 2));
        }
        let free = left.saturating_sub(self.floor * self.hooks);
        self.floor.min(left / self.hooks) + free / 2
    }
}

/// For each stage, how many stages stand in the longest chain from it down to one that needs nothing.
pub(super) struct Heights {
    of: Vec<u32>,
    tallest: u32,
}

impl Heights {
    pub(super) fn new(board: &Board) -> Self {
        let mut of = vec![1; board.graph.len()];
        for &id in board.graph.order() {
            let below = board.graph.prerequisites(id).iter().map(|each| of[each.index()]).max();
            of[id.index()] = 1 + below.unwrap_or(0);
        }
        let tallest = of.iter().copied().max().unwrap_or(1);
        Self { of, tallest }
    }

    /// What a stage's hook may use of a budget.
    pub(super) fn share(&self, id: StageId, budget: Duration) -> Share {
        Share::new(budget, self.tallest, self.of[id.index()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_secs(8);

    #[test]
    fn each_of_a_chain_of_hooks_that_hang_has_its_floor_and_all_end_in_time() {
        for chain in [1, 2, 3, 20, 60, 500] {
            let mut left = BUDGET;
            for hooks in (1..=chain).rev() {
                let had = Share::new(BUDGET, chain, hooks).of(left);
                assert!(had + TIMER_GRAIN >= BUDGET / (2 * chain) * 15 / 16, "{hooks} of {chain}: {had:?}");
                left -= had;
            }
            assert!(left > Duration::ZERO, "{chain}: nothing left for the engine");
        }
    }

    #[test]
    fn one_slow_hook_above_quick_ones_may_use_more_than_an_equal_part() {
        assert_eq!(Share::new(BUDGET, 2, 2).of(BUDGET), BUDGET / 2);
        assert!(Share::new(BUDGET, 20, 20).of(BUDGET) > BUDGET / 4);
    }

    #[test]
    fn a_budget_that_is_nearly_spent_is_shared_evenly() {
        let left = Duration::from_millis(40);
        assert_eq!(Share::new(BUDGET, 4, 4).of(left), left / 4);
        assert_eq!(Share::new(BUDGET, 4, 4).of(Duration::ZERO), Duration::ZERO);
        let tick = Duration::from_millis(1);
        assert_eq!(Share::new(BUDGET, 1, 1).of(tick), tick / 2, "the engine has the other half");
    }
}
