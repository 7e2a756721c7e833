//! What the stages and the application get to use.

use std::{
    borrow::Borrow,
    fmt,
    future::Future,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use moka::{future::Cache as Moka, notification::RemovalCause};
use tokio::task::consume_budget;

use super::life::{Held, Life};

/// The service's cache. Clones share the entries and the counts.
///
/// ```
/// use solostart::stages::cache::CacheHandle;
///
/// async fn lookup(names: &CacheHandle<u32, String>, user: u32) -> String {
///     // However many ask for the same user at once, one of them looks.
///     let name = names.get_or_load(user, async { Ok::<_, std::io::Error>(format!("user {user}")) }).await;
///     name.unwrap_or_else(|_| "nobody".to_owned())
/// }
/// ```
pub struct CacheHandle<K, V> {
    entries: Moka<K, Held<V>>,
    counts: Arc<Counts>,
    life: Life,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    evicted: AtomicU64,
    expired: AtomicU64,
}

/// How a cache did since its stage started.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct CacheStats {
    /// Look-ups that found an entry.
    pub hits: u64,
    /// Look-ups that found none.
    pub misses: u64,
    /// Entries that were dropped for want of room, those included that never found any.
    pub evicted: u64,
    /// Entries that were dropped because their time was over.
    pub expired: u64,
    /// Entries at present, about: expired ones count until they are swept, which takes seconds.
    pub entries: u64,
    /// The weight of these; without a weigher, their number.
    pub weight: u64,
}

/// What the builder knows about room.
pub(super) struct Room<K, V> {
    pub(super) capacity: u64,
    pub(super) weigher: Option<Weigher<K, V>>,
}

pub(super) type Weigher<K, V> = Arc<dyn Fn(&K, &V) -> u32 + Send + Sync>;

impl<K, V> CacheHandle<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A cache of at most about `capacity` entries that belongs to no stage, for tests of what uses one.
    #[must_use]
    pub fn detached(capacity: u64) -> Self {
        Self::new("detached", &Room { capacity, weigher: None }, Life::new(None, None))
    }

    pub(super) fn new(name: &str, room: &Room<K, V>, life: Life) -> Self {
        let counts = Arc::new(Counts::default());
        let counted = counts.clone();
        let mut builder =
            Moka::builder().name(name).max_capacity(room.capacity).eviction_listener(move |_, _, cause| {
                match cause {
                    RemovalCause::Size => counted.evicted.fetch_add(1, Ordering::Relaxed),
                    RemovalCause::Expired => counted.expired.fetch_add(1, Ordering::Relaxed),
                    RemovalCause::Explicit | RemovalCause::Replaced => 0,
                };
            });
        if let Some(weigher) = room.weigher.clone() {
            builder = builder.weigher(move |key, held: &Held<V>| weigher(key, &held.value));
        }
        Self { entries: builder.expire_after(life).build(), counts, life }
    }

    /// The value of `key`.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let found = self.entries.get(key).await;
        self.count(found.is_some());
        found.map(|held| held.value)
    }

    /// The value of `key`, which `load` finds where it is not known yet. While one caller loads, the others
    /// that want the same key wait for it, so a cold cache does not turn into a run on the upstream.
    ///
    /// A value such as `Option<T>` also remembers that there is nothing to be found.
    ///
    /// # Cancel safety
    /// Cancel safe: if the caller that loads is dropped, another one that waits loads instead.
    ///
    /// # Errors
    /// What `load` returns; all who waited get it, and the next caller loads again.
    pub async fn get_or_load<E>(&self, key: K, load: impl Future<Output = Result<V, E>>) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        let load = async { load.await.map(|value| self.life.begin(value)) };
        let entry = self.entries.entry(key).or_try_insert_with(load).await;
        self.count(entry.as_ref().is_ok_and(|entry| !entry.is_fresh()));
        entry.map(|entry| entry.into_value().value)
    }

    /// Stores a value. Where there is no room, whatever is least useful goes, which may be this one.
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has stored the value, or has not.
    pub async fn insert(&self, key: K, value: V) {
        self.entries.insert(key, self.life.begin(value)).await;
    }

    /// Stores many values, and lets others have their turn in between.
    ///
    /// # Cancel safety
    /// What was stored before the future was dropped stays.
    pub async fn insert_all(&self, all: Vec<(K, V)>) {
        for (key, value) in all {
            // An insertion rarely waits, so a long loop of them would keep its thread to itself.
            consume_budget().await;
            self.insert(key, value).await;
        }
    }

    /// Forgets one entry, and returns its value.
    ///
    /// # Cancel safety
    /// A dropped future may have forgotten the entry already.
    pub async fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.entries.remove(key).await.map(|held| held.value)
    }

    /// Forgets every entry.
    pub fn clear(&self) {
        self.entries.invalidate_all();
    }

    /// Hits, misses, evictions and size, for metrics and for pages.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CacheStats {
            hits: read(&self.counts.hits),
            misses: read(&self.counts.misses),
            evicted: read(&self.counts.evicted),
            expired: read(&self.counts.expired),
            entries: self.entries.entry_count(),
            weight: self.entries.weighted_size(),
        }
    }

    fn count(&self, hit: bool) {
        let count = if hit { &self.counts.hits } else { &self.counts.misses };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Sweeps what has expired and books what is waiting to be booked, so that the counts are exact.
    pub(super) async fn settle(&self) {
        self.entries.run_pending_tasks().await;
    }

    /// Stores an entry that has lived before.
    pub(super) async fn restore(&self, key: K, held: Held<V>) {
        consume_budget().await;
        self.entries.insert(key, held).await;
    }

    pub(super) fn life(&self) -> &Life {
        &self.life
    }

    /// Every entry that is alive, in no order.
    pub(super) fn living(&self) -> impl Iterator<Item = (Arc<K>, Held<V>)> {
        let now = Instant::now();
        self.entries
            .iter()
            .filter(move |(_, held)| self.life.left(held, now).is_none_or(|left| !left.is_zero()))
    }
}

impl<K, V> Clone for CacheHandle<K, V> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone(), counts: self.counts.clone(), life: self.life }
    }
}

impl<K, V> fmt::Debug for CacheHandle<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheHandle").field("life", &self.life).finish_non_exhaustive()
    }
}
