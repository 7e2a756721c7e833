//! A process that is watched from outside.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::ROLE;

/// How long anything may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// This program in one of its roles, with its data in `dir` and nothing else in its environment.
pub(crate) fn role(name: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env_clear().env(ROLE, name).env("ATTACK_DATA_DIR", dir);
    command
}

/// The reference service, which was built beside this program. It says when it holds both locks.
pub(crate) fn banboard(dir: &Path) -> Command {
    let path: PathBuf = std::env::current_exe().unwrap().with_file_name("banboard");
    assert!(path.exists(), "{} is not built: cargo build --examples", path.display());
    let mut command = Command::new(path);
    command.env_clear().env("BANBOARD_DATA_DIR", dir).env("BANBOARD_LISTEN", "127.0.0.1:0");
    command.env("BANBOARD_ALLOW_UNSHARED_LOCK", "overlay,tmpfs").env("RUST_LOG", "solostart=info");
    command
}

/// What `banboard` says when it holds both locks.
pub(crate) const BOTH_HELD: &str = "stage up stage=worker-mode";

/// A process whose stderr is read line by line, with the time at which each line came.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<(Instant, String)>,
    pub(crate) seen: String,
}

impl Process {
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _nobody_listens_any_more = sender.send((Instant::now(), line));
            }
        });
        Self { child, lines, seen: String::new() }
    }

    /// When a line with `text` came; `None` if the process ended without one.
    pub(crate) fn said(&mut self, text: &str) -> Option<Instant> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((at, line)) => {
                    let found = line.contains(text);
                    self.seen += &line;
                    self.seen.push('\n');
                    if found {
                        return Some(at);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("no `{text}` in time:\n{}", self.seen),
            }
        }
    }

    /// The same where the process must not end without the line.
    pub(crate) fn must_say(&mut self, text: &str) -> Instant {
        self.said(text).unwrap_or_else(|| {
            let status = self.child.wait().unwrap();
            panic!("ended with {status} without `{text}`:\n{}", self.seen)
        })
    }

    /// Whether a line with `text` has come by now.
    pub(crate) fn has_said(&mut self, text: &str) -> bool {
        for (_, line) in self.lines.try_iter() {
            self.seen += &line;
            self.seen.push('\n');
        }
        self.seen.contains(text)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Stops the process, and returns when it stands still; `false` if it had ended before.
    pub(crate) fn pause(&self) -> bool {
        self.signal(Signal::STOP);
        // The end itself is left for `wait`.
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid()), options).unwrap().unwrap().stopped()
    }

    /// Waits for the end, and says when it was noticed.
    pub(crate) fn wait(&mut self) -> (ExitStatus, Instant) {
        // It holds the other end of the pipe for as long as it lives.
        let said = self.said("\0");
        assert!(said.is_none(), "a line cannot hold that");
        let status = self.child.wait().unwrap();
        (status, Instant::now())
    }

    /// Asks for an orderly stop, which must succeed.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let (status, _) = self.wait();
        assert!(status.success(), "the stop ended with {status}:\n{}", self.seen);
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An attack that failed must not leave its processes behind. One that was waited for is not touched.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
