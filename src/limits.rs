//! What it means that the operating system has nothing left for this process: which limit it is, its value, and how
//! it is raised. Floor 0.

use std::{fs, io};

use rustix::{
    io::Errno,
    process::{Resource, Rlimit, geteuid, getrlimit},
};

use crate::{
    codes::{PROCESS_FILTERED, PROCESS_LIMIT, STAGE_FAILED},
    control_group::tasks,
    error::{BoxError, ErrorKind, Fact, StageError},
};

/// What is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Limit {
    /// The descriptors of this process: `EMFILE`.
    OpenFiles,
    /// The open files of the whole machine: `ENFILE`.
    FilesOfTheMachine,
    /// `EAGAIN` from the creation of a thread (pthread_create(3)).
    Threads,
    /// `ENOMEM`
    Memory,
    /// `EFBIG`
    FileSize,
}

/// What most services get by with.
const FILES_ENOUGH: u64 = 1024;
const THREADS_ENOUGH: u64 = 4096;

impl Limit {
    /// The limit that an error of the operating system stands for, whatever was tried.
    pub(crate) fn behind(error: &io::Error) -> Option<Self> {
        match Errno::from_io_error(error)? {
            Errno::MFILE => Some(Self::OpenFiles),
            Errno::NFILE => Some(Self::FilesOfTheMachine),
            Errno::NOMEM => Some(Self::Memory),
            Errno::FBIG => Some(Self::FileSize),
            _ => None,
        }
    }

    /// The refusal, with the limit's value as it is now and what raises it.
    pub(crate) fn refusal(self, cause: impl Into<BoxError>) -> StageError {
        let refused = StageError::new(PROCESS_LIMIT, cause);
        let refused = self.facts().into_iter().fold(refused, |all, fact| all.fact(fact.name, fact.value));
        self.actions().into_iter().fold(refused, StageError::hint)
    }

    /// What is known about it.
    pub(crate) fn facts(self) -> Vec<Fact> {
        let fact = |name: &'static str, value: String| Fact { name: name.into(), value };
        match self {
            Self::OpenFiles => {
                vec![fact("open files", format!("{}, {}", shown(getrlimit(Resource::Nofile), 1), open_now()))]
            }
            Self::FilesOfTheMachine => {
                let numbers = first_line("/proc/sys/fs/file-nr").unwrap_or_else(|| "not known".to_owned());
                vec![fact("fs.file-nr", format!("{numbers} (open, unused, limit)"))]
            }
            Self::Threads => {
                let mut facts = vec![fact("ulimit -u", shown(getrlimit(Resource::Nproc), 1))];
                facts.extend(
                    tasks().map(|(now, most)| fact("control group", format!("{now} of {most} tasks"))),
                );
                facts
            }
            Self::Memory => vec![fact("address space", shown(getrlimit(Resource::As), 1024))],
            Self::FileSize => vec![fact("size of files", shown(getrlimit(Resource::Fsize), 1024))],
        }
    }

    /// What raises it, the likeliest place first.
    pub(crate) fn actions(self) -> Vec<String> {
        match self {
            Self::OpenFiles => raised('n', "nofile", enough(getrlimit(Resource::Nofile), FILES_ENOUGH)),
            Self::FilesOfTheMachine => vec![
                "See how many are open, and the limit: cat /proc/sys/fs/file-nr".to_owned(),
                format!("Raise it: sudo sysctl fs.file-max={}", twice_the_files()),
            ],
            Self::Threads => {
                let own = raised('u', "nproc", enough(getrlimit(Resource::Nproc), THREADS_ENOUGH));
                let group = [
                    format!("Raise the limit on threads in compose.yaml: `pids_limit: {THREADS_ENOUGH}`"),
                    format!("In the unit of systemd: `TasksMax={THREADS_ENOUGH}`"),
                ];
                // The group's limit is the one where it is the lower; tasks that were tried have ended by now.
                let most = getrlimit(Resource::Nproc).current.unwrap_or(u64::MAX);
                if tasks().is_some_and(|(_, of_the_group)| of_the_group <= most) {
                    group.into_iter().chain(own).take(3).collect()
                } else {
                    own.into_iter().take(1).chain(group).collect()
                }
            }
            Self::Memory => raised('v', "as", enough(getrlimit(Resource::As), 0)),
            Self::FileSize => raised('f', "fsize", enough(getrlimit(Resource::Fsize), 0)),
        }
    }
}

/// A thread could not be started for `what`.
pub(crate) fn no_thread(error: &io::Error, what: &str) -> StageError {
    let cause = format!("No thread can be started for {what}: {error}");
    if let Some(limit) = Limit::behind(error) {
        return limit.refusal(cause);
    }
    match Errno::from_io_error(error) {
        // pthread_create(3) says so, too, where there is no room for the stack.
        Some(Errno::AGAIN) if address_space_is_used_up() => Limit::Memory.refusal(cause),
        Some(Errno::AGAIN) => Limit::Threads.refusal(cause),
        // The kernel itself never says so of a thread (clone(2)): glibc goes on without `clone3` where that is unknown
        // (ENOSYS), and the filters of older container engines call it forbidden (moby/moby#42680).
        Some(Errno::PERM | Errno::ACCESS | Errno::NOSYS) => filtered(cause),
        _ => StageError::new(STAGE_FAILED, cause).kind(ErrorKind::Temporary),
    }
}

/// The refusal behind a panic: of `spawn_blocking` (tokio, `runtime/blocking/pool.rs`) and `thread::spawn` (std), which have
/// no other way to say that no thread can be had, and of whoever unwraps an error that means a limit.
pub(crate) fn behind_panic(message: &str) -> Option<StageError> {
    let threads = ["OS can't spawn worker thread", "failed to spawn thread"];
    let errno = errno_in(message);
    if threads.iter().any(|text| message.starts_with(text)) {
        let errno = errno.unwrap_or(Errno::AGAIN.raw_os_error());
        return Some(no_thread(&io::Error::from_raw_os_error(errno), "blocking work"));
    }
    Limit::behind(&io::Error::from_raw_os_error(errno?)).map(|limit| limit.refusal(message.to_owned()))
}

/// The number of the operating system's error that a text tells of: `(os error 11)` where it was displayed, `Os { code: 11`
/// where it was a `Debug` text.
pub(crate) fn errno_in(text: &str) -> Option<i32> {
    let number = |before: &str| {
        let rest = text.split_once(before)?.1;
        rest.split(|each: char| !each.is_ascii_digit()).next()?.parse().ok()
    };
    number("(os error ").or_else(|| number("Os { code: "))
}

/// Whether there are as many threads as these, for whoever panics where there are not.
#[cfg(feature = "run")]
pub(crate) fn try_threads(wanted: usize) -> io::Result<()> {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    std::thread::scope(|scope| {
        let wait = &wait;
        let stays = move || {
            // Ends when `go` is dropped; until then the others are started.
            let _dropped = wait.lock().map(|wait| wait.recv());
        };
        let tried =
            (0..wanted).try_for_each(|_| std::thread::Builder::new().spawn_scoped(scope, stays).map(drop));
        drop(go);
        tried
    })
}

/// Whether the limit on the address space leaves no room for the stack of a thread, 2 MiB.
fn address_space_is_used_up() -> bool {
    let Some(limit) = getrlimit(Resource::As).current else { return false };
    // In pages, the first number: proc_pid_statm(5).
    let pages = first_line("/proc/self/statm").and_then(|line| line.split(' ').next()?.parse::<u64>().ok());
    let used = pages.unwrap_or(0).saturating_mul(rustix::param::page_size() as u64);
    limit.saturating_sub(used) < 3 << 20
}

fn filtered(cause: String) -> StageError {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    // Modes and filters: proc_pid_status(5).
    let seccomp = match (line("Seccomp:"), line("Seccomp_filters:")) {
        (Some("2"), Some(filters)) => format!("{filters} filters on system calls"),
        (Some("2"), None) => "filters on system calls".to_owned(),
        (Some("0"), _) => "no filter; another security module forbids it".to_owned(),
        _ => "not known".to_owned(),
    };
    StageError::new(PROCESS_FILTERED, cause)
        .fact("seccomp", seccomp)
        .hint("Update the container engine and its libseccomp: their filter is older than this program")
        .hint("To see whether it is the filter: `security_opt: [seccomp=unconfined]` in compose.yaml")
        .hint("Under systemd, add `@process` to the unit's `SystemCallFilter=`")
}

/// How a limit is set, by its letter in a shell and its name elsewhere.
fn raised(letter: char, name: &str, to: Raise) -> Vec<String> {
    let (number, compose, unit) = match to {
        Raise::To(number) | Raise::ByRoot(number) if number > 0 => {
            (number.to_string(), number.to_string(), number.to_string())
        }
        Raise::To(_) | Raise::ByRoot(_) => ("unlimited".to_owned(), "-1".to_owned(), "infinity".to_owned()),
    };
    let shell = match to {
        Raise::To(_) => format!("ulimit -{letter} {number}"),
        // A shell may not raise its own hard limit (setrlimit(2)).
        Raise::ByRoot(_) => format!("sudo prlimit --pid $$ --{name}={number}:{number}"),
    };
    vec![
        format!("Raise it in the shell that starts the service: {shell}"),
        format!("In compose.yaml: `ulimits: {{{name}: {compose}}}`"),
        format!("In the unit of systemd: `Limit{}={unit}`", name.to_ascii_uppercase()),
    ]
}

/// How far a limit is to be raised, 0 for as far as it goes, and whether its hard limit lets this user do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Raise {
    To(u64),
    ByRoot(u64),
}

/// What is more than there is now, and at least `usual`; where that is 0, all that there is.
fn enough(limit: Rlimit, usual: u64) -> Raise {
    let now = limit.current.unwrap_or(0);
    let wanted = if usual == 0 { 0 } else { now.saturating_mul(2).max(usual) };
    match limit.maximum {
        Some(hard) if !geteuid().is_root() && (wanted == 0 || hard < wanted) => {
            if hard > now && wanted > 0 {
                Raise::To(hard)
            } else {
                Raise::ByRoot(wanted)
            }
        }
        _ => Raise::To(wanted),
    }
}

fn shown(limit: Rlimit, unit: u64) -> String {
    let value = |value: Option<u64>| match (value, unit) {
        (None, _) => "unlimited".to_owned(),
        (Some(value), 1) => value.to_string(),
        (Some(value), _) => format!("{} KiB", value / unit),
    };
    format!("limit {}, hard limit {}", value(limit.current), value(limit.maximum))
}

fn open_now() -> String {
    // Where none is left, the list cannot be opened either.
    fs::read_dir("/proc/self/fd")
        .map_or_else(|_| "all in use".to_owned(), |all| format!("{} open", all.count() - 1))
}

fn twice_the_files() -> u64 {
    first_line("/proc/sys/fs/file-max")
        .and_then(|most| most.parse::<u64>().ok())
        .unwrap_or(1 << 19)
        .saturating_mul(2)
}

fn first_line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().next().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_for_want_of_a_thread_or_a_descriptor_is_a_limit_and_no_other_is() {
        for (message, limit) in [
            ("OS can't spawn worker thread: Resource temporarily unavailable (os error 11)", true),
            ("failed to spawn thread: Os { code: 11, kind: WouldBlock, message: \"...\" }", true),
            ("called `Result::unwrap()` on an `Err` value: Os { code: 24, kind: Uncategorized }", true),
            ("cannot read: Too many open files (os error 24)", true),
            ("cannot read: Resource temporarily unavailable (os error 11)", false),
            ("cannot read: No such file or directory (os error 2)", false),
            ("order 4711 has no customer", false),
        ] {
            let found = behind_panic(message).map(|error| error.failure_code());
            assert_eq!(found, limit.then_some(PROCESS_LIMIT), "{message}");
        }
    }

    #[test]
    fn every_limit_has_its_value_and_at_most_four_ways_to_raise_it() {
        for (errno, limit) in [
            (Errno::MFILE, Limit::OpenFiles),
            (Errno::NFILE, Limit::FilesOfTheMachine),
            (Errno::NOMEM, Limit::Memory),
            (Errno::FBIG, Limit::FileSize),
        ] {
            let error = io::Error::from(errno);
            assert_eq!(Limit::behind(&error), Some(limit));
            let refused = limit.refusal(error);
            assert_eq!(refused.error_kind().exit_code(), 71);
            assert!(!refused.facts().is_empty() && (1..=4).contains(&refused.actions().len()), "{refused:?}");
        }
        assert_eq!(Limit::behind(&Errno::ACCESS.into()), None);
        assert_eq!(Limit::behind(&io::ErrorKind::OutOfMemory.into()), None, "no number of the system's");
    }

    #[test]
    fn a_thread_that_cannot_be_had_is_a_limit_or_a_filter_and_says_which() {
        for (errno, code) in
            [(Errno::AGAIN, PROCESS_LIMIT), (Errno::NOMEM, PROCESS_LIMIT), (Errno::PERM, PROCESS_FILTERED)]
        {
            let refused = no_thread(&errno.into(), "the locks");
            assert_eq!(refused.failure_code(), code, "{errno}");
            assert!(refused.to_string().contains("os error"), "{refused}");
        }
        let filtered = no_thread(&Errno::PERM.into(), "the locks");
        assert!(filtered.facts().iter().any(|fact| fact.name == "seccomp"), "{filtered:?}");
    }

    #[test]
    fn a_limit_is_raised_as_far_as_this_user_may() {
        let limit = |current, maximum| Rlimit { current: Some(current), maximum };
        assert_eq!(enough(limit(16, None), 1024), Raise::To(1024));
        assert_eq!(enough(limit(4096, None), 1024), Raise::To(8192));
        let root = geteuid().is_root();
        let of = |current, hard| enough(limit(current, Some(hard)), 1024);
        assert_eq!(of(16, 512), Raise::To(if root { 1024 } else { 512 }));
        assert_eq!(of(16, 16), if root { Raise::To(1024) } else { Raise::ByRoot(1024) });
        assert_eq!(
            raised('n', "nofile", Raise::ByRoot(1024))[0],
            "Raise it in the shell that starts the service: sudo prlimit --pid $$ --nofile=1024:1024"
        );
        assert!(raised('f', "fsize", Raise::To(0))[0].ends_with("ulimit -f unlimited"));
    }
}
