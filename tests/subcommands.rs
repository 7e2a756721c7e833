//! The subcommands that every application has, as real processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
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

/// What drives a terminal, forges a line, turns text round, or is not seen.
const HOSTILE: &str =
    "\u{1b}]0;owned\u{7}\u{1b}[31mEVIL\nFAKE LINE\r\u{9b}2J\u{202e}\u{2066}\u{200b}\u{feff}\u{7f}\u{e9}";

/// Everything that prints what it reads.
const SINKS: &[&[&str]] = &[
    &["report"],
    &["report", "--json"],
    &["timeline"],
    &["timeline", "--format", "svg"],
    &["graph"],
    &["graph", "--format", "dot"],
    &["graph", "--format", "mermaid"],
    &["lock", "status"],
    &["lock", "status", "--json"],
    &["lock", "break", "--token", "1"],
    &["healthcheck"],
    &["env"],
    &["env", "--markdown"],
    &["check"],
    &["check", "--json"],
    &["explain", "lock.held"],
    &["explain", HOSTILE],
    &[HOSTILE],
    &[],
];

/// Reads every sink. What is meant to be JSON must still be, and may say all of it, escaped.
fn read_sinks(data: &Path, vars: &[(&str, &str)], source: &str) {
    for words in SINKS {
        let mut command = support::command("test-app", data, vars);
        // Where the environment lies is where `healthcheck` looks.
        command.args(*words).env("XDG_RUNTIME_DIR", data).env("TESTAPP_SCENARIO", "error");
        let Output { stdout, stderr, .. } = command.stdin(Stdio::null()).output().unwrap();
        is_harmless(&stdout, &format!("{source}: {words:?}"));
        is_harmless(&stderr, &format!("{source}: {words:?}"));
        if words.contains(&"--json") && !stdout.is_empty() {
            serde_json::from_slice::<serde_json::Value>(&stdout).unwrap();
        }
    }
}

#[track_caller]
fn is_harmless(bytes: &[u8], what: &str) {
    let text = String::from_utf8_lossy(bytes);
    assert!(!text.lines().any(|line| line.trim_start().starts_with("FAKE LINE")), "{what}:\n{text}");
    let bad = bytes.iter().find(|byte| !matches!(byte, b' '..=b'~' | b'\n'));
    assert_eq!(bad, None, "{what}:\n{text:?}");
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Each text of a JSON document in turn, with hostile text behind it.
fn spoilt(json: &serde_json::Value) -> Vec<serde_json::Value> {
    use serde_json::Value;
    match json {
        Value::String(text) => vec![Value::String(format!("{text}{HOSTILE}"))],
        Value::Null => vec![Value::String(HOSTILE.to_owned())],
        Value::Array(each) => (0..each.len().min(3))
            .flat_map(|at| {
                spoilt(&each[at]).into_iter().map(move |part| {
                    let mut whole = each.clone();
                    whole[at] = part;
                    Value::Array(whole)
                })
            })
            .collect(),
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, field)| {
                spoilt(field).into_iter().map(move |part| {
                    let mut whole = fields.clone();
                    whole.insert(name.clone(), part);
                    Value::Object(whole)
                })
            })
            .collect(),
        Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// The subcommands of pictures and reports alone: there are many fields.
#[test]
fn no_field_of_a_forged_report_reaches_a_terminal_or_a_picture() {
    let data = tempfile::tempdir().unwrap();
    run(data.path(), "error");
    let path = data.path().join("testapp.report.json");
    let whole: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut forged = spoilt(&whole);
    // The text of a report has lines of its own, of which none can be told from a forged one.
    for report in &mut forged {
        let lines = report["rendered"].as_str().map(|text| text.replace("\nFAKE LINE", "FAKE LINE"));
        report["rendered"] = lines.into();
    }
    // A name that the prerequisites of others have, too, so that the graph is taken for that of the program.
    let renamed =
        whole.to_string().replace("\"base\"", &serde_json::to_string(&format!("base{HOSTILE}")).unwrap());
    forged.push(serde_json::from_str(&renamed).unwrap());
    assert!(forged.len() > 25, "{}", forged.len());
    for report in forged {
        // In a form that a forger chooses: nothing escaped that JSON does not ask for, over many lines.
        fs::write(&path, serde_json::to_string_pretty(&report).unwrap()).unwrap();
        for words in &SINKS[..7] {
            let said = support::command("test-app", data.path(), &[]).args(*words).output().unwrap();
            let both = [said.stdout, said.stderr].concat();
            is_harmless(&both, &format!("{words:?} of {report}"));
            if words.contains(&"--json") && said.status.success() {
                assert_eq!(serde_json::from_slice::<serde_json::Value>(&both).unwrap(), report);
            }
        }
    }
}

#[test]
fn nothing_in_the_ledger_the_lock_file_or_the_lease_reaches_a_terminal() {
    let data = tempfile::tempdir().unwrap();
    run(data.path(), "error");
    let at = |name: &str| data.path().join(name);
    // The ledger.
    let ledger: serde_json::Value =
        serde_json::from_slice(&fs::read(at("testapp.ledger.json")).unwrap()).unwrap();
    for forged in spoilt(&ledger) {
        fs::write(at("testapp.ledger.json"), forged.to_string()).unwrap();
        read_sinks(data.path(), &[], "ledger");
    }
    // The lock file, in each of its lines.
    let lock = fs::read_dir(data.path()).unwrap().flatten().map(|entry| entry.path());
    let lock = lock.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "lock")).unwrap();
    let first = fs::read_to_string(&lock).unwrap().lines().next().unwrap().to_owned();
    let said = serde_json::to_string(HOSTILE).unwrap();
    let holder = format!(
        "{{\"instance\":{said},\"service\":{said},\"version\":{said},\"host\":{said},\"pid\":1,\"boot_id\":{said},\
         \"started_at\":\"2026-01-01T00:00:00Z\"}}"
    );
    for content in [format!("{first}{HOSTILE}\n"), format!("{first}\n\n{holder}\n"), HOSTILE.to_owned()] {
        fs::write(&lock, content).unwrap();
        read_sinks(data.path(), &[], "lock file");
    }
    fs::remove_file(&lock).unwrap();
    // The lease.
    let lease = fs::read_dir(data.path()).unwrap().flatten().map(|entry| entry.path());
    let lease = lease.into_iter().find(|path| path.to_string_lossy().ends_with(".lease.db")).unwrap();
    let connection = rusqlite::Connection::open(lease).unwrap();
    for column in ["holder", "holder_info", "boot_id", "lock"] {
        for value in [HOSTILE, &holder] {
            let set = format!("UPDATE solostart_lease SET {column} = ?1, token = token + 1, seq = 0");
            assert_eq!(connection.execute(&set, [value]).unwrap(), 1);
            read_sinks(data.path(), &[], &format!("lease, {column}"));
        }
    }
}

/// Its last word is told when it has ended, too.
#[test]
fn nothing_that_a_service_said_of_itself_reaches_a_terminal() {
    let data = tempfile::tempdir().unwrap();
    let mut service = support::command("test-app", data.path(), &[]);
    let mut service = Process::start(service.env("XDG_RUNTIME_DIR", data.path()));
    service.wait_for("READY");
    let health = files_below(data.path()).into_iter().find(|path| {
        fs::read_to_string(path).is_ok_and(|text| text.contains("\"started\"") && text.contains("\"line\""))
    });
    let health = health.unwrap();
    let told: serde_json::Value = serde_json::from_slice(&fs::read(&health).unwrap()).unwrap();
    let _killed = service.kill();
    for forged in spoilt(&told) {
        fs::write(&health, forged.to_string()).unwrap();
        read_sinks(data.path(), &[], "health file");
    }
}

/// Values of each form, and paths.
#[test]
fn nothing_in_the_environment_reaches_a_terminal() {
    let data = tempfile::tempdir().unwrap();
    let at = |name: &str| data.path().join(name);
    let evil = at(&format!("x{}", HOSTILE.replace('/', "")));
    fs::create_dir(&evil).unwrap();
    fs::write(at("value"), HOSTILE).unwrap();
    let (evil, value) = (evil.to_str().unwrap(), at("value"));
    for vars in [
        [("TESTAPP_DATA_DIR", evil), ("TESTAPP_REPORT_FILE", evil)],
        [("TESTAPP_LOCK_PATH", evil), ("TESTAPP_LOCK_WAIT", HOSTILE)],
        [("TESTAPP_LISTEN", HOSTILE), ("TESTAPP_UPSTREAM", HOSTILE)],
        [("TESTAPP_PASSWORD_FILE", value.to_str().unwrap()), ("WEB_CONCURRENCY", HOSTILE)],
        [("TESTAPP_PASSWORD_FILE", evil), (&format!("TESTAPP_{HOSTILE}"), HOSTILE)],
        [("TESTAPP_METRICS_TEXTFILE", evil), ("TESTAPP_TIMELINE_SVG", evil)],
        [("HOSTNAME", HOSTILE), ("NOTIFY_SOCKET", HOSTILE)],
    ] {
        read_sinks(data.path(), &vars, &format!("environment {:?}", vars.map(|(name, _)| name)));
    }
}
