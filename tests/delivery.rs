//! Reports delivered by real processes to real receivers, and to bad ones: none of them changes an exit code, or
//! delays it for longer than is stated.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use receiver::{Answer, Receiver};
use rustix::process::geteuid;
use solostart::testing::{Exit, Process};

#[path = "support/receiver.rs"]
mod receiver;
mod support;

/// What a delivery may add to the time that a start takes to fail, as documented.
const CAP: Duration = Duration::from_secs(3);

/// What a machine that has other things to do may add to that.
const MARGIN: Duration = Duration::from_secs(4);

fn run(data: &Path, scenario: &str, vars: &[(&str, &str)]) -> Exit {
    let mut all = vec![("TESTAPP_SCENARIO", scenario)];
    all.extend(vars);
    Process::start(&mut support::command("test-app", data, &all)).wait()
}

#[test]
fn each_kind_of_receiver_is_told_of_a_failure_and_of_the_recovery_in_its_own_way() {
    for format in ["json", "slack", "ntfy", "alertmanager"] {
        let (data, receiver) = (tempfile::tempdir().unwrap(), Receiver::content());
        let url = format!("http://{}/hook?key=1", receiver.address);
        let vars = [
            ("TESTAPP_NOTIFY_URL", url.as_str()),
            ("TESTAPP_NOTIFY_FORMAT", format),
            ("TESTAPP_NOTIFY_TOKEN", "tk_1"),
        ];
        run(data.path(), "error", &vars).assert_failed(70, "stage.failed");
        assert_eq!(run(data.path(), "finish", &vars).code(), 0);
        let (failure, recovery) = (receiver.next(), receiver.next());
        for request in [&failure, &recovery] {
            assert_eq!(request.line, "POST /hook?key=1 HTTP/1.1");
            assert!(request.has("authorization: Bearer tk_1"), "{request:?}");
        }
        match format {
            "json" => {
                let report = failure.json();
                assert_eq!(
                    (&report["event"], &report["code"]),
                    (&"startup.failed".into(), &"stage.failed".into())
                );
                assert_eq!(recovery.json()["event"], "startup.ready");
            }
            "slack" => {
                let text = failure.json()["text"].as_str().unwrap().to_owned();
                assert!(
                    text.starts_with("testapp: STARTUP FAILED on ") && text.contains("try tomorrow"),
                    "{text}"
                );
                assert!(recovery.json()["text"].as_str().unwrap().contains("recovered after 1 failed start"));
            }
            "ntfy" => {
                assert!(failure.has("title: testapp: STARTUP FAILED"), "{failure:?}");
                assert!(failure.has("priority: high") && failure.has("tags: rotating_light"), "{failure:?}");
                assert!(failure.body.contains("no luck today") && failure.body.len() < 2048, "{failure:?}");
                assert!(
                    recovery.has("title: testapp: READY") && recovery.has("priority: default"),
                    "{recovery:?}"
                );
            }
            _ => {
                let (fires, ends) = (failure.json()[0].clone(), recovery.json()[0].clone());
                assert_eq!(fires["labels"], ends["labels"], "an alert is ended by its labels");
                let time = |alert: &serde_json::Value, name: &str| alert[name].as_str().unwrap().to_owned();
                assert!(time(&fires, "endsAt") > time(&ends, "endsAt"), "{fires} {ends}");
                assert_eq!(time(&ends, "endsAt"), time(&ends, "startsAt"));
                assert_eq!(fires["annotations"]["code"], "stage.failed");
            }
        }
        assert!(receiver.rest().is_empty());
    }
}

#[test]
fn nobody_is_called_for_a_repeat_that_is_told_in_short_or_for_a_start_after_no_failure() {
    let (data, receiver) = (tempfile::tempdir().unwrap(), Receiver::content());
    let url = format!("http://{}", receiver.address);
    let vars = [("TESTAPP_NOTIFY_URL", url.as_str())];
    for scenario in ["finish", "error", "error", "error", "finish", "finish"] {
        run(data.path(), scenario, &vars);
    }
    let events: Vec<_> = receiver.rest().iter().map(|request| request.json()["event"].clone()).collect();
    assert_eq!(events, ["startup.failed", "startup.ready"]);
}

#[test]
fn a_failure_before_there_is_any_runtime_and_one_of_a_blocked_runtime_are_told_too() {
    let (data, receiver) = (tempfile::tempdir().unwrap(), Receiver::content());
    let url = format!("http://{}", receiver.address);
    let vars = [("TESTAPP_NOTIFY_URL", url.as_str()), ("TESTAPP_LOCK_WAIT", "5")];
    run(data.path(), "ok", &vars).assert_failed(78, "env.invalid");
    assert_eq!(receiver.next().json()["code"], "env.invalid");
    let vars = [
        ("TESTAPP_NOTIFY_URL", url.as_str()),
        ("TOKIO_WORKER_THREADS", "1"),
        ("TESTAPP_STAGE_TIMEOUT", "500ms"),
        ("TESTAPP_SHUTDOWN_TIMEOUT", "300ms"),
    ];
    run(data.path(), "block", &vars).assert_failed(70, "stage.blocked-executor");
    assert_eq!(receiver.next().json()["code"], "stage.blocked-executor");
}

#[test]
fn a_bad_receiver_changes_no_exit_code_and_delays_none_beyond_the_cap() {
    let without = {
        let (data, began) = (tempfile::tempdir().unwrap(), Instant::now());
        run(data.path(), "error", &[]).assert_failed(70, "stage.failed");
        began.elapsed()
    };
    let elsewhere = Receiver::content();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let answers = [
        (Some(Answer::Hangs), "no answer within"),
        (Some(Answer::Endless), ""),
        (Some(Answer::Says("500 Oh\r\nContent-Length: 0".to_owned())), "it answered 500"),
        (
            Some(Answer::Says(format!(
                "307 There\r\nLocation: http://{}/\r\nContent-Length: 0",
                elsewhere.address
            ))),
            "it answered 307 and redirects are not followed",
        ),
        (Some(Answer::Says("what".to_owned())), "was not told"),
        (None, "Connection refused"),
    ];
    for (answer, says) in answers {
        let data = tempfile::tempdir().unwrap();
        let receiver = answer.clone().map(Receiver::new);
        let address = receiver.as_ref().map_or(closed, |receiver| receiver.address);
        let url = format!("http://user:pw@{address}/path?key=k");
        let began = Instant::now();
        let ended = run(data.path(), "error", &[("TESTAPP_NOTIFY_URL", &url)]);
        let took = began.elapsed();
        ended.assert_failed(70, "stage.failed").assert_says(says);
        assert!(took < without + CAP + MARGIN, "{answer:?}: {took:?}, and {without:?} without");
        for secret in ["pw", "path?", "key=k"] {
            assert!(!ended.stderr.contains(secret), "{}", ended.stderr);
        }
        let warned =
            ended.stderr.lines().any(|line| line.starts_with("WARN") && line.contains("TESTAPP_NOTIFY_URL"));
        assert_eq!(warned, !says.is_empty(), "{}", ended.stderr);
    }
    assert!(elsewhere.rest().is_empty(), "a redirect was followed");
}

#[test]
fn a_place_that_cannot_be_written_changes_no_exit_code() {
    let data = tempfile::tempdir().unwrap();
    for place in ["/nowhere/file", "/proc/file", data.path().to_str().unwrap()] {
        let vars = [
            ("TESTAPP_REPORT_FILE", place),
            ("TESTAPP_TERMINATION_LOG", place),
            ("TESTAPP_TIMELINE_SVG", place),
            ("TESTAPP_METRICS_TEXTFILE", place),
        ];
        run(data.path(), "error", &vars).assert_failed(70, "stage.failed");
        assert_eq!(run(data.path(), "finish", &vars).code(), 0);
    }
}

#[test]
fn a_full_disk_changes_no_exit_code_and_the_old_report_stays_whole() {
    let place = tempfile::tempdir().unwrap();
    let (full, data) = (place.path().join("full"), place.path().join("data"));
    fs::create_dir(&full).unwrap();
    fs::create_dir(&data).unwrap();
    let script = "mount -t tmpfs -o size=64k none \"$0\"; echo old > \"$0/report\"; \
         dd if=/dev/zero of=\"$0/rubbish\" 2>/dev/null || true; code=0; \"$@\" || code=$?; cat \"$0/report\" >&2; exit $code";
    let out = |name: &str| full.join(name).to_str().unwrap().to_owned();
    let (report, svg, prom) = (out("report"), out("svg"), out("prom"));
    let vars = [
        ("TESTAPP_SCENARIO", "error"),
        ("TESTAPP_REPORT_FILE", report.as_str()),
        ("TESTAPP_TIMELINE_SVG", svg.as_str()),
        ("TESTAPP_METRICS_TEXTFILE", prom.as_str()),
    ];
    let app = support::command("test-app", &data, &vars);
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "sh", "-ec", script]).arg(&full).arg(app.get_program());
    command.envs(app.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = Process::start(&mut command).wait();
    ended.assert_failed(70, "stage.failed");
    assert!(ended.stderr.ends_with("old\n"), "{}", ended.stderr);
}

#[test]
fn a_ledger_that_is_damaged_or_of_a_newer_version_changes_no_exit_code() {
    let newer = r#"{"schema":"startup-ledger/9","code":7}"#;
    for content in ["", "{", newer, "\u{0}\u{0}", &"x".repeat(1_000_000)] {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("testapp.ledger.json"), content).unwrap();
        run(data.path(), "error", &[]).assert_failed(70, "stage.failed").assert_says("Do this");
    }
    let data = tempfile::tempdir().unwrap();
    fs::create_dir(data.path().join("testapp.ledger.json")).unwrap();
    run(data.path(), "error", &[]).assert_failed(70, "stage.failed").assert_says("Do this");
}

#[test]
fn the_metrics_file_tells_the_last_result_and_a_refused_instance_leaves_it_alone() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("app.prom");
    let vars = [("TESTAPP_METRICS_TEXTFILE", path.to_str().unwrap())];
    let read = || fs::read_to_string(&path).unwrap();
    let has = |line: &str| assert!(read().lines().any(|each| each == line), "no {line}:\n{}", read());
    run(data.path(), "error", &vars).assert_failed(70, "stage.failed");
    has("solostart_last_result_success{service=\"testapp\"} 0");
    has(
        "solostart_last_result{service=\"testapp\",event=\"STARTUP FAILED\",code=\"stage.failed\",stage=\"subject\"} 1",
    );
    has("solostart_last_exit_code{service=\"testapp\"} 70");
    has("solostart_attempts{service=\"testapp\"} 1");
    let mut command = support::command("test-app", data.path(), &vars);
    let mut service = Process::start(&mut command);
    service.wait_for("READY");
    Process::start(&mut command).wait().assert_failed(78, "lock.held");
    service.terminate();
    assert_eq!(service.wait().code(), 0);
    has("solostart_last_result{service=\"testapp\",event=\"STOPPED\",code=\"ok\",stage=\"\"} 1");
    has("solostart_last_result_success{service=\"testapp\"} 1");
    assert!(
        read().contains("solostart_stage_duration_seconds{service=\"testapp\",stage=\"base\""),
        "{}",
        read()
    );
}

#[test]
fn every_receiver_and_the_metrics_file_get_printable_ascii_whatever_failed() {
    const HOSTILE: &str =
        "\u{1b}]0;owned\u{7}EVIL\nFAKE LINE\r\u{9b}2J\u{202e}\u{2066}\u{200b}\u{feff}\u{e9}";
    for format in ["json", "slack", "ntfy", "alertmanager"] {
        let (data, receiver) = (tempfile::tempdir().unwrap(), Receiver::content());
        let (url, metrics) = (format!("http://{}/", receiver.address), data.path().join("m.prom"));
        let vars = [
            ("TESTAPP_NOTIFY_URL", url.as_str()),
            ("TESTAPP_NOTIFY_FORMAT", format),
            ("TESTAPP_METRICS_TEXTFILE", metrics.to_str().unwrap()),
            ("TESTAPP_LOCK_WAIT", HOSTILE),
        ];
        run(data.path(), HOSTILE, &vars).assert_failed(78, "env.invalid");
        let told = receiver.next();
        for text in [told.body, told.headers.join("\n"), fs::read_to_string(&metrics).unwrap()] {
            assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "{format}: {text:?}");
            assert!(!text.lines().any(|line| line.trim_start().starts_with("FAKE LINE")), "{format}: {text}");
        }
    }
}
