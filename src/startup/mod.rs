//! What an application declares: its stages, and under which rules they run. Floor 5.

use std::{fmt, future::Future, path::PathBuf, sync::Arc};

use tracing::info_span;

use crate::{
    contain::contain,
    contract::{
        analysis::Analysis,
        context::{ServeContext, StageContext},
        event::{Event, EventSink},
        needs::{Handle, Take},
        outcome::{StageFailure, StartupError},
        stage::Stage,
    },
    engine::{
        Limits,
        plan::{Plan, StageBuilder},
        running::{Prepared, Running, broken},
        start_hook::StartHook,
    },
    error::StageResult,
    graph::{GraphProblem, StageName},
    ids::{InstanceId, is_stage_name},
    settings::{Env, EnvProblems, EnvWarning, paths::data_dir},
};

mod config;
#[cfg_attr(not(feature = "single-worker"), path = "no_lock.rs")]
mod lock;
#[cfg(test)]
mod tests;
mod worker_mode;

pub(crate) use lock::Lock;
use worker_mode::Taking;
pub use worker_mode::{WorkerLock, WorkerMode};

/// The stages of an application, and under which rules they start.
///
/// [`run`](crate::run()) makes one and hands it to the application's closure. Who owns the runtime, and
/// tests, make it themselves:
///
/// ```
/// use solostart::{Env, Startup, WorkerMode};
///
/// # async fn example() -> Result<(), Box<solostart::StartupError>> {
/// let mut startup = Startup::new("shop", Env::from_process("SHOP"), WorkerMode::Single);
/// let greeting = startup.stage("greeting", (), async |_cx, ()| Ok("hello".to_owned())).required();
/// let running = startup.start().await?;
/// assert_eq!(*running.get(greeting).unwrap(), "hello");
/// running.shutdown("the example is over").await;
/// # Ok(())
/// # }
/// ```
pub struct Startup {
    name: String,
    version: Option<String>,
    env: Env,
    instance: InstanceId,
    pub(crate) plan: Plan,
    mode: WorkerMode,
    declared: lock::Declared,
    pub(crate) sink: Option<EventSink>,
    /// Where `run` tells.
    #[cfg(feature = "run")]
    pub(crate) report_to: ReportTo,
    worker: Handle<WorkerLock>,
    taking: Taking,
}

/// Where [`run`](crate::run()) puts what it reports: that the service is ready, has stopped, has failed and why.
///
/// A failure is told once in each place. What a report says is therefore not told to `tracing` as an error as well; the
/// stages' own events of it have the level DEBUG. Report file, webhook and service manager hear of it whatever is chosen.
#[cfg(feature = "run")]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum ReportTo {
    /// As a block of text, or with `<P>_LOG_FORMAT=json` as one object on one line.
    #[default]
    Stderr,
    /// As one event under the target `solostart`, a failure with level ERROR, in the short form. Nothing is written to
    /// stderr.
    Tracing,
    /// In both places.
    Both,
}

#[cfg(feature = "run")]
impl ReportTo {
    pub(crate) fn is_stderr(self) -> bool {
        self != Self::Tracing
    }

    pub(crate) fn is_tracing(self) -> bool {
        self != Self::Stderr
    }
}

/// A start whose settings were read.
pub(crate) struct Configured {
    pub(crate) startup: Startup,
    pub(crate) limits: Limits,
    /// The lock; `None` where several workers are allowed.
    pub(crate) lock: Option<Lock>,
}

/// A start that was checked, and what the facade needs beside it.
pub(crate) struct Ready {
    pub(crate) prepared: Prepared,
    pub(crate) limits: Limits,
    pub(crate) warnings: Vec<EnvWarning>,
    pub(crate) notes: Vec<String>,
    pub(crate) lock: Option<Arc<Lock>>,
    pub(crate) worker: Handle<WorkerLock>,
}

impl Startup {
    /// An empty start-up, but for `worker-mode`, which every stage depends on.
    ///
    /// `name` is the application's: lower-case words joined by hyphens. It names the lock file and the
    /// data directory.
    #[must_use]
    pub fn new(name: &str, env: Env, mode: WorkerMode) -> Self {
        let mut plan = Plan::new();
        if !is_stage_name(name) {
            plan.problems.push(GraphProblem::InvalidName(name.escape_debug().take(80).collect()));
        }
        let taking = Taking::default();
        let instance = InstanceId::mint();
        let worker = worker_mode::add(&mut plan, taking.clone(), instance);
        plan.set_root(worker);
        Self {
            name: name.to_owned(),
            version: None,
            env: env.for_application(name),
            instance,
            plan,
            mode,
            declared: lock::Declared::default(),
            sink: None,
            #[cfg(feature = "run")]
            report_to: ReportTo::default(),
            worker,
            taking,
        }
    }

    /// The environment that the application is configured by. Stages are to read this one: it knows the
    /// application's name, after which the data is named.
    #[must_use]
    pub fn env(&self) -> Env {
        self.env.clone()
    }

    /// The directory of the application's data: `<P>_DATA_DIR`, or `./<name>-data`. `worker-mode` creates
    /// it.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        data_dir(&self.env)
    }

    /// Says which version this is, for reports: usually `env!("CARGO_PKG_VERSION")`.
    pub fn version(&mut self, version: &str) -> &mut Self {
        self.version = Some(version.to_owned());
        self
    }

    /// Lets any number of workers run, and says why in the line that says the service is ready.
    pub fn allow_many_workers(&mut self, reason: &str) -> &mut Self {
        self.mode = WorkerMode::Many { reason: reason.to_owned() };
        self
    }

    /// Says where [`run`](crate::run()) puts its reports: on stderr, where nothing else is said.
    ///
    /// ```
    /// # use solostart::{Env, ReportTo, Startup, WorkerMode};
    /// # let mut startup = Startup::new("shop", Env::from_process("SHOP"), WorkerMode::Single);
    /// // All of this service's words go through its `tracing` subscriber.
    /// startup.report_to(ReportTo::Tracing);
    /// ```
    #[cfg(feature = "run")]
    pub fn report_to(&mut self, to: ReportTo) -> &mut Self {
        self.report_to = to;
        self
    }

    /// Is told of every event, between two steps of the engine, or of whatever else it happens to: it must
    /// return quickly. Of several all are told, in the order in which they were added; one that panics keeps no other
    /// from hearing.
    pub fn on_event(&mut self, sink: impl Fn(&Event) + Send + Sync + 'static) -> &mut Self {
        self.sink = Some(match self.sink.take() {
            None => Arc::new(sink),
            Some(before) => Arc::new(move |event| {
                let _unheard = contain(|| before(event));
                sink(event);
            }),
        });
        self
    }

    /// Explains failures of the start and of `serve` that only the application knows: an error of its own gets a
    /// code, facts and actions in one place, whatever hook it comes from. Analysers are asked in the order in which
    /// they were added, and the first that answers is heard; after them the library looks at what the operating
    /// system said. It changes what is reported and the exit code, not whether a stage tries again. One that panics
    /// is not heard. It must return quickly.
    ///
    /// ```
    /// # use solostart::{Analysis, Env, ErrorKind, FailureCode, Startup, WorkerMode};
    /// # #[derive(Debug, thiserror::Error)]
    /// # #[error("the licence ended")]
    /// # struct LicenceError { ended: String }
    /// # let mut startup = Startup::new("shop", Env::from_process("SHOP"), WorkerMode::Single);
    /// const EXPIRED: FailureCode =
    ///     FailureCode::new("shop.licence-expired", ErrorKind::Config, "The licence has expired");
    ///
    /// startup.analyse(|failure| {
    ///     let licence = failure.error.find::<LicenceError>()?;
    ///     Some(Analysis::default().code(EXPIRED).fact("ended", &licence.ended).hint("Buy a new one."))
    /// });
    /// ```
    pub fn analyse(
        &mut self,
        analyser: impl Fn(&StageFailure) -> Option<Analysis> + Send + Sync + 'static,
    ) -> &mut Self {
        self.plan.analysers.push(Box::new(analyser));
        self
    }

    /// The stage that every other one depends on, for those who want to name it.
    #[must_use]
    pub fn worker_mode(&self) -> Handle<WorkerLock> {
        self.worker
    }

    /// Adds a required stage that needs nothing but `worker-mode`.
    pub fn add<S: Stage<Needs = ()>>(&mut self, stage: S) -> Handle<S::Output> {
        self.add_with(stage, ())
    }

    /// Adds a required stage with what it needs.
    pub fn add_with<S: Stage, N: Take<Values = S::Needs>>(
        &mut self,
        stage: S,
        needs: N,
    ) -> Handle<S::Output> {
        self.configure(stage, needs).required()
    }

    /// A stage that was written as a type, to say more of it before it is added.
    pub fn configure<S: Stage, N: Take<Values = S::Needs>>(
        &mut self,
        stage: S,
        needs: N,
    ) -> StageBuilder<'_, N, S::Output, impl StartHook<N::Values, S::Output> + Clone + use<S, N>> {
        self.plan.stage_builder(stage, needs)
    }

    /// A stage written as closures. `start` receives what it needs in the same shape as `needs`.
    ///
    /// ```
    /// # use solostart::{Env, Startup, StageContext, WorkerMode};
    /// # use std::sync::Arc;
    /// # let mut startup = Startup::new("shop", Env::from_process("SHOP"), WorkerMode::Single);
    /// let numbers = startup.stage("numbers", (), async |_cx, ()| Ok(vec![1, 2, 3])).required();
    /// let sum = startup
    ///     .stage("sum", numbers, async |cx: StageContext, numbers: Arc<Vec<i32>>| {
    ///         cx.step("add up");
    ///         Ok(numbers.iter().sum::<i32>())
    ///     })
    ///     .stop(async |_sum, _cx| Ok(()))
    ///     .required();
    /// ```
    ///
    /// What was not declared cannot be reached, because only a handle leads to a stage's output:
    ///
    /// ```compile_fail,E0631
    /// # use solostart::{Env, Startup, StageContext, WorkerMode};
    /// # use std::sync::Arc;
    /// # let mut startup = Startup::new("shop", Env::from_process("SHOP"), WorkerMode::Single);
    /// let numbers = startup.stage("numbers", (), async |_cx, ()| Ok(vec![1, 2, 3])).required();
    /// startup.stage("sum", (), async |_cx: StageContext, n: Arc<Vec<i32>>| Ok(n.len())).required();
    /// ```
    pub fn stage<N, T, F, Fut>(
        &mut self,
        name: impl Into<StageName>,
        needs: N,
        start: F,
    ) -> StageBuilder<'_, N, T, F>
    where
        N: Take,
        T: Send + Sync + 'static,
        F: FnOnce(StageContext, N::Values) -> Fut + Send + 'static,
        Fut: Future<Output = StageResult<T>> + Send + 'static,
    {
        self.plan.builder(name, needs, start)
    }

    /// What runs once every required stage is up and healthy. When it returns, the service stops. A service has one: a
    /// second call is a problem of the graph, and the start is refused.
    pub fn serve<N, F, Fut>(&mut self, needs: N, serve: F)
    where
        N: Take,
        F: FnOnce(ServeContext, N::Values) -> Fut + Send + 'static,
        Fut: Future<Output = StageResult<()>> + Send + 'static,
    {
        self.plan.serve(needs, serve);
    }

    /// Starts the service, and returns when it is ready, or rolled back.
    ///
    /// There are no signal handlers, no watchdog thread and no printed report: [`run`](crate::run()) has
    /// them. It must be called inside a tokio runtime with timers, which
    /// [`enable_time`](tokio::runtime::Builder::enable_time) and `enable_all` give it.
    ///
    /// # Cancel safety
    /// The start rolls back on its own when the future is dropped.
    ///
    /// # Errors
    /// Why the service could not start, and what became of what had been started.
    pub async fn start(self) -> Result<Running, Box<StartupError>> {
        self.prepare()?.prepared.start().await
    }

    pub(crate) fn instance(&self) -> InstanceId {
        self.instance
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn version_text(&self) -> Option<&str> {
        self.version.as_deref()
    }

    pub(crate) fn prepare(self) -> Result<Ready, Box<StartupError>> {
        self.configured().prepare()
    }

    /// Reads the library's own variables.
    pub(crate) fn configured(mut self) -> Configured {
        let limits = self.limits();
        let lock = Lock::configured(&self);
        Configured { startup: self, limits, lock }
    }
}

impl Configured {
    /// What is wrong with the environment, once all of it was read: the start and `check` ask this.
    ///
    /// # Errors
    /// `env.invalid`, with every problem.
    pub(crate) fn judge(&mut self) -> StageResult<Vec<EnvWarning>> {
        let Self { startup, limits, lock } = self;
        if let Some(lock) = lock {
            lock.give_time_to_wait(startup, *limits);
        }
        startup.env.check().map_err(EnvProblems::into_stage_error)
    }

    /// Checks everything that can be checked before anything runs: the environment first, because it can be
    /// mended without a new version.
    pub(crate) fn prepare(mut self) -> Result<Ready, Box<StartupError>> {
        let warnings = self.judge().map_err(|problems| broken("configuration", problems))?;
        let Self { mut startup, limits, lock } = self;
        let instance = startup.instance.short();
        let span = info_span!(target: "solostart", "startup", service = startup.name, instance);
        let many = startup.mode.reason().map(|reason| format!("several workers are allowed: {reason}"));
        let notes = many.into_iter().collect();
        let lock = lock.map(Arc::new);
        // It is set here and nowhere else, and the start-up is consumed.
        let _set_before = startup.taking.set(lock.clone());
        let prepared = Prepared::new(startup.plan, limits, startup.sink.take())?.within(span);
        Ok(Ready { prepared, limits, warnings, notes, lock, worker: startup.worker })
    }
}

impl fmt::Debug for Startup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Startup")
            .field("name", &self.name)
            .field("stages", &self.plan.specs.len())
            .field("mode", &self.mode)
            .finish()
    }
}
