//! Real processes, real signals: exit codes, reports, and what is left behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    os::fd::OwnedFd,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{OFlags, fcntl_setfl},
    process::{Pid, Signal, kill_process},
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

/// Whatever happened before, the next start succeeds at once, and nothing is left but the lock, the lease and
/// what was reported.
fn assert_nothing_left(data: &Path) {
    let names: Vec<_> = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let kept = [
        "testapp.lock",
        "testapp.lease.db",
        "testapp.lease.db-wal",
        "testapp.lease.db-shm",
        "testapp.ledger.json",
        "testapp.report.json",
        "testapp.report.refused.json",
    ];
    // Whoever is killed while it stores a report leaves that under a name of its own, which nobody reads.
    let half_written = |name: &std::ffi::OsString| {
        name.to_str().is_some_and(|name| name.starts_with(".testapp.") && name.contains(".json."))
    };
    let expected = |name: &std::ffi::OsString| kept.iter().any(|kept| name == kept) || half_written(name);
    assert!(names.iter().all(expected), "{names:?}");
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
        let made = fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut made: Vec<_> = made.collect();
        made.sort();
        let told = ["testapp.ledger.json", "testapp.report.refused.json"];
        assert_eq!(made, told, "nothing else may be touched");
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

#[test]
fn a_failure_that_repeats_is_counted_and_told_in_three_lines_until_a_start_succeeds() {
    let data = tempfile::tempdir().unwrap();
    let first = app(data.path(), "error", &[]).wait();
    first.assert_failed(70, "stage.failed").assert_says("Attempt 1.");
    let second = app(data.path(), "error", &[]).wait();
    let told: Vec<_> = second.stderr.lines().skip_while(|line| !line.starts_with("STARTUP FAILED")).collect();
    assert_eq!(told.len(), 3, "{}", second.stderr);
    assert!(told[1].contains("fix: try tomorrow") && told[2].contains("attempt 2, same since"), "{told:?}");
    let changed = app(data.path(), "panic", &[]).wait();
    changed.assert_failed(70, "stage.panicked").assert_says("Attempt 3; the one before failed in another");
    let recovered = app(data.path(), "finish", &[]).wait();
    recovered.assert_says("recovered after 3 failed starts (stage.panicked)");
    let after = app(data.path(), "error", &[]).wait();
    after.assert_says("Attempt 1.");
}

#[test]
fn reports_as_json_are_one_object_a_line_and_nothing_else_of_ours() {
    let data = tempfile::tempdir().unwrap();
    let json = ("TESTAPP_LOG_FORMAT", "json");
    let objects = |ended: &Exit| -> Vec<serde_json::Value> {
        let lines = ended.stderr.lines().filter(|line| line.starts_with('{'));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let failed = app(data.path(), "error", &[json, ("TESTAPP_LOCK_WIAT", "5s")]).wait();
    let told = objects(&failed);
    let events: Vec<_> = told.iter().map(|each| each["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["startup.warning", "startup.failed"], "{}", failed.stderr);
    let report = &told[1];
    assert_eq!((report["code"].as_str(), report["exit_code"].as_u64()), (Some("stage.failed"), Some(70)));
    assert_eq!(report["actions"][0]["text"], "try tomorrow");
    assert!(report["rendered"].as_str().unwrap().contains("STARTUP FAILED"));
    assert!(!failed.stderr.contains("\nSTARTUP FAILED"), "{}", failed.stderr);
    let done = app(data.path(), "finish", &[json]).wait();
    let told = objects(&done);
    assert_eq!(told[0]["event"], "startup.ready");
    assert_eq!(told.last().unwrap()["event"], "service.stopped");
}

#[test]
fn a_failed_start_that_is_held_stays_without_the_lock_until_a_signal_and_keeps_its_exit_code() {
    let data = tempfile::tempdir().unwrap();
    let mut held = app(data.path(), "error", &[("TESTAPP_FAILURE_HOLD", "1h")]);
    held.wait_for("HOLDING for");
    let other = app(data.path(), "finish", &[]).wait();
    assert_eq!(other.code(), 0, "{}", other.stderr);
    held.terminate();
    let ended = held.wait();
    assert_eq!(ended.code(), 70, "{}", ended.stderr);
}

#[test]
fn a_stderr_that_nobody_reads_or_that_is_closed_changes_no_exit_code() {
    use std::process::{Command, Stdio};
    let start = |stderr: Stdio| {
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new(support::example("test-app"));
        command.env_clear().env("TESTAPP_DATA_DIR", data.path()).env("TESTAPP_SCENARIO", "plan-error");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let began = Instant::now();
        let code = command.status().unwrap().code();
        (code, began.elapsed())
    };
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    drop(reader);
    assert_eq!(start(writer.into()).0, Some(70));
    let (_never_read, writer) = full_pipe();
    let (code, took) = start(writer.into());
    assert_eq!(code, Some(70));
    assert!(took < Duration::from_secs(10), "it took {took:?}");
}

#[test]
fn a_worker_that_was_replaced_ends_at_once_although_nobody_reads_what_it_says() {
    use std::{
        io::{BufRead, BufReader},
        process::Stdio,
    };
    let data = tempfile::tempdir().unwrap();
    let vars = [("TESTAPP_SCENARIO", "ok"), ("TESTAPP_LEASE_TTL", "500ms")];
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let mut command = support::command("test-app", data.path(), &vars);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::from(writer.try_clone().unwrap()));
    let mut worker = command.spawn().unwrap();
    let mut lines = BufReader::new(fs::File::from(reader)).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("READY")));
    let pid = Pid::from_child(&worker);
    kill_process(pid, Signal::STOP).unwrap();
    fill(&writer);
    // Longer than its lease: this is what happens to it, and nothing is waited for.
    thread::sleep(Duration::from_millis(700));
    let began = Instant::now();
    kill_process(pid, Signal::CONT).unwrap();
    let code = worker.wait().unwrap().code();
    assert_eq!(code, Some(75));
    assert!(began.elapsed() < Duration::from_millis(1_500), "it took {:?}", began.elapsed());
}

/// A pipe that takes nothing more, for a writer that waits until it does.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    fill(&writer);
    (reader, writer)
}

fn fill(pipe: &OwnedFd) {
    fcntl_setfl(pipe, OFlags::NONBLOCK).unwrap();
    while rustix::io::write(pipe, &[0; 4096]).is_ok() {}
    while rustix::io::write(pipe, &[0]).is_ok() {}
    fcntl_setfl(pipe, OFlags::empty()).unwrap();
}
