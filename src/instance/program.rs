//! The process that the kernel names as the owner of a lock.

use std::{fs, path::PathBuf};

use super::{
    freezer::is_frozen,
    holder::{self, Holder},
    siblings::{is_same_program, lock_owner, lock_sharer, state},
};

/// Who has a lock file that this process cannot lock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Occupant {
    /// An instance of the service.
    Instance,
    /// A process that is not shown, in another container; the file describes an instance of this boot.
    Hidden,
    /// Another program; `None` where the kernel does not show which.
    Other(Option<Program>),
}

impl Occupant {
    /// Finds out who has the lock. `exclusive` says that somebody has it for itself alone, and `described` is whom the
    /// file describes.
    ///
    /// An instance has its lock for itself alone and describes itself at once, so what the kernel shows of the owner
    /// must agree with the description. A program that runs the same executable is an instance that has not got so far.
    pub(super) fn find(device: (u32, u32), inode: u64, exclusive: bool, described: Option<&Holder>) -> Self {
        if !exclusive {
            return Self::Other(Program::of(lock_sharer(device, inode)));
        }
        let owner = Program::of(lock_owner(device, inode));
        match (&owner, described) {
            (Some(program), _) if program.is_ours() => Self::Instance,
            (Some(program), Some(described)) if program.is_described_by(described) => Self::Instance,
            (None, Some(described)) if described.boot_id == holder::boot_id() => Self::Hidden,
            (Some(_) | None, _) => Self::Other(owner),
        }
    }
}

/// A process that has a lock, as `/proc` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Program {
    pid: u32,
    /// What it is called (`/proc/PID/comm`); empty where it has ended and a child of it has the lock.
    name: String,
}

impl Program {
    pub(super) fn of(pid: Option<u32>) -> Option<Self> {
        let pid = pid?;
        Some(Self { pid, name: holder::plain(comm(pid).trim()) })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it runs the executable of this process.
    pub(super) fn is_ours(&self) -> bool {
        is_same_program(self.pid)
    }

    pub(super) fn name(&self) -> String {
        if self.name.is_empty() {
            "that left its lock to a child".to_owned()
        } else {
            format!("`{}`", self.name)
        }
    }

    pub(super) fn describe(&self) -> String {
        format!("process {} ({}), says /proc/locks", self.pid, self.name())
    }

    /// Whether something keeps it from running: a stop signal, or its control group.
    pub(super) fn stands_still(&self) -> bool {
        matches!(state(self.pid), Some('T' | 't')) || is_frozen(self.pid)
    }

    /// Whether it is the process that a lock file describes. A process in another container knows itself by another
    /// number, which is the last one of its `NSpid` (proc_pid_status(5)).
    pub(super) fn is_described_by(&self, described: &Holder) -> bool {
        described.boot_id == holder::boot_id() && own_number(self.pid) == Some(described.pid)
    }
}

fn file(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

fn comm(pid: u32) -> String {
    fs::read_to_string(file(pid, "comm")).unwrap_or_default()
}

/// The number of a process in its own PID namespace.
fn own_number(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(file(pid, "status")).ok()?;
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_ascii_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        path::Path,
        process::{Child, Command, Stdio},
    };

    use super::*;
    use crate::{
        ids::InstanceId,
        instance::{
            file_lock::{Outcome, acquire},
            other_process::OtherProcess,
            testing::{anywhere, config, reacquire},
            worker_mode::{Verdict, acquire as work, status},
        },
    };

    /// The program flock(1), which has the file locked until it is dropped.
    struct Locker(Child);

    impl Locker {
        fn new(how: &str, path: &Path) -> Self {
            let mut child = Command::new("flock")
                .args([how.as_ref(), path.as_os_str()])
                .args(["-c", "echo locked; read until"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(line, "locked\n");
            Self(child)
        }
    }

    impl Drop for Locker {
        fn drop(&mut self) {
            drop(self.0.stdin.take());
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn another_program_that_has_the_lock_file_is_no_instance_and_status_and_start_agree() {
        // After a clean stop, and after the predecessor was killed, whose description stays.
        for killed in [false, true] {
            for how in ["--shared", "--exclusive"] {
                let dir = tempfile::tempdir().unwrap();
                let config = config(&dir);
                if killed {
                    OtherProcess::working(&config.data_dir).kill();
                } else {
                    work(&config).unwrap().release(std::time::Instant::now()).unwrap();
                }
                let locker = Locker::new(how, &config.lock_path);
                let seen = status(&config).unwrap();
                let refused = work(&config).unwrap_err();
                let about = format!("killed: {killed}, {how}: {seen:?} {refused:?}");
                let code = (refused.failure_code().name, refused.error_kind().exit_code());
                assert_eq!(code, ("lock.busy", 75), "{about}");
                assert!(refused.to_string().contains("`flock` has the lock file"), "{about}");
                assert_eq!(seen.verdict, Verdict::Busy, "{about}");
                drop(locker);
                reacquire(&config).release(std::time::Instant::now()).unwrap();
            }
        }
    }

    #[test]
    fn an_instance_is_one_by_its_program_or_by_its_description() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.lock");
        let other = OtherProcess::locking(&path);
        let Outcome::Held(contest) = acquire(&path, &anywhere).unwrap() else { panic!("not held") };
        assert_eq!(contest.occupant, Occupant::Instance);
        let this = Holder::this_process(InstanceId::mint(), "shop", "1.0");
        let of_other = Program::of(Some(other.pid())).unwrap();
        assert!(of_other.is_described_by(&Holder { pid: other.pid(), ..this.clone() }));
        assert!(!of_other.is_described_by(&this));
        assert!(!of_other.is_described_by(&Holder {
            pid: other.pid(),
            boot_id: "earlier".to_owned(),
            ..this.clone()
        }));
        // Hidden in another container: the description of this boot counts.
        let hidden = |described: Option<&Holder>| Occupant::find((0, 0), u64::MAX, true, described);
        assert_eq!(hidden(Some(&this)), Occupant::Hidden);
        assert_eq!(hidden(None), Occupant::Other(None));
        let earlier = Holder { boot_id: "earlier".to_owned(), ..this };
        assert_eq!(hidden(Some(&earlier)), Occupant::Other(None));
    }
}
