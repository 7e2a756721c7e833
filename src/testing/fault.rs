//! What can be made to go wrong in a stage, and how its hooks are wrapped for it.

use std::{fmt, future::pending, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use crate::{
    contract::{
        context::StageContext,
        needs::{Output, Outputs},
    },
    engine::{
        plan::{BoxStop, Spec},
        start_hook::Start,
    },
    error::{StageError, StageResult},
    startup::Startup,
};

/// Something that goes wrong in one stage, each time its hook is called.
///
/// Where the hook itself runs, it runs first. So what a test really opened is really closed, and what goes
/// wrong comes on top.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The start hook is not called; an error comes in its place.
    Error,
    /// The first attempt errs as with [`Error`](Self::Error), and later ones are the hook's own: a stage that tries
    /// again comes up.
    ErrorFirst,
    /// The start hook is not called; a panic comes in its place.
    Panic,
    /// The start hook is not called; nothing ever comes in its place.
    Hang,
    /// The start hook does all its work, and then an error comes in place of its output. What it acquired
    /// must be undone by what it registered with [`StageContext::on_rollback`].
    ErrorAtEnd,
    /// The start hook does all its work, but its output comes only after the stage's time is up.
    LateSuccess,
    /// Every health check fails.
    Unhealthy,
    /// The stop hook does its work, and then returns an error.
    StopError,
    /// The stop hook does its work, and then panics.
    StopPanic,
    /// The stop hook does its work, and then never returns.
    StopHang,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 10] = [
        Self::Error,
        Self::ErrorFirst,
        Self::Panic,
        Self::Hang,
        Self::ErrorAtEnd,
        Self::LateSuccess,
        Self::Unhealthy,
        Self::StopError,
        Self::StopPanic,
        Self::StopHang,
    ];

    fn apply(self, spec: &mut Spec) {
        match self {
            Self::Error
            | Self::ErrorFirst
            | Self::Panic
            | Self::Hang
            | Self::ErrorAtEnd
            | Self::LateSuccess => {
                let inner = spec.start.take();
                spec.start = inner.map(|inner| -> Box<dyn Start> { Box::new(Faulty { inner, fault: self }) });
            }
            Self::Unhealthy => {
                spec.health = Some(Arc::new(move |_output| Box::pin(async move { Err(self.error()) })));
            }
            Self::StopError | Self::StopPanic | Self::StopHang => {
                let stop = spec.stop.take();
                spec.stop = Some(self.after_stop(stop));
            }
        }
    }

    fn after_stop(self, stop: Option<BoxStop>) -> BoxStop {
        Box::new(move |output, cx| {
            Box::pin(async move {
                if let Some(stop) = stop {
                    stop(output, cx).await?;
                }
                self.happen().await
            })
        })
    }

    /// Goes wrong, here and now.
    async fn happen<T>(self) -> StageResult<T> {
        match self {
            Self::Panic | Self::StopPanic => panic!("{self}"),
            Self::Hang | Self::StopHang => pending().await,
            Self::Error
            | Self::ErrorFirst
            | Self::ErrorAtEnd
            | Self::LateSuccess
            | Self::Unhealthy
            | Self::StopError => Err(self.error()),
        }
    }

    fn error(self) -> StageError {
        self.to_string().into()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "injected fault: {self:?}")
    }
}

/// A start hook that something goes wrong in.
struct Faulty {
    inner: Box<dyn Start>,
    fault: Fault,
}

impl Start for Faulty {
    fn bind(&mut self, outputs: &Outputs<'_>) -> bool {
        self.inner.bind(outputs)
    }

    fn attempt(&mut self, cx: StageContext) -> Option<BoxFuture<'static, StageResult<Output>>> {
        let fault = self.fault;
        match fault {
            Fault::ErrorFirst if cx.attempt() > 1 => self.inner.attempt(cx),
            Fault::ErrorAtEnd => {
                let real = self.inner.attempt(cx)?;
                Some(Box::pin(async move {
                    drop(real.await?);
                    fault.happen().await
                }))
            }
            Fault::LateSuccess => {
                let real = self.inner.attempt(cx.clone())?;
                Some(Box::pin(async move {
                    let output = real.await?;
                    cx.cancelled().await;
                    Ok(output)
                }))
            }
            Fault::Error | Fault::ErrorFirst | Fault::Panic | Fault::Hang => Some(Box::pin(fault.happen())),
            // Faults of other hooks: `apply` wraps no start hook for them.
            Fault::Unhealthy | Fault::StopError | Fault::StopPanic | Fault::StopHang => {
                self.inner.attempt(cx)
            }
        }
    }

    fn delays(&self) -> Box<dyn Iterator<Item = Duration> + Send> {
        self.inner.delays()
    }
}

/// Which faults to play in which stages, by name. Several in one stage add up.
///
/// ```
/// use solostart::testing::{Fault, FaultPlan};
///
/// let plan = FaultPlan::new().with("database", Fault::StopHang).with("cache", Fault::Error);
/// ```
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct FaultPlan(Vec<(String, Fault)>);

impl FaultPlan {
    /// Nothing goes wrong.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One fault more.
    #[must_use]
    pub fn with(mut self, stage: impl Into<String>, fault: Fault) -> Self {
        self.0.push((stage.into(), fault));
        self
    }
}

impl Startup {
    /// Makes stages that were added before go wrong as planned. Feature `testing`.
    ///
    /// ```
    /// use solostart::{Env, Startup, WorkerMode, testing::{Fault, FaultPlan}};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let mode = WorkerMode::Many { reason: "no lock in this test".to_owned() };
    /// let mut startup = Startup::new("shop", Env::from_vars("SHOP", [("SHOP_STAGE_TIMEOUT", "5s")]), mode);
    /// startup.stage("database", (), async |_cx, ()| Ok(())).required();
    /// startup.inject(&FaultPlan::new().with("database", Fault::Hang));
    /// let error = startup.start().await.unwrap_err();
    /// assert_eq!(error.primary.error.failure_code(), solostart::codes::STAGE_TIMEOUT);
    /// # }
    /// ```
    ///
    /// # Panics
    /// When the plan names a stage that does not exist: the test would prove nothing.
    #[track_caller]
    pub fn inject(&mut self, plan: &FaultPlan) -> &mut Self {
        for (stage, fault) in &plan.0 {
            let graph = &self.plan.graph;
            let Some(id) = graph.ids().find(|&id| *graph.name(id) == *stage) else {
                let known: Vec<_> = graph.ids().map(|id| graph.name(id).as_ref()).collect();
                panic!("no stage is named `{stage}`; there are {}", known.join(", "));
            };
            fault.apply(&mut self.plan.specs[id.index()]);
        }
        self
    }
}
