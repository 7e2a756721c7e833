//! What was removed, cleared or replaced does not come back from a load that began before.

use proptest::prelude::*;
use tokio::sync::oneshot;

use super::*;

/// A load that a test holds in its hand.
struct Loading {
    finish: oneshot::Sender<u32>,
    caller: tokio::task::JoinHandle<Result<u32, Arc<()>>>,
}

/// A load of `key` that has begun.
async fn begin(cache: &Squares, key: u32) -> Loading {
    let (finish, finished) = oneshot::channel();
    let (begun, has_begun) = oneshot::channel();
    let cache = cache.clone();
    let load = async move {
        let _seen = begun.send(());
        Ok(finished.await.unwrap())
    };
    let caller = tokio::runtime::Handle::current().spawn(async move { cache.get_or_load(key, load).await });
    has_begun.await.unwrap();
    Loading { finish, caller }
}

async fn finish(load: Loading, value: u32) -> u32 {
    load.finish.send(value).unwrap();
    load.caller.await.unwrap().unwrap()
}

async fn asked(cache: &Squares, key: u32, value: u32) -> u32 {
    cache.get_or_load(key, async { Ok::<_, ()>(value) }).await.unwrap()
}

#[tokio::test]
async fn a_value_that_was_removed_while_it_was_loaded_does_not_come_back() {
    let cache = Squares::detached(10);
    let load = begin(&cache, 1).await;
    assert_eq!(cache.remove(&1).await, None);
    assert_eq!(finish(load, 7).await, 7, "its caller has it");
    assert_eq!(cache.get(&1).await, None);
}

#[tokio::test]
async fn a_value_that_was_cleared_while_it_was_loaded_does_not_come_back() {
    let cache = Squares::detached(10);
    let load = begin(&cache, 1).await;
    cache.clear();
    assert_eq!(finish(load, 7).await, 7);
    assert_eq!((cache.get(&1).await, cache.living().count()), (None, 0));
}

#[tokio::test]
async fn a_value_that_was_stored_while_an_older_one_was_loaded_stays() {
    let cache = Squares::detached(10);
    let load = begin(&cache, 1).await;
    cache.insert(1, 8).await;
    assert_eq!(finish(load, 7).await, 7);
    assert_eq!(cache.get(&1).await, Some(8));
}

#[tokio::test]
async fn who_asks_after_a_removal_does_not_get_what_was_asked_for_before_it() {
    for clears in [false, true] {
        let cache = Squares::detached(10);
        let old = begin(&cache, 1).await;
        if clears {
            cache.clear();
        } else {
            cache.remove(&1).await;
        }
        let new = begin(&cache, 1).await;
        assert_eq!(finish(old, 7).await, 7);
        assert_eq!(cache.get(&1).await, None);
        assert_eq!(finish(new, 9).await, 9);
        assert_eq!(cache.get(&1).await, Some(9));
    }
}

#[tokio::test]
async fn a_load_that_its_caller_has_left_is_taken_over_or_forgotten() {
    let cache = Squares::detached(10);
    let left = begin(&cache, 1).await;
    let mut waiting = std::pin::pin!(asked(&cache, 1, 9));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    left.caller.abort();
    assert_eq!((waiting.await, cache.get(&1).await), (9, Some(9)));
    for key in 2..10_000 {
        let mut left = std::pin::pin!(cache.get_or_load(key, std::future::pending::<Result<_, ()>>()));
        assert!(futures_util::poll!(&mut left).is_pending());
    }
    assert!(cache.loads() < 5_000, "{}", cache.loads());
    assert_eq!((asked(&cache, 2, 4).await, cache.get(&2).await), (4, Some(4)));
}

#[tokio::test]
async fn a_loader_that_fails_or_panics_leaves_nothing_and_the_next_one_loads() {
    let cache = Squares::detached(10);
    assert_eq!(cache.get_or_load(1, async { Err("down") }).await, Err(Arc::new("down")));
    let panicking = cache.clone();
    let load = async move { panicking.get_or_load::<()>(1, async { panic!("on purpose") }).await };
    let ended = tokio::runtime::Handle::current().spawn(load);
    assert!(ended.await.unwrap_err().is_panic());
    assert_eq!((asked(&cache, 1, 9).await, cache.get(&1).await), (9, Some(9)));
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Begin(u32),
    /// Of the loads that go on, the one at this place, counted around.
    Finish(usize),
    Insert(u32),
    Remove(u32),
    Clear,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = 0_u32..2;
    let op = prop_oneof![
        3 => key.clone().prop_map(Op::Begin),
        3 => any::<usize>().prop_map(Op::Finish),
        1 => key.clone().prop_map(Op::Insert),
        1 => key.prop_map(Op::Remove),
        1 => Just(Op::Clear),
    ];
    prop::collection::vec(op, 1..40)
}

/// The truth of each key is a number that grows with each change. A load sees the truth of when it began.
async fn play(ops: Vec<Op>) {
    let cache = Squares::detached(100);
    let mut truth = [0; 2];
    let mut loads: Vec<(u32, u32, Loading)> = Vec::new();
    for op in ops {
        match op {
            // Where the value is known, nothing is loaded; where it is loaded already, nothing more begins.
            Op::Begin(key) if cache.get(&key).await.is_none() => {
                let now = truth[key as usize];
                if !loads.iter().any(|(each, seen, _)| (*each, *seen) == (key, now)) {
                    loads.push((key, now, begin(&cache, key).await));
                }
            }
            Op::Finish(at) if !loads.is_empty() => {
                let (_, seen, load) = loads.remove(at % loads.len());
                assert_eq!(finish(load, seen).await, seen);
            }
            Op::Begin(_) | Op::Finish(_) => {}
            Op::Insert(key) => {
                truth[key as usize] += 1;
                cache.insert(key, truth[key as usize]).await;
            }
            Op::Remove(key) => {
                truth[key as usize] += 1;
                cache.remove(&key).await;
            }
            Op::Clear => {
                truth = truth.map(|each| each + 1);
                cache.clear();
            }
        }
        for key in [0, 1] {
            let found = cache.get(&key).await;
            assert!(found.is_none_or(|found| found == truth[key as usize]), "{key}: {found:?} after {op:?}");
        }
    }
}

proptest! {
    #[test]
    fn whatever_comes_in_between_the_cache_never_has_what_is_older_than_a_change(ops in ops()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(play(ops));
    }
}

/// The same with real threads: the moment between the end of a load and its storing is too short for a plan.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_thread_finds_what_is_older_than_a_removal_that_it_waited_for() {
    let (cache, truth) = (Squares::detached(10), Arc::new(AtomicU32::new(0)));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let (cache, truth) = (cache.clone(), truth.clone());
        all.spawn(async move {
            for _ in 0..5_000 {
                let load = async {
                    let seen = truth.load(Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Ok::<_, ()>(seen)
                };
                cache.get_or_load(1, load).await.unwrap();
            }
        });
    }
    all.spawn(async move {
        for round in 1..=5_000 {
            truth.store(round, Ordering::SeqCst);
            cache.remove(&1).await;
            let found = cache.get(&1).await;
            assert!(found.is_none_or(|found| found >= round), "{found:?} in round {round}");
        }
    });
    while let Some(ended) = all.join_next().await {
        ended.unwrap();
    }
}
