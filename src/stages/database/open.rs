//! Opening connections: everything that holds for all of them.

use std::{os::unix::ffi::OsStrExt, path::Path};

use rusqlite::{Connection, OpenFlags, TransactionBehavior, config::DbConfig};

use super::{busy, errors::sqlite_failed, migrate::enforce_foreign_keys};
use crate::error::{ErrorKind, StageError, StageResult};

/// How many bytes of the write-ahead log stay for the next transactions when it begins anew. It grows for as long as
/// somebody reads what was before, and would keep that size (<https://sqlite.org/pragma.html#pragma_journal_size_limit>).
pub(super) const LOG_KEPT: u64 = 8 << 20;

/// The connection that will write, and that so far only looks. The file exists already, so it is not created here.
///
/// `keep_log` says that a log lies beside the file. It then stays as it is if the file is refused: it belongs to
/// the evidence, and copying it into a damaged file could damage more.
pub(super) fn to_look(file: &Path, keep_log: bool) -> StageResult<Connection> {
    let failed = |error: rusqlite::Error| sqlite_failed(&error, "open the database", file);
    let connection = open(file, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep_log).map_err(failed)?;
    // The schema is only parsed when a statement needs it, and a damaged one should be found now.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(failed)?;
    Ok(connection)
}

/// Lets a connection write that has looked.
///
/// `synchronous=FULL`: a transaction that was committed is still there after a power failure. `NORMAL` would
/// only promise an intact file with the last transactions missing
/// (<https://sqlite.org/pragma.html#pragma_synchronous>).
pub(super) fn to_write(connection: &mut Connection, path: &Path) -> StageResult<()> {
    let failed = |error: rusqlite::Error| sqlite_failed(&error, "open the database", path);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(failed)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        return Err(StageError::from(format!("SQLite cannot use a write-ahead log here, only `{mode}`"))
            .kind(ErrorKind::Config)
            .fact("database", path.display().to_string())
            .hint("Put the database on a local file system"));
    }
    connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT.cast_signed()).map_err(failed)?;
    enforce_foreign_keys(connection, true).map_err(failed)?;
    // A transaction that begins by reading would fail half-way when another program wrote in between.
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    Ok(())
}

/// A connection that reads, and that cannot be talked into writing.
pub(super) fn reader(file: &Path) -> StageResult<Connection> {
    open(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|connection| {
            connection.pragma_update(None, "query_only", true)?;
            // SQLite opens the log, by its name, at the first query. That is to be now, not when the file may
            // have been moved away. This one needs no schema, which is read when somebody asks for data.
            connection.query_row("PRAGMA user_version", [], |_| Ok(()))?;
            Ok(connection)
        })
        .map_err(|error| sqlite_failed(&error, "open the database for reading", file))
}

/// A connection that reads a file without a log. It takes no lock and makes no file beside it
/// (<https://sqlite.org/uri.html#uriimmutable>), so it sees only what nobody writes at this moment.
pub(super) fn unchanged(file: &Path) -> StageResult<Connection> {
    let name: String = file.as_os_str().as_bytes().iter().map(|&byte| escaped(byte)).collect();
    open(
        Path::new(&format!("file:{name}?immutable=1")),
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
    )
    .map_err(|error| sqlite_failed(&error, "look at the database", file))
}

/// A byte of a path as a URI has it.
fn escaped(byte: u8) -> String {
    let plain = byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte);
    if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

/// `file` has no links in it, so one that is found now was put there since.
fn open(file: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    // Each connection belongs to one thread, so SQLite need not lock it.
    let always = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut connection = Connection::open_with_flags(file, access | always)?;
    busy::govern(&mut connection)?;
    Ok(connection)
}
