//! What the application declares: stages with their hooks, before anything runs.

use std::{
    any::Any,
    fmt,
    future::Future,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;

use super::start_hook::{ErasedStart, Start, StartHook, TypedStart};
use crate::{
    codes::GRAPH_INVALID,
    contain::contain,
    contract::{
        analysis::Analyser,
        context::{ServeContext, StageContext, StopContext},
        needs::{AnyHandle, Handle, OptionalHandle, Output, Outputs, StageKey, Take},
        stage::Stage,
    },
    error::{StageError, StageResult},
    graph::{Edge, Graph, GraphProblem, Sound, StageName},
    ids::StageId,
};

pub(crate) type BoxStop = Box<dyn FnOnce(Output, StopContext) -> BoxFuture<'static, StageResult<()>> + Send>;
pub(crate) type BoxHealth = Arc<dyn Fn(Output) -> BoxFuture<'static, StageResult<()>> + Send + Sync>;
pub(crate) type BoxCheck = Box<dyn Fn() -> StageResult<()> + Send>;
pub(crate) type BoxServe =
    Box<dyn FnOnce(&Outputs<'_>, ServeContext) -> Option<BoxFuture<'static, StageResult<()>>> + Send>;

/// Everything that the engine needs to know of one stage.
pub(crate) struct Spec {
    pub(crate) start: Option<Box<dyn Start>>,
    pub(crate) stop: Option<BoxStop>,
    pub(crate) health: Option<BoxHealth>,
    /// What can be said before a start, without taking or writing anything.
    pub(crate) check: Option<BoxCheck>,
    pub(crate) optional: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) stop_timeout: Option<Duration>,
}

/// What hooks have captured is the application's, and a destructor may panic where nobody waits for it. Each is dropped
/// for itself: a second panic while the first one unwinds would end the process.
impl Drop for Spec {
    fn drop(&mut self) {
        let Self { start, stop, health, check, .. } = self;
        let _unheard = [
            contain(|| drop(start.take())),
            contain(|| drop(stop.take())),
            contain(|| drop(health.take())),
            contain(|| drop(check.take())),
        ];
    }
}

/// The stages of one start-up.
pub(crate) struct Plan {
    startup: u32,
    /// What the stage that is being described starts after. One list for all, because they are described one
    /// after another.
    after: Vec<StageKey>,
    pub(crate) graph: Graph,
    pub(crate) specs: Vec<Spec>,
    pub(crate) problems: Vec<GraphProblem>,
    /// The stage that every other one depends on.
    root: Option<StageId>,
    pub(crate) serve: Option<BoxServe>,
    pub(crate) serve_needs: Vec<StageId>,
    pub(crate) analysers: Vec<Analyser>,
    /// Whether failures are reported beside being told to `tracing`.
    pub(crate) reported: bool,
}

impl Plan {
    pub(crate) fn new() -> Self {
        static STARTUPS: AtomicU32 = AtomicU32::new(0);
        Self {
            startup: STARTUPS.fetch_add(1, Ordering::Relaxed),
            after: Vec::new(),
            graph: Graph::default(),
            specs: Vec::new(),
            problems: Vec::new(),
            root: None,
            serve: None,
            serve_needs: Vec::new(),
            analysers: Vec::new(),
            reported: false,
        }
    }

    /// The graph, where the stages form one that can be started.
    pub(crate) fn sound(&self) -> StageResult<Sound> {
        let problems = match self.graph.sound() {
            Ok(sound) if self.problems.is_empty() => return Ok(sound),
            Ok(_) => self.problems.clone(),
            Err(found) => [self.problems.clone(), found].concat(),
        };
        let mut error = StageError::new(GRAPH_INVALID, "the stages do not form a usable graph");
        for problem in problems {
            error = error.fact("problem", problem.to_string());
        }
        Err(error
            .hint("Start the version that ran before: no setting can mend this one.")
            .hint("For its developers: mend the calls that add these stages in `main`."))
    }

    /// Makes a stage that was just added the one that every later stage depends on (invariant 6).
    pub(crate) fn set_root<T>(&mut self, root: Handle<T>) {
        self.root = Some(root.key.id);
    }

    pub(crate) fn builder<N: Take, T, F>(
        &mut self,
        name: impl Into<StageName>,
        needs: N,
        start: F,
    ) -> StageBuilder<'_, N, T, F> {
        self.after.clear();
        StageBuilder {
            plan: self,
            name: name.into(),
            start: TypedStart { needs, values: None, hook: Some(start), again: None, attempts: 1 },
            spec: Spec {
                start: None,
                stop: None,
                health: None,
                check: None,
                optional: false,
                timeout: None,
                stop_timeout: None,
            },
            output: PhantomData,
        }
    }

    /// The builder for a stage that was written as a type.
    pub(crate) fn stage_builder<S, N>(
        &mut self,
        stage: S,
        needs: N,
    ) -> StageBuilder<'_, N, S::Output, impl StartHook<N::Values, S::Output> + Clone + use<S, N>>
    where
        S: Stage,
        N: Take<Values = S::Needs>,
    {
        let stage = Arc::new(stage);
        let (starting, checking, looking) = (stage.clone(), stage.clone(), stage.clone());
        let start = move |cx: StageContext, needs: N::Values| async move { starting.start(cx, needs).await };
        let mut builder = self.builder(stage.name(), needs, start);
        builder.spec.stop = Some(Box::new(move |output, cx| {
            Box::pin(async move { stage.stop(downcast(output)?, cx).await })
        }));
        builder.spec.check = Some(Box::new(move || looking.check()));
        builder.spec.health = Some(Arc::new(move |output| {
            let stage = checking.clone();
            Box::pin(async move { stage.health(downcast(output)?).await })
        }));
        builder
    }

    pub(crate) fn serve<N, F, Fut>(&mut self, needs: N, serve: F)
    where
        N: Take,
        F: FnOnce(ServeContext, N::Values) -> Fut + Send + 'static,
        Fut: Future<Output = StageResult<()>> + Send + 'static,
    {
        if self.serve.is_some() {
            self.problems.push(GraphProblem::SecondServe);
        }
        let mut keys = Vec::new();
        needs.keys(&mut keys);
        self.refuse_foreign(&"serve".into(), &keys);
        self.serve_needs = keys.iter().filter(|key| key.startup == self.startup).map(|key| key.id).collect();
        self.serve = Some(Box::new(move |outputs, cx| {
            let values = needs.take(outputs)?;
            Some(Box::pin(async move { serve(cx, values).await }))
        }));
    }

    /// A stage of another start-up is a problem of the stage that names it.
    fn refuse_foreign(&mut self, stage: &StageName, keys: &[StageKey]) {
        if keys.iter().any(|key| key.startup != self.startup) {
            self.problems.push(GraphProblem::ForeignHandle(stage.clone()));
        }
    }
}

fn downcast<T: Any + Send + Sync>(output: Output) -> StageResult<Arc<T>> {
    output.downcast().map_err(|_other| super::defect("a stage's output has another type"))
}

/// Everything that can be said of one stage. It is added by [`required`](Self::required) or
/// [`optional`](Self::optional).
#[must_use = "a stage is added by `.required()` or `.optional()`"]
pub struct StageBuilder<'a, N: Take, T, F> {
    plan: &'a mut Plan,
    name: StageName,
    start: TypedStart<N, F>,
    spec: Spec,
    output: PhantomData<fn() -> T>,
}

impl<N: Take, T, F> fmt::Debug for StageBuilder<'_, N, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StageBuilder({})", self.name)
    }
}

impl<N, T, F> StageBuilder<'_, N, T, F>
where
    N: Take,
    T: Send + Sync + 'static,
    F: StartHook<N::Values, T>,
{
    /// How the resource is released: called exactly once for each successful start, after every
    /// dependant has stopped, for rollback and shutdown alike.
    pub fn stop<S, Fut>(mut self, stop: S) -> Self
    where
        S: FnOnce(Arc<T>, StopContext) -> Fut + Send + 'static,
        Fut: Future<Output = StageResult<()>> + Send + 'static,
    {
        self.spec.stop =
            Some(Box::new(move |output, cx| Box::pin(async move { stop(downcast(output)?, cx).await })));
        self
    }

    /// How the resource shows that it works: called once before the service is ready, then every ten
    /// seconds. An answer that takes longer than five seconds counts as a failed check.
    pub fn health<H, Fut>(mut self, health: H) -> Self
    where
        H: Fn(Arc<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StageResult<()>> + Send + 'static,
    {
        let health = Arc::new(health);
        self.spec.health = Some(Arc::new(move |output| {
            let health = health.clone();
            Box::pin(async move { health(downcast(output)?).await })
        }));
        self
    }

    /// Tries up to `attempts` times in all, while the error is retryable and time is left. The waits
    /// between grow from 100 ms to 5 s, with jitter. What a failed attempt half did is undone first. Where time is up,
    /// the last error is the failure, with a fact that says so.
    pub fn retry(mut self, attempts: u32) -> Self
    where
        F: Clone,
    {
        self.start.attempts = attempts.max(1);
        self.start.again = Some(F::clone);
        self
    }

    /// How long all attempts together may take, from when the prerequisites are up. The environment's
    /// `<P>_STAGE_TIMEOUT_<STAGE>` goes before it. Zero is a problem of the graph: nothing starts in no time.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.spec.timeout = Some(timeout);
        self
    }

    /// The longest that the stop hook may take, if that is less than its slice of the budget. Zero is a problem of the
    /// graph.
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.spec.stop_timeout = Some(timeout);
        self
    }

    /// What the subcommand `check` asks: whether the stage could start, as far as that can be seen without
    /// taking or writing anything. It may block.
    pub fn check(mut self, check: impl Fn() -> StageResult<()> + Send + 'static) -> Self {
        self.spec.check = Some(Box::new(check));
        self
    }

    /// Starts only after `earlier` has settled, and stops before it, without receiving its output.
    pub fn after(self, earlier: impl AnyHandle) -> Self {
        earlier.keys(&mut self.plan.after);
        self
    }

    /// Adds the stage; the service cannot run without it.
    pub fn required(self) -> Handle<T> {
        Handle::new(self.add(false))
    }

    /// Adds the stage; if it fails, the service runs without it, degraded.
    pub fn optional(self) -> OptionalHandle<T> {
        OptionalHandle::new(self.add(true))
    }

    fn add(self, optional: bool) -> StageKey {
        let Self { plan, name, start, mut spec, .. } = self;
        for (limit, what) in [(spec.timeout, "start"), (spec.stop_timeout, "stop")] {
            if limit.is_some_and(|limit| limit.is_zero()) {
                plan.problems.push(GraphProblem::NoTime(name.clone(), what));
            }
        }
        let mut keys = std::mem::take(&mut plan.after);
        let order = keys.len();
        start.needs.keys(&mut keys);
        plan.refuse_foreign(&name, &keys);
        let id = plan.graph.add(name);
        let (order, data) = keys.split_at(order);
        let own = |key: &&StageKey| key.startup == plan.startup;
        let root = plan.root.filter(|_| keys.iter().find(own).is_none());
        for key in data.iter().filter(own) {
            plan.graph.depend(id, key.id, Edge::Data);
        }
        for prerequisite in order.iter().filter(own).map(|key| key.id).chain(root) {
            plan.graph.depend(id, prerequisite, Edge::Order);
        }
        plan.after = keys;
        spec.optional = optional;
        spec.start = Some(Box::new(ErasedStart::new(start)));
        plan.specs.push(spec);
        StageKey { startup: plan.startup, id }
    }
}
