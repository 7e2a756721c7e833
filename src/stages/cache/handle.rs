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
};

use moka::{future::Cache as Moka, notification::RemovalCause};
use tokio::task::consume_budget;

use super::{
    life::{Held, Life},
    loads::{Load, Loads},
};
use crate::contain::contain;

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
    shared: Arc<Shared<K>>,
    life: Life,
}

/// What the clones of a cache share beside its entries.
struct Shared<K> {
    counts: Counts,
    loads: Loads<K>,
    /// How often the cache was cleared. What was asked for before that is not there any more.
    generation: AtomicU64,
    /// How often anything was stored, removed or cleared.
    changes: AtomicU64,
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
        let shared = Arc::new(Shared {
            counts: Counts::default(),
            loads: Loads::new(),
            generation: AtomicU64::new(0),
            changes: AtomicU64::new(0),
        });
        let counted = shared.clone();
        let mut builder =
            Moka::builder().name(name).max_capacity(room.capacity).eviction_listener(move |_, _, cause| {
                match cause {
                    RemovalCause::Size => counted.counts.evicted.fetch_add(1, Ordering::Relaxed),
                    RemovalCause::Expired => counted.counts.expired.fetch_add(1, Ordering::Relaxed),
                    RemovalCause::Explicit | RemovalCause::Replaced => 0,
                };
            });
        if let Some(weigher) = room.weigher.clone() {
            // What cannot be weighed is heavier than anything, and so not kept. Its caller has the value all the same.
            builder = builder.weigher(move |key, held: &Held<V>| {
                let weighed = held.value().map(|value| contain(|| weigher(key, value)));
                weighed.and_then(Result::ok).unwrap_or(u32::MAX)
            });
        }
        Self { entries: builder.expire_after(life).build(), shared, life }
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
        let found = self.find(key).await;
        self.count(found.is_some());
        found
    }

    /// The value of `key`, which `load` finds where it is not known yet. While one caller loads, the others
    /// that want the same key wait for it, so a cold cache does not turn into a run on the upstream.
    ///
    /// A value such as `Option<T>` also remembers that there is nothing to be found.
    ///
    /// If the entry is removed, cleared or stored by somebody else while `load` goes on, those who wait for it get
    /// its value and the cache does not: it may be older than the change. Whoever asks after the change loads anew.
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
        if let Some(found) = self.find(&key).await {
            self.count(true);
            return Ok(found);
        }
        let mut place = self.shared.loads.place(&key).await;
        // A load may have ended since, and stored what it found.
        if let Some(found) = self.find(&key).await {
            self.count(true);
            return Ok(found);
        }
        let hash = place.hash();
        let joined = place.join(key, self.generation());
        drop(place);
        let mut loads_itself = false;
        let loading = || async {
            loads_itself = true;
            let loaded = load.await.map_err(Arc::new);
            self.store_loaded(hash, &joined, &loaded).await;
            loaded
        };
        let loaded = joined.get_or_init(loading).await;
        self.count(!loads_itself && loaded.is_ok());
        loaded.clone()
    }

    /// Ends a load, and stores its value unless that may be older than a change.
    async fn store_loaded<E>(&self, hash: u64, load: &Arc<Load<V, E>>, loaded: &Result<V, Arc<E>>) {
        let mut place = self.shared.loads.place_of(hash).await;
        let (Some((key, generation)), Ok(value)) = (place.leave(load), loaded) else { return };
        if generation == self.generation() {
            self.entries.insert(key, self.life.begin(value.clone(), generation)).await;
        }
    }

    /// Stores a value. Where there is no room, whatever is least useful goes, which may be this one.
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has stored the value, or has not.
    pub async fn insert(&self, key: K, value: V) {
        let mut place = self.shared.loads.place(&key).await;
        place.forget();
        self.shared.changes.fetch_add(1, Ordering::Relaxed);
        self.entries.insert(key, self.life.begin(value, self.generation())).await;
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
        let mut place = self.shared.loads.place(key).await;
        place.forget();
        self.shared.changes.fetch_add(1, Ordering::Relaxed);
        let removed = self.entries.remove(key).await?;
        removed.value().filter(|_| self.is_there(&removed)).cloned()
    }

    /// Forgets every entry.
    pub fn clear(&self) {
        self.shared.changes.fetch_add(1, Ordering::Relaxed);
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
        // This gives the room back. What is there is decided by the generation, also of what is being stored now.
        self.entries.invalidate_all();
    }

    async fn find<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let found = self.entries.get(key).await?;
        found.value().filter(|_| self.is_there(&found)).cloned()
    }

    /// Whether an entry was neither forgotten nor has died. moka may not have swept it yet.
    fn is_there(&self, held: &Held<V>) -> bool {
        held.generation() == self.generation() && self.life.is_alive(held)
    }

    fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// How many loads are registered.
    #[cfg(test)]
    pub(super) fn loads(&self) -> usize {
        self.shared.loads.len()
    }

    /// A number that no longer is the same once anything was stored, removed or cleared.
    pub(super) fn changes(&self) -> u64 {
        self.shared.changes.load(Ordering::Relaxed)
    }

    /// Hits, misses, evictions and size, for metrics and for pages.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CacheStats {
            hits: read(&self.shared.counts.hits),
            misses: read(&self.shared.counts.misses),
            evicted: read(&self.shared.counts.evicted),
            expired: read(&self.shared.counts.expired),
            entries: self.entries.entry_count(),
            weight: self.entries.weighted_size(),
        }
    }

    fn count(&self, hit: bool) {
        let count = if hit { &self.shared.counts.hits } else { &self.shared.counts.misses };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Sweeps what has expired and books what is waiting to be booked, so that the counts are exact.
    pub(super) async fn settle(&self) {
        self.entries.run_pending_tasks().await;
    }

    /// Stores an entry that has lived before, where nobody else uses the cache yet.
    pub(super) async fn restore(&self, key: K, held: Held<V>) {
        consume_budget().await;
        self.entries.insert(key, held).await;
    }

    pub(super) fn life(&self) -> &Life {
        &self.life
    }

    /// Every entry that is there, in no order.
    pub(super) fn living(&self) -> impl Iterator<Item = (Arc<K>, Held<V>)> {
        self.entries.iter().filter(|(_, held)| self.is_there(held))
    }
}

impl<K, V> Clone for CacheHandle<K, V> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone(), shared: self.shared.clone(), life: self.life }
    }
}

impl<K, V> fmt::Debug for CacheHandle<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheHandle").field("life", &self.life).finish_non_exhaustive()
    }
}
