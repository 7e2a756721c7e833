//! The reference service as its operator sees it: a real process, a real port, a real database.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use solostart::testing::{Process, assert_one_worker};

mod support;

/// An address that was free a moment ago. Another process may take it; then the test says so.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn command(data: &Path, address: SocketAddr, more: &[(&str, &str)]) -> Command {
    let listen = address.to_string();
    let mut vars =
        vec![("BANBOARD_LISTEN", listen.as_str()), ("BANBOARD_ALLOW_UNSHARED_LOCK", "overlay,tmpfs")];
    vars.extend(more);
    support::command("banboard", data, &vars)
}

fn start(data: &Path, address: SocketAddr, more: &[(&str, &str)]) -> Process {
    Process::start(&mut command(data, address, more))
}

/// The status and the body.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn bans(address: SocketAddr) -> Vec<Value> {
    serde_json::from_str(&get(address, "/api/bans").1).unwrap()
}

fn stop(mut service: Process) {
    service.terminate();
    let ended = service.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    ended.assert_says("STOPPED");
}

#[test]
fn the_sample_log_is_served_with_no_settings_but_the_address() {
    let (data, address) = (tempfile::tempdir().unwrap(), free_address());
    let mut service = start(data.path(), address, &[]);
    service.wait_for("READY");
    for (path, says) in
        [("/", "Active bans"), ("/livez", ""), ("/readyz", "ready"), ("/startupz", "\"critical\":true")]
    {
        let (status, body) = get(address, path);
        assert_eq!(status, 200, "{path}");
        assert!(body.contains(says), "{path}: {body}");
    }
    assert!(bans(address).len() > 10);
    let names = ["worker-mode", "database", "cache", "http-session", "scheduler", "tasks"];
    let startup: Value = serde_json::from_str(&get(address, "/startupz").1).unwrap();
    for name in names {
        let stages = startup["stages"].as_array().unwrap();
        assert!(stages.iter().any(|stage| stage["name"] == name && stage["state"] == "up"), "{startup}");
    }
    stop(service);
}

#[test]
fn no_line_is_stored_twice_after_a_restart_or_a_kill() {
    let (data, address) = (tempfile::tempdir().unwrap(), free_address());
    let log = data.path().join("fail2ban.log");
    let line = |second: u32, what: &str| {
        format!("2026-11-19 03:14:{second:02},123 fail2ban.actions [812]: NOTICE  [sshd] {what}\n")
    };
    fs::write(&log, line(1, "Ban 192.0.2.1") + "not a line of fail2ban\n" + &line(2, "Ban 192.0.2.2"))
        .unwrap();
    let vars = [("BANBOARD_FAIL2BAN_LOG", log.to_str().unwrap())];

    let mut service = start(&data.path().join("data"), address, &vars);
    service.wait_for("READY");
    assert_eq!(bans(address).len(), 2);
    service.kill();

    let mut service = start(&data.path().join("data"), address, &vars);
    service.wait_for("READY");
    let again = bans(address);
    assert_eq!(again.len(), 2, "{again:?}");
    assert!(again.iter().all(|ban| ban["times"] == 1), "{again:?}");
    stop(service);

    let mut more = fs::OpenOptions::new().append(true).open(&log).unwrap();
    more.write_all((line(3, "Unban 192.0.2.1") + &line(4, "Ban 2001:db8::7")).as_bytes()).unwrap();
    let mut service = start(&data.path().join("data"), address, &vars);
    service.wait_for("READY");
    let addresses: Vec<_> = bans(address).iter().map(|ban| ban["address"].clone()).collect();
    assert_eq!(addresses, ["2001:db8::7", "192.0.2.2"]);
    stop(service);
}

#[test]
fn a_line_of_a_gigabyte_is_passed_over_in_bounded_memory() {
    let (data, address) = (tempfile::tempdir().unwrap(), free_address());
    let log = data.path().join("fail2ban.log");
    let ban =
        |last| format!("2026-11-19 03:14:07,123 fail2ban.actions [812]: NOTICE  [sshd] Ban 192.0.2.{last}\n");
    fs::write(&log, ban(1)).unwrap();
    // A hole reads as NUL bytes and takes no room on the disk.
    let mut file = fs::OpenOptions::new().append(true).open(&log).unwrap();
    file.set_len(1 << 30).unwrap();
    file.write_all(format!("\n{}", ban(2)).as_bytes()).unwrap();
    let vars = [("BANBOARD_FAIL2BAN_LOG", log.to_str().unwrap())];
    let mut service = start(&data.path().join("data"), address, &vars);
    service.wait_for("READY");
    assert_eq!(bans(address).len(), 2);
    let status = fs::read_to_string(format!("/proc/{}/status", service.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 200 * 1024, "{kib} KiB");
    stop(service);
}

#[test]
fn a_check_tells_what_would_keep_it_from_starting_and_the_password_is_told_by_nothing() {
    let (data, address) = (tempfile::tempdir().unwrap(), free_address());
    let vars = [
        ("BANBOARD_FAIL2BAN_LOG", "/nowhere/fail2ban.log"),
        ("BANBOARD_FAIL2BAN_CLIENT", "/nowhere/fail2ban-client"),
        ("BANBOARD_ADMIN_PASSWORD", "correct horse"),
    ];
    let told = command(data.path(), address, &vars).arg("check").output().unwrap();
    let told = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    for said in ["BANBOARD_FAIL2BAN_LOG", "BANBOARD_FAIL2BAN_CLIENT"] {
        assert!(told.contains(said), "{told}");
    }
    assert!(!told.contains("correct horse"), "{told}");
}

#[test]
fn a_busy_port_is_a_failed_start_that_names_it_and_leaves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let ended = start(data.path(), address, &[]).wait();
    ended.assert_failed(75, "banboard.listen").assert_says(&address.to_string()).assert_says("Rolled back");
    drop(taken);
    let mut service = start(data.path(), address, &[]);
    service.wait_for("READY");
    stop(service);
}

#[test]
fn a_second_banboard_on_the_same_data_is_refused_and_the_first_serves_on() {
    let (data, address) = (tempfile::tempdir().unwrap(), free_address());
    let mut first = start(data.path(), address, &[]);
    first.wait_for("READY");
    let second = start(data.path(), free_address(), &[]).wait();
    second.assert_failed(78, "lock.held").assert_says(&first.id().to_string());
    assert_eq!(get(address, "/readyz").0, 200);
    stop(first);
}

#[test]
fn only_one_banboard_works_whatever_becomes_of_the_others() {
    let (data, address) = (tempfile::tempdir().unwrap(), free_address());
    assert_one_worker(|| command(data.path(), address, &[]));
}

#[test]
fn a_database_that_is_none_is_refused_and_left_as_it_is() {
    let (data, address) = (tempfile::tempdir().unwrap(), free_address());
    fs::write(data.path().join("banboard.db"), "this is not a database, but it is somebody's").unwrap();
    let ended = start(data.path(), address, &[]).wait();
    ended.assert_failed(65, "db.corrupt").assert_says("banboard.db");
    let kept = fs::read_to_string(data.path().join("banboard.db")).unwrap();
    assert_eq!(kept, "this is not a database, but it is somebody's");
}

/// The exit code and the line of `banboard healthcheck`, as a container engine would run it.
fn healthcheck(data: &Path, probe: &str) -> (i32, String) {
    let mut command = Command::new(support::example("banboard"));
    command.env_clear().env("BANBOARD_DATA_DIR", data).env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
    let output = command.args(["healthcheck", probe]).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_health_check_tells_a_service_that_is_ready_from_one_that_starts_hangs_or_is_gone() {
    let (data, address) = (tempfile::tempdir().unwrap(), free_address());
    let ask = |probe| healthcheck(data.path(), probe);
    let (code, line) = ask("--ready");
    assert!(code == 1 && line.starts_with("not running"), "{line}");

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = format!("http://{}/health", silent.local_addr().unwrap());
    let service = start(data.path(), address, &[("BANBOARD_HTTP_PROBE_URL", &upstream)]);
    let began = Instant::now();
    let says_starting = |(code, line): (i32, String)| code == 1 && line.starts_with("starting: http-session");
    while !says_starting(ask("--ready")) {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", ask("--ready").1);
    }
    assert_eq!((ask("--startup").0, ask("--live").0), (1, 0));
    service.kill();
    assert_eq!(ask("--live").0, 1);

    let mut service = start(data.path(), address, &[]);
    service.wait_for("READY");
    let began = Instant::now();
    while ask("--ready").0 != 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", ask("--ready").1);
    }
    let (code, line) = ask("--startup");
    assert!(code == 0 && line.starts_with("ready: 10/10 stages, said "), "{line}");
    assert_eq!(line.lines().count(), 1);
    stop(service);
    let (code, line) = ask("--live");
    assert!(code == 1 && line.starts_with("not running"), "{line}");
}

/// Starts the service and returns the line that says it is ready, and the page.
fn ready_line_and_page(data: &Path, log: &Path) -> (String, String) {
    let address = free_address();
    let mut service = start(data, address, &[("BANBOARD_FAIL2BAN_LOG", log.to_str().unwrap())]);
    service.wait_for("READY");
    let page = get(address, "/").1;
    assert_eq!(get(address, "/readyz").0, 200);
    service.terminate();
    let ended = service.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let ready = ended.stderr.lines().find(|line| line.contains("READY")).unwrap();
    (ready.to_owned(), page)
}

#[test]
fn a_log_of_which_nothing_is_understood_is_said_in_the_ready_line_and_on_the_page_as_long_as_it_is() {
    let data = tempfile::tempdir().unwrap();
    let (log, own) = (data.path().join("fail2ban.log"), data.path().join("data"));
    let syslog = "Nov 19 03:14:07 host fail2ban.actions[812]: NOTICE [sshd] Ban 192.0.2.1\n".repeat(12);
    let utf16: Vec<_> = format!("\u{feff}{syslog}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    for foreign in [syslog.into_bytes(), utf16] {
        fs::write(&log, foreign).unwrap();
        for start in ["the first", "one that reads nothing new"] {
            let (ready, page) = ready_line_and_page(&own, &log);
            assert!(ready.contains("fail2ban.log: none of its last "), "{start}: {ready}");
            assert!(page.contains("The log: none of its last "), "{start}: {page}");
        }
    }
    let ban = "\u{feff}2026-11-19 03:14:07,123 fail2ban.actions [812]: NOTICE  [sshd] Ban 192.0.2.0/24\n";
    fs::write(&log, ban).unwrap();
    let (_, page) = ready_line_and_page(&own, &log);
    assert!(!page.contains("none of its last") && page.contains("192.0.2.0/24"), "{page}");
}

#[test]
fn what_was_lost_of_a_log_is_said_once_in_the_ready_line_and_stays_on_the_page() {
    let data = tempfile::tempdir().unwrap();
    let (log, own) = (data.path().join("fail2ban.log"), data.path().join("data"));
    let ban = |second| {
        format!(
            "2026-11-19 03:14:0{second},123 fail2ban.actions [812]: NOTICE  [sshd] Ban 192.0.2.{second}\n"
        )
    };
    fs::write(&log, ban(1)).unwrap();
    let (ready, page) = ready_line_and_page(&own, &log);
    assert!(!ready.contains("lost") && !page.contains("lost"), "{ready}");

    fs::write(data.path().join("fail2ban.log.2.gz"), "compressed").unwrap();
    fs::write(data.path().join("fail2ban.log.1"), ban(3)).unwrap();
    fs::write(&log, ban(4)).unwrap();
    let (ready, page) = ready_line_and_page(&own, &log);
    assert!(ready.contains("fail2ban.log: lines may be lost"), "{ready}");
    for shown in ["192.0.2.1", "192.0.2.3", "192.0.2.4", "The log: lines may be lost; once"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let (ready, page) = ready_line_and_page(&own, &log);
    assert!(!ready.contains("lost") && page.contains("The log: lines may be lost; once"), "{ready}");
}
