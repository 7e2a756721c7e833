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
    use super::*;
    use crate::{recorder::Kept, stages::cache::CacheHandle};

    #[tokio::test]
    async fn the_counts_are_those_of_the_cache_and_every_name_is_documented() {
        let cache = CacheHandle::<u8, u8>::detached(8);
        cache.insert(1, 1).await;
        let (_hit, _miss) = (cache.get(&1).await, cache.get(&2).await);
        let kept = Kept::default();
        metrics::with_local_recorder(&kept, || set("words", &cache.stats()));
        assert_eq!(kept.counter("solostart_cache_hits_total stage=words"), Some(1));
        assert_eq!(kept.counter("solostart_cache_misses_total stage=words"), Some(1));
        let document = include_str!("../../../docs/observability.md");
        for name in kept.names() {
            assert!(document.contains(&format!("`{name}`")), "{name} is not documented");
        }
    }
}
