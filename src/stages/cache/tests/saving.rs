use std::{fs, path::Path};

use tempfile::TempDir;

use super::*;
use crate::{contract::guard::GuardKeeper, ids::InstanceId};

fn stage(path: &Path) -> Cache<u32, u32> {
    Cache::holding(1000).saved_in(path)
}

fn place() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("cache.cache");
    (dir, path)
}

async fn stop<N: Clone + Send + 'static>(stage: &Cache<u32, u32, N>, cache: Arc<Squares>) {
    stage.stop(cache, stop_within(Duration::from_secs(60))).await.unwrap();
}

async fn sorted(cache: &Squares) -> Vec<(u32, u32)> {
    let mut all: Vec<_> = cache.living().map(|(key, held)| (*key, *held.value().unwrap())).collect();
    all.sort_unstable();
    all
}

#[tokio::test]
async fn what_a_stop_saves_the_next_start_has_and_the_one_after_a_crash_has_not() {
    let (_dir, path) = place();
    let (cache, degraded) = up(&stage(&path), ()).await;
    assert_eq!(degraded, None, "no file is no fault");
    // The stage that saves must be the one that started.
    let first = stage(&path);
    let start = Start::unhurried();
    let filled = Arc::new(first.start(start.cx.clone(), ()).await.unwrap());
    filled.insert_all(vec![(1, 10), (2, 20)]).await;
    stop(&first, filled).await;
    drop(cache);

    let (cache, degraded) = up(&stage(&path), ()).await;
    assert_eq!((sorted(&cache).await, degraded), (vec![(1, 10), (2, 20)], None));
    // Not stopped: as if it were killed.
    drop(cache);
    let (cache, _) = up(&stage(&path), ()).await;
    assert_eq!(sorted(&cache).await, []);
}

#[tokio::test]
async fn a_stale_cache_serves_where_the_warm_up_fails_and_gives_way_where_it_does_not() {
    let (_dir, path) = place();
    let first = stage(&path);
    let (cache, _) = up(&first, ()).await;
    cache.insert_all(vec![(3, 0), (4, 0)]).await;
    stop(&first, cache).await;
    let failing = stage(&path).warm_up(async |_, (): (), _: Squares| Err(StageError::from("no such table")));
    let (cache, degraded) = up(&failing, ()).await;
    assert_eq!(sorted(&cache).await, [(3, 0), (4, 0)]);
    assert_eq!(degraded.unwrap(), "the warm-up failed: no such table; 2 entries");
    stop(&failing, cache).await;
    let (cache, _) = up(&stage(&path).warm_up(squares), Arc::new(vec![3])).await;
    assert_eq!(sorted(&cache).await, [(3, 9), (4, 0)]);
}

#[tokio::test]
async fn a_file_of_other_types_means_an_empty_cache_and_shows_nothing_of_itself() {
    let (_dir, path) = place();
    let words = Cache::<String, String>::holding(10).saved_in(&path);
    let cache = words.start(Start::unhurried().cx, ()).await.unwrap();
    cache.insert("hunter2".to_owned(), "hunter2".to_owned()).await;
    words.stop(Arc::new(cache), stop_within(Duration::from_secs(60))).await.unwrap();
    let (cache, degraded) = up(&stage(&path), ()).await;
    let degraded = degraded.unwrap();
    assert!(degraded.contains("its line 2 is not an entry of this cache; 0 entries"), "{degraded}");
    assert!(!degraded.contains("hunter2"), "{degraded}");
    assert_eq!(sorted(&cache).await, []);
}

#[tokio::test]
async fn a_hostile_file_means_an_empty_cache_that_is_saved_all_the_same() {
    let (_dir, path) = place();
    fs::write(&path, b"\0\xff{}\n").unwrap();
    let stage = stage(&path);
    let (cache, degraded) = up(&stage, ()).await;
    assert!(degraded.unwrap().contains("it is not a saved cache"));
    cache.insert(1, 1).await;
    stop(&stage, cache).await;
    let (cache, degraded) = up(&stage, ()).await;
    assert_eq!((sorted(&cache).await, degraded), (vec![(1, 1)], None));
}

#[tokio::test]
async fn entries_that_end_are_not_loaded_from_the_future() {
    let (_dir, path) = place();
    for (limit, expected) in [(Some(Duration::from_secs(3600)), vec![]), (None, vec![(1, 10)])] {
        let tomorrow = store::now_ms() + 24 * 60 * 60 * 1000;
        let mut draft = file::Draft::begin(&path, "cache", tomorrow).unwrap();
        draft.add(&file::line(&(None::<u64>, 0, 1, 10)).unwrap()).unwrap();
        draft.finish(|| Ok(())).unwrap();
        let stage = Cache { time_to_live: limit, ..stage(&path) };
        let (cache, degraded) = up(&stage, ()).await;
        assert_eq!((sorted(&cache).await, degraded.is_some()), (expected, limit.is_some()));
    }
}

#[tokio::test]
async fn time_on_disk_counts() {
    let (_dir, path) = place();
    let an_hour_ago = store::now_ms() - 60 * 60 * 1000;
    let mut draft = file::Draft::begin(&path, "cache", an_hour_ago).unwrap();
    for (key, left) in [(1, 59 * 60 * 1000), (2, 61 * 60 * 1000)] {
        draft.add(&file::line(&(Some(left), 0, key, 10)).unwrap()).unwrap();
    }
    draft.finish(|| Ok(())).unwrap();
    let (cache, _) = up(&stage(&path).time_to_live(Duration::from_secs(7200)), ()).await;
    assert_eq!(sorted(&cache).await, [(2, 10)]);
}

#[tokio::test]
async fn who_is_no_longer_the_only_worker_saves_nothing() {
    let (dir, path) = place();
    let stage = stage(&path);
    let start = Start::unhurried();
    let cache = Arc::new(stage.start(start.cx.clone(), ()).await.unwrap());
    cache.insert(1, 1).await;
    start.worker.lose("a test");
    stop(&stage, cache).await;
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_cache_that_cannot_be_saved_or_not_in_time_stops_all_the_same() {
    let (dir, _) = place();
    let nowhere = stage(&dir.path().join("missing").join("cache.cache"));
    let (cache, _) = up(&nowhere, ()).await;
    cache.insert(1, 1).await;
    stop(&nowhere, cache).await;
    let path = dir.path().join("cache.cache");
    let hurried = stage(&path);
    let (cache, _) = up(&hurried, ()).await;
    hurried.stop(cache, stop_within(Duration::ZERO)).await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_right_that_is_lost_while_the_file_is_written_keeps_it_from_its_place() {
    let (dir, path) = place();
    let stage = stage(&path);
    let start = Start::unhurried();
    let cache = stage.start(start.cx.clone(), ()).await.unwrap();
    start.worker.lose("a test");
    let until = std::time::Instant::now() + Duration::from_secs(60);
    let store = stage.store.as_ref().unwrap();
    let error = store.save(&cache, "cache", start.worker.guard(), until).await.unwrap_err();
    assert!(error.to_string().contains("a test"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn several_workers_neither_load_nor_save_what_they_would_share() {
    let (_dir, path) = place();
    let first = stage(&path);
    let (cache, _) = up(&first, ()).await;
    cache.insert(1, 1).await;
    stop(&first, cache).await;
    let before = fs::read(&path).unwrap();

    let one_of_many = stage(&path);
    let start = Start::by(GuardKeeper::unrestricted(InstanceId::mint()), Duration::from_secs(60));
    let cache = Arc::new(one_of_many.start(start.cx.clone(), ()).await.unwrap());
    assert_eq!(sorted(&cache).await, []);
    assert_eq!(start.cx.status().degraded(), ["under-test"]);
    cache.insert(2, 2).await;
    stop(&one_of_many, cache).await;
    assert_eq!(fs::read(&path).unwrap(), before);
}
