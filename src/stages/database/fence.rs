//! The fence: which acquisition of the right to be the only worker may write to this database (invariant 9).
//!
//! Token and holder stand in the database that they protect. They are written when the stage opens the file, and
//! every fenced transaction compares them before it commits. SQLite lets one transaction write at a time, so
//! between the comparison and the commit nobody can raise the fence: the write of an ex-holder, however long it
//! was paused, finds somebody else there and is refused.
//!
//! The token alone would not do. Where the row of the lease, the memory in the lock file and the time of day
//! were all lost, two holders can have one token, and both would pass.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, Transaction};

use super::errors::{DatabaseError, sqlite_failed};
use crate::{
    contract::guard::{FencingToken, LockLost, WorkerGuard},
    error::{StageError, StageResult},
};

/// Which row of the table. There is one right to be the only worker, and so one row.
const NAME: &str = "worker";

/// What stands in the row.
struct Fence {
    token: FencingToken,
    holder: String,
}

impl Fence {
    /// The token is lower where another database of the same process made the token rise; it is higher than ours
    /// and of our name where this process was cloned before it took the lease.
    fn lets(&self, worker: &WorkerGuard) -> bool {
        self.token <= worker.token() && self.holder == worker.holder().to_string()
    }
}

/// Raises the fence to the token of this process, so that whoever had the right before is shut out.
///
/// If another holder's token there is not lower, a later holder wrote here, and then the right is lost; or both
/// lock and lease were restored from an older copy, and then the lease is raised above it.
pub(super) fn raise(connection: &mut Connection, worker: &WorkerGuard, path: &Path) -> StageResult<()> {
    if !worker.is_exclusive() {
        return Ok(());
    }
    let failed = |error: rusqlite::Error| sqlite_failed(&error, "raise the fence", path);
    prepare(connection).map_err(failed)?;
    // Also where nothing has to be raised: who has lost the right must not find the door open.
    worker.check().map_err(lock_lost)?;
    let stored = raise_to(connection, worker).map_err(failed)?;
    if stored.lets(worker) {
        return Ok(());
    }
    worker.raise(stored.token).map_err(lock_lost)?;
    let stored = raise_to(connection, worker).map_err(failed)?;
    if stored.lets(worker) { Ok(()) } else { Err(lock_lost(fenced_off(Some(&stored), worker))) }
}

/// Makes the table, and adds what the first ones did not have.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS solostart_fence (
             name TEXT PRIMARY KEY, token INTEGER NOT NULL CHECK (token >= 1), holder TEXT NOT NULL DEFAULT ''
         ) STRICT, WITHOUT ROWID;",
    )?;
    if !connection.column_exists(None, "solostart_fence", "holder")? {
        connection
            .execute_batch("ALTER TABLE solostart_fence ADD COLUMN holder TEXT NOT NULL DEFAULT '';")?;
    }
    Ok(())
}

fn lock_lost(lost: LockLost) -> StageError {
    lost.into_error()
}

fn fenced_off(stored: Option<&Fence>, worker: &WorkerGuard) -> LockLost {
    let ours = worker.token();
    let found = match stored {
        Some(fence) if fence.token == ours => format!("another holder of the token {ours}"),
        Some(fence) => format!("token {}, and ours is {ours}", fence.token),
        None => format!("token none, and ours is {ours}"),
    };
    LockLost::taken(format!("the database is fenced for {found}"))
}

/// Stores token and holder unless a token is there that is not lower, and returns what is there now.
fn raise_to(connection: &mut Connection, worker: &WorkerGuard) -> rusqlite::Result<Fence> {
    let transaction = connection.transaction()?;
    transaction.execute(
        "INSERT INTO solostart_fence (name, token, holder) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET token = excluded.token, holder = excluded.holder
         WHERE token < excluded.token",
        (NAME, worker.token().as_i64(), worker.holder().to_string()),
    )?;
    let stored = transaction.query_row(READ, [NAME], parse)?;
    transaction.commit()?;
    Ok(stored)
}

const READ: &str = "SELECT token, holder FROM solostart_fence WHERE name = ?1";

fn parse(row: &Row<'_>) -> rusqlite::Result<Fence> {
    let token: i64 = row.get(0)?;
    // The table's own check keeps it above zero.
    Ok(Fence { token: FencingToken::new(token.unsigned_abs()), holder: row.get(1)? })
}

/// Whether this process may still write. It must be asked inside the transaction that writes.
pub(super) fn pass(transaction: &Transaction<'_>, worker: &WorkerGuard) -> Result<(), DatabaseError> {
    if !worker.is_exclusive() {
        return Ok(());
    }
    worker.check()?;
    let stored = transaction.query_row(READ, [NAME], parse).optional()?;
    match stored {
        Some(fence) if fence.lets(worker) => Ok(()),
        stored => Err(fenced_off(stored.as_ref(), worker).into()),
    }
}
