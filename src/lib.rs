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
mod settings;
mod stages;

pub use codes::FailureCode;
pub use contract::guard::{LockLost, WorkerGuard};
pub use error::{BoxError, ErrorKind, Fact, Hint, StageError, StageResult};
pub use ids::InstanceId;
pub use settings::{
    Env, EnvProblem, EnvProblems, EnvWarning, HttpUrl, InvalidUrl, Secret, TypedVar, Var, VariableInfo,
};
