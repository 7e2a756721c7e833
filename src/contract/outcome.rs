//! How a start or a stop ended: plain data that the engine fills and the report prints.

use std::{fmt, time::Duration};

use super::{
    state::{StageState, StopReason},
    status::Timeline,
};
use crate::{
    error::{ErrorKind, StageError},
    graph::StageName,
};

/// During what a stage failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FailurePhase {
    /// Before any stage: the environment or the graph.
    Check,
    /// In its start hook.
    Start,
    /// In the health check before the service is ready.
    ReadyCheck,
    /// While the service was running.
    Serve,
}

/// One failure, with its place in the start.
#[derive(Debug)]
#[non_exhaustive]
pub struct StageFailure {
    /// The stage; `configuration`, `graph`, `startup` or `serve` where it is none of the graph's.
    pub stage: StageName,
    /// What it was doing.
    pub phase: FailurePhase,
    /// Its last step.
    pub step: Option<String>,
    /// The steps before, with how long each took.
    pub steps: Vec<(String, Duration)>,
    /// Why.
    pub error: StageError,
    /// How long the stage had been starting.
    pub elapsed: Duration,
    /// How many attempts it had made.
    pub attempts: u32,
    /// When it failed, counted from the beginning of the start.
    pub at: Duration,
}

/// A stage whose turn never came.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct NeverStarted {
    /// The stage.
    pub stage: StageName,
    /// The prerequisites that it still waited for when the start ended, and where they ended.
    pub waited_for: Vec<(StageName, StageState)>,
}

/// A hook that did not do its work while stopping.
#[derive(Debug)]
#[non_exhaustive]
pub struct StopProblem {
    /// The stage.
    pub stage: StageName,
    /// Which of its hooks.
    pub hook: StopHook,
    /// Why.
    pub error: StageError,
}

/// Which hook of a stage is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StopHook {
    /// An undo that the start hook registered.
    Undo,
    /// The stop hook.
    Stop,
    /// The `serve` hook.
    Serve,
}

impl fmt::Display for StopHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Undo => "undo",
            Self::Stop => "stop",
            Self::Serve => "serve",
        })
    }
}

/// What was stopped, and what could not be: of a rollback and of a shutdown alike.
#[derive(Default, Debug)]
#[non_exhaustive]
pub struct StopSummary {
    /// How long it took.
    pub elapsed: Duration,
    /// The stages that were stopped, in the order in which that ended.
    pub stopped: Vec<StageName>,
    /// The hooks that failed, panicked or took too long.
    pub problems: Vec<StopProblem>,
    /// The stages that still run something, with their last step.
    pub stuck: Vec<(StageName, Option<String>)>,
    /// The stages that were left up, each because of a stage above it that is stuck (invariant 3).
    pub left_up: Vec<(StageName, StageName)>,
    /// The stages whose resource is still referenced after their stop, and by how many.
    pub leaked: Vec<(StageName, usize)>,
}

impl StopSummary {
    /// Whether everything that was acquired is released. Leaked references do not count: the resource
    /// itself was closed by its hook.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.problems.is_empty() && self.stuck.is_empty() && self.left_up.is_empty()
    }
}

/// Why a start failed, and what became of what had been started.
///
/// `primary` is the first cause in time; it is never overwritten by what it caused (invariant 5). Its `Display` says where
/// it failed and under which code, and its `source` is the cause: print the whole chain.
#[derive(Debug)]
#[non_exhaustive]
pub struct StartupError {
    /// The first failure.
    pub primary: StageFailure,
    /// Failures of other stages that were not caused by the first.
    pub also: Vec<StageFailure>,
    /// Stages that were starting and were cancelled.
    pub cancelled: Vec<StageName>,
    /// Stages whose turn never came.
    pub never_started: Vec<NeverStarted>,
    /// What was stopped again.
    pub rollback: StopSummary,
    /// How far each stage came.
    pub timeline: Timeline,
}

impl StartupError {
    /// The kind of the first failure, which decides the exit code.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.primary.error.error_kind()
    }
}

impl fmt::Display for StartupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The cause is the source's to say: who prints the whole chain shall not print it twice.
        let StageFailure { stage, error, .. } = &self.primary;
        write!(f, "{stage} [{}]: {}", error.failure_code().name, error.failure_code().title)
    }
}

impl std::error::Error for StartupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.primary.error.cause())
    }
}

/// How the service ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct StopReport {
    /// Why it stopped.
    pub reason: StopReason,
    /// What failed first, where the reason is a failure: the `serve` hook, a stage that called
    /// [`StageContext::fail`](crate::StageContext::fail), or the lost lock.
    pub failure: Option<StageFailure>,
    /// What else had failed when the stop began, in the order in which it became known.
    pub also: Vec<StageFailure>,
    /// What was stopped.
    pub summary: StopSummary,
    /// How the start had gone.
    pub timeline: Timeline,
}

impl StopReport {
    /// Whether the service ended as asked and left nothing behind.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failure.is_none() && self.summary.is_complete()
    }
}

#[cfg(test)]
mod tests {
    use std::{error::Error, io};

    use super::*;
    use crate::codes::STAGE_IO;

    #[test]
    fn the_chain_of_a_failed_start_says_each_cause_once() {
        let primary = StageFailure {
            stage: "database".into(),
            phase: FailurePhase::Start,
            step: None,
            steps: Vec::new(),
            error: StageError::new(STAGE_IO, io::Error::other("disk on fire")),
            elapsed: Duration::ZERO,
            attempts: 1,
            at: Duration::ZERO,
        };
        let error = StartupError {
            primary,
            also: Vec::new(),
            cancelled: Vec::new(),
            never_started: Vec::new(),
            rollback: StopSummary::default(),
            timeline: Timeline { stages: Vec::new(), total: Duration::ZERO },
        };
        let links = std::iter::successors(Some(&error as &dyn Error), |&link| link.source());
        let links: Vec<_> = links.map(ToString::to_string).collect();
        assert_eq!(links, ["database [stage.io]: A stage cannot read or write", "disk on fire"]);
    }
}
