//! The closures that jobs and tasks are made of, and what these may ask while they run.

use std::{borrow::Cow, collections::HashSet, fmt, future::Future, sync::Arc};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::{
    codes::STAGE_PANICKED,
    contain::contain,
    contract::{context::StageContext, event::Event, guard::WorkerGuard, panic::Contained},
    error::{StageError, StageResult},
    graph::StageName,
};

/// What a scheduled job or a background task may ask while it runs. Clones share one state.
#[derive(Clone)]
pub struct RunContext {
    name: Cow<'static, str>,
    stopping: CancellationToken,
    worker: WorkerGuard,
    stage: StageContext,
}

impl RunContext {
    pub(super) fn new(name: Cow<'static, str>, stopping: CancellationToken, stage: StageContext) -> Self {
        Self { name, stopping, worker: stage.worker(), stage }
    }

    /// Tells everyone who listens.
    pub(super) fn tell(&self, event: &Event) {
        self.stage.board().emit(event);
    }

    /// The stage that runs it.
    pub(super) fn stage(&self) -> &StageContext {
        &self.stage
    }

    /// The name of the stage, as events have it.
    pub(super) fn stage_name(&self) -> StageName {
        self.stage.board().graph.name(self.stage.id()).clone()
    }

    /// The job's or task's own name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Resolves when the service stops. Whatever runs should then come to its end; after the stage's stop
    /// budget its future is dropped.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn cancelled(&self) {
        self.stopping.cancelled().await;
    }

    /// Whether [`cancelled`](Self::cancelled) has resolved.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// The proof that this process is the only worker. Ask it before an effect that must not happen twice.
    #[must_use]
    pub fn worker(&self) -> &WorkerGuard {
        &self.worker
    }
}

impl fmt::Debug for RunContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunContext")
            .field("name", &self.name)
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// A closure of the application's that can be run again and again with what its stage needs.
pub(super) struct Work<N>(Arc<dyn Fn(RunContext, N) -> BoxFuture<'static, StageResult<()>> + Send + Sync>);

impl<N: Send + 'static> Work<N> {
    pub(super) fn new<F, Fut>(work: F) -> Self
    where
        F: Fn(RunContext, N) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StageResult<()>> + Send + 'static,
    {
        let work = Arc::new(work);
        Self(Arc::new(move |cx, needs| {
            let work = work.clone();
            // Called inside of the future, so that a panic of the call itself is contained with the rest.
            Box::pin(async move { work(cx, needs).await })
        }))
    }

    /// Runs it once, with a copy of `needs`. A panic is an error like any other, also one while they are copied.
    pub(super) fn run(
        &self,
        cx: RunContext,
        needs: &N,
    ) -> impl Future<Output = StageResult<()>> + Send + use<N>
    where
        N: Clone,
    {
        let run = contain(|| (self.0)(cx, needs.clone())).map(Contained::new);
        async {
            let outcome = match run {
                Ok(run) => run.await,
                Err(panicked) => Err(panicked),
            };
            outcome.unwrap_or_else(|panicked| Err(StageError::new(STAGE_PANICKED, panicked)))
        }
    }
}

impl<N> Clone for Work<N> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The first name that stands twice.
pub(super) fn repeated_name<'a>(names: impl Iterator<Item = &'a Cow<'static, str>>) -> Option<&'a str> {
    let mut seen = HashSet::new();
    names.map(AsRef::as_ref).find(|name| !seen.insert(*name))
}
