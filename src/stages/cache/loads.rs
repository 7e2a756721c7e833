//! The loads that are under way, so that one of many callers loads, and so that no load stores what was forgotten or
//! replaced while it went on.
//!
//! moka's own way to load once (`entry().or_try_insert_with()`) knows nothing of the second: a value that is removed
//! while it is loaded is stored when the load is done, and whoever asks after the removal is handed the load that
//! began before it.
//!
//! Every change of an entry therefore locks its place in here first, and takes the load away that may be registered
//! there. A load that is done stores its value with the same lock in hand, and only if it is still registered.

use std::{
    any::Any,
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    ptr::addr_eq,
    sync::{Arc, Weak},
};

use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// How many changes can go on at once. Few enough to cost nothing, more than a machine has threads.
const PLACES: usize = 64;

/// One load, and those who wait for it. Whoever comes first loads; if that caller goes away, another one of these does.
pub(super) type Load<V, E> = OnceCell<Result<V, Arc<E>>>;

/// By the hash of the key. Where two keys share one, the later takes the place, and the earlier is not stored.
type Place<K> = HashMap<u64, Registered<K>>;

struct Registered<K> {
    key: K,
    /// A load as whoever waits for it has it; nobody does any more where it is gone.
    load: Weak<dyn Any + Send + Sync>,
    /// How often the cache had been cleared when the load began.
    generation: u64,
}

pub(super) struct Loads<K> {
    places: Box<[Mutex<Place<K>>]>,
    hasher: RandomState,
}

impl<K: Hash + Eq> Loads<K> {
    pub(super) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.iter().filter_map(|place| place.try_lock().ok()).map(|place| place.len()).sum()
    }

    /// The place of a key. As long as it is held, nobody else changes an entry that belongs here.
    pub(super) async fn place<Q: Hash + ?Sized>(&self, key: &Q) -> Locked<'_, K> {
        self.place_of(self.hasher.hash_one(key)).await
    }

    pub(super) async fn place_of(&self, hash: u64) -> Locked<'_, K> {
        #[expect(clippy::cast_possible_truncation, reason = "only the lowest bits count")]
        let place = &self.places[hash as usize % PLACES];
        Locked { place: place.lock().await, hash }
    }
}

/// A place that is locked.
pub(super) struct Locked<'a, K> {
    place: MutexGuard<'a, Place<K>>,
    hash: u64,
}

impl<K: Eq> Locked<'_, K> {
    /// What [`place_of`](Loads::place_of) finds it by again.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// The load of `key` that goes on, or one that begins. None is joined that began before the last clearing.
    pub(super) fn join<V, E>(&mut self, key: K, generation: u64) -> Arc<Load<V, E>>
    where
        V: Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        let found = self.place.get(&self.hash);
        let found = found.filter(|found| found.generation == generation && found.key == key);
        // One that fails with another type of error is of no use to this caller.
        let found = found.and_then(|found| found.load.upgrade()?.downcast::<Load<V, E>>().ok());
        found.filter(|load| !load.initialized()).unwrap_or_else(|| {
            let load = Arc::<Load<V, E>>::default();
            let shared: Arc<dyn Any + Send + Sync> = load.clone();
            self.make_room();
            self.place.insert(self.hash, Registered { key, load: Arc::downgrade(&shared), generation });
            load
        })
    }

    /// Lets go of loads that everybody has left, each time when the place would have to grow.
    fn make_room(&mut self) {
        if self.place.len() == self.place.capacity() {
            self.place.retain(|_, each| each.load.strong_count() > 0);
        }
    }

    /// Whatever is loaded for this place is not stored.
    pub(super) fn forget(&mut self) {
        self.place.remove(&self.hash);
    }

    /// The end of a load: its key and generation, if its value is to be stored.
    pub(super) fn leave<V, E>(&mut self, load: &Arc<Load<V, E>>) -> Option<(K, u64)> {
        let registered = self.place.get(&self.hash)?;
        if !addr_eq(registered.load.as_ptr(), Arc::as_ptr(load)) {
            return None;
        }
        self.place.remove(&self.hash).map(|registered| (registered.key, registered.generation))
    }
}
