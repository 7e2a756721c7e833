//! The rules, written from the invariants of `ARCHITECTURE.md` and not from the engine.

use std::time::Duration;

use proptest::{prelude::*, test_runner::TestCaseResult};

use super::{
    causes::{every_failure_is_listed, the_first_cause_is_the_cause, what_never_started_says_why},
    generate::{Case, Meddle},
    play::{Ended, Played},
    seen::{Seen, Story, read},
    tape::{Entry, How, What},
};
use crate::{StopHook, StopReport, StopSummary, codes};

pub(super) fn judge(case: &Case, played: &Played) -> TestCaseResult {
    prop_assert!(!matches!(played.ended, Ended::Never), "the service never ended");
    let story = read(case, played);
    for (index, seen) in story.stages.iter().enumerate() {
        started_on_what_it_declared(case, &story, index)?;
        released_once(index, seen, case.stages[index].stop.is_some())?;
        stopped_after_its_dependants(case, &story, index)?;
        told_in_pairs(index, seen)?;
    }
    nothing_is_left(&story, played)?;
    ended_within_its_budget(case, &story)?;
    served_between_ready_and_stop(case, &story)?;
    match &played.ended {
        Ended::Failed(error) => {
            every_failed_hook_is_named(case, &story, &error.rollback, None)?;
            the_first_cause_is_the_cause(case, &story, played, error)?;
            every_failure_is_listed(case, &story, error)?;
            what_never_started_says_why(case, &story, played, error)
        }
        Ended::Stopped(report) => {
            every_failed_hook_is_named(case, &story, &report.summary, Some(report))?;
            stopped_for_a_reason(case, &story, played, report)
        }
        Ended::Unheard | Ended::Never => Ok(()),
    }
}

/// Invariant 1.
fn started_on_what_it_declared(case: &Case, story: &Story, index: usize) -> TestCaseResult {
    let seen = &story.stages[index];
    let Some((began, _)) = seen.began() else { return Ok(()) };
    for need in case.stages[index].needs() {
        let before = &story.stages[need];
        let up = before.up.first().is_some_and(|&(up, _)| up < began);
        let stopping = before.stopping.first().is_some_and(|&(stopping, _)| stopping < began);
        let given_up = case.stages[need].optional && before.last < began;
        prop_assert!((up && !stopping) || given_up, "s{} began on s{} that had not settled", index, need);
    }
    for run in seen.starts() {
        prop_assert!(!run.cancelled_before, "s{} began although everything was to end", index);
        prop_assert!(run.began.1 <= run.deadline + story.blocked, "s{} began when its time was up", index);
    }
    for received in &seen.received {
        for (&need, &some) in case.stages[index].data.iter().zip(received) {
            let acquired = story.stages[need].up.first().is_some_and(|&(up, _)| up < began);
            let stopped = story.stages[need].stopping.first().is_some_and(|&(at, _)| at < began);
            prop_assert_eq!(some, acquired && !stopped, "s{}'s output for s{}", need, index);
        }
    }
    Ok(())
}

/// Invariant 2.
fn released_once(index: usize, seen: &Seen, has_stop: bool) -> TestCaseResult {
    let acquired = seen.acquired.len();
    prop_assert!(acquired <= 1, "s{} was acquired {} times", index, acquired);
    prop_assert_eq!(seen.stops().count(), if has_stop { acquired } else { 0 }, "stops of s{}", index);
    prop_assert_eq!(seen.stopping.len(), acquired, "s{} told to be stopping", index);
    prop_assert_eq!(seen.dropped.len(), acquired, "drops of s{}'s resource", index);
    for run in seen.starts() {
        let What::Start { attempt } = run.what else { continue };
        let undone: Vec<_> = seen.undos().filter(|undo| is_undo_of(undo.what, attempt)).collect();
        let expected: Vec<What> = match run.how() {
            Some(How::Ok) => Vec::new(),
            _ => {
                let own = seen.registered.iter().filter(|(of, _)| *of == attempt);
                own.rev().map(|&(attempt, nth)| What::Undo { attempt, nth }).collect()
            }
        };
        let ran: Vec<What> = undone.iter().map(|undo| undo.what).collect();
        prop_assert_eq!(ran, expected, "undos of s{}, last in, first out", index);
        let mut before = run.end().0;
        for undo in undone {
            prop_assert!(before < undo.began.0, "s{} undone while it runs", index);
            before = undo.end().0;
        }
    }
    let orderly = seen.starts().zip(seen.starts().skip(1)).all(|(one, next)| one.end().0 < next.began.0);
    prop_assert!(orderly, "two attempts of s{} at once", index);
    Ok(())
}

fn is_undo_of(what: What, wanted: u32) -> bool {
    matches!(what, What::Undo { attempt, .. } if attempt == wanted)
}

/// Invariant 3.
fn stopped_after_its_dependants(case: &Case, story: &Story, index: usize) -> TestCaseResult {
    let seen = &story.stages[index];
    let Some(&(stopping, _)) = seen.stopping.first() else { return Ok(()) };
    let dependants =
        case.stages.iter().enumerate().filter(|(_, each)| each.needs().any(|need| need == index));
    for (dependant, _) in dependants {
        let above = &story.stages[dependant];
        let Some((began, _)) = above.began() else { continue };
        // An optional stage that came up too late is gone before its dependants begin.
        let gone_before = case.stages[index].optional && seen.last < began;
        prop_assert!(gone_before || above.last < stopping, "s{} stopped under s{}", index, dependant);
    }
    let busy = seen.starts().chain(seen.undos()).chain(seen.checks()).all(|run| run.end().0 < stopping);
    prop_assert!(busy, "s{} stopped while a hook of its own ran", index);
    let dropped = seen.dropped.first().map_or(usize::MAX, |&(at, _)| at);
    let told = seen.stopped.first().map_or(usize::MAX, |&(at, _)| at);
    prop_assert!(dropped < told, "s{} told to be stopped while its resource lives", index);
    Ok(())
}

/// What is told of a stage agrees with what its hooks saw.
fn told_in_pairs(index: usize, seen: &Seen) -> TestCaseResult {
    prop_assert_eq!(seen.up.len(), seen.acquired.len(), "s{} told to be up", index);
    prop_assert!(seen.launched.len() == 1 || seen.runs.is_empty(), "s{} launched {:?}", index, seen.launched);
    let began = seen.launched.len();
    let settled = usize::from(!seen.up.is_empty() || !seen.failed.is_empty());
    prop_assert_eq!(settled + seen.cancelled.len(), began, "s{} settled once", index);
    prop_assert!(seen.failed.len() <= 1, "s{} failed twice", index);
    let unwell = seen.stops().filter(|run| run.how() != Some(How::Ok)).count();
    prop_assert_eq!(seen.stopped.len() + unwell, seen.stopping.len(), "s{} stopped once", index);
    Ok(())
}

/// Invariant 11.
fn nothing_is_left(story: &Story, played: &Played) -> TestCaseResult {
    let runs = story.stages.iter().flat_map(|seen| &seen.runs).chain(&story.serve);
    for run in runs {
        prop_assert!(run.ended.is_some(), "{:?} still runs", run);
    }
    prop_assert_eq!(played.alive, 0, "tasks that are still alive");
    for (index, state) in played.states.iter().enumerate() {
        prop_assert!(state.is_settled(), "s{} is {}", index, state);
    }
    let after_all = played.tape.iter().skip(story.over.map_or(usize::MAX, |(at, _)| at + 1));
    prop_assert_eq!(after_all.filter(|(_, entry)| !matches!(entry, Entry::Meddled(_))).count(), 0);
    Ok(())
}

/// Invariant 4: the start has its limit, and stopping has one of its own.
fn ended_within_its_budget(case: &Case, story: &Story) -> TestCaseResult {
    let over = story.over.map_or(Duration::MAX, |(_, at)| at);
    let settled = story.ready.or(story.rolling_back).map_or(Duration::MAX, |(_, at)| at);
    prop_assert!(settled <= case.startup + story.blocked, "the start took {:?}", settled);
    if let Some((_, began)) = story.rolling_back {
        prop_assert!(over - began <= case.shutdown + story.blocked, "rollback took {:?}", over - began);
    }
    if let Some((_, ready)) = story.ready {
        // Who has no lock cannot lose it.
        let has_lock = !story.stages[0].acquired.is_empty();
        let meddles = case.meddles.iter().filter(|(_, what)| has_lock || *what != Meddle::LoseLock);
        let asked = meddles.map(|&(at, _)| at.max(ready)).min().unwrap_or(Duration::MAX);
        let served = story.serve.as_ref().map_or(Duration::MAX, |run| run.end().1);
        let began = asked.min(served);
        let drained = if served <= asked { Duration::ZERO } else { case.drain };
        prop_assert!(over <= began + drained + case.shutdown, "stopped at {over:?}, asked at {began:?}");
    }
    Ok(())
}

/// Serving begins when every required stage is up, and ends before anything stops.
fn served_between_ready_and_stop(case: &Case, story: &Story) -> TestCaseResult {
    let Some((ready, _)) = story.ready else {
        prop_assert!(story.serve.is_none(), "served without being ready");
        return Ok(());
    };
    for (index, seen) in story.stages.iter().enumerate() {
        let required = !case.stages[index].optional;
        if required {
            prop_assert!(seen.up.first().is_some_and(|&(up, _)| up < ready), "ready without s{}", index);
            let well =
                seen.checks().next().is_none_or(|run| run.end().0 < ready && run.how() == Some(How::Ok));
            prop_assert!(well, "ready although s{} is ill", index);
        }
        if let (Some(serve), Some(&(stopping, _))) = (&story.serve, seen.stopping.first()) {
            prop_assert!(!required || serve.end().0 < stopping, "s{} stopped while serving", index);
        }
    }
    Ok(())
}

/// Invariant 4: each hook that did not do its work is named once, and no other is.
fn every_failed_hook_is_named(
    case: &Case,
    story: &Story,
    summary: &StopSummary,
    report: Option<&StopReport>,
) -> TestCaseResult {
    prop_assert!(summary.stuck.is_empty() && summary.left_up.is_empty(), "{:?}", summary);
    prop_assert!(summary.leaked.is_empty(), "{:?}", summary.leaked);
    let named = |name: &str, hook: StopHook| {
        summary.problems.iter().filter(|each| each.stage == name && each.hook == hook).count()
    };
    for (index, seen) in story.stages.iter().enumerate() {
        let name = format!("s{index}");
        let stops = seen.stops().filter(|run| run.how() != Some(How::Ok)).count();
        let undos = seen.undos().filter(|run| run.how() != Some(How::Ok)).count();
        // A start hook that panics after its time is up: its failure is known, so this is beside it.
        let late = named(&name, StopHook::Undo).saturating_sub(undos);
        prop_assert!(
            late == 0 || panicked_late(story, seen) != Some(false),
            "undo of {} in {:?}",
            name,
            summary
        );
        prop_assert!(
            late == 1 || panicked_late(story, seen) != Some(true),
            "undo of {} in {:?}",
            name,
            summary
        );
        prop_assert_eq!(named(&name, StopHook::Stop), stops, "stop of {} in {:?}", name, summary.problems);
        prop_assert_eq!(
            named(&name, StopHook::Undo),
            undos + late,
            "undo of {} in {:?}",
            name,
            summary.problems
        );
        prop_assert_eq!(seen.stop_failed, stops + undos + late, "told of {}", name);
        let done = summary.stopped.iter().filter(|each| **each == name).count();
        prop_assert_eq!(done, seen.stopped.len(), "{} among the stopped", name);
        had_its_share(case, index, seen)?;
    }
    let failed = report.and_then(|report| report.failure.as_ref()).filter(|failure| failure.stage == "serve");
    let told = named("serve", StopHook::Serve) + usize::from(failed.is_some());
    let unwell = story.serve.as_ref().is_some_and(|run| run.how() != Some(How::Ok));
    prop_assert_eq!(told, usize::from(unwell), "serve in {:?}", report);
    Ok(())
}

/// Invariant 4: however many others hang, no hook is dropped before it had a share of the budget.
fn had_its_share(case: &Case, index: usize, seen: &Seen) -> TestCaseResult {
    let height = u32::try_from(case.stages.len()).unwrap();
    let own = case.stages[index].stop_timeout.unwrap_or(Duration::MAX);
    // Half of the budget is shared out evenly along the longest chain. The last of it leaves a little for
    // the engine, and a timer has milliseconds.
    let share = (case.shutdown / 2 / height * 15 / 16).min(own).saturating_sub(Duration::from_millis(2));
    for run in seen.stops().filter(|run| run.how() == Some(How::Dropped)) {
        let had = run.end().1 - run.began.1;
        prop_assert!(had >= share, "the stop of s{} had {:?}, not {:?}", index, had, share);
    }
    Ok(())
}

/// Whether the start hook panicked after its own time was up; `None` where everything was asked to end at
/// the same time.
fn panicked_late(story: &Story, seen: &Seen) -> Option<bool> {
    let Some((end, How::Panicked, true)) = seen.starts().next_back().and_then(|run| run.ended) else {
        return Some(false);
    };
    let deadline = seen.starts().next_back().map_or(Duration::MAX, |run| run.deadline);
    let asked = story.rolling_back.map_or(Duration::MAX, |(_, at)| at);
    let near = deadline.abs_diff(asked) <= story.blocked;
    if near { None } else { Some(deadline <= end.1 && deadline < asked) }
}

/// A service that was ready stops for the first reason that there is, and says which.
fn stopped_for_a_reason(case: &Case, story: &Story, played: &Played, report: &StopReport) -> TestCaseResult {
    let (_, ready) = story.ready.unwrap_or_default();
    let asked = |wanted: Meddle| case.meddles.iter().find(|(_, what)| *what == wanted).map(|(at, _)| *at);
    let lost = asked(Meddle::LoseLock).filter(|_| !story.stages[0].acquired.is_empty());
    let served = story.serve.as_ref().map_or(Duration::MAX, |run| run.end().1);
    let first_other = asked(Meddle::Stop).unwrap_or(Duration::MAX).min(served).max(ready);
    let is_lost = report.failure.as_ref().is_some_and(|each| each.error.failure_code() == codes::LOCK_LOST);
    if lost.is_some_and(|at| at.max(ready) < first_other) {
        prop_assert!(is_lost, "{:?}", report);
    }
    prop_assert!(!is_lost || lost.is_some(), "{:?}", report);
    prop_assert_eq!(played.states.len(), report.timeline.stages.len());
    for (index, seen) in story.stages.iter().enumerate().filter(|(index, _)| !case.stages[*index].optional) {
        prop_assert!(seen.failed.is_empty(), "ready without s{}", index);
    }
    Ok(())
}
