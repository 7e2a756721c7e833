//! The counts of a cache, through the `metrics` facade. Their names are an interface; `docs/observability.md` lists
//! them.

use metrics::{counter, gauge};

use super::CacheStats;

/// Sets every number of the cache that the stage holds.
pub(super) fn set(stage: &'static str, stats: &CacheStats) {
    counter!("solostart_cache_hits_total", "stage" => stage).absolute(stats.hits);
    counter!("solostart_cache_misses_total", "stage" => stage).absolute(stats.misses);
    counter!("solostart_cache_evicted_total", "stage" => stage).absolute(stats.evicted);
    counter!("solostart_cache_expired_total", "stage" => stage).absolute(stats.expired);
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and no cache holds 2^52 entries")]
    gauge!("solostart_cache_entries", "stage" => stage).set(stats.entries as f64);
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicU64, atomic::Ordering};

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

    use super::*;

    /// Keeps every number with its name.
    #[derive(Default)]
    struct Kept(Mutex<Vec<(String, Arc<AtomicU64>)>>);

    impl Kept {
        fn cell(&self, key: &Key) -> Arc<AtomicU64> {
            let cell = Arc::new(AtomicU64::new(0));
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push((key.name().to_owned(), cell.clone()));
            cell
        }
    }

    impl Recorder for Kept {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.cell(key))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.cell(key))
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[tokio::test]
    async fn each_health_check_sets_the_counts_and_every_name_is_documented() {
        let cache = crate::stages::cache::CacheHandle::<u8, u8>::detached(8);
        cache.insert(1, 1).await;
        let (_hit, _miss) = (cache.get(&1).await, cache.get(&2).await);
        let kept = Kept::default();
        metrics::with_local_recorder(&kept, || set("cache", &cache.stats()));
        let kept = kept.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let value = |name: &str| {
            let found = kept.iter().find(|(known, _)| known == name);
            found.map(|(_, cell)| cell.load(Ordering::Relaxed))
        };
        assert_eq!(value("solostart_cache_hits_total"), Some(1));
        assert_eq!(value("solostart_cache_misses_total"), Some(1));
        let document = include_str!("../../../docs/observability.md");
        for (name, _) in &kept {
            assert!(document.contains(&format!("`{name}`")), "{name} is not documented");
        }
    }
}
