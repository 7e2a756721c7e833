//! What the service manager hears, on a real socket, and the unit that is shipped.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use solostart::testing::{Exit, Process};

mod support;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service manager, and the path of its socket.
fn listening(dir: &Path) -> (UnixDatagram, PathBuf) {
    let path = dir.join("notify");
    (UnixDatagram::bind(&path).unwrap(), path)
}

/// Reads what comes, until `wanted` has come, and returns all lines.
fn hear_until(manager: &UnixDatagram, wanted: &str) -> Vec<String> {
    let mut heard = Vec::new();
    let end = Instant::now() + PATIENCE;
    while !heard.iter().any(|line: &String| line.starts_with(wanted)) {
        assert!(Instant::now() < end, "no {wanted}: {heard:?}");
        heard.extend(hear(manager, end - Instant::now()));
    }
    heard
}

/// The lines of the next datagram, or none.
fn hear(manager: &UnixDatagram, within: Duration) -> Vec<String> {
    manager.set_read_timeout(Some(within)).unwrap();
    let mut datagram = [0; 4096];
    let Ok(length) = manager.recv(&mut datagram) else { return Vec::new() };
    String::from_utf8(datagram[..length].to_vec()).unwrap().lines().map(str::to_owned).collect()
}

fn start(data: &Path, scenario: &str, vars: &[(&str, &str)]) -> Process {
    let mut all = vec![("TESTAPP_SCENARIO", scenario)];
    all.extend(vars);
    Process::start(&mut support::command("test-app", data, &all))
}

fn stop(mut service: Process) -> Exit {
    service.terminate();
    service.wait()
}

#[test]
fn the_manager_hears_that_the_service_is_ready_and_that_it_stops_on_a_path_and_on_an_abstract_name() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("notify");
    let name = format!("solostart-test-{}", std::process::id());
    let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
    for (address, manager) in [
        (path.to_str().unwrap().to_owned(), UnixDatagram::bind(&path).unwrap()),
        (format!("@{name}"), UnixDatagram::bind_addr(&abstract_name).unwrap()),
    ] {
        let service = start(data.path(), "ok", &[("NOTIFY_SOCKET", &address)]);
        let heard = hear_until(&manager, "READY=1");
        assert!(heard.iter().any(|line| line.starts_with("STATUS=ready in ")), "{heard:?}");
        assert!(!heard.iter().any(|line| line == "STOPPING=1"), "{heard:?}");
        assert_eq!(stop(service).code(), 0);
        hear_until(&manager, "STOPPING=1");
    }
}

#[test]
fn a_start_in_progress_says_how_far_it_is_and_asks_for_time() {
    let data = tempfile::tempdir().unwrap();
    let (manager, path) = listening(data.path());
    let service = start(data.path(), "hang", &[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    let heard = hear_until(&manager, "STATUS=starting 2/3: subject (begin)");
    assert!(heard.iter().any(|line| line == "EXTEND_TIMEOUT_USEC=15000000"), "{heard:?}");
    assert_eq!(stop(service).code(), 0);
    hear_until(&manager, "STOPPING=1");
}

#[test]
fn a_failed_start_leaves_its_code_as_the_status_and_an_error_number() {
    let data = tempfile::tempdir().unwrap();
    let (manager, path) = listening(data.path());
    let socket = ("NOTIFY_SOCKET", path.to_str().unwrap());
    start(data.path(), "error", &[socket]).wait().assert_failed(70, "stage.failed");
    let heard = hear_until(&manager, "STATUS=failed: subject [stage.failed]");
    assert!(!heard.iter().any(|line| line == "READY=1"), "{heard:?}");
    start(data.path(), "ok", &[socket, ("TESTAPP_LOCK_WAIT", "5")]).wait().assert_failed(78, "env.invalid");
    let heard = hear_until(&manager, "ERRNO=22");
    assert!(heard.iter().any(|line| line == "STATUS=failed: configuration [env.invalid]"), "{heard:?}");
    assert!(heard.iter().any(|line| line == "STOPPING=1"), "{heard:?}");
}

#[test]
fn the_watchdog_is_fed_while_the_engine_works_and_not_when_the_runtime_hangs() {
    let fed = |scenario: &str, pid: &str| {
        let data = tempfile::tempdir().unwrap();
        let (manager, path) = listening(data.path());
        let vars = [
            ("NOTIFY_SOCKET", path.to_str().unwrap()),
            ("WATCHDOG_USEC", "400000"),
            ("WATCHDOG_PID", pid),
            ("TOKIO_WORKER_THREADS", "1"),
        ];
        let mut service = start(data.path(), scenario, &vars);
        service.wait_for("READY");
        if scenario == "serve-block" {
            service.wait_for("subject blocks");
        }
        // What was sent before counts for nothing.
        while !hear(&manager, Duration::from_millis(1)).is_empty() {}
        let end = Instant::now() + Duration::from_secs(2);
        let mut pings = 0;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            pings += hear(&manager, left).iter().filter(|line| *line == "WATCHDOG=1").count();
        }
        service.kill();
        pings
    };
    assert!((4..=20).contains(&fed("ok", "")), "each 200 ms");
    assert_eq!(fed("serve-block", ""), 0);
    assert_eq!(fed("ok", "1"), 0, "the watchdog of another process");
}

#[test]
fn a_manager_that_reads_nothing_or_is_not_there_holds_nobody_up() {
    let data = tempfile::tempdir().unwrap();
    let (manager, path) = listening(data.path());
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"x", &path).is_ok() {}
    for socket in [path.to_str().unwrap(), "/nowhere/notify", "vsock:2:1", "@", "nonsense"] {
        let began = Instant::now();
        start(data.path(), "error", &[("NOTIFY_SOCKET", socket)]).wait().assert_failed(70, "stage.failed");
        assert!(began.elapsed() < Duration::from_secs(3 + 5), "{socket}: {:?}", began.elapsed());
    }
    drop(manager);
}

#[test]
fn a_ready_that_the_manager_had_no_room_for_arrives_when_it_has() {
    let data = tempfile::tempdir().unwrap();
    let (manager, path) = listening(data.path());
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"x", &path).is_ok() {}
    let mut service = start(data.path(), "ok", &[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    service.wait_for("READY");
    hear_until(&manager, "READY=1");
    assert_eq!(stop(service).code(), 0);
}

#[test]
fn the_shipped_unit_is_one_that_systemd_accepts() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploy/solostart-banboard.service");
    let dir = tempfile::tempdir().unwrap();
    // The program is not installed here, and that is all that may be amiss.
    let text = std::fs::read_to_string(unit).unwrap().replace("/usr/local/bin/banboard", "/bin/true");
    let copy = dir.path().join("solostart-banboard.service");
    std::fs::write(&copy, text).unwrap();
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !said.contains("solostart-banboard"), "{said}");
}
