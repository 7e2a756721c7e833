//! Code of the application that panics costs the entry that it belongs to, and nothing else.

use std::fs;

use serde::{
    Deserialize, Serialize, Serializer,
    ser::{Error, SerializeStruct},
};
use tempfile::TempDir;

use super::*;

/// A value that misbehaves as its number says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Moody(f64);

const PANICS_IN_SERIALIZE: f64 = 1.0;
const FAILS_IN_SERIALIZE: f64 = 2.0;
const PANICS_IN_DROP: f64 = 3.0;

impl Serialize for Moody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == PANICS_IN_SERIALIZE {
            panic!("on purpose");
        } else if self.0 == FAILS_IN_SERIALIZE {
            return Err(S::Error::custom("has no words"));
        }
        serializer.serialize_f64(self.0)
    }
}

impl Drop for Moody {
    fn drop(&mut self) {
        if self.0 == PANICS_IN_DROP && !std::thread::panicking() {
            panic!("on purpose");
        }
    }
}

#[tokio::test]
async fn an_entry_that_cannot_be_saved_is_left_out_and_the_others_are_saved() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("cache.cache");
    let stage = Cache::<u32, Moody>::holding(10).saved_in(&path);
    let start = Start::unhurried();
    let cache = stage.start(start.cx.clone(), ()).await.unwrap();
    // JSON has no number for the last: it is written as null, which nobody can read.
    for (key, value) in [(1, PANICS_IN_SERIALIZE), (2, FAILS_IN_SERIALIZE), (3, 9.5), (4, f64::NAN)] {
        cache.insert(key, Moody(value)).await;
    }
    let until = std::time::Instant::now() + Duration::from_secs(60);
    let store = stage.store.as_ref().unwrap();
    let saved = store.save(&cache, "cache", start.worker.guard(), until).await.unwrap();
    assert_eq!(saved, Saved { entries: 1, left_out: 3, is_full: false });
    stage.stop(Arc::new(cache), stop_within(Duration::from_secs(60))).await.unwrap();
    let start = Start::unhurried();
    let cache = stage.start(start.cx.clone(), ()).await.unwrap();
    assert_eq!((cache.get(&3).await, cache.living().count()), (Some(Moody(9.5)), 1));
    assert_eq!(start.cx.status().degraded(), [""; 0]);
}

#[tokio::test]
async fn a_cache_that_was_changed_while_it_was_saved_is_not_saved() {
    /// A value that ends another session when it is written.
    #[derive(Clone, Deserialize)]
    struct Ends {
        #[serde(skip)]
        session_of: Option<CacheHandle<u32, Ends>>,
    }
    impl Serialize for Ends {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if let Some(cache) = &self.session_of {
                futures_util::FutureExt::now_or_never(cache.remove(&2));
            }
            serializer.serialize_struct("Ends", 0)?.end()
        }
    }
    let dir = TempDir::new().unwrap();
    let stage = Cache::<u32, Ends>::holding(10).saved_in(dir.path().join("cache.cache"));
    let cache = stage.start(Start::unhurried().cx, ()).await.unwrap();
    cache.insert(1, Ends { session_of: Some(cache.clone()) }).await;
    cache.insert(2, Ends { session_of: None }).await;
    stage.stop(Arc::new(cache), stop_within(Duration::from_secs(60))).await.unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_value_whose_destructor_panics_ends_nobodys_call() {
    let cache = CacheHandle::<u32, Arc<Moody>>::detached(2);
    for key in 0..100 {
        cache.insert(key, Arc::new(Moody(PANICS_IN_DROP))).await;
    }
    cache.settle().await;
    cache.clear();
    cache.settle().await;
    assert_eq!(cache.stats().entries, 0);
}

#[tokio::test]
async fn what_cannot_be_weighed_is_not_kept_and_its_caller_has_it() {
    let stage = Cache::<u32, u32>::weighing(100, |key, _| if *key == 13 { panic!("on purpose") } else { 1 });
    let (cache, _) = up(&stage, ()).await;
    for key in [1, 13] {
        assert_eq!(cache.get_or_load(key, async { Ok::<_, ()>(7) }).await, Ok(7));
    }
    cache.settle().await;
    assert_eq!((cache.get(&1).await, cache.get(&13).await), (Some(7), None));
}
