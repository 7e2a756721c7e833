//! Whole reports, as the operator sees them.

use std::time::Duration;

use super::{Identity, failure::startup_failure};
use crate::{
    contract::{
        outcome::{
            FailurePhase, NeverStarted, StageFailure, StartupError, StopHook, StopProblem, StopSummary,
        },
        state::StageState,
        status::{StageTimes, Timeline},
    },
    error::StageError,
    graph::StageName,
    ids::InstanceId,
};

mod emergency;
mod failures;
mod hostile;
mod json;
mod lines;
mod startup;
mod stop;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn identity() -> Identity {
    Identity {
        service: "banboard".to_owned(),
        version: Some("1.4.2".to_owned()),
        prefix: "BANBOARD".to_owned(),
        instance: InstanceId::mint(),
        host: "4be1c0ffee12".to_owned(),
        at: "2026-11-20T09:27:52.104Z".parse().unwrap(),
        attempt: None,
        shortened: None,
        words: crate::report::Words::of_compose,
    }
}

fn failure(stage: impl Into<StageName>, error: StageError) -> StageFailure {
    StageFailure {
        stage: stage.into(),
        phase: FailurePhase::Start,
        step: None,
        steps: Vec::new(),
        error,
        elapsed: ms(40),
        attempts: 1,
        at: ms(48),
    }
}

/// A failed start of which nothing was up.
fn failed(primary: StageFailure) -> StartupError {
    StartupError {
        primary,
        also: Vec::new(),
        cancelled: Vec::new(),
        never_started: Vec::new(),
        rollback: StopSummary::default(),
        timeline: Timeline { stages: vec![times("worker-mode", StageState::Up, 2)], total: ms(48) },
    }
}

fn rolled_back(elapsed: Duration, stopped: &[&'static str]) -> StopSummary {
    StopSummary { elapsed, stopped: names(stopped), ..StopSummary::default() }
}

fn names(names: &[&'static str]) -> Vec<StageName> {
    names.iter().map(|&name| name.into()).collect()
}

fn problem(stage: &'static str, hook: StopHook, error: StageError) -> StopProblem {
    StopProblem { stage: stage.into(), hook, error }
}

fn never(stage: &'static str, waited_for: &[(&'static str, StageState)]) -> NeverStarted {
    let waited_for = waited_for.iter().map(|&(name, state)| (name.into(), state)).collect();
    NeverStarted { stage: stage.into(), waited_for }
}

fn times(name: &'static str, state: StageState, took: u64) -> StageTimes {
    StageTimes {
        name: name.into(),
        needs: Vec::new(),
        state,
        healthy: true,
        degraded: None,
        optional: false,
        began: Some(Duration::ZERO),
        took: Some(ms(took)),
        slack: Duration::ZERO,
        critical: false,
    }
}

/// The block for a start that failed, with the exit code of its kind.
fn report(error: &StartupError) -> String {
    let identity = identity();
    comparable(&startup_failure(error, error.kind().exit_code(), &identity), &identity)
}

/// The report with this test's random instance replaced, within its limits.
fn comparable(text: &str, identity: &Identity) -> String {
    within_limits(text);
    text.replace(&identity.instance.short(), "7f3c19d2")
}

fn within_limits(text: &str) {
    assert!(text.lines().count() <= 40, "{} lines:\n{text}", text.lines().count());
    for line in text.lines() {
        assert!(line.len() <= 80, "{} columns: {line}", line.len());
        assert_eq!(line, line.trim_end(), "blanks at the end");
    }
    printable(text);
}

fn printable(text: &str) {
    assert!(text.ends_with('\n'));
    assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{text:?}");
}

#[track_caller]
fn shows(text: &str, expected: &str) {
    assert!(text.trim_end() == expected.trim(), "expected\n{expected}\nbut it is\n{text}");
}
