//! Start hooks: as an application writes them, and with their types erased, as the engine calls them.

use std::{future::Future, marker::PhantomData, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::{
    FutureExt, TryFutureExt,
    future::{BoxFuture, lazy},
};

use crate::{
    contract::{
        context::StageContext,
        needs::{Output, Outputs, Take},
    },
    error::StageResult,
};

/// A start hook with its types erased.
pub(crate) trait Start: Send {
    /// Takes the prerequisites' outputs. `false` where one is missing.
    fn bind(&mut self, outputs: &Outputs<'_>) -> bool;
    /// The hook's future, or `None` where it cannot be called once more.
    fn attempt(&mut self, cx: StageContext) -> Option<BoxFuture<'static, StageResult<Output>>>;
    /// How long to wait before each further attempt.
    fn delays(&self) -> Box<dyn Iterator<Item = Duration> + Send>;
}

/// A stage's start hook: an async closure or function of a [`StageContext`] and the prerequisites'
/// outputs. It is implemented for all of those, and for nothing else.
pub trait StartHook<V, T>: Send + 'static {
    #[doc(hidden)]
    fn call(self, cx: StageContext, values: V) -> impl Future<Output = StageResult<T>> + Send;
}

impl<F, Fut, V, T> StartHook<V, T> for F
where
    F: FnOnce(StageContext, V) -> Fut + Send + 'static,
    Fut: Future<Output = StageResult<T>> + Send + 'static,
    V: Send + 'static,
{
    fn call(self, cx: StageContext, values: V) -> impl Future<Output = StageResult<T>> + Send {
        self(cx, values)
    }
}

/// A start hook with its prerequisites.
pub(super) struct TypedStart<N: Take, F> {
    pub(super) needs: N,
    pub(super) values: Option<N::Values>,
    pub(super) hook: Option<F>,
    /// How to copy the hook for another attempt, where the stage retries.
    pub(super) again: Option<fn(&F) -> F>,
    pub(super) attempts: u32,
}

pub(super) struct ErasedStart<N: Take, T, F> {
    typed: TypedStart<N, F>,
    output: PhantomData<fn() -> T>,
}

impl<N: Take, T, F> ErasedStart<N, T, F> {
    pub(super) fn new(typed: TypedStart<N, F>) -> Self {
        Self { typed, output: PhantomData }
    }
}

impl<N, T, F> Start for ErasedStart<N, T, F>
where
    N: Take,
    T: Send + Sync + 'static,
    F: StartHook<N::Values, T>,
{
    fn bind(&mut self, outputs: &Outputs<'_>) -> bool {
        self.typed.values = self.typed.needs.take(outputs);
        self.typed.values.is_some()
    }

    fn attempt(&mut self, cx: StageContext) -> Option<BoxFuture<'static, StageResult<Output>>> {
        let typed = &mut self.typed;
        let (hook, values) = match typed.again {
            Some(copy) => (copy(typed.hook.as_ref()?), typed.values.clone()?),
            None => (typed.hook.take()?, typed.values.take()?),
        };
        // The hook is called by the first poll, which contains a panic of its synchronous part and which the watchdog
        // sees. An async block would do that too, and keep what the hook owns three times over.
        let future = lazy(move |_| hook.call(cx, values)).flatten();
        Some(Box::pin(future.map_ok(|output| Arc::new(output) as Output)))
    }

    fn delays(&self) -> Box<dyn Iterator<Item = Duration> + Send> {
        Box::new(
            ExponentialBuilder::default()
                .with_min_delay(FIRST_RETRY)
                .with_max_delay(LAST_RETRY)
                .with_jitter()
                .with_max_times(self.typed.attempts.saturating_sub(1) as usize)
                .build(),
        )
    }
}

/// The wait before the second attempt; it doubles, with jitter, up to [`LAST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
