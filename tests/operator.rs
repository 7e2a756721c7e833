//! What the operator sees on a terminal while the service starts, and of errors that only the application or the
//! operating system can explain: real processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use solostart::testing::Process;

mod support;

/// What a terminal of this kind is sent.
fn on_a_terminal(data: &Path, terminal: &str, scenario: &str) -> (i32, Vec<u8>) {
    let mut command = Command::new("script");
    command
        .args(["--quiet", "--return", "--flush", "--command"])
        .arg(support::example("test-app"))
        .arg("/dev/null");
    command.env_clear().env("PATH", "/usr/bin:/bin").env("SHELL", "/bin/sh").env("TERM", terminal);
    command.env("TESTAPP_DATA_DIR", data).env("TESTAPP_SCENARIO", scenario);
    let Output { status, stdout, .. } = command.stdin(Stdio::null()).output().unwrap();
    (status.code().unwrap(), stdout)
}

/// The lines of a terminal, and whether one of them was that of a stage that is starting.
fn shown(sent: &[u8]) -> (Vec<String>, bool) {
    let mut terminal = vt100::Parser::new(100, 120, 0);
    let mut was_live = false;
    for byte in sent {
        terminal.process(&[*byte]);
        was_live |= terminal.screen().rows(0, 120).any(|line| is_live(&line));
    }
    (terminal.screen().rows(0, 120).map(|line| line.trim_end().to_owned()).collect(), was_live)
}

fn is_live(line: &str) -> bool {
    line.starts_with(['|', '/', '-', '\\']) && line.contains(" subject ") && line.contains("migration 8/12")
}

#[test]
fn a_terminal_shows_what_runs_and_nothing_of_it_is_left_when_the_report_comes() {
    for (scenario, exit, verdict) in
        [("slow-error", 70, "STARTUP FAILED  subject  [stage.failed]"), ("slow-finish", 0, "READY in ")]
    {
        let data = tempfile::tempdir().unwrap();
        let (code, sent) = on_a_terminal(data.path(), "xterm", scenario);
        let (lines, was_live) = shown(&sent);
        let screen = lines.join("\n");
        assert_eq!(code, exit, "{screen}");
        assert!(was_live, "{screen}");
        assert!(lines.iter().any(|line| line.starts_with(verdict)), "{screen}");
        assert!(!lines.iter().any(|line| is_live(line)), "{screen}");
        assert!(lines.iter().any(|line| line == "base starts"), "{screen}");
    }
}

#[test]
fn a_terminal_without_abilities_is_sent_plain_lines() {
    let data = tempfile::tempdir().unwrap();
    let (_, sent) = on_a_terminal(data.path(), "dumb", "slow-finish");
    assert!(!sent.contains(&0x1b), "{}", String::from_utf8_lossy(&sent));
}

#[test]
fn an_error_of_the_application_is_explained_by_its_own_analyser() {
    let data = tempfile::tempdir().unwrap();
    let vars = [("TESTAPP_SCENARIO", "licence")];
    let exit = Process::start(&mut support::command("test-app", data.path(), &vars)).wait();
    exit.assert_failed(78, "testapp.licence-expired");
    exit.assert_says("ended")
        .assert_says("2026-10-01")
        .assert_says("Put the new licence into /data/licence.txt.");
}

#[test]
fn a_port_that_is_taken_is_explained_without_a_word_of_the_application() {
    let data = tempfile::tempdir().unwrap();
    let vars = [("TESTAPP_SCENARIO", "listener")];
    let exit = Process::start(&mut support::command("test-app", data.path(), &vars)).wait();
    exit.assert_failed(75, "stage.busy");
    exit.assert_says("ss -ltnp 'sport = :");
}
