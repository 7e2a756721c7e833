//! Starts an application's resources in dependency order, exactly one worker at a time, and stops them clean.

mod clock;
pub mod codes;
mod contract;
mod engine;
mod error;
mod graph;
mod ids;
mod instance;
mod report;
mod run;
mod settings;
mod stages;
mod startup;
#[cfg(feature = "testing")]
pub mod testing;

pub use codes::FailureCode;
pub use contract::{
    context::{ServeContext, StageContext, StopContext},
    event::Event,
    guard::{LockLost, WorkerGuard},
    needs::{AnyHandle, Handle, Needs, OptionalHandle},
    outcome::{
        FailurePhase, NeverStarted, StageFailure, StartupError, StopHook, StopProblem, StopReport,
        StopSummary,
    },
    stage::Stage,
    state::{Phase, StageState, StopReason},
    status::{StageTimes, Status, Timeline},
};
pub use engine::{
    plan::{StageBuilder, StartHook},
    running::Running,
};
pub use error::{BoxError, ErrorKind, Fact, Hint, StageError, StageResult};
pub use ids::InstanceId;
pub use run::run;
pub use settings::{
    Env, EnvProblem, EnvProblems, EnvWarning, HttpUrl, InvalidUrl, Secret, TypedVar, Var, VariableInfo,
};
pub use startup::{Startup, WorkerLock, WorkerMode};
