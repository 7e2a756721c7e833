//! An in-process cache as a stage, filled before anyone asks it.
//!
//! The cache belongs to this process alone. A second worker would have one of its own: a session that was
//! ended in one would live on in the other, a counter would count half, and a limit would let twice as much
//! through. This is the most common reason why a service must run as exactly one worker, and why this library
//! makes sure of it. Whoever lets several workers run on purpose should cache only what may be stale.

mod file;
mod handle;
mod life;
mod loads;
#[cfg_attr(not(feature = "metrics"), path = "no_metrics.rs")]
mod metrics;
mod store;

use std::{
    fmt,
    future::Future,
    hash::Hash,
    path::{self, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, timeout_at};

pub use self::handle::{CacheHandle, CacheStats};
use self::{
    handle::Room,
    life::{LONGEST, Life},
    store::{Saved, Store},
};
use crate::{
    codes::{STAGE_PANICKED, STARTUP_INTERRUPTED},
    contract::{
        context::{StageContext, StopContext},
        guard::WorkerGuard,
        panic::Contained,
        stage::Stage,
        tell::{shown, tell},
    },
    error::{StageError, StageResult},
    settings::{Env, SOME_TIME, paths::data_dir},
    stages::in_flight::soft_deadline,
};

type WarmUp<K, V, N> =
    Arc<dyn Fn(StageContext, N, CacheHandle<K, V>) -> BoxFuture<'static, StageResult<()>> + Send + Sync>;

/// A bounded cache in memory; the stage's output is a [`CacheHandle`].
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use solostart::{StageContext, stages::cache::{Cache, CacheHandle}, stages::database::Database};
///
/// let sessions = Cache::holding(10_000)
///     .time_to_idle(Duration::from_secs(30 * 60))
///     .warm_up(async |cx: StageContext, database: Arc<Database>, cache: CacheHandle<String, i64>| {
///         let sessions: Vec<(String, i64)> = database
///             .read(|connection| {
///                 let mut all = connection.prepare("SELECT token, user FROM sessions")?;
///                 Ok(all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
///             })
///             .await?;
///         cx.step(format!("{} sessions", sessions.len()));
///         cache.insert_all(sessions).await;
///         Ok(())
///     });
/// ```
///
/// # Guarantees
/// - A start never fails because of the cache: what a warm-up had stored when it failed, panicked or ran out
///   of time stays, and so does what was loaded from a file; the stage then is
///   [degraded](StageContext::degraded) and says why.
/// - A value that was removed, cleared or replaced does not come back, whatever was loading it meanwhile.
/// - A file is loaded whole or not at all, and once: after a crash the cache starts empty. An entry that cannot be
///   written as JSON and read again is left out of it, and counted in a warning.
/// - The time that the machine is suspended counts: what died in it is not found. No entry lives longer because it
///   was saved, unless the clock was set back in between.
/// - A weigher, a destructor of a value or a serialisation that panics costs that entry alone. What panics in a call
///   of the application's own, such as the value's `Clone`, the key's `Eq` or a loader, unwinds into that call.
/// - Nothing is written once the right to be the only worker is lost.
pub struct Cache<K, V, N = ()> {
    name: &'static str,
    room: Room<K, V>,
    time_to_live: Option<Duration>,
    time_to_idle: Option<Duration>,
    warm_up: Option<WarmUp<K, V, N>>,
    warm_up_limit: Duration,
    store: Option<Store<K, V>>,
    /// Known once the stage has started.
    worker: OnceLock<WorkerGuard>,
}

impl<K, V> Cache<K, V> {
    /// A cache of at most about `capacity` entries, as a stage named `cache`. Whatever was least useful goes
    /// first when it is full.
    #[must_use]
    pub fn holding(capacity: u64) -> Self {
        Self {
            name: "cache",
            room: Room { capacity, weigher: None },
            time_to_live: None,
            time_to_idle: None,
            warm_up: None,
            warm_up_limit: Duration::from_secs(10),
            store: None,
            worker: OnceLock::new(),
        }
    }

    /// A cache of entries that weigh at most about `limit` together, in whatever unit `weigh` answers: bytes,
    /// mostly. An entry that alone weighs more is not kept.
    ///
    /// ```
    /// use solostart::stages::cache::Cache;
    ///
    /// let pages = Cache::weighing(64 * 1024 * 1024, |path: &String, page: &Vec<u8>| {
    ///     u32::try_from(path.len() + page.len()).unwrap_or(u32::MAX)
    /// });
    /// ```
    #[must_use]
    pub fn weighing(limit: u64, weigh: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        let cache = Self::holding(limit);
        Self { room: Room { weigher: Some(Arc::new(weigh)), ..cache.room }, ..cache }
    }

    /// Fills the cache before the stage is up. At most one warm-up.
    ///
    /// `fill` gets the outputs of the stages that this one needs, and the cache; annotate both. What it has
    /// stored when it ends early stays.
    #[must_use]
    pub fn warm_up<N, F, Fut>(self, fill: F) -> Cache<K, V, N>
    where
        N: Send + 'static,
        F: Fn(StageContext, N, CacheHandle<K, V>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StageResult<()>> + Send + 'static,
        CacheHandle<K, V>: Send + 'static,
    {
        let fill = Arc::new(fill);
        let warm_up: WarmUp<K, V, N> = Arc::new(move |cx, needs, cache| {
            let fill = fill.clone();
            // Called inside of the future, so that a panic of the call itself is contained with the rest.
            Box::pin(async move { fill(cx, needs, cache).await })
        });
        Cache {
            name: self.name,
            room: self.room,
            time_to_live: self.time_to_live,
            time_to_idle: self.time_to_idle,
            warm_up: Some(warm_up),
            warm_up_limit: self.warm_up_limit,
            store: self.store,
            worker: self.worker,
        }
    }
}

impl<K, V, N> Cache<K, V, N> {
    /// Names the stage, for a service with more than one cache.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Forgets an entry this long after it was inserted.
    #[must_use]
    pub fn time_to_live(mut self, time: Duration) -> Self {
        self.time_to_live = Some(time);
        self
    }

    /// Forgets an entry this long after it was last used.
    #[must_use]
    pub fn time_to_idle(mut self, time: Duration) -> Self {
        self.time_to_idle = Some(time);
        self
    }

    /// How long loading and warm-up may take together before the service starts with what there is; 10 s
    /// unless said otherwise, and never longer than the stage's own time-out.
    #[must_use]
    pub fn warm_up_limit(mut self, limit: Duration) -> Self {
        self.warm_up_limit = limit;
        self
    }

    /// Lets the environment change what was said before: `<P>_<NAME>_CAPACITY`, `<P>_<NAME>_TIME_TO_LIVE`,
    /// `<P>_<NAME>_TIME_TO_IDLE` and `<P>_<NAME>_WARM_UP_LIMIT`, where `<NAME>` is the stage's, such as `CACHE`.
    #[must_use]
    pub fn with_env(mut self, env: &Env) -> Self {
        let stage = Env::prefix_of(self.name);
        let var = |what: &str| env.var(&format!("{stage}_{what}"));
        self.room.capacity = var("CAPACITY")
            .describe("How much the cache holds: entries, or what the application weighs them in.")
            .example("10000")
            .integer(1..=u64::MAX)
            .default(self.room.capacity);
        let to_live = var("TIME_TO_LIVE").describe("How long an entry is kept.").example("1h");
        self.time_to_live = to_live.duration().within(SOME_TIME).optional().or(self.time_to_live);
        let to_idle =
            var("TIME_TO_IDLE").describe("How long an entry is kept that nobody uses.").example("30m");
        self.time_to_idle = to_idle.duration().within(SOME_TIME).optional().or(self.time_to_idle);
        self.warm_up_limit = var("WARM_UP_LIMIT")
            .describe("How long the start waits for the cache to be filled.")
            .example("30s")
            .duration()
            .default(self.warm_up_limit);
        self
    }

    /// Saves the entries in the file `path` when the stage stops, and loads them when it starts.
    ///
    /// The file is created with mode 0600 and replaced whole. It holds keys and values as JSON, at most
    /// 64 MiB: a session belongs into it under the digest of its token, not the token. A file that is missing
    /// means an empty cache; so does one that cannot be believed, and then the stage is degraded. When the
    /// meaning of keys or values changes while their form stays, change the path.
    #[must_use]
    pub fn saved_in(mut self, path: impl Into<PathBuf>) -> Self
    where
        K: Serialize + DeserializeOwned,
        V: Serialize + DeserializeOwned,
    {
        self.store = Some(Store::at(path.into()));
        self
    }

    /// The same in the file `<stage>.cache` of `<P>_DATA_DIR`.
    #[must_use]
    pub fn saved_in_data_dir(self, env: &Env) -> Self
    where
        K: Serialize + DeserializeOwned,
        V: Serialize + DeserializeOwned,
    {
        let path = data_dir(env).join(format!("{}.cache", self.name));
        self.saved_in(path)
    }
}

impl<K, V, N> Cache<K, V, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    N: Clone + Send + 'static,
{
    /// Loads what was saved; why the cache is empty instead.
    async fn load(&self, cx: &StageContext, cache: &CacheHandle<K, V>) -> Option<String> {
        let store = self.store.as_ref()?;
        if !cx.worker().is_exclusive() {
            return Some(
                "it is neither loaded nor saved, because several workers would share the file".into(),
            );
        }
        cx.step(format!("load {}", store.path().display()));
        match store.load(cache, self.name).await {
            Ok(count) => {
                cx.step(format!("{count} entries loaded"));
                None
            }
            Err(error) => Some(format!("{} is not used: {error}", store.path().display())),
        }
    }

    /// Runs the warm-up; why it is not whole.
    async fn fill(&self, cx: &StageContext, needs: N, cache: &CacheHandle<K, V>) -> Option<String> {
        let warm_up = self.warm_up.as_ref()?;
        cx.step("warm-up");
        let filled = Contained::new(warm_up(cx.clone(), needs, cache.clone())).await;
        filled
            .unwrap_or_else(|panicked| Err(StageError::new(STAGE_PANICKED, panicked)))
            .err()
            .map(|error| format!("the warm-up failed: {error}"))
    }
}

impl<K, V, N> Stage for Cache<K, V, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    N: Clone + Send + 'static,
{
    type Needs = N;
    type Output = CacheHandle<K, V>;

    fn name(&self) -> &'static str {
        self.name
    }

    async fn start(&self, cx: StageContext, needs: N) -> StageResult<Self::Output> {
        // Only kept for the stop: every attempt has the same guard.
        let _known = self.worker.set(cx.worker());
        let cache = CacheHandle::new(self.name, &self.room, Life::new(self.time_to_live, self.time_to_idle));
        // Before the stage's own time is up: that would be a failure, which a cold cache never is.
        let until = (Instant::now() + self.warm_up_limit.min(LONGEST)).min(soft_deadline(cx.deadline()));
        let mut lacks = Vec::new();
        let preparing = async {
            lacks.extend(self.load(&cx, &cache).await);
            lacks.extend(self.fill(&cx, needs, &cache).await);
        };
        let prepared = tokio::select! {
            prepared = timeout_at(until, preparing) => prepared,
            () = cx.cancelled() => return Err(StageError::new(STARTUP_INTERRUPTED, "stopped during the warm-up")),
        };
        if prepared.is_err() {
            lacks.push("the warm-up took too long".to_owned());
        }
        if !lacks.is_empty() {
            cache.settle().await;
            cx.degraded(format!("{}; {} entries", lacks.join("; "), cache.stats().entries));
        }
        Ok(cache)
    }

    async fn stop(&self, cache: Arc<Self::Output>, cx: StopContext) -> StageResult<()> {
        let worker = self.worker.get().filter(|worker| worker.is_exclusive() && worker.check().is_ok());
        if let (Some(store), Some(worker)) = (&self.store, worker) {
            let until = soft_deadline(cx.deadline());
            let saving = store.save(&cache, self.name, worker.clone(), until.into_std());
            let path = store.path().display();
            // A cache is never the only copy of anything, so a stop does not fail for its sake.
            match timeout_at(until, saving).await {
                Ok(Ok(saved)) => tell_of(&saved, &path),
                Ok(Err(error)) => tell!(warn, "cache not saved", path = shown(path), error = shown(error)),
                Err(_) => tell!(warn, "cache not saved in time", path = shown(path)),
            }
        }
        // Whoever still holds a clone keeps an empty cache alive, not its entries.
        cache.clear();
        cache.settle().await;
        Ok(())
    }

    async fn health(&self, cache: Arc<Self::Output>) -> StageResult<()> {
        cache.settle().await;
        let stats = cache.stats();
        metrics::set(self.name, &stats);
        tell!(debug, "cache", stage = self.name, stats = format!("{stats:?}"));
        Ok(())
    }
}

fn tell_of(saved: &Saved, path: &path::Display<'_>) {
    let Saved { entries, left_out, is_full } = *saved;
    if is_full || left_out > 0 {
        let why =
            if is_full { "it is too large" } else { "the others cannot be written as JSON and read again" };
        tell!(
            warn,
            "cache saved in part",
            path = shown(path),
            count = entries,
            left_out = left_out,
            why = why
        );
    } else {
        tell!(debug, "cache saved", path = shown(path), count = entries);
    }
}

impl<K, V, N> fmt::Debug for Cache<K, V, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("name", &self.name)
            .field("capacity", &self.room.capacity)
            .field("time_to_live", &self.time_to_live)
            .field("time_to_idle", &self.time_to_idle)
            .field("warm_up", &self.warm_up.is_some())
            .field("store", &self.store.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
