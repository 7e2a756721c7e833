//! What reports advise: whether a restart helps, and what to do where the error itself does not say.

use std::time::Duration;

use super::{
    Identity,
    clean::{clean, clean_lines},
    words::stage,
};
use crate::{
    codes::{self, FailureCode},
    error::{ErrorKind, StageError},
};

/// How many actions a report shows.
const ACTIONS_MOST: usize = 4;

/// What holds for one failure code in particular.
struct Advice {
    code: FailureCode,
    /// Why a restart helps or not, where the reason of the code's kind would be wrong or vague.
    restart: Option<&'static str>,
    /// What to do. `{P}` is the prefix of the variables, `{STAGE}` the stage as it stands in one, `{service}`
    /// the service, `{double}` twice the time that was not enough; the rest are the words of the platform.
    actions: &'static [&'static str],
}

const TELL_DEVELOPERS: &str =
    "Send this report, and the log lines before it, to the developers:\n{service} report --json";

/// The process does not know the cause well enough to say more.
const NOT_KNOWN: &str = "nothing shows that this cause goes away by itself.";

const UPSTREAM: &str = "once the upstream, or the URL of it, is right.";

const ADVICE: &[Advice] = &[
    Advice {
        code: codes::WORKER_COUNT_CONFIGURED,
        restart: Some("the same environment is read on every start."),
        actions: &[],
    },
    Advice {
        code: codes::ENV_INVALID,
        restart: Some("the same environment is read on every start."),
        actions: &[
            "Correct these variables {settings}.",
            "See what the process really gets: {service} env",
            "Look for what else is wrong: {service} check",
        ],
    },
    Advice { code: codes::LOCK_HELD, restart: Some("the other instance must end first."), actions: &[] },
    Advice {
        code: codes::LOCK_HOLDER_UNRESPONSIVE,
        restart: Some("a start takes over as soon as the holder is known to be gone."),
        actions: &[],
    },
    Advice {
        code: codes::LOCK_BUSY,
        restart: Some("the next start succeeds once that program has ended."),
        actions: &[],
    },
    Advice {
        code: codes::LOCK_NOT_SHARED,
        restart: Some("the lock file stays where it is until it is moved."),
        actions: &[],
    },
    Advice {
        code: codes::LOCK_UNSUPPORTED,
        restart: Some("the lock file stays where it is until it is moved."),
        actions: &[],
    },
    Advice { code: codes::LOCK_REPLACED, restart: Some("once the files stay in place."), actions: &[] },
    Advice {
        code: codes::LOCK_LOST,
        restart: Some("whatever took the lock away can do it again. Find it first."),
        actions: &[
            "Find out what took it: a clean-up job or a restored backup that replaced the lock file, a \
             second deployment.",
            "Make sure that no second one runs before you start it again:\n{service} lock status",
        ],
    },
    Advice {
        code: codes::LOCK_EXPIRED,
        restart: Some("nobody took the right, and the next start takes it again."),
        actions: &[
            "See what stopped it: a suspended machine, a paused container, a frozen control group, a lack of memory.",
            "Paused that long on purpose? Allow more time: {P}_LEASE_TTL=60s",
        ],
    },
    Advice {
        code: codes::DB_NOT_WRITABLE,
        restart: None,
        actions: &["See who this is, and who owns the data: id; mount | grep -w ro"],
    },
    Advice {
        code: codes::DB_CORRUPT,
        restart: None,
        actions: &[
            "Copy the file, and those beside it that end in -wal and -shm, before anything else.",
            "Restore your last backup of the file.",
        ],
    },
    Advice {
        code: codes::DB_REPLACED,
        restart: Some("neither the database nor its log goes away by itself."),
        actions: &[],
    },
    Advice {
        code: codes::DB_BUSY,
        restart: None,
        actions: &["End the other program that uses the file, such as a `sqlite3` shell or a backup."],
    },
    Advice { code: codes::DB_DISK_FULL, restart: None, actions: &["See what is full: df -h; df -i"] },
    Advice {
        code: codes::DB_IO,
        restart: None,
        actions: &[
            "Look for errors of the disk: dmesg | tail",
            "Look for limits on the size of files: ulimit -f; quota",
        ],
    },
    Advice {
        code: codes::DB_MIGRATION_FAILED,
        restart: Some("the same migration meets the same data on every start."),
        actions: &["Start the version that ran before: this migration changed nothing.", TELL_DEVELOPERS],
    },
    Advice {
        code: codes::DB_SCHEMA_NEWER,
        restart: None,
        actions: &["Start the newer version again, or restore the backup from before the upgrade."],
    },
    Advice {
        code: codes::HTTP_CA_FILE,
        restart: Some("the same file is read on every start."),
        actions: &[],
    },
    Advice { code: codes::HTTP_TLS, restart: Some(UPSTREAM), actions: &[] },
    Advice { code: codes::HTTP_STATUS, restart: Some(UPSTREAM), actions: &[] },
    Advice {
        code: codes::DB_MIGRATION_TIMEOUT,
        restart: Some("the migration begins again on every start, with the same time limit."),
        actions: &[ALLOW_STAGE],
    },
    Advice { code: codes::TASK_FAILED, restart: Some(NOT_KNOWN), actions: &[TELL_DEVELOPERS] },
    Advice { code: codes::STAGE_FAILED, restart: Some(NOT_KNOWN), actions: &[TELL_DEVELOPERS] },
    Advice { code: codes::STAGE_BUSY, restart: None, actions: &[TELL_DEVELOPERS] },
    Advice { code: codes::STAGE_UNAVAILABLE, restart: None, actions: &[TELL_DEVELOPERS] },
    Advice {
        code: codes::STAGE_MISCONFIGURED,
        restart: None,
        actions: &["See what the process really gets: {service} env"],
    },
    Advice {
        code: codes::STAGE_NOT_PERMITTED,
        restart: None,
        actions: &["See who this is: id", TELL_DEVELOPERS],
    },
    Advice { code: codes::STAGE_DATA, restart: None, actions: &[TELL_DEVELOPERS] },
    Advice {
        code: codes::STAGE_IO,
        restart: None,
        actions: &["Look for errors of the disk: dmesg | tail", TELL_DEVELOPERS],
    },
    Advice { code: codes::STAGE_CANNOT_CREATE, restart: None, actions: &[TELL_DEVELOPERS] },
    Advice {
        code: codes::STAGE_TIMEOUT,
        restart: None,
        actions: &[
            ALLOW_STAGE,
            "Not only slow? Check what the last step talks to: is it running, and can it be reached?",
        ],
    },
    Advice {
        code: codes::STAGE_PANICKED,
        restart: None,
        actions: &["This is a defect of the application. Its place is above.", TELL_DEVELOPERS],
    },
    Advice {
        code: codes::STAGE_BLOCKED_EXECUTOR,
        restart: Some(NOT_KNOWN),
        actions: &[
            TELL_DEVELOPERS,
            "For them: move the blocking call into `tokio::task::spawn_blocking` or a thread of its own.",
        ],
    },
    Advice {
        code: codes::STARTUP_TIMEOUT,
        restart: None,
        actions: &[
            "Only slow? Allow more time: {P}_STARTUP_TIMEOUT={double}",
            "Not only slow? Check what the stages above wait for: is it running, and can it be reached?",
        ],
    },
    Advice {
        code: codes::STARTUP_INTERRUPTED,
        restart: Some("the start did not fail by itself; it was asked to end."),
        actions: &["See who asked: {who_ended_it}"],
    },
    Advice {
        code: codes::PROCESS_FILTERED,
        restart: Some("the filter is the same on every start."),
        actions: &[],
    },
    Advice {
        code: codes::ROLLBACK_INCOMPLETE,
        restart: Some(NOT_KNOWN),
        actions: &[
            "Only slow? Allow more time, and set {grace} above it:\n{P}_SHUTDOWN_TIMEOUT={double}",
            TELL_DEVELOPERS,
        ],
    },
];

const ALLOW_STAGE: &str =
    "Only slow? Allow more time, and keep {P}_STARTUP_TIMEOUT above it:\n{P}_STAGE_TIMEOUT_{STAGE}={double}";

fn advice(code: FailureCode) -> Option<&'static Advice> {
    ADVICE.iter().find(|advice| advice.code.name == code.name)
}

/// Whether a restart helps, and why.
pub(super) fn restart(code: FailureCode, kind: ErrorKind) -> String {
    // A hook may have given the error another kind than its code has; the code's reason is then not its.
    let special = advice(code).filter(|advice| advice.code.kind == kind).and_then(|advice| advice.restart);
    let reason = special.unwrap_or_else(|| reason(kind));
    let verdict = if kind.restart_helps() { "MAY help" } else { "will NOT help" };
    format!("Restarting {verdict}: {reason}")
}

fn reason(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Usage => "the command line is the same on every start.",
        ErrorKind::Data => "the data stays as it is until somebody mends or replaces it.",
        ErrorKind::Unavailable => "the other side may answer later.",
        ErrorKind::Software => "this needs a corrected version of the program.",
        ErrorKind::OsLimit => "the limit is the same on every start.",
        ErrorKind::CannotCreate => "the place for it must be made first.",
        ErrorKind::Io => "once there is space and the device works.",
        ErrorKind::Temporary => "it was busy or slow, and that may have passed.",
        ErrorKind::Permission => "owners and permissions do not change by themselves.",
        ErrorKind::Config => "the same settings are read on every start.",
    }
}

/// What the operator can do: as the error says, or as its code advises.
pub(super) fn actions(error: &StageError, of: &str, took: Duration, identity: &Identity) -> Vec<String> {
    let own = own_actions(error);
    if own.is_empty() { defaults(error.failure_code(), of, took, identity) } else { own }
}

/// What the error itself says.
pub(super) fn own_actions(error: &StageError) -> Vec<String> {
    let own = error.actions().iter().map(|action| action_text(action)).filter(|text| !text.is_empty());
    own.take(ACTIONS_MOST).collect()
}

/// What the code advises for the stage `of`, which took so long.
pub(super) fn defaults(code: FailureCode, of: &str, took: Duration, identity: &Identity) -> Vec<String> {
    let configured = identity.shortened.as_ref().filter(|(stage, _)| stage == of);
    let took = configured.map_or(took, |(_, limit)| *limit);
    // A time-out fires a little after its limit.
    let double = format!("{}s", ((took.as_millis() + 500) / 1000).max(1) * 2);
    let words = (identity.words)();
    let fill = |action: &&str| {
        action
            .replace("{P}", &clean(&identity.prefix, 40))
            .replace("{STAGE}", &stage(of).to_uppercase().replace('-', "_"))
            .replace("{service}", &clean(&identity.service, 40))
            .replace("{double}", &double)
            .replace("{settings}", &clean(&words.settings, 80))
            .replace("{who_ended_it}", &clean(&words.who_ended_it, 80))
            .replace("{grace}", &clean(&words.grace, 60))
    };
    advice(code).map(|advice| advice.actions.iter().map(fill).collect()).unwrap_or_default()
}

/// An action with its command on a line of its own where both do not fit on one: what is pasted must not
/// be broken.
fn action_text(action: &str) -> String {
    const ROOM: usize = super::layout::WIDTH - 5;
    let text = clean_lines(action, 400).trim().to_owned();
    if text.len() <= ROOM || text.contains('\n') {
        return text;
    }
    match text.split_once(": ") {
        Some((what, command)) if command.len() <= ROOM && what.len() < ROOM => format!("{what}:\n{command}"),
        _ => text,
    }
}
