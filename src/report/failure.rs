//! The blocks for a start that failed and for a service that did not end well.

use std::time::Duration;

use super::{
    Identity, advice, catalogue,
    clean::clean,
    layout::{Part, Table, block, verdict},
    state::{self, Wording},
    words::{brief, causes, clean_display, exit, sentence, span, stage},
};
use crate::{
    codes::{
        DB_MIGRATION_TIMEOUT, FailureCode, ROLLBACK_INCOMPLETE, STAGE_BLOCKED_EXECUTOR, STAGE_PANICKED,
        STAGE_TIMEOUT, STARTUP_INTERRUPTED, STARTUP_TIMEOUT, is_general,
    },
    contract::{
        outcome::{FailurePhase, StageFailure, StartupError, StopReport, StopSummary},
        state::StopReason,
    },
    error::{Fact, StageError},
};

/// How much of a fact is shown, and of its name.
const FACT_MOST: usize = 400;
const NAME_MOST: usize = 60;
/// How many steps have a line of their own. With the line for those before them they are four lines, so
/// that the last of them, where the stage stood, is never left out for want of room.
const STEPS_SHOWN: usize = 3;

const ROLLBACK: Wording = Wording {
    done: "Rolled back",
    incomplete: "ROLLBACK INCOMPLETE",
    nothing: "No stage was up, so there was nothing to roll back. Nothing is running.",
};

const STOP: Wording = Wording {
    done: "Stopped",
    incomplete: "STOP INCOMPLETE",
    nothing: "No stage was up. Nothing is running.",
};

/// What a service that was to stop needs to hear instead of whether a restart helps.
pub(super) const CAN_START: &str = "The service can start again once this process has ended.";

/// Every failure of a start as one block for stderr.
pub(super) fn startup_failure(error: &StartupError, exit: u8, identity: &Identity) -> String {
    let primary = &error.primary;
    let code = primary.error.failure_code();
    let interrupted = code.name == STARTUP_INTERRUPTED.name;
    let (headline, ended) =
        if interrupted { ("STARTUP INTERRUPTED", "Interrupted") } else { ("STARTUP FAILED", "Failed") };
    let began = error.timeline.stages.iter().any(|stage| stage.began.is_some());
    let wording = if began || !error.rollback.stopped.is_empty() {
        ROLLBACK
    } else {
        Wording { nothing: "Nothing was started, and nothing is running.", ..ROLLBACK }
    };
    let when = match primary.phase {
        FailurePhase::Check => format!("{ended} before the first stage was started."),
        FailurePhase::Start | FailurePhase::ReadyCheck | FailurePhase::Serve => {
            format!("{ended} after {}.", span(primary.at))
        }
    };
    let mut parts = what_happened(primary);
    parts.extend(also(&error.also));
    parts.extend(not_started(error));
    parts.extend(to_do(advice::actions(&primary.error, &primary.stage, primary.elapsed, identity)));
    let then =
        if interrupted { CAN_START.to_owned() } else { advice::restart(code, primary.error.error_kind()) };
    parts.push(Part::text(2, 3, &then).apart(true));
    parts.extend(state::parts(&error.rollback, &wording));
    parts.push(Part::text(0, 2, &format!("{when}{}{}", attempt(identity), more(code, identity))));
    parts.push(signature(identity));
    block(&head(headline, &primary.stage, code, exit), &parts)
}

/// What a subcommand was asked to do and did not, as one block for stderr.
pub(crate) fn command_failure(headline: &str, error: &StageError) -> String {
    let mut parts = vec![Part::text(1, 6, &causes(error).join(": "))];
    parts.extend(Part::table(4, Some("Found"), Table::new(error.facts().iter().map(fact))));
    parts.extend(to_do(advice::own_actions(error)));
    let code = error.failure_code();
    block(
        &verdict(&format!("{headline}  [{}]", clean(code.name, 60)), &exit(error.error_kind().exit_code())),
        &parts,
    )
}

/// A service that ran and did not end well, as one block for stderr: `serve` failed, the lock was lost, or
/// something could not be stopped.
pub(super) fn stop_failure(report: &StopReport, exit: u8, identity: &Identity) -> String {
    let Some(failure) = &report.failure else { return stop_incomplete(report, exit, identity) };
    let code = failure.error.failure_code();
    let mut parts = what_happened(failure);
    parts.extend(also(&report.also));
    parts.extend(to_do(advice::actions(&failure.error, &failure.stage, failure.elapsed, identity)));
    parts.push(Part::text(2, 3, &advice::restart(code, failure.error.error_kind())).apart(true));
    parts.extend(state::parts(&report.summary, &STOP));
    let when = format!("Failed {} after the start began.", span(failure.at));
    parts.push(Part::text(0, 2, &format!("{when}{}", more(code, identity))));
    parts.push(signature(identity));
    block(&head("SERVICE FAILED", &failure.stage, code, exit), &parts)
}

/// The service was asked to stop, and something did not.
fn stop_incomplete(report: &StopReport, exit: u8, identity: &Identity) -> String {
    let summary = &report.summary;
    let reason = clean_display(&report.reason, 200);
    let asked = match report.reason {
        StopReason::Signal(_) | StopReason::Requested(_) => {
            format!("The service was asked to stop ({reason})")
        }
        StopReason::Finished | StopReason::LockLost | StopReason::Rollback | StopReason::Failed => {
            format!("The service was stopping, because {reason}")
        }
    };
    let (of, actions) = unstopped(summary, identity);
    let mut parts = vec![Part::text(1, 5, &format!("{asked}, but not everything could be stopped."))];
    parts.extend(state::parts(summary, &STOP).into_iter().enumerate().map(|(at, part)| part.apart(at == 0)));
    parts.extend(to_do(actions));
    parts.push(Part::text(2, 2, CAN_START).apart(true));
    parts.push(Part::text(0, 1, more(ROLLBACK_INCOMPLETE, identity).trim_start()));
    parts.push(signature(identity));
    block(&head("STOP INCOMPLETE", of, ROLLBACK_INCOMPLETE, exit), &parts)
}

/// The stage to name where something could not be stopped, and what to do about it.
pub(super) fn unstopped<'s>(summary: &'s StopSummary, identity: &Identity) -> (&'s str, Vec<String>) {
    let problem = summary.problems.first().map(|problem| problem.stage.as_ref());
    let stuck = summary.stuck.first().map(|(name, _)| name.as_ref());
    let own = summary.problems.iter().find(|problem| !problem.error.actions().is_empty());
    let actions = match own {
        Some(problem) => advice::actions(&problem.error, &problem.stage, summary.elapsed, identity),
        None => advice::defaults(ROLLBACK_INCOMPLETE, "", summary.elapsed, identity),
    };
    (problem.or(stuck).unwrap_or("startup"), actions)
}

/// The verdict line of every block.
pub(super) fn head(headline: &str, of: &str, code: FailureCode, exit_code: u8) -> Vec<String> {
    let left = format!("{headline}  {}  [{}]", stage(of), clean(code.name, 60));
    verdict(&left, &exit(exit_code))
}

/// Where more is said about a code of the library, as a sentence that follows another.
pub(super) fn more(code: FailureCode, identity: &Identity) -> String {
    let service = clean(&identity.service, 40);
    catalogue::section(code.name)
        .map_or_else(String::new, |_| format!(" More: {service} explain {}", code.name))
}

/// The last line of every block.
pub(super) fn signature(identity: &Identity) -> Part {
    let version = identity.version.as_deref().map_or_else(String::new, |version| clean(version, 30));
    let service = format!("{} {version}", clean(&identity.service, 40));
    let at = identity.at.strftime("%Y-%m-%dT%H:%M:%SZ");
    let host = clean(&identity.host, 64);
    Part::text(
        0,
        3,
        &format!("{}  instance {}  host {host}  {at}", service.trim_end(), identity.instance.short()),
    )
}

/// Which start in a row this is, as a sentence that follows another.
fn attempt(identity: &Identity) -> String {
    let Some(attempt) = &identity.attempt else { return String::new() };
    let since = attempt.first_at.strftime("%Y-%m-%dT%H:%M:%SZ");
    match (attempt.n, attempt.same_failure) {
        (1, _) => " Attempt 1.".to_owned(),
        (n, 1) => format!(" Attempt {n}; the one before failed in another way."),
        (n, _) => format!(" Attempt {n}, same failure since {since}."),
    }
}

/// The numbered actions.
pub(super) fn to_do(actions: Vec<String>) -> Option<Part> {
    Part::table(7, Some("Do this"), Table::numbered(actions))
}

/// The sentence, what is known, and where the time went.
fn what_happened(failure: &StageFailure) -> Vec<Part> {
    let causes = causes(&failure.error);
    let cause = causes.first().map_or("", String::as_str);
    let mut parts = vec![Part::text(1, 6, &sentence(&title(failure), cause))];
    let times = where_the_time_went(failure);
    let known = engine_knows(failure, &causes, times.is_none() || !last_is_current(failure));
    let facts = failure.error.facts().iter().map(fact).chain(known);
    parts.extend(Part::table(4, Some("Found"), Table::new(facts)));
    parts.extend(times);
    parts
}

/// What happened in general. The codes that any stage can fail with name the stage and what it was doing.
fn title(failure: &StageFailure) -> String {
    let code = failure.error.failure_code().name;
    let general = is_general(failure.error.failure_code());
    let name = stage(&failure.stage);
    match failure.phase {
        FailurePhase::Serve if general => "The service failed while it was running".to_owned(),
        FailurePhase::Serve if code == STAGE_PANICKED.name => {
            "The service panicked while it was running".to_owned()
        }
        FailurePhase::ReadyCheck if general => {
            format!("The stage `{name}` started, but its health check failed")
        }
        FailurePhase::ReadyCheck if code == STAGE_PANICKED.name => {
            format!("The health check of the stage `{name}` panicked")
        }
        FailurePhase::Start if general => format!("The stage `{name}` could not start"),
        FailurePhase::Start if code == STAGE_PANICKED.name => {
            format!("The stage `{name}` panicked while it was starting")
        }
        FailurePhase::Start if code == STAGE_TIMEOUT.name => {
            format!("The stage `{name}` did not start in time")
        }
        FailurePhase::Check | FailurePhase::Start | FailurePhase::ReadyCheck | FailurePhase::Serve => {
            failure.error.failure_code().title.to_owned()
        }
    }
}

fn fact(fact: &Fact) -> (String, String) {
    (clean(&fact.name, NAME_MOST), clean(&fact.value, FACT_MOST))
}

/// The rows that the engine adds to the error's own facts.
fn engine_knows(failure: &StageFailure, causes: &[String], with_step: bool) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    if let Some(step) = failure.step.as_ref().filter(|_| with_step) {
        rows.push(("last step".to_owned(), clean(step, 120)));
    }
    if failure.attempts > 1 {
        rows.push(("attempts".to_owned(), format!("{} in {}", failure.attempts, span(failure.elapsed))));
    }
    for (at, cause) in causes.iter().skip(1).enumerate() {
        rows.push((if at == 0 { "caused by".to_owned() } else { String::new() }, cause.clone()));
    }
    rows
}

/// Whether the step that the stage stood at is among those with a time.
fn last_is_current(failure: &StageFailure) -> bool {
    failure.step.is_some() && failure.step.as_ref() == failure.steps.last().map(|(step, _)| step)
}

/// The steps with their times, where time is what was missing.
fn where_the_time_went(failure: &StageFailure) -> Option<Part> {
    let code = failure.error.failure_code().name;
    let timed =
        [STAGE_TIMEOUT, STARTUP_TIMEOUT, DB_MIGRATION_TIMEOUT, STAGE_BLOCKED_EXECUTOR].map(|code| code.name);
    if failure.steps.len() < 2 || !timed.contains(&code) {
        return None;
    }
    let (earlier, shown) = failure.steps.split_at(failure.steps.len().saturating_sub(STEPS_SHOWN));
    let summed = earlier.iter().fold(Duration::ZERO, |sum, (_, took)| sum.saturating_add(*took));
    let first = (!earlier.is_empty()).then(|| (format!("{} earlier steps", earlier.len()), span(summed)));
    let current = shown.len() - usize::from(last_is_current(failure));
    let rows = shown.iter().enumerate().map(|(at, (step, took))| {
        let mark = if at == current { "  <- here when the time was over" } else { "" };
        (clean(step, NAME_MOST), format!("{}{mark}", span(*took)))
    });
    Part::table(6, Some("Where the time went"), Table::new(first.into_iter().chain(rows)))
}

/// Failures of other stages that the first one did not cause.
fn also(failures: &[StageFailure]) -> Option<Part> {
    let rows = failures.iter().map(|failure| {
        let code = clean(failure.error.failure_code().name, NAME_MOST);
        let step = failure.step.as_deref().map_or_else(String::new, state::at);
        let after = span(failure.at);
        (stage(&failure.stage), format!("[{code}] after {after}{step}: {}", brief(&failure.error)))
    });
    Part::table(8, Some("Also failed, independently"), Table::new(rows)).map(|part| part.least(1))
}

/// Stages that are not up although nothing is wrong with them.
fn not_started(error: &StartupError) -> Option<Part> {
    let root_alone = error.rollback.stopped.is_empty() && error.cancelled.is_empty() && error.also.is_empty();
    if root_alone && error.primary.stage == "worker-mode" {
        // Everything waits for the root: the list would be the whole graph, and say nothing.
        return None;
    }
    let cancelled =
        error.cancelled.iter().map(|name| (stage(name), "was starting, and was cancelled".to_owned()));
    let skipped = error.never_started.iter().map(|never| {
        let needs = never
            .waited_for
            .iter()
            .take(4)
            .map(|(name, state)| format!("{} ({})", stage(name), state.word().replace('-', " ")));
        let needs: Vec<String> = needs.collect();
        let needs = list_of(&needs, never.waited_for.len());
        (stage(&never.stage), if needs.is_empty() { "its turn never came".to_owned() } else { needs })
    });
    Part::table(9, Some("Not started"), Table::new(cancelled.chain(skipped))).map(|part| part.least(1))
}

fn list_of(needs: &[String], all: usize) -> String {
    match all - needs.len() {
        _ if needs.is_empty() => String::new(),
        0 => format!("needs {}", needs.join(", ")),
        more => format!("needs {} and {more} more", needs.join(", ")),
    }
}
