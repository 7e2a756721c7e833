use super::*;
use crate::{
    codes,
    contract::{outcome::StopReport, state::StopReason},
    report::lines::{interrupted, ready, stopped, warning},
    settings::Env,
};

fn timeline(stages: Vec<StageTimes>) -> Timeline {
    Timeline { stages, total: ms(740) }
}

#[test]
fn ready_is_one_line_with_times_and_the_slowest() {
    let stages = [("worker-mode", 2), ("database", 612), ("cache", 88), ("tasks", 1)];
    let stages = stages.map(|(name, took)| times(name, StageState::Up, took)).to_vec();
    assert_eq!(
        ready(&timeline(stages), &[], &[]),
        "READY in 0.74 s: worker-mode 2ms, database 612ms, cache 88ms, tasks 1ms; slowest: database\n"
    );
}

#[test]
fn ready_names_degraded_stages_and_notes() {
    let cache = StageTimes { optional: true, ..times("cache", StageState::Failed, 80) };
    let stages = vec![times("worker-mode", StageState::Up, 2), cache, times("tasks", StageState::Up, 1)];
    let notes = ["lock /data/app.lock".to_owned(), "several workers are allowed: a test".to_owned()];
    assert_eq!(
        ready(&timeline(stages), &names(&["cache", "tasks"]), &notes),
        "READY in 0.74 s: worker-mode 2ms, tasks 1ms; slowest: worker-mode; DEGRADED: cache (failed), tasks \
         (unhealthy); lock /data/app.lock; several workers are allowed: a test\n"
    );
}

#[test]
fn ready_says_what_a_degraded_stage_does_without() {
    let why = Some("the warm-up took too long\n\u{1b}[31m".to_owned());
    let cache = StageTimes { degraded: why, ..times("cache", StageState::Up, 80) };
    let line = ready(&timeline(vec![cache]), &names(&["cache"]), &[]);
    assert!(line.contains("; DEGRADED: cache (the warm-up took too long"), "{line}");
    assert!(line.trim_end().bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
}

#[test]
fn ready_of_many_stages_lists_the_slowest() {
    let many =
        (0..50).map(|at| StageTimes { name: format!("s{at}").into(), ..times("s", StageState::Up, at) });
    let line = ready(&timeline(many.collect()), &[], &[]);
    assert!(line.starts_with("READY in 0.74 s: s38 38ms, s39 39ms, "), "{line}");
    assert!(line.ends_with("s49 49ms and 38 faster ones; slowest: s49\n"), "{line}");
}

#[test]
fn stopped_is_one_line_with_the_reason_and_the_order() {
    let summary = rolled_back(ms(12), &["tasks", "database", "worker-mode"]);
    let reason = StopReason::Signal("SIGTERM");
    let mut report =
        StopReport { reason, failure: None, also: Vec::new(), summary, timeline: timeline(Vec::new()) };
    assert_eq!(stopped(&report), "STOPPED in 12 ms (SIGTERM): tasks, database, worker-mode\n");
    report.summary.leaked = vec![("database".into(), 2)];
    assert_eq!(
        stopped(&report),
        "STOPPED in 12 ms (SIGTERM): tasks, database, worker-mode; LEAKED, stopped but still referenced: \
         database\n"
    );
}

#[test]
fn an_interrupted_start_is_one_line() {
    let error = StageError::new(codes::STARTUP_INTERRUPTED, "the start was interrupted: SIGTERM");
    let mut error = failed(StageFailure { at: ms(1200), ..failure("startup", error) });
    assert_eq!(
        interrupted(&error),
        "STOPPED after 1.20 s, before it was ready (SIGTERM): nothing was up yet\n"
    );
    error.rollback = rolled_back(ms(45), &["database", "worker-mode"]);
    assert_eq!(
        interrupted(&error),
        "STOPPED after 1.20 s, before it was ready (SIGTERM): rolled back in 45 ms: database, worker-mode\n"
    );
}

#[test]
fn each_warning_is_one_line() {
    let env = Env::from_vars("BANBOARD", [("BANBOARD_LOCK_WIAT", "5s"), ("BANBOARD_X", "1")]);
    let _stand_in = env.var("LOCK_WAIT").duration().optional();
    assert_eq!(
        env.check().unwrap().iter().map(warning).collect::<String>(),
        "WARNING BANBOARD_LOCK_WIAT: unknown; did you mean BANBOARD_LOCK_WAIT?\n\
         WARNING BANBOARD_X: unknown, and not used\n"
    );
}
