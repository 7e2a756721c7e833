//! Starts an application's resources in dependency order, makes sure that exactly one worker runs, rolls
//! everything back when one of them fails, and stops them clean.
//!
//! # Overview, in the order of use
//! - [`run()`] is called from `main`: it owns the runtime, the signals, the report and the exit code.
//! - [`Startup`] takes the stages: [`stage`](Startup::stage) for closures, [`add`](Startup::add) for a type that
//!   implements [`Stage`], such as those in [`stages`]. [`StageBuilder`] says how a stage stops, shows its health,
//!   retries, how long it may take, and whether the service can do without it.
//! - Adding a stage returns a [`Handle`]. Later stages name it as what they need, and receive its output.
//! - [`StageContext`] is what a start hook may ask: [`step`](StageContext::step),
//!   [`on_rollback`](StageContext::on_rollback), [`cancelled`](StageContext::cancelled),
//!   [`worker`](StageContext::worker).
//! - [`StageError`] is how a hook fails: any error, with what the operator can do about it ([`Hint`]).
//! - [`Env`] reads the environment, and lists every problem at once.
//!
//! ```no_run
//! use std::{process::ExitCode, sync::Arc};
//! use solostart::{Hint, ServeContext, StageContext};
//!
//! struct Queue;
//!
//! impl Queue {
//!     async fn open() -> Result<Self, std::io::Error> {
//!         Ok(Self)
//!     }
//!     async fn close(&self) {}
//! }
//!
//! fn main() -> ExitCode {
//!     solostart::run("shop", |startup| {
//!         let queue = startup
//!             .stage("queue", (), async |cx: StageContext, ()| {
//!                 cx.step("connect");
//!                 Ok(Queue::open().await.hint("is the service `queue` healthy?")?)
//!             })
//!             .stop(async |queue: Arc<Queue>, _cx| Ok(queue.close().await))
//!             .retry(5)
//!             .required();
//!         startup.serve(queue, async |cx: ServeContext, _queue: Arc<Queue>| {
//!             cx.shutdown_requested().await;
//!             Ok(())
//!         });
//!         Ok(())
//!     })
//! }
//! ```
//!
//! # Features
//! Without any there are graph and engine: [`Startup`], stages, events, timeline, [`Env`] and [`stages::tasks`].
//!
//! | feature | default | what | implies |
//! |---|---|---|---|
//! | `single-worker` | yes | [`WorkerMode::Single`]: the lock that makes this process the only worker | |
//! | `run` | yes | [`run()`]: runtime, signals, watchdog, reports, subcommands | `single-worker` |
//! | `database` | yes | [`stages::database`], with the fence | `single-worker` |
//! | `cache` | yes | [`stages::cache`] | |
//! | `http-session` | yes | [`stages::http_session`] | |
//! | `scheduler` | yes | [`stages::scheduler`] | |
//! | `notify` | yes | failures told to a webhook | `run` |
//! | `live` | yes | progress on a terminal, drawn again and again | `run` |
//! | `metrics` | | numbers for the recorder of the `metrics` facade | `run` |
//! | `http-routes` | | for axum: [`ServeContext::serve_http`], and the scheduler's routes | |
//! | `compose` | | [`compose`] and the program `solostart`, which judge Compose files | `run` |
//! | `testing` | | [`testing`]: faults on demand, a spy on events, real processes | |
//!
//! Who wants only graph and engine, or one stage with them:
//!
//! ```toml
//! [dependencies]
//! solostart = { version = "0.1", default-features = false, features = ["cache"] }
//! ```
//!
//! `Startup` is the way in then, with a [`WorkerMode`] that needs no lock: without `single-worker` there is no other.
//! `docs/performance.md` has what each set of features costs an application's build.
//!
//! # What can be watched
//! Everything that happens is told to `tracing` under the target `solostart`. A start is a span `startup`, with a span
//! `stage` (`name`) for each stage in it, and in that an `attempt` (`n`) at level DEBUG; `undo`, `health` (`stage`) and, while
//! everything is stopped, `shutdown` and `stop` (`stage`) are the others. A hook's own events stand within them.
//! [`StageContext::step`] is an event at level DEBUG. Without a subscriber the reports still reach stderr.
//!
//! # Guarantees
//! They are numbered in `ARCHITECTURE.md`. In short: a stage starts only after its prerequisites and stops only
//! after its dependants; what was acquired is released exactly once on every path; stopping has a time budget of
//! its own, and the process ends within it; the first cause stays the cause; no second worker runs on the same
//! lock file.
//!
//! # Not guaranteed
//! - Two replicas with separate volumes cannot see each other.
//! - What a process does between [`WorkerGuard::check`] and its effect can overlap with the next holder.
//! - Panics are contained only where the program is built with `panic = "unwind"`, which is the default.

#![cfg_attr(docsrs, feature(doc_cfg))]
// The lower floors serve `run`, too; a build with it finds what nobody uses.
#![cfg_attr(not(feature = "run"), allow(dead_code, unused_imports, reason = "`run` is what uses it"))]

mod clean;
#[cfg(feature = "run")]
mod cli;
mod clock;
pub mod codes;
#[cfg(feature = "compose")]
pub mod compose;
mod contain;
mod contract;
mod control_group;
mod engine;
mod error;
#[cfg(feature = "run")]
mod files;
mod graph;
#[cfg(feature = "http-routes")]
mod http;
mod ids;
#[cfg(feature = "single-worker")]
mod instance;
mod kind;
mod limits;
#[cfg(feature = "single-worker")]
mod owned;
#[cfg(all(test, feature = "metrics"))]
mod recorder;
#[cfg(feature = "run")]
mod report;
#[cfg(feature = "run")]
mod run;
mod settings;
pub mod stages;
mod startup;
#[cfg(feature = "testing")]
pub mod testing;

pub use codes::FailureCode;
pub use contract::{
    analysis::Analysis,
    context::{ServeContext, StageContext, StopContext},
    event::Event,
    guard::{FencingToken, LockLost, Loss, WorkerGuard},
    needs::{AnyHandle, Handle, Needs, OptionalHandle},
    outcome::{
        FailurePhase, NeverStarted, StageFailure, StartupError, StopHook, StopProblem, StopReport,
        StopSummary,
    },
    stage::Stage,
    state::{Phase, StageState, StopReason},
    status::{StageTimes, Status, Timeline},
};
pub use engine::{plan::StageBuilder, running::Running, start_hook::StartHook};
pub use error::{BoxError, ErrorKind, Fact, Hint, StageError, StageResult};
#[cfg(feature = "http-routes")]
pub use http::HttpLimits;
pub use ids::{InstanceId, StageName};
#[cfg(feature = "run")]
pub use report::picture::{timeline_svg, timeline_text};
#[cfg(feature = "run")]
pub use run::{Stderr, run};
pub use settings::{
    Env, EnvProblem, EnvProblems, EnvWarning, HttpUrl, InvalidUrl, Secret, TypedVar, Var, VariableInfo,
};
#[cfg(feature = "run")]
pub use startup::ReportTo;
pub use startup::{Startup, WorkerLock, WorkerMode};

/// The README's example, so that it compiles.
#[cfg(all(doctest, feature = "database"))]
#[doc = include_str!("../README.md")]
pub struct Readme;
