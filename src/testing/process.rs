//! Real processes of an application, for the tests that only one of them works.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::codes::{FailureCode, LOCK_HELD};

/// How long anything may take before a test gives up. It bounds a failure; no passing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether a process has ended that still has its stderr open.
const LOOK: Duration = Duration::from_millis(20);

/// How long the last lines of a process that has ended may take. Only a process that it left behind, and that
/// keeps its stderr open, makes anyone wait that long.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The line that says that a service is up begins with this.
const READY: &str = "READY";

/// One process of an application, looked at from outside as an operator would: its stderr, its exit code.
///
/// It is killed, by its own number, when it is dropped, so a test that fails leaves nothing behind.
///
/// ```no_run
/// use std::{path::Path, process::Command};
/// use solostart::testing::{Process, assert_one_worker};
///
/// /// The application itself, on this data. In an integration test of yours, Cargo knows the program:
/// /// `env!("CARGO_BIN_EXE_shop")`.
/// fn shop(data: &Path) -> Command {
///     let mut shop = Command::new("target/debug/shop");
///     shop.env("SHOP_DATA_DIR", data);
///     shop
/// }
///
/// # let data = Path::new("/tmp/data");
/// // The whole question in one line:
/// assert_one_worker(|| shop(data));
///
/// // Or step by step:
/// let mut first = Process::start(&mut shop(data));
/// first.wait_for("READY");
/// let second = Process::start(&mut shop(data)).wait();
/// second.assert_failed(78, "lock.held").assert_says("Another process has the lock");
/// first.terminate();
/// assert_eq!(first.wait().code(), 0);
/// ```
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    seen: String,
}

/// How a process ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Exit {
    /// The exit code, or the signal that ended it.
    pub status: ExitStatus,
    /// All that it printed on stderr.
    pub stderr: String,
}

impl Process {
    /// Starts a program. It reads nothing, its stdout goes nowhere, and its stderr is read by
    /// [`wait_for`](Self::wait_for) and [`wait`](Self::wait).
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let spawned = command.spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        let (sender, lines) = channel();
        let stderr = child.stderr.take();
        // It ends with the pipe, and reads on when nobody listens, so that no process is kept from writing.
        thread::spawn(move || {
            let mut stderr = BufReader::new(stderr?);
            let mut line = Vec::new();
            while stderr.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let _nobody_listens = sender.send(String::from_utf8_lossy(&line).into_owned());
                line.clear();
            }
            Some(())
        });
        Self { child, lines, seen: String::new() }
    }

    /// Its number. For a program that was started through another one, such as `unshare --fork`, it is the
    /// number of that one.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has printed `text` on stderr, for a minute at most.
    ///
    /// # Panics
    /// When it has not, or has ended.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> &mut Self {
        self.wait_for_any(&[text])
    }

    /// Waits until it has printed one of `texts` on stderr, for a minute at most.
    ///
    /// # Panics
    /// When it has not, or has ended.
    #[track_caller]
    pub fn wait_for_any(&mut self, texts: &[&str]) -> &mut Self {
        let deadline = Instant::now() + PATIENCE;
        let wanted = || texts.join("` or `");
        while !texts.iter().any(|text| self.seen.contains(text)) {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push_str(&line),
                Err(RecvTimeoutError::Timeout) => panic!("no `{}` in time:\n{}", wanted(), self.seen),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended without `{}`:\n{}", wanted(), self.seen)
                }
            }
        }
        self
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        // It keeps its number, so that a later signal cannot reach somebody else.
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(Pid::from_child(&self.child)), ended), Ok(None))
    }

    /// Asks it to stop, with SIGTERM.
    pub fn terminate(&mut self) -> &mut Self {
        self.signal(Signal::TERM)
    }

    /// Asks it to stop as a terminal does, with SIGINT.
    pub fn interrupt(&mut self) -> &mut Self {
        self.signal(Signal::INT)
    }

    /// Stops it where it stands with SIGSTOP, as a paused container or a suspended machine does, and returns when
    /// it stands still.
    ///
    /// # Panics
    /// When it has ended.
    #[track_caller]
    pub fn pause(&mut self) -> &mut Self {
        self.signal(Signal::STOP);
        let change = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let stopped = waitid(WaitId::Pid(Pid::from_child(&self.child)), change);
        assert!(matches!(&stopped, Ok(Some(status)) if status.stopped()), "it did not stop: {stopped:?}");
        self
    }

    /// Lets it go on after [`pause`](Self::pause), with SIGCONT.
    pub fn go_on(&mut self) -> &mut Self {
        self.signal(Signal::CONT)
    }

    /// Kills it with SIGKILL, as the kernel does when memory is short, and waits until it is gone.
    #[track_caller]
    pub fn kill(mut self) -> Exit {
        self.signal(Signal::KILL);
        self.wait()
    }

    fn signal(&mut self, signal: Signal) -> &mut Self {
        // It has no effect on one that has ended, whose number is kept until it was waited for.
        let _ended = kill_process(Pid::from_child(&self.child), signal);
        self
    }

    /// Waits until it has ended, for a minute at most.
    ///
    /// # Panics
    /// When it has not. It is killed then.
    #[track_caller]
    pub fn wait(mut self) -> Exit {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.lines.recv_timeout(LOOK) {
                Ok(line) => {
                    self.seen.push_str(&line);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => thread::sleep(LOOK / 10),
            }
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => assert!(Instant::now() < deadline, "it did not end in time:\n{}", self.seen),
                Err(error) => panic!("it cannot be waited for: {error}"),
            }
        };
        let deadline = Instant::now() + LAST_LINES;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.seen.push_str(&line);
        }
        Exit { status, stderr: std::mem::take(&mut self.seen) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and one that was waited for is not waited for again.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Exit {
    /// The exit code.
    ///
    /// # Panics
    /// When a signal ended the process.
    #[must_use]
    #[track_caller]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by {}:\n{}", self.status, self.stderr))
    }

    /// Checks that it failed with this exit code and this failure code, and that its report says both.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn assert_failed(&self, exit: i32, code: &str) -> &Self {
        assert_eq!(self.code(), exit, "{}", self.stderr);
        self.assert_says(&format!("[{code}]")).assert_says(&format!("exit {exit} "))
    }

    /// Checks that it printed `text` on stderr, whatever way its lines were broken.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn assert_says(&self, text: &str) -> &Self {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words(&self.stderr).contains(&words(text)), "no `{text}`:\n{}", self.stderr);
        self
    }
}

/// Checks that of the processes that `command` starts, always on the same data, at most one works.
///
/// - While one is up, another is refused, with the code `lock.held` and the exit code 78.
/// - After `kill -9` the next one comes up, and nobody has to tidy up before.
/// - One that is paused is not replaced, and works on when it may go on.
/// - One that was asked to stop ends with 0, and the next one comes up.
///
/// It takes about as long as three starts and three refusals. The programs are children of the test; each
/// must print what [`solostart::run`](crate::run()) prints, in the form that people read, and must have a
/// policy of refusing (`<P>_INSTANCE_MODE` unset) and a lease whose time is not set below a second or so.
///
/// # Panics
/// When any of that does not hold.
#[track_caller]
pub fn assert_one_worker(command: impl Fn() -> Command) {
    let start = || Process::start(&mut command());
    let up = || {
        let mut process = start();
        process.wait_for(READY);
        process
    };
    let refused = || {
        let FailureCode { name, kind, .. } = LOCK_HELD;
        start().wait().assert_failed(kind.exit_code().into(), name);
    };

    let first = up();
    refused();
    assert!(first.is_running(), "it did not survive that another one was refused");
    first.kill();

    let mut second = up();
    second.pause();
    refused();
    second.go_on();
    refused();
    second.terminate();
    let ended = second.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);

    up().terminate();
}

#[cfg(test)]
mod tests;
