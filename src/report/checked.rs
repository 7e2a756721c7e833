//! The answer of `check`: nothing, or everything that would keep the service from starting.

use super::{
    Identity, advice,
    clean::clean,
    failure::{head, signature, to_do},
    layout::{Part, Table, block},
    words::{brief, stage},
};
use crate::{
    contract::outcome::{FailurePhase, StageFailure},
    error::StageError,
};

/// Something that would keep the service from starting.
pub(crate) struct Found {
    pub(crate) stage: String,
    pub(crate) error: StageError,
}

impl Found {
    /// As if a start had met it.
    pub(super) fn failure(self) -> StageFailure {
        StageFailure {
            stage: self.stage.into(),
            phase: FailurePhase::Check,
            step: None,
            steps: Vec::new(),
            error: self.error,
            elapsed: std::time::Duration::ZERO,
            attempts: 1,
            at: std::time::Duration::ZERO,
        }
    }
}

/// What was looked at, in words.
pub(crate) struct LookedAt {
    /// What follows `CHECK OK`.
    pub(crate) ok: String,
    /// What the things found would do.
    pub(crate) harm: &'static str,
}

impl LookedAt {
    /// Everything that a start of this many stages needs.
    pub(crate) fn start(stages: usize) -> Self {
        let ok = format!(
            "environment, graph of {stages} stages, and what can be seen of their resources; nothing was taken"
        );
        Self { ok, harm: "would keep the service from starting" }
    }
}

/// What was looked at, and what was found, as a line or a block.
pub(super) fn checked(found: &[StageFailure], looked: &LookedAt, identity: &Identity) -> String {
    let Some(first) = found.first() else {
        return format!("CHECK OK  {}\n", clean(&looked.ok, 400));
    };
    let rows = found.iter().map(|each| {
        let code = each.error.failure_code().name;
        (stage(&each.stage), format!("[{code}] {}", brief(&each.error)))
    });
    let actions = found.iter().flat_map(|each| {
        let mut actions = advice::actions(&each.error, &each.stage, each.elapsed, identity);
        actions.truncate(if found.len() > 1 { 1 } else { 4 });
        actions
    });
    let count = if found.len() == 1 { "One thing".to_owned() } else { format!("{} things", found.len()) };
    let mut parts = vec![Part::text(1, 2, &format!("{count} {}.", looked.harm))];
    parts.extend(Part::table(4, Some("Found"), Table::new(rows)));
    parts.extend(to_do(once_each(actions).into_iter().take(8).collect()));
    parts.push(Part::text(2, 2, "Nothing was started, taken or written.").apart(true));
    parts.push(signature(identity));
    let code = first.error.failure_code();
    block(&head("CHECK FAILED", &first.stage, code, first.error.error_kind().exit_code()), &parts)
}

/// Two things may be cured in the same way.
fn once_each(actions: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for action in actions {
        if !kept.contains(&action) {
            kept.push(action);
        }
    }
    kept
}
