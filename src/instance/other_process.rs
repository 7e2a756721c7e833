//! A second process for tests: this test program once more, which takes the locks that it is given.

use std::{
    env, io,
    io::{BufRead, BufReader, Lines, Read},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::{
    file_lock::{FileLock, Outcome, acquire},
    flock,
    holder::Holder,
    testing::{anywhere, config_at},
    worker_mode,
};
use crate::ids::InstanceId;

const LOCK: &str = "SOLOSTART_TEST_LOCK";
const WORKER: &str = "SOLOSTART_TEST_WORKER";
const LOOKED_AT: &str = "SOLOSTART_TEST_LOOKED_AT";

/// What the other process has to say begins with this, which no line of the test program does.
const SAYS: &str = "says: ";

pub(super) struct OtherProcess {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What came of its attempt: `acquired`, or the reason why not.
    pub(super) said: String,
}

impl OtherProcess {
    /// Starts a process that takes the file lock alone, and waits until it has tried. It lives until it is
    /// killed.
    pub(super) fn locking(path: &Path) -> Self {
        Self::start("tries_to_lock_and_waits", LOCK, path)
    }

    /// Starts a process that becomes the only worker of the data in this directory, and waits until it has
    /// tried. It says when it has lost the right.
    pub(super) fn working(data: &Path) -> Self {
        Self::start("tries_to_work_and_waits", WORKER, data)
    }

    /// Starts a process that takes the file lock again and again while its other threads look whether it is held,
    /// and says how often it was refused.
    pub(super) fn looked_at(path: &Path) -> Self {
        Self::start("locks_what_others_look_at", LOOKED_AT, path)
    }

    fn start(body: &str, variable: &str, path: &Path) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", &format!("instance::other_process::{body}"), "--nocapture"])
            .env(variable, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut other = Self { child, lines, said: String::new() };
        other.said = other.hear();
        other
    }

    /// Waits for the next thing that it says.
    pub(super) fn hear(&mut self) -> String {
        let says = |line: io::Result<String>| line.unwrap().strip_prefix(SAYS).map(str::to_owned);
        self.lines.find_map(says).expect("it ended")
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it with SIGSTOP, and waits until it has stopped.
    pub(super) fn stop(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
        self.wait_for(WaitIdOptions::STOPPED);
    }

    /// Lets it go on with SIGCONT.
    pub(super) fn go_on(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    /// Kills it with SIGKILL, and waits until it is gone.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Kills it with SIGKILL, and leaves it as a zombie.
    pub(super) fn kill_without_waiting(&mut self) {
        self.child.kill().unwrap();
        self.wait_for(WaitIdOptions::EXITED);
    }

    fn wait_for(&self, change: WaitIdOptions) {
        waitid(WaitId::Pid(Pid::from_child(&self.child)), change | WaitIdOptions::NOWAIT).unwrap();
    }
}

impl Drop for OtherProcess {
    fn drop(&mut self) {
        // It may have been killed and waited for already.
        let _gone = self.child.kill().and_then(|()| self.child.wait());
    }
}

fn say(what: &str) {
    println!("\n{SAYS}{what}");
}

/// What the other process does. On its own it does nothing.
#[test]
fn tries_to_lock_and_waits() {
    let Some(path) = env::var_os(LOCK) else { return };
    let outcome = acquire(Path::new(&path), &anywhere);
    say(match &outcome {
        Ok(Outcome::Acquired(lock)) => {
            lock.describe(&Holder::this_process(InstanceId::mint(), "shop", "1.0")).unwrap();
            "acquired"
        }
        Ok(Outcome::Held(_)) => "held",
        Err(_) => "failed",
    });
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// The same for a whole worker.
#[test]
fn tries_to_work_and_waits() {
    let Some(data) = env::var_os(WORKER) else { return };
    match worker_mode::acquire(&config_at(Path::new(&data))) {
        Ok(held) => {
            say("acquired");
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            say(&runtime.block_on(held.guard().lost()).reason);
            io::stdin().read_to_end(&mut Vec::new()).unwrap();
        }
        Err(error) => say(error.failure_code().name),
    }
}

/// The same for one that nothing keeps from its lock. It starts no program: see `relock`.
#[test]
fn locks_what_others_look_at() {
    let Some(path) = env::var_os(LOOKED_AT) else { return };
    let (path, over) = (Path::new(&path), AtomicBool::new(false));
    drop(acquire(path, &anywhere).unwrap());
    let look = || {
        while !over.load(Ordering::Relaxed) {
            flock::is_held(flock::open_to_read(path).unwrap()).unwrap();
        }
    };
    let refused = thread::scope(|scope| {
        scope.spawn(look);
        scope.spawn(look);
        let refused =
            (0..500).filter(|_| matches!(acquire(path, &anywhere).unwrap(), Outcome::Held(_))).count();
        over.store(true, Ordering::Relaxed);
        refused
    });
    say(&refused.to_string());
}

/// Takes a lock that its holder has just given back.
///
/// Tests run beside each other, and a program that one of them starts has every descriptor of this
/// process from its `fork` up to its `exec`: for that instant a closed lock file is still open.
pub(super) fn relock(path: &Path) -> FileLock {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match acquire(path, &anywhere).unwrap() {
            Outcome::Acquired(lock) => return lock,
            Outcome::Held(contest) => assert!(Instant::now() < deadline, "{contest:?}"),
        }
        thread::yield_now();
    }
}

/// Runs `body` as somebody whom permissions bind, which they do not for root.
pub(super) fn unprivileged<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    use rustix::{
        fs::{Gid, Uid},
        process::geteuid,
        thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
    };
    let nobody = 65_534;
    let run = || {
        if geteuid().is_root() {
            // The system calls change this thread alone.
            set_thread_groups(&[]).unwrap();
            let group = Gid::from_raw(nobody);
            set_thread_res_gid(group, group, group).unwrap();
            let user = Uid::from_raw(nobody);
            set_thread_res_uid(user, user, user).unwrap();
        }
        body()
    };
    thread::scope(|scope| scope.spawn(run).join().unwrap())
}
