//! What goes wrong with a database: as applications see it, and as operators see it.

use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};

use crate::{
    codes::{
        DB_BUSY, DB_CORRUPT, DB_DISK_FULL, DB_IO, DB_NOT_WRITABLE, FailureCode, LOCK_LOST, PROCESS_LIMIT,
        STAGE_FAILED, STAGE_PANICKED, STARTUP_INTERRUPTED,
    },
    contract::guard::LockLost,
    error::{BoxError, StageError},
    instance::{evidence::quoted, refusal, sharing::copied},
};

/// Why a call of [`Database`](super::Database) did not do its work. Nothing of it is in the database then.
///
/// `?` turns every `rusqlite::Error` into it, so a closure needs no type annotation:
///
/// ```
/// use solostart::stages::database::{Database, DatabaseError};
///
/// async fn ban(database: &Database, user: i64) -> Result<(), DatabaseError> {
///     database
///         .write(move |tx| {
///             let admin: bool = tx.query_row("SELECT admin FROM users WHERE id = ?1", [user], |row| row.get(0))?;
///             if admin {
///                 return Err(DatabaseError::refused("admins cannot be banned"));
///             }
///             tx.execute("INSERT INTO bans (user) VALUES (?1)", [user])?;
///             Ok(())
///         })
///         .await
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The stage is stopped, or was stopped before this call had its turn.
    #[error("the database is stopped")]
    Stopped,
    /// What SQLite answered.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The closure panicked; its transaction is rolled back.
    #[error("a closure that used the database {0}")]
    Panicked(String),
    /// This process is no longer the only worker, so what it wanted to write is refused.
    #[error("the write is refused")]
    LockLost(#[from] LockLost),
    /// The file was removed, or another one put in its place, while it was in use.
    #[error("the database {} was removed or replaced while it was in use", .0.display())]
    Replaced(PathBuf),
    /// The closure decided, for a reason of its own, that nothing is to be written.
    #[error("nothing was written")]
    Refused(#[source] BoxError),
}

impl DatabaseError {
    /// The application's own reason to roll back. [`DatabaseError::Refused`] carries it unchanged.
    #[must_use]
    pub fn refused(reason: impl Into<BoxError>) -> Self {
        Self::Refused(reason.into())
    }

    /// What an operator would look it up under: `db.disk-full`, `db.busy`, `lock.expired` and so on; `stage.failed`
    /// where it is not about the database. A start hook that passes the error on says it with
    /// `StageError::new(error.failure_code(), error)`.
    #[must_use]
    pub fn failure_code(&self) -> FailureCode {
        match self {
            Self::Sqlite(error) => code_of(error),
            Self::Panicked(_) => STAGE_PANICKED,
            Self::LockLost(lost) => lost.failure_code(),
            Self::Replaced(_) => LOCK_LOST,
            Self::Stopped | Self::Refused(_) => STAGE_FAILED,
        }
    }
}

/// An interruption that, if the time was up, means `db.migration-timeout`.
pub(super) const MIGRATION_INTERRUPTED: FailureCode =
    FailureCode { title: "A migration was interrupted", ..STARTUP_INTERRUPTED };

/// Which of SQLite's primary result codes means which failure code (<https://sqlite.org/rescode.html>).
/// Whatever is not listed is a defect of the caller's.
const CODES: [(ErrorCode, FailureCode); 12] = [
    (ErrorCode::NotADatabase, DB_CORRUPT),
    (ErrorCode::DatabaseCorrupt, DB_CORRUPT),
    (ErrorCode::DatabaseBusy, DB_BUSY),
    (ErrorCode::DatabaseLocked, DB_BUSY),
    (ErrorCode::FileLockingProtocolFailed, DB_BUSY),
    (ErrorCode::ReadOnly, DB_NOT_WRITABLE),
    (ErrorCode::PermissionDenied, DB_NOT_WRITABLE),
    (ErrorCode::CannotOpen, DB_IO),
    (ErrorCode::OutOfMemory, PROCESS_LIMIT),
    (ErrorCode::DiskFull, DB_DISK_FULL),
    (ErrorCode::SystemIoFailure, DB_IO),
    (ErrorCode::OperationInterrupted, STARTUP_INTERRUPTED),
];

/// The failure code of an error of SQLite's; [`STAGE_FAILED`] where it does not say more.
pub(super) fn code_of(error: &rusqlite::Error) -> FailureCode {
    sqlite(error).map_or(STAGE_FAILED, |(sqlite, _)| code_for(sqlite.code))
}

/// SQLite's own text, without the statement that rusqlite adds to some errors: a migration can be pages
/// long, and can hold data.
pub(super) fn message_of(error: &rusqlite::Error) -> String {
    let own_text = sqlite(error).and_then(|(_, text)| text);
    own_text.map_or_else(|| printable(&error.to_string()), printable)
}

/// An error of SQLite's while `doing` something with the file, for the operator.
pub(super) fn sqlite_failed(error: &rusqlite::Error, doing: &str, path: &Path) -> StageError {
    let code = code_of(error);
    let cause = format!("cannot {doing}: {}", message_of(error));
    let failed = of_the_system(error, &cause, path).unwrap_or_else(|| StageError::new(code, cause));
    let failed = failed.fact("database", path.display().to_string()).fact("SQLite", numbered(error));
    if code == DB_BUSY {
        failed
            .hint(format!("See which program uses the file: fuser -v {}", quoted(path)))
            .hint("End it, or let it finish: a `sqlite3` shell, a backup, a second service")
    } else if code == DB_CORRUPT {
        advise_recovery(failed, path)
    } else {
        failed
    }
}

/// What the kernel has to say of an error that is not about the content of the file.
pub(super) fn of_the_system(error: &rusqlite::Error, cause: &str, path: &Path) -> Option<StageError> {
    // "Read-only" is what SQLite says of a missing permission, and of much else.
    let unknown = match code_of(error) {
        DB_DISK_FULL => DB_DISK_FULL,
        DB_NOT_WRITABLE | DB_IO | PROCESS_LIMIT => DB_IO,
        _ => return None,
    };
    let number = sqlite(error).map_or(0, |(error, _)| error.extended_code);
    Some(refusal::of_sqlite(path, unknown, cause, number))
}

/// What SQLite said, with its extended result code.
pub(super) fn numbered(error: &rusqlite::Error) -> String {
    let message = message_of(error);
    match sqlite(error) {
        Some((error, _)) => format!("{message} (SQLite's code {})", error.extended_code),
        None => message,
    }
}

/// What goes wrong with the fence while the database is opened.
pub(super) fn staged(error: DatabaseError) -> StageError {
    if let DatabaseError::LockLost(lost) = error {
        return lost.into_error();
    }
    StageError::new(error.failure_code(), error)
}

/// What to do with a file that is damaged. The file itself is never touched by this library.
pub(super) fn advise_recovery(failed: StageError, path: &Path) -> StageError {
    failed
        .hint(format!("Copy the evidence first: {}", copied(path.parent().unwrap_or(path))))
        .hint("Restore your last backup of the file")
        .hint("To begin empty, move the file and those beside it that end in -wal and -shm away together")
}

/// SQLite's result code and text, where the error is SQLite's and not rusqlite's own.
fn sqlite(error: &rusqlite::Error) -> Option<(&ffi::Error, Option<&str>)> {
    if let rusqlite::Error::SqlInputError { error, msg, .. } = error {
        return Some((error, Some(msg)));
    }
    if let rusqlite::Error::SqliteFailure(error, text) = error {
        Some((error, text.as_deref()))
    } else {
        None
    }
}

fn code_for(primary: ErrorCode) -> FailureCode {
    CODES.iter().find(|(each, _)| *each == primary).map_or(STAGE_FAILED, |(_, code)| *code)
}

/// Text that a file may have put into a message (a table's name, for instance), safe for a terminal.
pub(super) fn printable(text: &str) -> String {
    const LIMIT: usize = 300;
    text.chars().take(LIMIT).map(|each| if each.is_control() { ' ' } else { each }).collect()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_a_database_error_carries_is_its_source_and_is_said_once() {
        let lost = DatabaseError::LockLost(LockLost::taken("the lock file was replaced"));
        let refused = DatabaseError::refused(io::Error::from(io::ErrorKind::StorageFull));
        let refused = StageError::from(refused);
        assert!(refused.find::<io::Error>().is_some());
        assert_eq!(refused.chain(), ["nothing was written", "no storage space"]);
        let lost = StageError::from(lost);
        assert!(lost.find::<LockLost>().is_some());
        assert_eq!(
            lost.chain(),
            ["the write is refused", "the right to be the only worker is lost: the lock file was replaced"]
        );
    }
}
