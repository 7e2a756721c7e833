//! The course in `examples/`: each runs, says what its text promises, and ends as it should.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![cfg(all(
    feature = "database",
    feature = "cache",
    feature = "http-session",
    feature = "scheduler",
    feature = "testing"
))]

use std::{path::Path, process::Command};

use solostart::testing::{Exit, Process};
use tempfile::TempDir;

#[allow(dead_code, reason = "every test file uses its own part of the support module")]
mod support;

/// Starts an example that also says what it does: its stdout is read with its stderr.
fn start_talking(name: &str, vars: &[(&str, &str)]) -> Process {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec \"$0\" >&2"]).arg(support::example(name));
    Process::start(command.env_clear().envs(vars.iter().copied()))
}

/// An example on data of its own.
struct Lesson {
    name: &'static str,
    prefix: &'static str,
    data: TempDir,
}

impl Lesson {
    fn new(name: &'static str, prefix: &'static str) -> Self {
        Self { name, prefix, data: TempDir::new().unwrap() }
    }

    fn data(&self) -> &Path {
        self.data.path()
    }

    fn start(&self, vars: &[(&str, &str)]) -> Process {
        let data_dir = format!("{}_DATA_DIR", self.prefix);
        let mut all = vec![(data_dir.as_str(), self.data().to_str().unwrap())];
        all.extend(vars);
        start_talking(self.name, &all)
    }

    /// Starts it, waits for what it says, and asks it to stop.
    fn serves(&self, vars: &[(&str, &str)], says: &[&str]) -> Exit {
        let mut app = self.start(vars);
        app.wait_for("READY");
        for text in says {
            app.wait_for(text);
        }
        app.terminate();
        let ended = app.wait();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        ended.assert_says("STOPPED");
        ended
    }

    /// Starts it, and it fails.
    fn fails(&self, vars: &[(&str, &str)], exit: i32, code: &str) -> Exit {
        let ended = self.start(vars).wait();
        ended.assert_failed(exit, code);
        ended
    }
}

#[test]
fn hello_stages() {
    let lesson = Lesson::new("01_hello_stages", "HELLO");
    lesson.serves(&[], &["hello, press Ctrl-C"]).assert_says("greeting is stopped");
    lesson.fails(&[("HELLO_WORKERS", "2")], 78, "worker.count-configured");
    let mut first = lesson.start(&[]);
    first.wait_for("READY");
    lesson.fails(&[], 78, "lock.held").assert_says(&first.id().to_string());
    first.terminate();
    assert_eq!(first.wait().code(), 0);
}

#[test]
fn prerequisites() {
    let ended = Lesson::new("02_prerequisites", "KITCHEN").serves(&[], &["coffee began"]);
    ended.assert_says("coffee: 18 g at 94 degrees");
    let stopped = ended.stderr.lines().find(|line| line.starts_with("STOPPED")).unwrap();
    assert!(stopped.find("coffee") < stopped.find("water"), "{stopped}");
}

#[test]
fn step_and_undo() {
    let lesson = Lesson::new("03_step_and_undo", "BUILDER");
    let site = lesson.data().join("site");
    lesson.serves(&[], &["built"]).assert_says("stop: remove");
    let broken = lesson.fails(&[("BUILDER_BREAK", "true")], 70, "stage.failed");
    broken.assert_says("undo: remove").assert_says("the pencil broke").assert_says("write the file");
    assert!(!site.exists());
    let hanging = [("BUILDER_HANG", "true"), ("BUILDER_STAGE_TIMEOUT", "300ms")];
    lesson.fails(&hanging, 75, "stage.timeout").assert_says("undo: remove").assert_says("write the file");
    assert!(!site.exists());
}

#[test]
fn optional_stage() {
    let lesson = Lesson::new("04_optional_stage", "SHOPFRONT");
    lesson.serves(&[], &["in the window: a teapot"]);
    lesson
        .serves(&[("SHOPFRONT_BROKEN", "true")], &["in the window: an empty shelf"])
        .assert_says("DEGRADED: recommendations (failed)");
}

#[test]
fn timeout_and_retry() {
    let lesson = Lesson::new("05_timeout_and_retry", "PATIENT");
    lesson.serves(&[], &["connected at attempt 3"]);
    lesson.fails(&[("PATIENT_FAILURES", "9")], 75, "stage.busy").assert_says("docker compose ps upstream");
    let silent = [("PATIENT_SILENT", "true"), ("PATIENT_STAGE_TIMEOUT_UPSTREAM", "300ms")];
    lesson.fails(&silent, 75, "stage.timeout").assert_says("PATIENT_STAGE_TIMEOUT_UPSTREAM=");
}

#[test]
fn database() {
    let lesson = Lesson::new("06_database", "GUESTBOOK");
    lesson.serves(&[], &["start 1, in"]);
    lesson.serves(&[], &["start 2, in"]);
    std::fs::write(lesson.data().join("guestbook.db"), "nonsense").unwrap();
    lesson.fails(&[], 65, "db.corrupt");
}

#[test]
fn cache_warm_up() {
    let says = ["solo: alone", "start: begin", "stop: (not known)"];
    Lesson::new("07_cache_warm_up", "DICTIONARY").serves(&[], &says);
}

#[test]
fn http_session() {
    let lesson = Lesson::new("08_http_session", "FETCHER");
    let ended = lesson.serves(&[], &["the upstream says: 4 bans"]);
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    let nobody = [
        ("FETCHER_HTTP_PROBE_URL", "http://me:secret@127.0.0.1:1/?token=hunter2"),
        ("FETCHER_HTTP_RETRY_BUDGET", "100ms"),
    ];
    let ended = lesson.fails(&nobody, 69, "http.connect");
    assert!(!ended.stderr.contains("hunter2") && !ended.stderr.contains("me:secret"), "{}", ended.stderr);
}

#[test]
fn jobs_and_tasks() {
    let lesson = Lesson::new("09_jobs_and_tasks", "ORCHARD");
    let ended = lesson.serves(&[], &["apples"]);
    ended.assert_says("; scheduler internal").assert_says("empty (every 200ms)");
    ended.assert_says("count-the-day (0 30 2 * * * Europe/Berlin): 0 runs");
    lesson.serves(&[("ORCHARD_SCHEDULER", "off")], &[]).assert_says("; scheduler off: no job runs");
    let external = [("ORCHARD_SCHEDULER", "external"), ("ORCHARD_TICK_SECRET", "0123456789abcdef")];
    let ended = lesson.serves(&external, &[]);
    ended.assert_says("; scheduler external").assert_says("(every 200ms): 0 runs");
    assert!(!ended.stderr.contains("0123456789abcdef"), "{}", ended.stderr);
}

#[test]
fn an_essential_task_that_dies_in_a_loop_ends_the_service_and_is_named() {
    let lesson = Lesson::new("09_jobs_and_tasks", "ORCHARD");
    let ended = lesson.fails(&[("ORCHARD_FRAGILE", "true")], 70, "task.failed");
    ended.assert_says("the ladder broke").assert_says("pick").assert_says("tasks");
}

#[test]
fn settings_and_secrets() {
    let lesson = Lesson::new("10_settings_and_secrets", "POSTBOX");
    let ended = lesson.serves(&[("POSTBOX_PASSWORD", "correct-horse")], &["a password of 13 characters"]);
    assert!(!ended.stderr.contains("correct-horse"), "{}", ended.stderr);
    let wrong = [("POSTBOX_LISTEN", "here"), ("POSTBOX_PATIENCE", "30"), ("POSTBOX_RETRIES", "many")];
    let ended = lesson.fails(&wrong, 78, "env.invalid");
    for name in ["POSTBOX_LISTEN", "POSTBOX_PATIENCE", "POSTBOX_RETRIES", "POSTBOX_PASSWORD"] {
        ended.assert_says(name);
    }
}

#[test]
fn own_runtime() {
    let ended = start_talking("11_own_runtime", &[]).wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    ended.assert_says("the sum is 6").assert_says("stopped because").assert_says("clean: true");
}

#[test]
fn test_your_graph() {
    let ended = start_talking("12_test_your_graph", &[]).wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    // Nine faults in each of three stages, worker-mode among them.
    ended.assert_says("30 faults played").assert_says("Hang in `cache`: came up, and stopped");
}

#[test]
fn every_lesson_is_played_here_and_is_short() {
    let own = include_str!("examples.rs");
    let mut lessons = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if !name.starts_with(|first: char| first.is_ascii_digit()) {
            continue;
        }
        lessons += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(own.contains(&format!("\"{name}\"")), "{name} is not played");
        assert!((30..=130).contains(&text.lines().count()), "{name} has {} lines", text.lines().count());
        assert!(text.contains("//! To try\n"), "{name} does not say what to try");
    }
    assert_eq!(lessons, 12);
}
