//! Whole processes: from exec to READY, from SIGTERM to exit, and what an idle service costs. banboard beside
//! the same service written by hand (`by_hand`), and a service that is only the one worker beside a program that
//! only waits (`idle`).
//!
//! `cargo bench --bench process` measures everything; `-- start 100` only the starts and stops, 100 of each kind, and
//! `-- idle 60` only the steady state, for 60 s. It needs a quiet machine and prints how busy it was.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints its table, and may fail")]

mod idle;
mod start;

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

const BANBOARD: Program = Program { name: "banboard", path: env!("CARGO_BIN_EXE_banboard") };
const BY_HAND: Program = Program { name: "by hand", path: env!("CARGO_BIN_EXE_by-hand") };
const ONLY_WORKER: Program = Program { name: "only the one worker", path: env!("CARGO_BIN_EXE_only-worker") };
const BARE: Program = Program { name: "only waiting", path: env!("CARGO_BIN_EXE_bare") };

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|each| each != "--bench").collect();
    let number = |default: u64| arguments.get(1).map_or(default, |text| text.parse().expect("a number"));
    let what = arguments.first().map(String::as_str);
    println!("load before: {}", load());
    if matches!(what, None | Some("start")) {
        start::measure(number(100).try_into().expect("not so many"));
    }
    if matches!(what, None | Some("idle")) {
        idle::measure(Duration::from_secs(number(60)));
    }
    println!("load after: {}", load());
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").expect("/proc/loadavg");
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// A program that is measured.
#[derive(Clone, Copy)]
struct Program {
    name: &'static str,
    path: &'static str,
}

/// A process of it that is ready.
struct Process {
    child: Child,
    /// Kept open, so that what is said at the end can be written, and read if it fails.
    stderr: BufReader<ChildStderr>,
    /// From before it was spawned until its line that begins with READY was here.
    ready_after: Duration,
}

impl Program {
    fn start(self, data: &Path) -> Process {
        let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/banboard/sample/fail2ban.log");
        let mut command = Command::new(self.path);
        command
            .env_clear()
            .env("BANBOARD_DATA_DIR", data)
            .env("BANBOARD_LISTEN", "127.0.0.1:0")
            .env("BANBOARD_FAIL2BAN_LOG", log)
            .env("BANBOARD_ALLOW_UNSHARED_LOCK", "overlay,tmpfs")
            .env("ONLY_WORKER_DATA_DIR", data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let began = Instant::now();
        let mut child = command.spawn().expect("the program can be run");
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        while !line.starts_with("READY") {
            line.clear();
            let length = stderr.read_line(&mut line).expect("text");
            assert!(length > 0, "{} ended before it was ready", self.name);
        }
        let ready_after = began.elapsed();
        Process { child, stderr, ready_after }
    }
}

impl Process {
    /// How long it takes from SIGTERM until the process is gone.
    fn stop(mut self) -> Duration {
        let pid = Pid::from_child(&self.child);
        let began = Instant::now();
        kill_process(pid, Signal::TERM).expect("it runs");
        let status = self.child.wait().expect("it ends");
        let took = began.elapsed();
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).expect("text");
        assert!(status.success(), "{status}: {said}");
        took
    }
}
