//! Starting an application of this package as a process of its own, and looking at it from outside.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before a test gives up. It bounds a failure; no passing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A built example of this package.
pub(crate) fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: cargo build --examples", path.display());
    path
}

/// A process whose stderr is read line by line.
pub(crate) struct App {
    child: Child,
    lines: Receiver<String>,
    seen: String,
}

/// How a process ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stderr: String,
}

impl App {
    pub(crate) fn start(name: &str, data_dir: &Path, vars: &[(&str, &str)]) -> Self {
        let mut command = Command::new(example(name));
        let prefix = name.replace("test-app", "testapp").to_uppercase();
        command.env_clear().env(format!("{prefix}_DATA_DIR"), data_dir).envs(vars.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut line = String::new();
            while stderr.read_line(&mut line).is_ok_and(|length| length > 0) {
                if sender.send(std::mem::take(&mut line)).is_err() {
                    let mut rest = Vec::new();
                    let _ended = stderr.read_to_end(&mut rest);
                    return;
                }
            }
        });
        Self { child, lines, seen: String::new() }
    }

    /// Waits until a line with `text` was printed.
    pub(crate) fn wait_for(&mut self, text: &str) -> &mut Self {
        self.wait_for_any(&[text])
    }

    /// Waits until a line with one of `texts` was printed.
    pub(crate) fn wait_for_any(&mut self, texts: &[&str]) -> &mut Self {
        let deadline = Instant::now() + PATIENCE;
        while !texts.iter().any(|text| self.seen.contains(text)) {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push_str(&line),
                Err(RecvTimeoutError::Timeout) => panic!("no {texts:?} in time:\n{}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("ended without {texts:?}:\n{}", self.seen),
            }
        }
        self
    }

    pub(crate) fn signal(&mut self, signal: Signal) -> &mut Self {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self
    }

    /// Sends a signal again and again until the process has ended, or patience has.
    #[allow(dead_code, reason = "not every file of tests insists")]
    pub(crate) fn signal_until_it_ends(&mut self, signal: Signal) -> &mut Self {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "did not end");
            self.signal(signal);
            thread::sleep(Duration::from_millis(20));
        }
        self
    }

    /// Kills the process with SIGKILL, and returns all that it had said.
    #[allow(dead_code, reason = "not every file of tests kills")]
    pub(crate) fn kill(mut self) -> String {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
        self.seen.extend(self.lines.iter());
        std::mem::take(&mut self.seen)
    }

    #[allow(dead_code, reason = "not every file of tests asks")]
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn wait(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push_str(&line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.child.kill().unwrap();
                    panic!("did not end in time:\n{}", self.seen);
                }
            }
        }
        let status = self.child.wait().unwrap();
        let code = status.code().unwrap_or_else(|| panic!("ended by {status}:\n{}", self.seen));
        Ended { code, stderr: std::mem::take(&mut self.seen) }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // A test that failed must not leave its process behind. One that has ended cannot be killed.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Ended {
    /// The code and the report agree, and the report has the failure code.
    pub(crate) fn assert_failed(&self, exit: i32, code: &str) -> &Self {
        assert_eq!(self.code, exit, "{}", self.stderr);
        assert!(self.stderr.contains(&format!("[{code}]")), "no [{code}]:\n{}", self.stderr);
        assert!(self.stderr.contains(&format!("exit {exit} ")), "no exit {exit}:\n{}", self.stderr);
        self
    }

    pub(crate) fn assert_says(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "no `{text}`:\n{}", self.stderr);
        self
    }
}
