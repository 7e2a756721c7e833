use std::sync::LazyLock;

use serde_json::{Value, json};

use super::*;
use crate::{
    codes,
    contract::{outcome::StopReport, state::StopReason},
    error::ErrorKind,
    report::{Attempt, Report, Slow},
};

static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let schema = include_str!("../../../docs/startup-report-1.schema.json");
    jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap()
});

/// The report as a program reads it, which must be what the published schema says.
#[track_caller]
pub(super) fn valid(report: &Report) -> Value {
    let line = report.json();
    assert_eq!(line.matches('\n').count(), 1, "{line}");
    let value: Value = serde_json::from_str(&line).unwrap();
    let wrong: Vec<String> = SCHEMA.iter_errors(&value).map(|error| format!("{error}")).collect();
    assert!(wrong.is_empty(), "{wrong:?}\n{line}");
    assert_eq!(value["rendered"], report.text());
    value
}

fn not_writable() -> StartupError {
    let error = StageError::new(codes::DB_NOT_WRITABLE, "/data/app.db cannot be written by this process")
        .fact("process", "uid 10001, gid 10001")
        .hint("Give the volume to the user of the container:\nchown -R 10001:10001 /data");
    let also = vec![failure("http-session", StageError::new(codes::HTTP_DNS, "no such host"))];
    let rollback = rolled_back(ms(3), &["cache", "worker-mode"]);
    StartupError { also, rollback, ..failed(failure("database", error)) }
}

fn attempt(n: u64) -> Identity {
    let first_at = "2026-11-20T09:00:00Z".parse().unwrap();
    let attempt = Attempt { n, same_failure: n, first_at, fingerprint: "00c0a1d2e4f50617".to_owned() };
    Identity { attempt: Some(attempt), ..identity() }
}

#[test]
fn a_failure_as_data_says_what_the_text_says() {
    let error = not_writable();
    let report = valid(&Report::startup_failed(&error, error.kind(), &attempt(4)));
    let expected = json!({
        "schema": "startup-report/1", "event": "startup.failed", "level": "ERROR", "service": "banboard",
        "ts": "2026-11-20T09:27:52.104Z", "version": "1.4.2", "code": "db.not-writable", "stage": "database",
        "phase": "start", "class": "permanent", "exit_code": 77, "exit_name": "NOPERM",
        "restart_helps": false, "lock": null, "elapsed_ms": 48,
        "message": "startup failed at database [db.not-writable]: /data/app.db cannot be written by this process.",
        "evidence": [{"name": "process", "value": "uid 10001, gid 10001"}],
        "actions": [{
            "text": "Give the volume to the user of the container",
            "command": "chown -R 10001:10001 /data"
        }],
        "cause": ["/data/app.db cannot be written by this process"],
        "also": [{"stage": "http-session", "code": "http.dns", "cause": ["no such host"]}],
        "stages": [{"name": "worker-mode", "needs": [], "state": "up", "start_ms": 0.0, "ms": 2.0, "critical": false}],
        "rollback": {"ok": true, "ms": 3, "order": ["cache", "worker-mode"], "errors": []},
        "docs": "docs/failures.md#db-not-writable",
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(report[field], *value, "{field}");
    }
    assert_eq!(report["attempt"]["n"], 4);
}

#[test]
fn a_stage_that_failed_is_told_as_failed_while_its_undo_still_runs() {
    let mut error = not_writable();
    error.timeline.stages = vec![times("database", StageState::Interrupting, 2)];
    let report = valid(&Report::startup_failed(&error, error.kind(), &identity()));
    assert_eq!(report["stages"][0]["state"], "failed");
}

#[test]
fn every_kind_of_report_is_what_the_schema_says() {
    let error = not_writable();
    let id = identity();
    let timeline = Timeline { stages: vec![times("worker-mode", StageState::Up, 2)], total: ms(2) };
    let stopped = |failure, summary| StopReport {
        also: Vec::new(),
        reason: StopReason::Signal("SIGTERM"),
        failure,
        summary,
        timeline: timeline.clone(),
    };
    let problem = problem("database", StopHook::Stop, StageError::from("stale"));
    let incomplete = StopSummary { problems: vec![problem], ..StopSummary::default() };
    let failed = failure("serve", StageError::from("the listener broke"));
    let reports = [
        (Report::progress(&slow("migration 8/12"), &timeline, &id), "startup.progress"),
        (Report::ready(&timeline, &[], &[], &id), "startup.ready"),
        (Report::interrupted(&error, &id), "startup.interrupted"),
        (Report::stopped(&stopped(None, StopSummary::default()), &id), "service.stopped"),
        (
            Report::stop_failed(&stopped(None, incomplete), ErrorKind::Software, &id),
            "service.stop-incomplete",
        ),
        (
            Report::stop_failed(&stopped(Some(failed), StopSummary::default()), ErrorKind::Software, &id),
            "service.failed",
        ),
    ];
    for (report, event) in reports {
        assert_eq!(valid(&report)["event"], event);
    }
}

fn slow(step: &str) -> Slow {
    Slow { stage: "database".into(), running: ms(20_400), step: Some(step.to_owned()), blocks: false }
}

#[test]
fn progress_as_data_names_the_stage_alone() {
    let stages = ["worker-mode", "database", "cache"].map(|name| times(name, StageState::Starting, 20_400));
    let timeline = Timeline { stages: stages.to_vec(), total: ms(21_000) };
    let report = valid(&Report::progress(&slow("migration 8/12"), &timeline, &identity()));
    assert_eq!(report["message"], "STARTING  database 20 s, migration 8/12");
    assert_eq!((&report["stage"], &report["elapsed_ms"]), (&json!("database"), &json!(21_000)));
    assert_eq!((&report["level"], &report["exit_code"]), (&json!("INFO"), &Value::Null));
    let stages: Vec<&Value> = report["stages"].as_array().unwrap().iter().map(|each| &each["name"]).collect();
    assert_eq!(stages, ["database"]);
    let blocking = Slow { step: None, blocks: true, running: ms(80_000), ..slow("") };
    let report = valid(&Report::progress(&blocking, &timeline, &identity()));
    assert_eq!(report["message"], "STARTING  database 1 min 20 s, it blocks its thread");
    let hostile = slow("get https://user:S3CRET@host/a?token=T0KEN\x1b[2J\nREADY in 0 ms");
    let line = Report::progress(&hostile, &timeline, &identity()).text().to_owned();
    assert_eq!(line, "STARTING  database 20 s, get https://host/a\\u{1b}[2J READY in 0 ms\n");
}

#[test]
fn a_repeat_is_told_in_three_lines() {
    let error = not_writable();
    let report = Report::startup_failed(&error, error.kind(), &attempt(23));
    shows(
        &report.short(),
        "STARTUP FAILED  database  [db.not-writable] exit 77 (NOPERM): /data/app.db cannot be written by this \
         process\n  \
         fix: chown -R 10001:10001 /data\n  attempt 23, same since 2026-11-20T09:00:00Z. Full report: banboard \
         report. Restarting will NOT help.",
    );
}

#[test]
fn failures_are_the_same_by_code_stage_and_facts_and_not_by_values() {
    use crate::report::fingerprint;
    let error = |value: &str| StageError::new(codes::DB_BUSY, value.to_owned()).fact("pid", value.to_owned());
    let same = fingerprint("database", &error("17"));
    assert_eq!(fingerprint("database", &error("18")), same);
    assert_ne!(fingerprint("cache", &error("17")), same);
    assert_ne!(fingerprint("database", &error("17").fact("more", "")), same);
}
