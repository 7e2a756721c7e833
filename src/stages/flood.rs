//! Telling of failures that come again and again.

use std::time::Duration;

use tokio::time::Instant;

/// Of one job's or task's failures, one is told in this time.
const WINDOW: Duration = Duration::from_secs(30);

/// What was told of the failures of one job or task. The first is told at once; those that follow within
/// [`WINDOW`] are counted and told with the next, or when the stage stops.
#[derive(Default, Debug)]
pub(super) struct Flood {
    told: Option<Instant>,
    held_back: u64,
    /// The newest of those that were held back.
    last: Option<String>,
}

impl Flood {
    /// It failed. If that is to be told now, with how many others that were not told.
    pub(super) fn failed(&mut self, error: &str) -> Option<u64> {
        let now = Instant::now();
        if self.told.is_some_and(|told| now.duration_since(told) < WINDOW) {
            self.held_back += 1;
            self.last = Some(error.to_owned());
            return None;
        }
        self.told = Some(now);
        Some(self.untold())
    }

    /// It failed for the last time, which is told in any case, with how many others that were not told.
    pub(super) fn untold(&mut self) -> u64 {
        self.last = None;
        std::mem::take(&mut self.held_back)
    }

    /// It does not fail any more: the newest failure that was not told, with how many others.
    pub(super) fn rest(&mut self) -> Option<(String, u64)> {
        let last = self.last.take()?;
        Some((last, std::mem::take(&mut self.held_back) - 1))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_failure_is_told_in_thirty_seconds_and_none_is_forgotten() {
        let mut flood = Flood::default();
        assert_eq!(flood.failed("first"), Some(0));
        assert_eq!(flood.rest(), None);
        advance(Duration::from_millis(29_999)).await;
        assert_eq!((flood.failed("second"), flood.failed("third")), (None, None));
        advance(Duration::from_millis(1)).await;
        assert_eq!(flood.failed("fourth"), Some(2));
        assert_eq!((flood.failed("fifth"), flood.failed("sixth")), (None, None));
        assert_eq!(flood.rest(), Some(("sixth".to_owned(), 1)));
        assert_eq!((flood.rest(), flood.untold()), (None, 0));
    }
}
