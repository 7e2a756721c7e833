//! The subcommands that every application has, as real processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
};

use solostart::testing::Process;

mod support;

fn start(data: &Path, vars: &[(&str, &str)]) -> Process {
    Process::start(&mut support::command("test-app", data, vars))
}

fn ask(data: &Path, words: &[&str], vars: &[(&str, &str)]) -> (i32, String) {
    let mut command = support::command("test-app", data, vars);
    command.args(words);
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
    (status.code().unwrap(), said)
}

fn run(data: &Path, scenario: &str) {
    start(data, &[("TESTAPP_SCENARIO", scenario)]).wait();
}

#[test]
fn check_lists_everything_that_is_wrong_and_touches_nothing() {
    let data = tempfile::tempdir().unwrap();
    let missing = data.path().join("not/there");
    let vars = [("TESTAPP_LOCK_WAIT", "5"), ("WEB_CONCURRENCY", "4"), ("TESTAPP_SCENARIO", "check-error")];
    let (exit, said) = ask(&missing, &["check"], &vars);
    assert_eq!(exit, 78, "{said}");
    for part in [
        "[env.invalid]",
        "TESTAPP_LOCK_WAIT",
        "[worker.count-configured]",
        "[db.dir-missing]",
        "no luck today",
    ] {
        assert!(said.contains(part), "no {part}:\n{said}");
    }
    assert!(said.lines().count() <= 40 && said.lines().all(|line| line.len() <= 80), "{said}");
    let (exit, said) = ask(data.path(), &["check", "--json"], &vars[..1]);
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((exit, report["event"].as_str()), (78, Some("check.failed")));
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
}

#[test]
fn check_is_content_beside_a_service_that_runs() {
    let data = tempfile::tempdir().unwrap();
    let mut service = start(data.path(), &[]);
    service.wait_for("READY");
    let (exit, said) = ask(data.path(), &["check"], &[]);
    assert_eq!((exit, said.starts_with("CHECK OK")), (0, true), "{said}");
    service.terminate();
    assert_eq!(service.wait().code(), 0);
}

#[test]
fn graph_and_timeline_show_the_last_start_and_the_graph_needs_none() {
    let data = tempfile::tempdir().unwrap();
    let (exit, said) = ask(data.path(), &["graph"], &[]);
    assert_eq!((exit, said.contains("subject      <- base\n")), (0, true), "{said}");
    assert_eq!(ask(data.path(), &["timeline"], &[]).0, 1);
    run(data.path(), "error");
    let (_, said) = ask(data.path(), &["graph", "--format", "mermaid"], &[]);
    assert!(said.contains("subject<br/>FAILED"), "{said}");
    let (_, said) = ask(data.path(), &["graph", "--format", "dot"], &[]);
    assert!(said.contains("\"base\" -> \"subject\""), "{said}");
    let (exit, said) = ask(data.path(), &["timeline"], &[]);
    assert!(exit == 0 && said.contains("critical path: subject"), "{said}");
    let (_, svg) = ask(data.path(), &["timeline", "--format", "svg"], &[]);
    assert!(svg.starts_with("<svg") && svg.contains("FAILED"), "{svg}");
}

#[test]
fn report_repeats_the_last_report_and_a_refusal_does_not_hide_the_start_of_the_service() {
    let data = tempfile::tempdir().unwrap();
    assert_eq!(ask(data.path(), &["report"], &[]).0, 1);
    let mut service = start(data.path(), &[]);
    service.wait_for("READY");
    run(data.path(), "ok");
    let (exit, said) = ask(data.path(), &["report"], &[]);
    assert!(exit == 0 && said.contains("[lock.held]"), "{said}");
    let (_, line) = ask(data.path(), &["report", "--json"], &[]);
    let report: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(report["lock"]["verdict"], "running", "{line}");
    let (_, said) = ask(data.path(), &["timeline"], &[]);
    assert!(said.contains("READY") && said.contains("up\n"), "{said}");
    service.terminate();
    assert_eq!(service.wait().code(), 0);
}

#[test]
fn explain_and_env_answer_without_a_usable_environment() {
    let data = tempfile::tempdir().unwrap();
    let wrong = [("TESTAPP_LOCK_WAIT", "5")];
    let (exit, said) = ask(data.path(), &["explain", "lock.held"], &wrong);
    assert!(exit == 0 && said.contains("## lock.held") && said.contains("### Mitigation"), "{said}");
    let (_, said) = ask(data.path(), &["explain"], &wrong);
    assert!(said.contains("db.corrupt") && said.lines().count() > 20, "{said}");
    assert_eq!(ask(data.path(), &["explain", "no.such"], &wrong).0, 1);
    let (exit, said) = ask(data.path(), &["env"], &wrong);
    assert!(exit == 0 && said.contains("TESTAPP_LOCK_WAIT = 5\n"), "{said}");
    let (_, said) = ask(data.path(), &["env", "--markdown"], &wrong);
    assert!(said.contains("| `TESTAPP_SHUTDOWN_TIMEOUT` |"), "{said}");
}

#[test]
fn a_file_that_cannot_be_written_changes_no_exit_code_and_a_termination_log_holds_the_short_form() {
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("termination-log");
    fs::write(&log, "x".repeat(5000)).unwrap();
    let svg = data.path().join("startup.svg");
    let app = start(
        data.path(),
        &[
            ("TESTAPP_SCENARIO", "error"),
            ("TESTAPP_REPORT_FILE", "/nowhere/report.json"),
            ("TESTAPP_TERMINATION_LOG", log.to_str().unwrap()),
            ("TESTAPP_TIMELINE_SVG", svg.to_str().unwrap()),
        ],
    );
    let ended = app.wait();
    ended.assert_failed(70, "stage.failed");
    let short = fs::read_to_string(&log).unwrap();
    assert!(
        short.starts_with("STARTUP FAILED  subject  [stage.failed] exit 70") && short.len() < 2048,
        "{short}"
    );
    assert!(fs::read_to_string(&svg).unwrap().ends_with("</svg>\n"));
}
