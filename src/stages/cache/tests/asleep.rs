//! The time that the machine was suspended counts. The clock of these tests is set by hand; moka's own goes on.

use std::cell::Cell;

use super::*;

thread_local! {
    static CLOCK: Cell<Duration> = const { Cell::new(Duration::from_secs(1000)) };
}

fn asleep_for(time: Duration) {
    CLOCK.set(CLOCK.get() + time);
}

fn cache(to_live: Option<u64>, to_idle: Option<u64>) -> Squares {
    let [to_live, to_idle] = [to_live, to_idle].map(|limit| limit.map(Duration::from_secs));
    CacheHandle::new(
        "test",
        &Room { capacity: 10, weigher: None },
        Life::by(|| CLOCK.get(), to_live, to_idle),
    )
}

#[tokio::test]
async fn an_entry_whose_time_was_over_while_the_machine_was_suspended_is_not_found() {
    for (to_live, to_idle) in [(Some(3600), None), (None, Some(3600)), (Some(3600), Some(7200))] {
        let cache = cache(to_live, to_idle);
        cache.insert(1, 1).await;
        asleep_for(Duration::from_secs(3599));
        assert_eq!(cache.living().count(), 1);
        asleep_for(Duration::from_secs(1));
        assert_eq!(cache.living().count(), 0);
        for _ in 0..2 {
            assert_eq!(cache.get(&1).await, None, "{to_live:?} {to_idle:?}");
        }
        assert_eq!(cache.get_or_load(1, async { Ok::<_, ()>(2) }).await, Ok(2));
        assert_eq!(cache.get(&1).await, Some(2));
    }
}

#[tokio::test]
async fn an_entry_that_is_used_again_and_again_lives_on_over_a_suspension() {
    let cache = cache(None, Some(3600));
    cache.insert(1, 1).await;
    for _ in 0..5 {
        asleep_for(Duration::from_secs(3000));
        assert_eq!(cache.get(&1).await, Some(1));
    }
}
