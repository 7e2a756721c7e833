//! `lock status` and `lock break` as an operator uses them: a program beside the one that runs, its exit code and
//! what it prints.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use solostart::testing::{Exit, Process};
use support::example;

mod support;

/// What nobody waits for, and a busy machine keeps.
const LONG: &str = "15s";
/// For a service that soon renews no more.
const SHORT: &str = "3s";

fn service(data: &Path, scenario: &str, ttl: &str) -> Process {
    let vars =
        [("TESTAPP_SCENARIO", scenario), ("TESTAPP_SHUTDOWN_TIMEOUT", "1h"), ("TESTAPP_LEASE_TTL", ttl)];
    let mut app = Process::start(&mut support::command("test-app", data, &vars));
    app.wait_for("READY");
    app
}

/// Runs a subcommand to its end.
fn command(data: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(example("test-app"));
    command.args(words).env_clear().env("TESTAPP_DATA_DIR", data).output().unwrap()
}

/// Every line that people read fits a terminal, and a whole block one screen of it.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.is_ascii() && text.lines().count() <= 40, "{text}");
    text
}

/// The exit code of `lock status`, the same of its JSON form, and what both say.
fn status(data: &Path) -> (i32, String, Value) {
    let (words, json) = (command(data, &["lock", "status"]), command(data, &["lock", "status", "--json"]));
    assert_eq!(words.status.code(), json.status.code());
    assert_eq!(json.stdout.iter().filter(|&&byte| byte == b'\n').count(), 1);
    (words.status.code().unwrap(), text(&words.stdout), serde_json::from_slice(&json.stdout).unwrap())
}

fn token(data: &Path) -> u64 {
    status(data).2["lease"]["token"].as_u64().unwrap()
}

/// The exit code of `lock break`, and what it says on either channel.
fn break_lease(data: &Path, token: u64) -> (i32, String) {
    let output = command(data, &["lock", "break", "--token", &token.to_string()]);
    let said = [output.stdout, output.stderr].concat();
    let said = text(&said);
    assert!(said.lines().all(|line| line.len() <= 80), "{said}");
    (output.status.code().unwrap(), flat(&said))
}

/// The text without its line breaks: where they are depends on the length of the paths.
fn flat(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a second service is told.
fn second(data: &Path) -> Exit {
    let vars = [("TESTAPP_SCENARIO", "finish")];
    let ended = Process::start(&mut support::command("test-app", data, &vars)).wait();
    if !ended.status.success() {
        let report: Vec<&str> = ended.stderr.lines().collect();
        assert!(report.len() <= 40 && report.iter().all(|line| line.len() <= 80), "{}", ended.stderr);
    }
    ended
}

#[test]
fn where_nothing_ever_ran_it_is_free_and_nothing_is_created() {
    let data = tempfile::tempdir().unwrap();
    let (code, words, json) = status(data.path());
    assert_eq!((code, &json["verdict"], &json["flock"]["state"]), (0, &"free".into(), &"no-file".into()));
    assert!(words.contains("nobody has it; the next instance starts at once"), "{words}");
    assert_eq!(break_lease(data.path(), 7).0, 64);
    assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
}

#[test]
fn a_worker_that_runs_is_shown_and_neither_disturbed_nor_broken() {
    let data = tempfile::tempdir().unwrap();
    let mut first = service(data.path(), "ok", LONG);
    let pid = first.id();
    let (code, words, json) = status(data.path());
    assert_eq!((code, &json["verdict"], &json["lease"]["state"]), (75, &"running".into(), &"fresh".into()));
    assert_eq!((&json["flock"]["state"], &json["flock"]["pid"]), (&"held".into(), &pid.into()));
    assert_eq!(json["lease"]["holder"]["pid"], pid);
    for expected in [
        format!("held by process {pid}"),
        format!("pid {pid}"),
        format!("token       {}", json["lease"]["token"]),
    ] {
        assert!(words.contains(&expected), "no `{expected}` in\n{words}");
    }

    let (code, said) = break_lease(data.path(), token(data.path()));
    assert_eq!(code, 78, "{said}");
    for expected in
        ["LOCK NOT BROKEN", "[lock.held]", &format!("process {pid}, says /proc/locks"), "looks alive"]
    {
        assert!(said.contains(expected), "no `{expected}` in\n{said}");
    }
    let (code, said) = break_lease(data.path(), 7);
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("does not have the token 7"), "{said}");

    let refused = second(data.path());
    refused.assert_failed(78, "lock.held").assert_says("Keep one of the two").assert_says("says /proc/locks");
    first.terminate();
    // The scenario stops at once: nothing of this was a disturbance.
    assert_eq!(first.wait().code(), 0);
    assert_eq!(status(data.path()).2["verdict"], "free");
}

#[test]
fn after_kill_9_the_status_says_that_the_next_one_takes_over_at_once_and_it_does() {
    let data = tempfile::tempdir().unwrap();
    let first = service(data.path(), "ok", LONG);
    let before = token(data.path());
    first.kill();
    let (code, words, json) = status(data.path());
    assert_eq!((code, &json["verdict"], &json["flock"]["state"]), (0, &"gone".into(), &"free".into()));
    assert!(words.contains("the next instance takes over at once"), "{words}");
    second(data.path()).assert_says("READY");
    let (code, _, json) = status(data.path());
    assert_eq!((code, &json["verdict"], &json["lease"]["state"]), (0, &"free".into(), &"free".into()));
    assert!(json["lease"]["token"].as_u64().unwrap() > before);
}

#[test]
fn the_lease_of_a_worker_that_was_killed_is_broken_by_its_token_alone_and_only_once() {
    let data = tempfile::tempdir().unwrap();
    let first = service(data.path(), "ok", SHORT);
    first.kill();
    let token = token(data.path());
    assert_eq!(break_lease(data.path(), token + 1).0, 64);
    let (code, said) = break_lease(data.path(), token);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("token {token} -> ")), "{said}");
    let (_, words, json) = status(data.path());
    assert_eq!(json["verdict"], "free", "{words}");
    assert!(json["lease"]["token"].as_u64().unwrap() > token);
    let (code, said) = break_lease(data.path(), json["lease"]["token"].as_u64().unwrap());
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("nothing to break"), "{said}");
}

#[test]
fn nothing_is_broken_while_the_sequence_moves_although_the_lock_is_free() {
    let data = tempfile::tempdir().unwrap();
    // It loses the right with its lock file, and its stop takes for ever: it goes on renewing.
    let _first = service(data.path(), "stop-hang", LONG);
    let (lock, copy) = (data.path().join("testapp.lock"), data.path().join("copy"));
    fs::copy(&lock, &copy).unwrap();
    fs::rename(&copy, &lock).unwrap();
    let (code, words, json) = status(data.path());
    assert_eq!(
        (code, &json["verdict"], &json["flock"]["state"]),
        (75, &"unclear".into(), &"free".into()),
        "{words}"
    );
    let (code, said) = break_lease(data.path(), token(data.path()));
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("[lock.held]") && said.contains("the sequence of the lease moved"), "{said}");
    second(data.path()).assert_failed(78, "lock.held").assert_says("renews the lease");
}

#[test]
fn a_worker_that_is_stopped_becomes_unresponsive_and_is_not_broken() {
    let data = tempfile::tempdir().unwrap();
    let mut first = service(data.path(), "ok", SHORT);
    let (pid, token) = (first.id(), token(data.path()));
    first.pause();
    let silent =
        std::iter::repeat_with(|| status(data.path())).find(|(_, _, json)| json["lease"]["state"] == "stale");
    let (code, words, json) = silent.unwrap();
    assert_eq!(
        (code, &json["verdict"], &json["flock"]["process_state"]),
        (75, &"unresponsive".into(), &"T".into())
    );
    assert!(words.contains(&format!("held by process {pid}, which is stopped")), "{words}");
    let (code, said) = break_lease(data.path(), token);
    assert_eq!(code, 75, "{said}");
    assert!(said.contains("[lock.holder-unresponsive]"), "{said}");
    let refused = second(data.path());
    refused.assert_failed(75, "lock.holder-unresponsive").assert_says("looks dead");
    refused.assert_says(&format!("kill -CONT {pid}")).assert_says("takes over as soon as the holder");
}

#[test]
fn from_another_pid_namespace_the_lock_is_seen_and_not_its_process() {
    let data = tempfile::tempdir().unwrap();
    let elsewhere = || {
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc"])
            .arg(example("test-app"));
        command.args(["lock", "status", "--json"]).env("TESTAPP_DATA_DIR", data.path());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
    };
    let first = service(data.path(), "ok", LONG);
    let json = elsewhere();
    assert_eq!((&json["verdict"], &json["flock"]["state"]), (&"running".into(), &"held".into()), "{json}");
    assert_eq!(json["flock"]["pid"], Value::Null);
    first.kill();
    let json = elsewhere();
    assert_eq!((&json["verdict"], &json["flock"]["state"]), (&"gone".into(), &"free".into()), "{json}");
}
