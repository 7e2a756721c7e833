//! The failure codes: one table from which reports, exit codes and documentation are made.
//!
//! A code is an interface: it is never renamed, and never reused for something else.

use crate::kind::ErrorKind;

/// A dotted name for one way to fail, with what it means for the process.
///
/// Applications add their own, for errors that their operators should be able to look up:
///
/// ```
/// use solostart::{ErrorKind, FailureCode, StageError};
///
/// const LICENCE_EXPIRED: FailureCode =
///     FailureCode::new("shop.licence-expired", ErrorKind::Config, "The licence has expired");
///
/// let error = StageError::new(LICENCE_EXPIRED, "it ended on 2026-10-01");
/// assert_eq!(error.failure_code().name, "shop.licence-expired");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FailureCode {
    /// The dotted name, for instance `db.corrupt`.
    pub name: &'static str,
    /// The kind of failure unless the error itself says otherwise.
    pub kind: ErrorKind,
    /// One sentence without its full stop, for people.
    pub title: &'static str,
}

impl FailureCode {
    /// A code of the application's own.
    #[must_use]
    pub const fn new(name: &'static str, kind: ErrorKind, title: &'static str) -> Self {
        Self { name, kind, title }
    }
}

macro_rules! codes {
    ($($constant:ident = $name:literal, $kind:ident, $title:literal;)+) => {
        $(
            #[doc = concat!("`", $name, "`: ", $title, ".")]
            pub const $constant: FailureCode = FailureCode::new($name, ErrorKind::$kind, $title);
        )+

        /// Every code of the library, in the order of the documentation.
        pub const ALL: &[FailureCode] = &[$($constant),+];
    };
}

codes! {
    ENV_INVALID = "env.invalid", Config, "The environment is not usable";
    WORKER_COUNT_CONFIGURED = "worker.count-configured", Config, "The environment asks for more than one worker";
    LOCK_HELD = "lock.held", Config, "Another instance of this service is running";
    LOCK_HOLDER_UNRESPONSIVE = "lock.holder-unresponsive", Temporary, "The other instance holds the lock but does not answer";
    LOCK_BUSY = "lock.busy", Temporary, "Another program has the lock file";
    LOCK_NOT_SHARED = "lock.not-shared", Config, "The lock file is where other instances cannot see it";
    LOCK_UNSUPPORTED = "lock.unsupported", Config, "The lock cannot be taken on this file system";
    LOCK_REPLACED = "lock.replaced", Temporary, "The lock or the lease was replaced while it was taken";
    LOCK_LOST = "lock.lost", Software, "The right to be the only worker was lost";
    LOCK_EXPIRED = "lock.expired", Temporary, "The right to be the only worker ran out";
    DB_NOT_WRITABLE = "db.not-writable", Permission, "The data cannot be written by this process";
    DB_DIR_MISSING = "db.dir-missing", CannotCreate, "The data directory does not exist and cannot be created";
    DB_FOREIGN = "db.foreign", Data, "The database belongs to another application";
    DB_CORRUPT = "db.corrupt", Data, "The database is damaged or is not a database";
    DB_REPLACED = "db.replaced", Data, "The database was replaced beside the log of another one";
    DB_BUSY = "db.busy", Temporary, "The database is locked by another program";
    DB_DISK_FULL = "db.disk-full", Io, "There is no space left for the data";
    DB_IO = "db.io", Io, "Reading or writing the data failed";
    DB_MIGRATION_FAILED = "db.migration-failed", Data, "A migration of the database failed";
    DB_MIGRATION_TIMEOUT = "db.migration-timeout", Config, "A migration needs more time than it was given";
    DB_SCHEMA_NEWER = "db.schema-newer", Data, "The database was written by a newer version";
    PROCESS_LIMIT = "process.limit", OsLimit, "A limit of the operating system is reached";
    PROCESS_FILTERED = "process.filtered", Permission, "A filter forbids what every process needs";
    HTTP_DNS = "http.dns", Unavailable, "The name of the upstream cannot be resolved";
    HTTP_CONNECT = "http.connect", Unavailable, "The upstream does not answer";
    HTTP_TLS = "http.tls", Unavailable, "The upstream's certificate or TLS settings are not accepted";
    HTTP_CA_FILE = "http.ca-file", Config, "The file of certificate authorities is not usable";
    HTTP_STATUS = "http.status", Unavailable, "The upstream answered with an error";
    STAGE_FAILED = "stage.failed", Software, "A stage could not start";
    STAGE_BUSY = "stage.busy", Temporary, "A stage could not start at this moment";
    STAGE_UNAVAILABLE = "stage.unavailable", Unavailable, "What a stage needs from outside does not answer";
    STAGE_MISCONFIGURED = "stage.misconfigured", Config, "A stage cannot start with these settings";
    STAGE_NOT_PERMITTED = "stage.not-permitted", Permission, "A stage may not do what it must";
    STAGE_DATA = "stage.data", Data, "A stage cannot use its data";
    STAGE_IO = "stage.io", Io, "A stage cannot read or write";
    STAGE_CANNOT_CREATE = "stage.cannot-create", CannotCreate, "A stage cannot create what it needs";
    STAGE_TIMEOUT = "stage.timeout", Temporary, "A stage did not start in time";
    STAGE_PANICKED = "stage.panicked", Software, "A stage panicked";
    STAGE_BLOCKED_EXECUTOR = "stage.blocked-executor", Software, "A stage blocks the thread that it shares with others";
    TASK_FAILED = "task.failed", Software, "A background task that the service needs has ended";
    STARTUP_TIMEOUT = "startup.timeout", Temporary, "The start as a whole did not finish in time";
    STARTUP_INTERRUPTED = "startup.interrupted", Software, "The start was interrupted";
    GRAPH_INVALID = "graph.invalid", Software, "The stages do not form a usable graph";
    COMMAND_REFUSED = "command.refused", Usage, "The command asks for what cannot be done";
    COMPOSE_INVALID = "compose.invalid", Config, "Compose would refuse these files";
    COMPOSE_UNSAFE = "compose.unsafe", Config, "The Compose files do not run this service as it must be run";
    ROLLBACK_INCOMPLETE = "rollback.incomplete", Software, "Not everything could be stopped";
}

/// The code of a failure of which no more is known than its kind. A code has one exit code, so that the code
/// alone says whether a restart helps.
pub(crate) const fn of_kind(kind: ErrorKind) -> FailureCode {
    match kind {
        ErrorKind::Usage => COMMAND_REFUSED,
        ErrorKind::Data => STAGE_DATA,
        ErrorKind::Unavailable => STAGE_UNAVAILABLE,
        ErrorKind::Software => STAGE_FAILED,
        ErrorKind::OsLimit => PROCESS_LIMIT,
        ErrorKind::CannotCreate => STAGE_CANNOT_CREATE,
        ErrorKind::Io => STAGE_IO,
        ErrorKind::Temporary => STAGE_BUSY,
        ErrorKind::Permission => STAGE_NOT_PERMITTED,
        ErrorKind::Config => STAGE_MISCONFIGURED,
    }
}

/// Whether the code says no more than the kind.
pub(crate) fn is_general(code: FailureCode) -> bool {
    code.name == of_kind(code.kind).name
}

/// Whether it is a code of the library, and not of an application.
pub(crate) fn is_own(code: FailureCode) -> bool {
    ALL.iter().any(|own| own.name == code.name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_dotted_unique_and_described() {
        let mut seen = HashSet::new();
        for code in ALL {
            assert!(seen.insert(code.name), "{} stands twice", code.name);
            assert!(code.name.contains('.'), "{} has no area", code.name);
            assert!(code.name.chars().all(|each| each.is_ascii_lowercase() || ".-".contains(each)));
            assert!(!code.title.ends_with('.') && code.title.len() <= 76, "{}", code.title);
        }
    }
}
