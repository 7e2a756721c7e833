//! The report of a process that must end although the engine does not react any more.

use std::time::Duration;

use super::{
    Identity, advice,
    clean::clean,
    failure::{CAN_START, head, more, signature, to_do},
    layout::{Part, Table, block},
    state::at,
    words::{sentence, stage},
};
use crate::{
    codes::{FailureCode, ROLLBACK_INCOMPLETE, STAGE_BLOCKED_EXECUTOR},
    contract::{
        guard::LockLost,
        state::{Phase, StageState},
    },
    error::ErrorKind,
};

/// What the watchdog thread sees when the engine has not ended in time.
pub(crate) struct Stalled {
    /// What the service was doing.
    pub(crate) phase: Phase,
    /// How long it had for that.
    pub(crate) limit: Duration,
    /// The stages that have not settled.
    pub(crate) stages: Vec<StalledStage>,
    /// How the right to be the only worker was lost, where it was.
    pub(crate) lost: Option<LockLost>,
}

/// A stage that has not settled.
pub(crate) struct StalledStage {
    pub(crate) name: String,
    pub(crate) state: StageState,
    /// Its last step.
    pub(crate) step: Option<String>,
    /// Whether its hook keeps its thread from doing anything else.
    pub(crate) blocks: bool,
}

impl Stalled {
    /// What kind of failure it is, which decides the exit code.
    pub(crate) fn kind(&self) -> ErrorKind {
        self.cause().0.kind
    }

    /// The code of what happened, and the stage to name.
    pub(super) fn cause(&self) -> (FailureCode, &str) {
        let blocking = self.stages.iter().find(|stage| stage.blocks);
        let culprit = blocking.or(self.stages.first()).map_or("startup", |stage| stage.name.as_str());
        match (&self.lost, blocking) {
            // What came first is the cause, whatever keeps the process from stopping for it (invariant 5).
            (Some(lost), _) => (lost.failure_code(), "worker-mode"),
            (None, Some(_)) => (STAGE_BLOCKED_EXECUTOR, culprit),
            (None, None) => (ROLLBACK_INCOMPLETE, culprit),
        }
    }
}

impl Stalled {
    /// What the operator can do.
    pub(super) fn actions(&self, identity: &Identity) -> Vec<String> {
        let (code, culprit) = self.cause();
        let known = self.lost.clone().map(|lost| advice::own_actions(&lost.into_error()));
        known
            .filter(|known| !known.is_empty())
            .unwrap_or_else(|| advice::defaults(code, culprit, self.limit, identity))
    }
}

/// The process ends at once, with this exit code, because the engine does not react: which stages still
/// run, and which of them keeps the others from running. As one block for stderr.
pub(super) fn emergency(stalled: &Stalled, exit: u8, identity: &Identity) -> String {
    let (code, culprit) = stalled.cause();
    let (headline, what, next) = match stalled.phase {
        Phase::Starting => (
            "STARTUP FAILED",
            "The start neither finished nor could be rolled back in time.",
            advice::restart(code, code.kind),
        ),
        Phase::Ready | Phase::Draining | Phase::Stopping | Phase::Stopped => {
            ("STOP INCOMPLETE", "The service could not be stopped in time.", CAN_START.to_owned())
        }
    };
    let (headline, what, next) = match &stalled.lost {
        Some(lost) => (
            if stalled.phase == Phase::Starting { headline } else { "SERVICE FAILED" },
            format!(
                "{} {what} Another instance may work from now on, so this process is ended at once.",
                sentence(code.title, &clean(&lost.to_string(), 500))
            ),
            advice::restart(code, code.kind),
        ),
        None => {
            (headline, format!("{what} The process does not react any more, so it is ended at once."), next)
        }
    };
    let (blocks, waits): (Vec<_>, Vec<_>) = stalled.stages.iter().partition(|stage| stage.blocks);
    let rows = blocks.into_iter().chain(waits).map(|each| {
        let step = each.step.as_deref().map_or_else(String::new, at);
        let blocks = if each.blocks { "; BLOCKS a thread that others need" } else { "" };
        let state = if each.state == StageState::Interrupting { "asked to end" } else { each.state.word() };
        (stage(&each.name), format!("{state}{step}{blocks}"))
    });
    let mut parts = vec![Part::text(1, 4, &what)];
    parts.extend(Part::table(4, Some("Not finished"), Table::new(rows)));
    parts.extend(to_do(stalled.actions(identity)));
    let state = "NOT EVERYTHING WAS STOPPED. The end of this process ends what is left.";
    parts.push(Part::text(3, 3, state).apart(true));
    parts.push(Part::text(2, 3, &next));
    parts.push(Part::text(0, 1, more(code, identity).trim_start()));
    parts.push(signature(identity));
    block(&head(headline, culprit, code, exit), &parts)
}
