//! Real processes, real signals: exit codes, reports, and what is left behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use solostart::testing::{Exit, Process};

mod support;

/// A way to ask a process to stop.
type Ask = fn(&mut Process) -> &mut Process;

fn app(data: &Path, scenario: &str, more: &[(&str, &str)]) -> Process {
    let mut vars = vec![("TESTAPP_SCENARIO", scenario)];
    vars.extend(more);
    Process::start(&mut support::command("test-app", data, &vars))
}

/// Whatever happened before, the next start succeeds at once, and nothing but the lock and the lease is left.
fn assert_nothing_left(data: &Path) {
    let names: Vec<_> = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let kept = ["testapp.lock", "testapp.lease.db", "testapp.lease.db-wal", "testapp.lease.db-shm"];
    assert!(names.iter().all(|name| kept.iter().any(|kept| name == kept)), "{names:?}");
    let ended = app(data, "finish", &[]).wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    ended.assert_says("READY");
}

fn fails(scenario: &str, more: &[(&str, &str)], exit: i32, code: &str) -> Exit {
    let data = tempfile::tempdir().unwrap();
    let ended = app(data.path(), scenario, more).wait();
    ended.assert_failed(exit, code);
    assert_nothing_left(data.path());
    ended
}

#[test]
fn a_service_that_is_asked_to_stop_ends_with_0_and_in_order() {
    let ways: [(Ask, _); 2] = [(Process::terminate, "SIGTERM"), (Process::interrupt, "SIGINT")];
    for (ask, name) in ways {
        let data = tempfile::tempdir().unwrap();
        let mut service = app(data.path(), "ok", &[]);
        ask(service.wait_for("READY"));
        let ended = service.wait();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        ended.assert_says("STOPPED").assert_says(name).assert_says("base stopped");
        assert_nothing_left(data.path());
    }
}

#[test]
fn a_stage_that_errs_is_undone_and_reported_with_its_hint() {
    let ended = fails("error", &[], 70, "stage.failed");
    ended.assert_says("no luck today").assert_says("try tomorrow").assert_says("subject undone");
    ended.assert_says("base stopped");
}

#[test]
fn a_stage_that_panics_is_reported_with_message_and_place() {
    let ended = fails("panic", &[], 70, "stage.panicked");
    ended.assert_says("kaput").assert_says("test_app.rs:").assert_says("subject undone");
}

#[test]
fn a_stage_that_hangs_is_reported_with_its_step() {
    let limit = [("TESTAPP_STAGE_TIMEOUT_SUBJECT", "100ms"), ("TESTAPP_SHUTDOWN_TIMEOUT", "1s")];
    let ended = fails("hang", &limit, 75, "stage.timeout");
    ended.assert_says("begin").assert_says("subject undone").assert_says("base stopped");
}

#[test]
fn a_stage_that_blocks_the_executor_is_named_and_the_process_ends_in_its_budget() {
    for threads in ["1", "2"] {
        let limit = [
            ("TESTAPP_STAGE_TIMEOUT_SUBJECT", "1s"),
            ("TESTAPP_SHUTDOWN_TIMEOUT", "1s"),
            ("TOKIO_WORKER_THREADS", threads),
        ];
        let began = Instant::now();
        let ended = fails("block", &limit, 70, "stage.blocked-executor");
        ended.assert_says("subject");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}

#[test]
fn a_signal_during_the_start_rolls_back_and_ends_with_0() {
    let data = tempfile::tempdir().unwrap();
    let mut service = app(data.path(), "hang", &[("TESTAPP_SHUTDOWN_TIMEOUT", "1s")]);
    service.wait_for("subject hangs").terminate();
    let ended = service.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    ended.assert_says("subject undone").assert_says("base stopped").assert_says("SIGTERM");
    assert_nothing_left(data.path());
}

#[test]
fn a_signal_is_heard_while_every_thread_is_blocked() {
    let data = tempfile::tempdir().unwrap();
    let vars = [("TESTAPP_SHUTDOWN_TIMEOUT", "1s"), ("TOKIO_WORKER_THREADS", "1")];
    let mut service = app(data.path(), "block", &vars);
    service.wait_for("subject blocks").terminate();
    let ended = service.wait();
    ended.assert_failed(70, "stage.blocked-executor").assert_says("subject").assert_says("begin");
    assert_nothing_left(data.path());
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let ways: [(Ask, _); 2] = [(Process::terminate, 143), (Process::interrupt, 130)];
    for (ask_again, code) in ways {
        let data = tempfile::tempdir().unwrap();
        let mut service = app(data.path(), "stop-hang", &[("TESTAPP_SHUTDOWN_TIMEOUT", "1h")]);
        service.wait_for("READY").terminate();
        // Only one that comes a while after the first is a second one, so it is sent until it counts.
        service.wait_for("stopping");
        while service.is_running() {
            ask_again(&mut service);
            thread::sleep(Duration::from_millis(20));
        }
        let ended = service.wait();
        assert_eq!(ended.code(), code, "{}", ended.stderr);
        assert_nothing_left(data.path());
    }
}

#[test]
fn a_signal_that_is_sent_twice_at_once_is_one_request() {
    let data = tempfile::tempdir().unwrap();
    let mut service = app(data.path(), "ok", &[]);
    service.wait_for("READY").terminate().terminate();
    assert_eq!(service.wait().code(), 0);
}

#[test]
fn a_serve_that_fails_or_panics_is_the_failure() {
    for (scenario, code) in [("serve-error", "stage.failed"), ("serve-panic", "stage.panicked")] {
        let ended = fails(scenario, &[], 70, code);
        ended.assert_says("the listener broke").assert_says("base stopped");
    }
}

#[test]
fn a_stop_that_fails_hangs_or_blocks_is_named_and_ends_with_70() {
    for scenario in ["stop-error", "stop-hang", "stop-block"] {
        let data = tempfile::tempdir().unwrap();
        let mut service = app(data.path(), scenario, &[("TESTAPP_SHUTDOWN_TIMEOUT", "1s")]);
        service.wait_for("READY").terminate();
        let ended = service.wait();
        ended.assert_failed(70, "rollback.incomplete").assert_says("subject");
        assert_nothing_left(data.path());
    }
}

#[test]
fn a_blocking_call_that_never_returns_does_not_keep_the_process() {
    let data = tempfile::tempdir().unwrap();
    let mut service = app(data.path(), "spawn-blocking", &[]);
    service.wait_for("READY").terminate();
    assert_eq!(service.wait().code(), 0);
}

#[test]
fn every_problem_of_the_environment_stands_in_one_report() {
    let vars =
        [("TESTAPP_STARTUP_TIMEOUT", "30"), ("TESTAPP_DRAIN", "soon"), ("TESTAPP_SHUTDWN_TIMEOUT", "5s")];
    let ended = fails("ok", &vars, 78, "env.invalid");
    for name in
        ["TESTAPP_STARTUP_TIMEOUT", "TESTAPP_DRAIN", "TESTAPP_SHUTDWN_TIMEOUT", "TESTAPP_SHUTDOWN_TIMEOUT"]
    {
        ended.assert_says(name);
    }
}

#[test]
fn several_workers_by_any_declared_variable_are_refused_before_anything_starts() {
    let vars = [
        ("TESTAPP_WORKERS", "2"),
        ("WEB_CONCURRENCY", "4"),
        ("UVICORN_WORKERS", "3"),
        ("GUNICORN_CMD_ARGS", "--workers 4 --certfile /run/secrets/x"),
        ("UWSGI_PROCESSES", "2"),
        ("NODE_APP_INSTANCE", "1"),
        ("CF_INSTANCE_INDEX", "1"),
        ("NOMAD_ALLOC_INDEX", "1"),
        ("DYNO", "web.2"),
    ];
    for var in vars {
        let data = tempfile::tempdir().unwrap();
        let ended = app(data.path(), "ok", &[var]).wait();
        ended.assert_failed(78, "worker.count-configured").assert_says(var.0);
        assert!(!ended.stderr.contains("/run/secrets/x"), "{}", ended.stderr);
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0, "nothing may be touched");
    }
    let ended = app(tempfile::tempdir().unwrap().path(), "ok", &vars).wait();
    for (name, _) in vars {
        ended.assert_says(name);
    }
}

#[test]
fn a_second_process_on_the_same_data_is_refused_and_the_first_undisturbed() {
    let data = tempfile::tempdir().unwrap();
    let mut first = app(data.path(), "ok", &[]);
    first.wait_for("READY");
    let second = app(data.path(), "ok", &[]).wait();
    second.assert_failed(78, "lock.held").assert_says("testapp.lock").assert_says(&first.id().to_string());
    first.terminate();
    assert_eq!(first.wait().code(), 0);
    assert_nothing_left(data.path());
}

#[test]
fn a_killed_process_does_not_block_the_next() {
    let data = tempfile::tempdir().unwrap();
    let mut first = app(data.path(), "ok", &[]);
    first.wait_for("READY");
    first.kill();
    assert_nothing_left(data.path());
}

#[test]
fn a_data_directory_that_cannot_be_created_is_reported_as_such() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("file");
    fs::write(&file, "").unwrap();
    let ended = app(&file.join("below"), "ok", &[]).wait();
    ended.assert_failed(73, "db.dir-missing").assert_says("below");
}

#[test]
fn a_plan_that_fails_is_reported() {
    let ended = app(tempfile::tempdir().unwrap().path(), "plan-error", &[]).wait();
    ended.assert_failed(70, "stage.failed").assert_says("the plan is not finished");
}
