//! What became of what was running: the answer to "is anything still there?".

use super::{
    clean::clean,
    layout::{Part, Table},
    words::{brief, list, span, stage},
};
use crate::{
    codes::STAGE_PANICKED,
    contract::outcome::{StopHook, StopSummary},
    graph::StageName,
};

/// How many stages are named that stopped as they should.
const NAMED: usize = 12;

/// The words for one of the two ways to stop.
pub(super) struct Wording {
    /// What was done, as a sentence begins: `Rolled back`.
    pub(super) done: &'static str,
    /// What it is called when something is left.
    pub(super) incomplete: &'static str,
    /// What to say where nothing had to be stopped.
    pub(super) nothing: &'static str,
}

pub(super) fn parts(summary: &StopSummary, wording: &Wording) -> Vec<Part> {
    let time = span(summary.elapsed);
    let stopped = (!summary.stopped.is_empty()).then(|| names(&summary.stopped));
    let text = match (summary.is_complete(), stopped) {
        (true, Some(stopped)) => format!("{} in {time}: {stopped}. Nothing is running.", wording.done),
        (true, None) => wording.nothing.to_owned(),
        (false, stopped) => format!(
            "{} after {time}. The end of this process ends what is left.{}",
            wording.incomplete,
            stopped.map_or_else(String::new, |stopped| format!(" Stopped: {stopped}."))
        ),
    };
    let table = Part::table(5, None, Table::new(left(summary)));
    [Part::text(3, 5, &text)].into_iter().chain(table).collect()
}

/// The stages in the order in which they stopped.
pub(super) fn names(stopped: &[StageName]) -> String {
    list(stopped.iter().map(AsRef::as_ref), NAMED)
}

/// What is left, one row each.
fn left(summary: &StopSummary) -> impl Iterator<Item = (String, String)> + '_ {
    let problems = summary.problems.iter().map(|problem| {
        let hook = match problem.hook {
            StopHook::Undo => "UNDO",
            StopHook::Stop => "STOP",
            StopHook::Serve => "SERVE",
        };
        let panicked = problem.error.failure_code().name == STAGE_PANICKED.name;
        let how = if panicked { "PANICKED" } else { "FAILED" };
        (stage(&problem.stage), format!("{hook} {how}: {}", brief(&problem.error)))
    });
    let stuck = summary.stuck.iter().map(|(name, step)| {
        let step = step.as_deref().map_or_else(String::new, at);
        (stage(name), format!("STILL RUNS{step}"))
    });
    let left_up = summary
        .left_up
        .iter()
        .map(|(name, above)| (stage(name), format!("LEFT UP, because {} still needs it", stage(above))));
    let leaked = summary.leaked.iter().map(|(name, count)| {
        let held = if *count == 1 { "1 reference".to_owned() } else { format!("{count} references") };
        (stage(name), format!("LEAKED: stopped, but the program still holds {held} to it"))
    });
    problems.chain(stuck).chain(left_up).chain(leaked)
}

/// A step, as it follows what a stage does.
pub(super) fn at(step: &str) -> String {
    format!(", at `{}`", clean(step, 60))
}
