//! An in-process cache as a stage, filled before anyone asks it.
//!
//! The cache belongs to this process alone. A second worker would have one of its own: a session that was
//! ended in one would live on in the other, and a counter would count half. This is the most common reason
//! why a service must run as exactly one worker, and why this library makes sure of it.

use std::{fmt, future::Future, hash::Hash, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
/// The crate whose [`future::Cache`](moka::future::Cache) the stage hands out.
pub use moka;
use tokio::{
    task::coop::consume_budget,
    time::{Instant, timeout_at},
};

use crate::{
    codes::STAGE_PANICKED,
    contract::{
        context::{StageContext, StopContext},
        panic::Contained,
        stage::Stage,
    },
    error::{StageError, StageResult},
    stages::in_flight::soft_deadline,
};

/// moka panics when it is given more than a thousand years.
const LONGEST: Duration = Duration::from_secs(999 * 365 * 24 * 60 * 60);

type WarmUp<K, V, N> =
    Arc<dyn Fn(StageContext, N) -> BoxFuture<'static, StageResult<Vec<(K, V)>>> + Send + Sync>;

/// A bounded cache in memory; the stage's output is a [`moka::future::Cache`].
///
/// With a warm-up, the stage needs what the warm-up reads, and `N` is what it receives. A warm-up that
/// fails, panics or takes too long is told as a warning and leaves the cache empty: a cold cache is slow, which
/// is no reason not to serve.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use solostart::{StageContext, stages::cache::Cache, stages::database::Database};
///
/// let sessions = Cache::<String, i64>::holding(10_000)
///     .time_to_idle(Duration::from_secs(30 * 60))
///     .warm_up(async |cx: StageContext, database: Arc<Database>| {
///         let sessions: Vec<(String, i64)> = database
///             .read(|connection| {
///                 let mut all = connection.prepare("SELECT token, user FROM sessions")?;
///                 Ok(all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
///             })
///             .await?;
///         cx.step(format!("{} sessions", sessions.len()));
///         Ok(sessions)
///     });
/// ```
pub struct Cache<K, V, N = ()> {
    name: &'static str,
    capacity: u64,
    time_to_live: Option<Duration>,
    time_to_idle: Option<Duration>,
    warm_up: Option<WarmUp<K, V, N>>,
    warm_up_limit: Duration,
}

impl<K, V> Cache<K, V> {
    /// A cache of at most about `capacity` entries, as a stage named `cache`. Whatever was least useful goes
    /// first when it is full.
    #[must_use]
    pub fn holding(capacity: u64) -> Self {
        Self {
            name: "cache",
            capacity,
            time_to_live: None,
            time_to_idle: None,
            warm_up: None,
            warm_up_limit: Duration::from_secs(10),
        }
    }

    /// Fills the cache before the stage is up, with what `load` returns. At most one warm-up.
    ///
    /// `load` gets the outputs of the stages that this one needs; annotate its second parameter.
    #[must_use]
    pub fn warm_up<N, F, Fut, I>(self, load: F) -> Cache<K, V, N>
    where
        K: Send + 'static,
        V: Send + 'static,
        N: Send + 'static,
        F: Fn(StageContext, N) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StageResult<I>> + Send + 'static,
        I: IntoIterator<Item = (K, V)> + 'static,
    {
        let load = Arc::new(load);
        let warm_up: WarmUp<K, V, N> = Arc::new(move |cx, needs| {
            let load = load.clone();
            // Called inside of the future, so that a panic of the call itself is contained with the rest.
            Box::pin(async move { Ok(load(cx, needs).await?.into_iter().collect()) })
        });
        Cache {
            name: self.name,
            capacity: self.capacity,
            time_to_live: self.time_to_live,
            time_to_idle: self.time_to_idle,
            warm_up: Some(warm_up),
            warm_up_limit: self.warm_up_limit,
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
        self.time_to_live = Some(time.min(LONGEST));
        self
    }

    /// Forgets an entry this long after it was last used.
    #[must_use]
    pub fn time_to_idle(mut self, time: Duration) -> Self {
        self.time_to_idle = Some(time.min(LONGEST));
        self
    }

    /// How long the warm-up may take before the service starts without it; 10 s unless said otherwise, and
    /// never longer than the stage's own time-out.
    #[must_use]
    pub fn warm_up_limit(mut self, limit: Duration) -> Self {
        self.warm_up_limit = limit;
        self
    }
}

impl<K, V, N> Stage for Cache<K, V, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    N: Clone + Send + 'static,
{
    type Needs = N;
    type Output = moka::future::Cache<K, V>;

    fn name(&self) -> &'static str {
        self.name
    }

    async fn start(&self, cx: StageContext, needs: N) -> StageResult<Self::Output> {
        let mut builder = moka::future::Cache::builder().name(self.name).max_capacity(self.capacity);
        if let Some(time) = self.time_to_live {
            builder = builder.time_to_live(time);
        }
        if let Some(time) = self.time_to_idle {
            builder = builder.time_to_idle(time);
        }
        let cache = builder.build();
        if let Some(warm_up) = &self.warm_up {
            cx.step("warm-up");
            // Before the stage's own time is up: that would be a failure, which a warm-up never is.
            let until = (Instant::now() + self.warm_up_limit).min(soft_deadline(cx.deadline()));
            let entries = Contained::new(warm_up(cx.clone(), needs));
            let filling = async {
                let entries = entries
                    .await
                    .unwrap_or_else(|panicked| Err(StageError::new(STAGE_PANICKED, panicked)))?;
                for (key, value) in entries {
                    // An insertion rarely waits, so a long loop of them would keep its thread to itself.
                    consume_budget().await;
                    cache.insert(key, value).await;
                }
                StageResult::Ok(())
            };
            let problem = match timeout_at(until, filling).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("the warm-up took too long".to_owned()),
            };
            if let Some(error) = problem {
                tracing::warn!(target: "solostart", stage = self.name, error, "the cache starts empty");
                cache.invalidate_all();
            }
        }
        Ok(cache)
    }

    async fn stop(&self, cache: Arc<Self::Output>, _cx: StopContext) -> StageResult<()> {
        // Whoever still holds a clone keeps an empty cache alive, not its entries.
        cache.invalidate_all();
        cache.run_pending_tasks().await;
        Ok(())
    }
}

impl<K, V, N> fmt::Debug for Cache<K, V, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("name", &self.name)
            .field("capacity", &self.capacity)
            .field("time_to_live", &self.time_to_live)
            .field("time_to_idle", &self.time_to_idle)
            .field("warm_up", &self.warm_up.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
