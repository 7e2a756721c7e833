//! Opening connections: everything that holds for all of them.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{busy, errors::sqlite_failed, migrate::enforce_foreign_keys};
use crate::error::{ErrorKind, StageError, StageResult};

/// The connection that writes. The file exists already, so it is not created here.
///
/// `synchronous=FULL`: a transaction that was committed is still there after a power failure. `NORMAL` would
/// only promise an intact file with the last transactions missing
/// (<https://sqlite.org/pragma.html#pragma_synchronous>).
pub(super) fn writer(path: &Path) -> StageResult<Connection> {
    let failed = |error: rusqlite::Error| sqlite_failed(&error, "open the database", path);
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        return Err(StageError::from(format!("SQLite cannot use a write-ahead log here, only `{mode}`"))
            .kind(ErrorKind::Config)
            .fact("database", path.display().to_string())
            .hint("put the database on a local file system"));
    }
    connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
    enforce_foreign_keys(&connection, true).map_err(failed)?;
    // The schema is only parsed when a statement needs it, and a damaged one should be found now.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(failed)?;
    // A transaction that begins by reading would fail half-way when another program wrote in between.
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    Ok(connection)
}

/// A connection that reads, and that cannot be talked into writing.
pub(super) fn reader(path: &Path) -> StageResult<Connection> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|connection| connection.pragma_update(None, "query_only", true).map(|()| connection))
        .map_err(|error| sqlite_failed(&error, "open the database for reading", path))
}

fn open(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    // Each connection belongs to one thread, so SQLite need not lock it.
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    busy::govern(&connection)?;
    Ok(connection)
}
