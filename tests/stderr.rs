//! Nobody who reads stderr, or does not, decides how the service starts, serves and ends (invariant 14).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs::{self, OpenOptions},
    io::{PipeReader, Read, Write, pipe},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use serde_json::Value;

mod support;

/// No passing test waits that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// More than a start that fails may take beyond its own work: what is told last, and nothing else.
const SOON: Duration = Duration::from_secs(10);

/// Somebody at the other end of stderr.
struct Reader {
    /// Where the service writes.
    end: Stdio,
    /// What must live as long as the reader does.
    _kept: Box<dyn std::any::Any>,
}

/// Fills a descriptor until it takes no more.
fn fill(writer: &impl AsFd) {
    let flags = fcntl_getfl(writer).unwrap();
    fcntl_setfl(writer, flags | OFlags::NONBLOCK).unwrap();
    for piece in [512, 1] {
        while rustix::io::write(writer, &[b'x'; 512][..piece]).is_ok() {}
    }
    fcntl_setfl(writer, flags).unwrap();
}

fn full_pipe() -> Reader {
    let (reader, writer) = pipe().unwrap();
    fill(&writer);
    Reader { end: writer.into(), _kept: Box::new(reader) }
}

/// A pipe that has room for one line or two.
fn pipe_that_fills() -> Reader {
    let (reader, writer) = pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    Reader { end: writer.into(), _kept: Box::new(reader) }
}

fn pipe_without_a_reader() -> Reader {
    Reader { end: pipe().unwrap().1.into(), _kept: Box::new(()) }
}

fn full_device() -> Reader {
    Reader { end: OpenOptions::new().write(true).open("/dev/full").unwrap().into(), _kept: Box::new(()) }
}

/// What a terminal is whose user has pressed control and S: nothing is taken from it.
fn stopped_terminal() -> Reader {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let terminal = OpenOptions::new().read(true).write(true).open(name).unwrap();
    fill(&terminal);
    Reader { end: terminal.into(), _kept: Box::new(master) }
}

/// A reader who takes a byte now and then.
fn slow_pipe() -> Reader {
    let (mut reader, writer) = pipe().unwrap();
    fill(&writer);
    thread::spawn(move || {
        while matches!(reader.read(&mut [0; 64]), Ok(1..)) {
            thread::sleep(Duration::from_millis(20));
        }
    });
    Reader { end: writer.into(), _kept: Box::new(()) }
}

type Make = fn() -> Reader;

const READERS: [(&str, Make); 6] = [
    ("a full pipe", full_pipe),
    ("a pipe that fills", pipe_that_fills),
    ("a pipe without a reader", pipe_without_a_reader),
    ("a full device", full_device),
    ("a stopped terminal", stopped_terminal),
    ("a slow reader", slow_pipe),
];

/// A banboard whose stderr is of our making.
struct Service {
    child: Child,
    _reader: Box<dyn std::any::Any>,
}

fn banboard(data: &Path, vars: &[(&str, &str)]) -> Command {
    let mut all = vec![("BANBOARD_ALLOW_UNSHARED_LOCK", "overlay,tmpfs")];
    all.extend(vars);
    support::command("banboard", data, &all)
}

impl Service {
    fn start(reader: Reader, mut command: Command) -> Self {
        let Reader { end, _kept } = reader;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(end).spawn().unwrap();
        Self { child, _reader: _kept }
    }

    fn wait(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, began.elapsed());
            }
            assert!(began.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn terminate(&mut self) -> (ExitStatus, Duration) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.wait()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The status of a page, once there is one.
fn answer(address: SocketAddr, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

fn wait_ready(service: &mut Service, address: SocketAddr, who: &str) {
    let began = Instant::now();
    while answer(address, "/readyz") != Some(200) {
        assert!(service.child.try_wait().unwrap().is_none(), "{who}: it has ended");
        assert!(began.elapsed() < PATIENCE, "{who}: it does not become ready");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_start_that_fails_has_its_code_and_its_report_file_whoever_reads_stderr() {
    for (who, reader) in READERS {
        for level in ["warn", "trace"] {
            let data = tempfile::tempdir().unwrap();
            let taken = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = taken.local_addr().unwrap().to_string();
            let command = banboard(data.path(), &[("BANBOARD_LISTEN", &address), ("RUST_LOG", level)]);
            let mut service = Service::start(reader(), command);
            let (status, took) = service.wait();
            assert_eq!(status.code(), Some(75), "{who}, {level}");
            assert!(took < SOON, "{who}, {level}: {took:?}");
            let report = fs::read(data.path().join("banboard.report.json")).unwrap();
            let report: Value = serde_json::from_slice(&report).unwrap();
            assert_eq!(report["code"], "banboard.listen", "{who}, {level}");
        }
    }
}

#[test]
fn it_becomes_ready_serves_and_stops_clean_whoever_reads_stderr() {
    for (who, reader) in READERS {
        let (data, address) = (tempfile::tempdir().unwrap(), free_address());
        let listen = address.to_string();
        let command = banboard(data.path(), &[("BANBOARD_LISTEN", &listen), ("RUST_LOG", "trace")]);
        let mut service = Service::start(reader(), command);
        wait_ready(&mut service, address, who);
        for _ in 0..20 {
            assert_eq!(answer(address, "/"), Some(200), "{who}");
        }
        let (status, took) = service.terminate();
        assert_eq!(status.code(), Some(0), "{who}");
        assert!(took < SOON, "{who}: {took:?}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once_although_nobody_reads_stderr() {
    let (data, address) = (tempfile::tempdir().unwrap(), free_address());
    let listen = address.to_string();
    let vars = [("BANBOARD_LISTEN", listen.as_str()), ("BANBOARD_DRAIN", "5m")];
    let mut service = Service::start(full_pipe(), banboard(data.path(), &vars));
    wait_ready(&mut service, address, "a full pipe");
    kill_process(Pid::from_child(&service.child), Signal::TERM).unwrap();
    while answer(address, "/readyz") == Some(200) {
        thread::sleep(Duration::from_millis(5));
    }
    // A signal that comes within 100 ms is the same request.
    thread::sleep(Duration::from_millis(150));
    let (status, took) = service.terminate();
    assert_eq!(status.code(), Some(143));
    assert!(took < Duration::from_secs(2), "{took:?}");
}

/// All that a service says until it ends.
fn said(data: &Path, vars: &[(&str, &str)]) -> String {
    let (mut reader, writer): (PipeReader, _) = pipe().unwrap();
    let reader_end = Reader { end: writer.into(), _kept: Box::new(()) };
    let mut service = Service::start(reader_end, banboard(data, vars));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    service.wait();
    text
}

#[test]
fn a_failure_is_told_once() {
    let data = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = said(data.path(), &[("BANBOARD_LISTEN", &address), ("RUST_LOG", "info")]);
    assert!(!text.contains("ERROR"), "{text}");
    assert!(text.contains("INFO") && text.contains("STARTUP FAILED"), "{text}");
}

#[test]
fn a_log_that_nobody_reads_for_a_while_is_counted_and_what_is_reported_is_whole() {
    let data = tempfile::tempdir().unwrap();
    let (mut reader, writer) = pipe().unwrap();
    let command = support::command("test-app", data.path(), &[("TESTAPP_SCENARIO", "flood")]);
    let mut service = Service::start(Reader { end: writer.into(), _kept: Box::new(()) }, command);
    let began = Instant::now();
    while !data.path().join("flooded").exists() {
        assert!(began.elapsed() < PATIENCE, "whoever writes the log waits for whoever reads it");
        thread::sleep(Duration::from_millis(5));
    }
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(service.wait().0.code(), Some(0));
    let text = reading.join().unwrap();
    let lost = text.lines().find_map(|line| {
        line.strip_prefix("WARNING ")?.strip_suffix(" lines of the log were lost: nobody read stderr")
    });
    let lost: usize = lost.expect("nothing was lost").parse().unwrap();
    let read = text.lines().filter(|line| line.starts_with("flood ")).count();
    assert_eq!(lost + read, 100_000);
    assert!(
        text.contains("READY in") && text.lines().last().unwrap().starts_with("STOPPED"),
        "a report is missing"
    );
}

#[test]
fn a_panic_that_nothing_contains_is_told_in_the_form_of_the_service() {
    for (form, says) in
        [("text", "PANIC  thread `worker-of-mine` panicked at "), ("json", "\"event\":\"service.panicked\"")]
    {
        let data = tempfile::tempdir().unwrap();
        let (mut reader, writer) = pipe().unwrap();
        let vars = [("TESTAPP_SCENARIO", "stray-panic"), ("TESTAPP_LOG_FORMAT", form)];
        let command = support::command("test-app", data.path(), &vars);
        let mut service = Service::start(Reader { end: writer.into(), _kept: Box::new(()) }, command);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(service.wait().0.code(), Some(0));
        let line = text.lines().find(|line| line.contains(says)).unwrap_or_else(|| panic!("{form}: {text}"));
        assert!(line.contains("the sky fell") && line.contains("https://host/"), "{line}");
        assert!(!text.contains("S3CRET"), "{text}");
        assert!(!text.contains("note: run with"), "it is told once: {text}");
    }
}
