//! The stage's own hooks; files have their tests beside them.

mod asleep;
mod coming_back;
mod contained;
mod saving;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;
use crate::stages::testing::{Start, stop_within};

type Numbers = Arc<Vec<u32>>;
type Squares = CacheHandle<u32, u32>;

async fn squares(_: StageContext, numbers: Numbers, cache: Squares) -> StageResult<()> {
    cache.insert_all(numbers.iter().map(|each| (*each, each * each)).collect()).await;
    Ok(())
}

/// A start, its cache, and what it does without.
async fn up<N: Clone + Send + 'static>(
    stage: &Cache<u32, u32, N>,
    needs: N,
) -> (Arc<Squares>, Option<String>) {
    let start = Start::unhurried();
    let cache = stage.start(start.cx.clone(), needs).await.unwrap();
    cache.settle().await;
    (Arc::new(cache), start.cx.board().cell(start.cx.id()).degraded())
}

#[tokio::test]
async fn a_warm_up_fills_the_cache_from_what_the_stage_needs() {
    let stage = Cache::holding(10_000).warm_up(squares);
    let start = Start::unhurried();
    let cache = Arc::new(stage.start(start.cx.clone(), Arc::new((0..1000).collect())).await.unwrap());
    assert_eq!(cache.get(&30).await, Some(900));
    assert_eq!(start.steps(), ["warm-up"]);
    assert_eq!(start.cx.status().degraded(), [""; 0]);
    stage.stop(cache.clone(), stop_within(Duration::from_secs(1))).await.unwrap();
    assert_eq!(cache.stats().entries, 0);
    assert_eq!(cache.get(&30).await, None);
}

#[tokio::test]
async fn capacity_is_a_bound_and_what_has_no_room_is_counted() {
    let (cache, _) = up(&Cache::holding(10).warm_up(squares), Arc::new((0..1000).collect())).await;
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.weight, stats.evicted), (10, 10, 990));
}

#[tokio::test]
async fn weight_is_a_bound() {
    let weigh = |_: &u32, square: &u32| *square;
    let (cache, _) = up(&Cache::weighing(100, weigh).warm_up(squares), Arc::new(vec![1, 2, 9, 11, 3])).await;
    let stats = cache.stats();
    assert!(stats.weight <= 100 && stats.entries >= 3, "{stats:?}");
    assert_eq!(cache.get(&11).await, None, "heavier than the whole");
}

#[tokio::test]
async fn hits_and_misses_are_counted() {
    let (cache, _) = up(&Cache::holding(10).warm_up(squares), Arc::new(vec![3])).await;
    assert_eq!((cache.get(&3).await, cache.get(&4).await), (Some(9), None));
    assert_eq!(cache.get_or_load(3, async { Err("not asked") }).await, Ok(9));
    assert_eq!(cache.get_or_load(4, async { Ok::<_, ()>(16) }).await, Ok(16));
    assert_eq!(cache.get_or_load(5, async { Err("down") }).await, Err(Arc::new("down")));
    assert_eq!(cache.remove(&4).await, Some(16));
    cache.settle().await;
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.evicted, stats.expired, stats.entries), (2, 3, 0, 0, 1));
}

#[tokio::test]
async fn one_of_many_callers_loads() {
    let (cache, _) = up(&Cache::holding(10), ()).await;
    let asked = AtomicU32::new(0);
    let load = || {
        cache.get_or_load(7, async {
            asked.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok::<_, ()>(49)
        })
    };
    let found = futures_util::future::join_all((0..100).map(|_| load())).await;
    assert!(found.iter().all(|each| *each == Ok(49)));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_failing_or_panicking_warm_up_leaves_the_stage_up_and_says_why() {
    let failing = Cache::holding(10).warm_up(async |_, (): (), cache: Squares| {
        cache.insert(1, 1).await;
        Err(StageError::from("no such table"))
    });
    let (cache, degraded) = up(&failing, ()).await;
    assert_eq!(cache.get(&1).await, Some(1), "what was stored stays");
    assert_eq!(degraded.unwrap(), "the warm-up failed: no such table; 1 entries");
    let panicking = Cache::holding(10)
        .warm_up(|_, (): (), _: Squares| -> BoxFuture<'static, StageResult<()>> { panic!("on purpose") });
    let (_, degraded) = up(&panicking, ()).await;
    assert!(degraded.unwrap().contains("on purpose"));
}

#[tokio::test(start_paused = true)]
async fn a_late_warm_up_keeps_what_it_has_and_does_not_go_on_behind_the_services_back() {
    let went_on = Arc::new(AtomicBool::new(false));
    let seen = went_on.clone();
    let stage =
        Cache::holding(10).warm_up_limit(Duration::from_secs(1)).warm_up(move |_, (): (), cache: Squares| {
            let seen = seen.clone();
            async move {
                cache.insert(1, 1).await;
                tokio::time::sleep(Duration::from_secs(2)).await;
                seen.store(true, Ordering::Relaxed);
                Ok(())
            }
        });
    let (cache, degraded) = up(&stage, ()).await;
    assert_eq!(degraded.unwrap(), "the warm-up took too long; 1 entries");
    assert_eq!(cache.get(&1).await, Some(1));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!went_on.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_is_given_up_before_the_stages_own_time_is_up() {
    let stage = Cache::holding(10).warm_up_limit(Duration::MAX).warm_up(async |_, (): (), _: Squares| {
        std::future::pending::<()>().await;
        Ok(())
    });
    let start = Start::within(Duration::from_secs(2));
    stage.start(start.cx.clone(), ()).await.unwrap();
    assert!(Instant::now() < start.cx.deadline());
    assert_eq!(start.cx.status().degraded(), ["under-test"]);
}

#[tokio::test]
async fn a_cancelled_start_does_not_wait_for_the_warm_up() {
    let stage = Cache::holding(10).warm_up(async |_, (): (), _: Squares| {
        std::future::pending::<()>().await;
        Ok(())
    });
    let start = Start::unhurried();
    start.cancel.cancel();
    let error = stage.start(start.cx.clone(), ()).await.unwrap_err();
    assert_eq!(error.failure_code(), STARTUP_INTERRUPTED);
}

#[tokio::test]
async fn entries_expire_and_that_is_counted() {
    let stage = Cache::holding(10).time_to_live(Duration::from_nanos(1)).warm_up(squares);
    let (cache, _) = up(&stage, Arc::new(vec![1])).await;
    assert_eq!(cache.get(&1).await, None);
    let idle = Cache::holding(10).time_to_idle(Duration::ZERO).warm_up(squares);
    let (cache, _) = up(&idle, Arc::new(vec![1])).await;
    assert_eq!(cache.get(&1).await, None);
    // An entry that is stored again begins anew, and one without an end stays.
    let (cache, _) =
        up(&Cache::holding(10).time_to_live(Duration::MAX).warm_up(squares), Arc::new(vec![1])).await;
    cache.insert(1, 2).await;
    assert_eq!(cache.get(&1).await, Some(2));
}

#[test]
fn the_environment_changes_the_limits_under_the_stages_own_name() {
    let vars = [
        ("SHOP_USER_NAMES_CAPACITY", "7"),
        ("SHOP_USER_NAMES_TIME_TO_LIVE", "1h"),
        ("SHOP_USER_NAMES_WARM_UP_LIMIT", "3s"),
    ];
    let env = Env::from_vars("SHOP", vars);
    let stage = Cache::<u32, u32>::holding(10)
        .named("user-names")
        .time_to_idle(Duration::from_secs(9))
        .with_env(&env)
        .saved_in_data_dir(&env);
    assert!(env.check().unwrap().is_empty());
    assert_eq!(stage.room.capacity, 7);
    let limits = (stage.time_to_live, stage.time_to_idle, stage.warm_up_limit);
    let seconds = |count| Duration::from_secs(count);
    assert_eq!(limits, (Some(seconds(3600)), Some(seconds(9)), seconds(3)));
    assert_eq!(stage.store.unwrap().path(), path::Path::new("shop-data/user-names.cache"));
}
