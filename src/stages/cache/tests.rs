use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::stages::testing::{Start, stop_within};

type Numbers = Arc<Vec<u32>>;

fn squares(_cx: StageContext, numbers: Numbers) -> impl Future<Output = StageResult<Vec<(u32, u32)>>> + Send {
    std::future::ready(Ok(numbers.iter().map(|each| (*each, each * each)).collect()))
}

async fn size<N: Clone + Send + 'static>(stage: &Cache<u32, u32, N>, needs: N) -> u64 {
    let cache = stage.start(Start::unhurried().cx, needs).await.unwrap();
    cache.run_pending_tasks().await;
    cache.entry_count()
}

#[tokio::test]
async fn a_warm_up_fills_the_cache_from_what_the_stage_needs() {
    let stage = Cache::holding(10_000).warm_up(squares);
    let start = Start::unhurried();
    let cache = Arc::new(stage.start(start.cx.clone(), Arc::new((0..1000).collect())).await.unwrap());
    assert_eq!(cache.get(&30).await, Some(900));
    assert_eq!(start.steps(), ["warm-up"]);
    stage.stop(cache.clone(), stop_within(Duration::from_secs(1))).await.unwrap();
    assert_eq!(cache.entry_count(), 0);
    assert_eq!(cache.get(&30).await, None);
}

#[tokio::test]
async fn capacity_is_a_bound() {
    assert_eq!(size(&Cache::holding(10).warm_up(squares), Arc::new((0..1000).collect())).await, 10);
}

#[tokio::test(start_paused = true)]
async fn a_late_failing_or_panicking_warm_up_leaves_the_cache_empty_and_the_stage_up() {
    let late = Cache::holding(10).warm_up(async |_, (): ()| {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        Ok([(1, 1)])
    });
    assert_eq!(size(&late, ()).await, 0);
    let failing = Cache::holding(10)
        .warm_up(async |_, (): ()| Err::<[(u32, u32); 0], _>(StageError::from("no such table")));
    assert_eq!(size(&failing, ()).await, 0);
    let panicking = Cache::holding(10)
        .warm_up(|_, (): ()| -> BoxFuture<'static, StageResult<[(u32, u32); 1]>> { panic!("on purpose") });
    assert_eq!(size(&panicking, ()).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_is_given_up_before_the_stages_own_time_is_up() {
    let stage = Cache::<u32, u32>::holding(10).warm_up(async |_, (): ()| {
        std::future::pending::<()>().await;
        Ok([])
    });
    let start = Start::within(Duration::from_secs(2));
    stage.start(start.cx.clone(), ()).await.unwrap();
    assert!(Instant::now() < start.cx.deadline());
}

#[tokio::test(start_paused = true)]
async fn a_late_warm_up_does_not_go_on_behind_the_services_back() {
    let went_on = Arc::new(AtomicBool::new(false));
    let seen = went_on.clone();
    let stage = Cache::holding(10).warm_up_limit(Duration::from_secs(1)).warm_up(move |_, (): ()| {
        let seen = seen.clone();
        async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            seen.store(true, Ordering::Relaxed);
            Ok([(1, 1)])
        }
    });
    assert_eq!(size(&stage, ()).await, 0);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!went_on.load(Ordering::Relaxed));
}

#[tokio::test]
async fn an_unlimited_time_to_live_is_no_panic() {
    let stage = Cache::<u32, u32>::holding(10).time_to_live(Duration::MAX).time_to_idle(Duration::MAX);
    assert_eq!(size(&stage, ()).await, 0);
}

#[tokio::test]
async fn entries_expire() {
    let stage = Cache::holding(10).time_to_live(Duration::from_nanos(1)).warm_up(squares);
    let cache = stage.start(Start::unhurried().cx, Arc::new(vec![1])).await.unwrap();
    assert_eq!(cache.get(&1).await, None);
}
