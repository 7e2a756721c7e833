//! The rules about a start that failed: what its cause was, and what is told of everything else.

use std::time::Duration;

use proptest::{prelude::*, test_runner::TestCaseResult};

use super::{
    generate::{Case, Meddle},
    play::Played,
    seen::{Seen, Story, index_of},
    tape::{Entry, How},
};
use crate::{FailurePhase, StageFailure, StageState, StartupError};

/// How long a health check may take.
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// Invariant 5.
pub(super) fn the_first_cause_is_the_cause(
    case: &Case,
    story: &Story,
    played: &Played,
    error: &StartupError,
) -> TestCaseResult {
    let (place, since) = story.rolling_back.unwrap_or_default();
    let mut causes: Vec<(Duration, &str, String)> = Vec::new();
    for (index, seen) in story.stages.iter().enumerate() {
        let name = format!("s{index}");
        if case.stages[index].optional {
            continue;
        }
        if let Some((at, ..)) = seen.failed.first().map(|&(_, at)| (at,)) {
            causes.push((at, "start", name.clone()));
        }
        for check in seen.checks().filter(|run| run.end().0 < place) {
            let limit = check.end().1 - check.began.1 >= CHECK_LIMIT;
            if matches!(check.how(), Some(How::Error | How::Panicked)) || limit {
                causes.push((check.end().1, "check", name.clone()));
            }
        }
    }
    let published = story.stages[0].acquired.first();
    for (_, entry) in played.tape.iter().take(place).filter(|(_, entry)| matches!(entry, Entry::Meddled(_))) {
        let Entry::Meddled(meddle) = entry else { continue };
        let at =
            played.tape.iter().find(|(_, each)| matches!(each, Entry::Meddled(found) if found == meddle));
        let at = at.map_or(Duration::MAX, |(at, _)| *at);
        match (meddle, published) {
            (Meddle::LoseLock, None) => {}
            (Meddle::LoseLock, Some(&(_, up))) => causes.push((at.max(up), "lock", "worker-mode".to_owned())),
            (Meddle::Stop | Meddle::GiveUp, _) => causes.push((at, "asked", "startup".to_owned())),
        }
    }
    causes.push((case.startup, "limit", "startup".to_owned()));
    let first = causes.iter().map(|(at, ..)| *at).min().unwrap_or_default();
    let primary = &error.primary;
    let slack = story.blocked;
    let candidate = |cause: &&(Duration, &str, String)| cause.0 <= first + slack && primary.stage == cause.2;
    prop_assert!(causes.iter().any(|each| candidate(&each)), "{:?} is not among {:?}", primary, causes);
    prop_assert!(primary.at <= first + slack, "{:?} came after {:?}", primary, first);
    prop_assert!(since <= first + slack, "the rollback of {:?} began at {:?}", first, since);
    prop_assert!(error.also.iter().all(|other| primary.at <= other.at), "{:?}", error);
    let effect = error.cancelled.contains(&primary.stage);
    prop_assert!(!effect, "{:?} is what the failure caused", primary);
    Ok(())
}

/// Every hook that failed on its own account is listed once, and no other.
pub(super) fn every_failure_is_listed(case: &Case, story: &Story, error: &StartupError) -> TestCaseResult {
    let (rolling_back, since) = story.rolling_back.unwrap_or_default();
    let listed = |name: &str, phase: FailurePhase| {
        let all = std::iter::once(&error.primary).chain(&error.also);
        all.filter(|each: &&StageFailure| each.stage == name && each.phase == phase).count()
    };
    for (index, seen) in story.stages.iter().enumerate() {
        let (name, stage) = (format!("s{index}"), &case.stages[index]);
        let required = usize::from(!stage.optional);
        let starts = listed(&name, FailurePhase::Start);
        prop_assert_eq!(starts, required * seen.failed.len(), "{} in {:?}", name, error);
        let cancelled = error.cancelled.iter().filter(|each| **each == name).count();
        prop_assert_eq!(cancelled, seen.cancelled.len(), "{} in {:?}", name, error.cancelled);
        let Some(last) = seen.starts().next_back() else { continue };
        let own = match (last.ended, last.deadline < since) {
            (Some((_, How::Error, false)), _) => seen.cancelled.is_empty() || stage.attempts > 1,
            (Some((_, How::Panicked, _)), _) | (Some((_, How::Dropped, _)), true) => !seen.failed.is_empty(),
            (Some((_, How::Error, true)), true) => !seen.failed.is_empty(),
            (Some((end, How::Ok, _)), true) => end.1 <= last.deadline || !seen.failed.is_empty(),
            (Some((end, ..)), false) => seen.failed.is_empty() || last.deadline <= end.1,
            _ => true,
        };
        if let Some((end, How::Ok, false)) = last.ended {
            let late = end.1 > last.deadline;
            prop_assert_eq!(!seen.failed.is_empty(), late, "{} came up unasked, as {:?}", name, last);
        }
        // Where a hook blocks the thread, time limits are noticed late, so that either may come first.
        prop_assert!(own || !story.blocked.is_zero(), "{} ended as {:?}, told {:?}", name, last, seen.failed);
        let ill = seen.checks().filter(|run| matches!(run.how(), Some(How::Error | How::Panicked)));
        let ill = ill.filter(|run| run.end().0 < rolling_back).count();
        let mute = seen.checks().filter(|run| run.how() == Some(How::Dropped));
        let mute = mute.filter(|run| run.end().1 - run.began.1 >= CHECK_LIMIT).count();
        let checks = listed(&name, FailurePhase::ReadyCheck);
        prop_assert_eq!(checks, required * (ill + mute), "check of {} in {:?}", name, error);
    }
    Ok(())
}

/// The chains of who waited for whom are true.
pub(super) fn what_never_started_says_why(
    case: &Case,
    story: &Story,
    played: &Played,
    error: &StartupError,
) -> TestCaseResult {
    let (place, since) = story.rolling_back.unwrap_or_default();
    for (index, seen) in story.stages.iter().enumerate() {
        let name = format!("s{index}");
        let told: Vec<_> = error.never_started.iter().filter(|never| never.stage == name).collect();
        let never = seen.launched.is_empty();
        prop_assert_eq!(told.len(), usize::from(never), "{} never started", name);
        prop_assert_eq!(never, played.states[index] == StageState::Skipped, "{} was skipped", name);
        let Some(told) = told.first() else { continue };
        let mut expected: Vec<(String, StageState)> = Vec::new();
        for need in case.stages[index].needs() {
            let before = &story.stages[need];
            let up = before.up.first().is_some_and(|&(up, _)| up < place) && before.failed.is_empty();
            let done_without = case.stages[need].optional && settled(before).is_some_and(|at| at < place);
            if !up && !done_without {
                expected.push((format!("s{need}"), played.states[need]));
            }
        }
        let mut waited: Vec<(String, StageState)> =
            told.waited_for.iter().map(|(name, state)| (name.to_string(), *state)).collect();
        // What settles at the very instant at which the start ends may be heard of before or after.
        let settles_now = |need: &str| {
            let need = index_of(need).unwrap_or(0);
            let last = settled(&story.stages[need]).filter(|_| case.stages[need].optional);
            last.is_some_and(|at| played.tape[at].0 == since)
        };
        waited.retain(|(name, _)| !settles_now(name));
        expected.retain(|(name, _)| !settles_now(name));
        waited.sort_by_key(|(name, _)| index_of(name));
        expected.sort_by_key(|(name, _)| index_of(name));
        prop_assert_eq!(waited, expected, "what {} waited for", name);
    }
    Ok(())
}

/// When a stage had come to the end of its start, and of its stop where it came up too late.
fn settled(seen: &Seen) -> Option<usize> {
    let done = seen.failed.iter().chain(&seen.cancelled).chain(&seen.up).map(|&(at, _)| at).min()?;
    Some(done.max(seen.last))
}
