//! What happens to stages, as a closed set of events, in the order in which it happens.

use std::{sync::Arc, time::Duration};

use tracing::Level;

use super::{
    state::{StopReason, format_elapsed},
    tell::{is_heard, later},
};
use crate::{clean::clean, codes::FailureCode, graph::StageName};

/// How much of what a hook said goes to `tracing`.
pub(crate) const SAID_MOST: usize = 400;

/// Who is told of every event. It is called between two steps of the engine, of a job or of a task, so it must
/// return quickly.
pub(crate) type EventSink = Arc<dyn Fn(&Event) + Send + Sync>;

/// Something that happened. Each also goes to `tracing`, under the target `solostart`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are named for what they hold")]
pub enum Event {
    /// A stage's prerequisites are up and its start hook runs.
    StageStarting { stage: StageName },
    /// An attempt failed and another will follow.
    StageRetrying { stage: StageName, attempt: u32, delay: Duration, error: String },
    /// A stage is up.
    StageUp { stage: StageName, took: Duration },
    /// A stage could not start.
    StageFailed { stage: StageName, code: FailureCode, error: String, optional: bool },
    /// A stage that was starting has ended because something else ended the start.
    StageCancelled { stage: StageName },
    /// A stage's hook keeps its thread from doing anything else.
    StageBlocking { stage: StageName, step: Option<String> },
    /// A health check's answer has changed.
    HealthChanged { stage: StageName, healthy: bool, error: Option<String> },
    /// A run of a scheduled job failed: an error, a panic, its time limit, the loss of the right to run. Of a
    /// job that fails again and again, one failure is told in 30 s; `held_back` counts those in between.
    JobFailed { stage: StageName, job: String, error: String, held_back: u64 },
    /// A background task ended although nobody asked it to. It is started again after `pause`; without one it
    /// is not. Of a task that ends again and again, one end is told in 30 s, and the last; `held_back`
    /// counts those in between.
    TaskEnded { stage: StageName, task: String, error: String, pause: Option<Duration>, held_back: u64 },
    /// Every required stage is up and healthy.
    Ready { took: Duration },
    /// The start failed, and what is up is stopped.
    RollingBack {
        error: String,
        /// Whether nothing but a request to stop ended the start.
        requested: bool,
    },
    /// The service does not take new work any more.
    Draining { reason: StopReason },
    /// A stage's stop hook runs.
    StageStopping { stage: StageName },
    /// A stage is stopped.
    StageStopped { stage: StageName, took: Duration },
    /// A stop or undo hook failed, panicked or took too long.
    StopFailed { stage: StageName, error: String },
    /// A stage is stopped, but somebody still holds its resource.
    Leaked { stage: StageName, clones: usize },
    /// Everything that could be stopped is stopped.
    Stopped { took: Duration },
}

impl Event {
    /// The stage that it happened to; `None` where it happened to the whole.
    #[must_use]
    pub fn stage(&self) -> Option<&str> {
        match self {
            Self::StageStarting { stage }
            | Self::StageRetrying { stage, .. }
            | Self::StageUp { stage, .. }
            | Self::StageFailed { stage, .. }
            | Self::StageCancelled { stage }
            | Self::StageBlocking { stage, .. }
            | Self::HealthChanged { stage, .. }
            | Self::JobFailed { stage, .. }
            | Self::TaskEnded { stage, .. }
            | Self::StageStopping { stage }
            | Self::StageStopped { stage, .. }
            | Self::StopFailed { stage, .. }
            | Self::Leaked { stage, .. } => Some(stage),
            Self::Ready { .. } | Self::RollingBack { .. } | Self::Draining { .. } | Self::Stopped { .. } => {
                None
            }
        }
    }

    /// Tells `tracing`, soon. What a report says is told in full there; `reported` is whether there is one, and keeps
    /// it from being told as an error once more.
    pub(crate) fn tell(&self, reported: bool) {
        if is_heard(self.level()) {
            let event = self.clone();
            later(move || event.trace(reported));
        }
    }

    /// How loud it is where nobody reports it.
    fn level(&self) -> Level {
        match self {
            Self::StageStarting { .. } | Self::StageStopping { .. } => Level::DEBUG,
            Self::StageUp { .. }
            | Self::StageCancelled { .. }
            | Self::HealthChanged { healthy: true, .. }
            | Self::Ready { .. }
            | Self::RollingBack { requested: true, .. }
            | Self::Draining { .. }
            | Self::StageStopped { .. }
            | Self::Stopped { .. } => Level::INFO,
            Self::StageRetrying { .. }
            | Self::StageBlocking { .. }
            | Self::HealthChanged { .. }
            | Self::Leaked { .. } => Level::WARN,
            Self::StageFailed { .. }
            | Self::JobFailed { .. }
            | Self::TaskEnded { .. }
            | Self::RollingBack { .. }
            | Self::StopFailed { .. } => Level::ERROR,
        }
    }

    fn trace(&self, reported: bool) {
        use tracing::{debug, error, info, warn};
        // An error where nothing else tells it.
        macro_rules! failure {
            ($($told:tt)*) => {
                if reported { debug!(target: "solostart", $($told)*) } else { error!(target: "solostart", $($told)*) }
            };
        }
        // What comes from hooks may carry a secret in a URL, and no log may tell it (invariant 10).
        let said = |text: &str| clean(text, SAID_MOST);
        match self {
            Self::StageStarting { stage } => debug!(target: "solostart", %stage, "stage starting"),
            Self::StageRetrying { stage, attempt, delay, error } => {
                warn!(target: "solostart", %stage, attempt, delay = format_elapsed(*delay), error = said(error), "stage retries");
            }
            Self::StageUp { stage, took } => {
                info!(target: "solostart", %stage, took = format_elapsed(*took), "stage up");
            }
            // The service goes on without it, so no report of a failure follows.
            Self::StageFailed { stage, code, error, optional: true } => {
                error!(target: "solostart", %stage, code = code.name, optional = true, error = said(error), "stage failed");
            }
            Self::StageFailed { stage, code, error, optional: false } => {
                failure!(%stage, code = code.name, optional = false, error = said(error), "stage failed");
            }
            Self::StageCancelled { stage } => info!(target: "solostart", %stage, "stage cancelled"),
            Self::StageBlocking { stage, step } => {
                warn!(target: "solostart", %stage, step = step.as_deref().map(said), "stage blocks the executor");
            }
            Self::HealthChanged { stage, healthy: true, .. } => {
                info!(target: "solostart", %stage, "stage healthy again");
            }
            Self::HealthChanged { stage, error, .. } => {
                warn!(target: "solostart", %stage, error = error.as_deref().map(said), "stage unhealthy");
            }
            Self::JobFailed { stage, job, error, held_back } => {
                error!(target: "solostart", %stage, job, error = said(error), held_back, "job failed");
            }
            Self::TaskEnded { stage, task, error, pause: Some(pause), held_back } => {
                let pause = format_elapsed(*pause);
                error!(target: "solostart", %stage, task, error = said(error), pause, held_back, "task ended, is started again");
            }
            Self::TaskEnded { stage, task, error, pause: None, held_back } => {
                error!(target: "solostart", %stage, task, error = said(error), held_back, "task ended, is not started again");
            }
            Self::Ready { took } => info!(target: "solostart", took = format_elapsed(*took), "ready"),
            Self::RollingBack { error, requested: true } => {
                info!(target: "solostart", error = said(error), "rolling back")
            }
            Self::RollingBack { error, .. } => failure!(error = said(error), "rolling back"),
            Self::Draining { reason } => info!(target: "solostart", %reason, "draining"),
            Self::StageStopping { stage } => debug!(target: "solostart", %stage, "stage stopping"),
            Self::StageStopped { stage, took } => {
                info!(target: "solostart", %stage, took = format_elapsed(*took), "stage stopped");
            }
            Self::StopFailed { stage, error } => failure!(%stage, error = said(error), "stop failed"),
            Self::Leaked { stage, clones } => {
                warn!(target: "solostart", %stage, clones, "still referenced after its stop");
            }
            Self::Stopped { took } => info!(target: "solostart", took = format_elapsed(*took), "stopped"),
        }
    }
}

#[cfg(test)]
mod tests;
