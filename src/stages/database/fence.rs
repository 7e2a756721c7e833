//! The fence: which acquisition of the right to be the only worker may write to this database (invariant 9).
//!
//! The token stands in the database that it protects. It is raised when the stage opens the file, and every
//! fenced transaction compares it before it commits. SQLite lets one transaction write at a time, so between
//! the comparison and the commit nobody can raise it: the write of an ex-holder, however long it was paused,
//! finds a higher token and is refused.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::errors::{DatabaseError, sqlite_failed};
use crate::{
    codes::LOCK_LOST,
    contract::guard::{FencingToken, LockLost, WorkerGuard},
    error::{StageError, StageResult},
};

/// Which row of the table. There is one right to be the only worker, and so one row.
const NAME: &str = "worker";

/// Raises the fence to the token of this process, so that whoever had the right before is shut out.
///
/// A higher token in the file means that a later holder wrote here, and then the right is lost; or that both
/// lock and lease were restored from an older copy, and then the lease is raised above it.
pub(super) fn raise(connection: &mut Connection, worker: &WorkerGuard, path: &Path) -> StageResult<()> {
    if !worker.is_exclusive() {
        return Ok(());
    }
    let failed = |error: rusqlite::Error| sqlite_failed(&error, "raise the fence", path);
    connection
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS solostart_fence (
                 name TEXT PRIMARY KEY, token INTEGER NOT NULL CHECK (token >= 1)
             ) STRICT, WITHOUT ROWID;",
        )
        .map_err(failed)?;
    // Also where nothing has to be raised: who has lost the right must not find the door open.
    worker.check().map_err(lock_lost)?;
    let stored = raise_to(connection, worker.token()).map_err(failed)?;
    if stored == worker.token() {
        return Ok(());
    }
    let ours = worker.raise(stored).map_err(lock_lost)?;
    let stored = raise_to(connection, ours).map_err(failed)?;
    if stored == ours { Ok(()) } else { Err(lock_lost(fenced_off(Some(stored), ours))) }
}

fn lock_lost(lost: LockLost) -> StageError {
    StageError::new(LOCK_LOST, lost)
}

fn fenced_off(stored: Option<FencingToken>, ours: FencingToken) -> LockLost {
    let found = stored.map_or_else(|| "none".to_owned(), |token| token.to_string());
    LockLost { reason: format!("the database is fenced for token {found}, and ours is {ours}") }
}

/// Stores the token unless a higher one is there, and returns what is there now.
fn raise_to(connection: &mut Connection, ours: FencingToken) -> rusqlite::Result<FencingToken> {
    let transaction = connection.transaction()?;
    transaction.execute(
        "INSERT INTO solostart_fence (name, token) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET token = excluded.token WHERE token < excluded.token",
        (NAME, ours.as_i64()),
    )?;
    let stored: i64 =
        transaction
            .query_row("SELECT token FROM solostart_fence WHERE name = ?1", [NAME], |row| row.get(0))?;
    transaction.commit()?;
    // The table's own check keeps it above zero.
    Ok(FencingToken::new(stored.unsigned_abs()))
}

/// Whether this process may still write. It must be asked inside the transaction that writes.
pub(super) fn pass(transaction: &Transaction<'_>, worker: &WorkerGuard) -> Result<(), DatabaseError> {
    if !worker.is_exclusive() {
        return Ok(());
    }
    worker.check()?;
    let ours = worker.token();
    let stored: Option<i64> = transaction
        .query_row("SELECT token FROM solostart_fence WHERE name = ?1", [NAME], |row| row.get(0))
        .optional()?;
    let stored = stored.map(|token| FencingToken::new(token.unsigned_abs()));
    // It is lower where another database of the same process made the token rise.
    if stored.is_some_and(|stored| stored <= ours) { Ok(()) } else { Err(fenced_off(stored, ours).into()) }
}
