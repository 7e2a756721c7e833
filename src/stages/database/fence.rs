//! The fence: which acquisition of the right to be the only worker may write to this database (invariant 9).
//!
//! Token and holder stand in the database that they protect. They are written when the stage opens the file, and
//! every fenced transaction compares them before it commits. SQLite lets one transaction write at a time, so
//! between the comparison and the commit nobody can raise the fence: the write of an ex-holder, however long it
//! was paused, finds somebody else there and is refused.
//!
//! The token alone would not do. Where the row of the lease, the memory in the lock file and the time of day
//! were all lost, two holders can have one token, and both would pass.
//!
//! A number in the fence that no acquisition can have been given (`Protocol::credible`) is damage, and not a later
//! holder. The next holder writes over it, and the lease does not follow it. An ex-holder is no nearer to the data
//! for that: a fence lets only the holder pass that it names, and who names itself has the right at that instant.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior::Immediate};

use super::errors::{DatabaseError, sqlite_failed};
use crate::{
    contract::{
        guard::{FencingToken, LockLost, WorkerGuard},
        tell::tell,
    },
    error::{StageError, StageResult},
    instance::worker_mode::{Now, Protocol},
};

/// Which row of the table. There is one right to be the only worker, and so one row.
const NAME: &str = "worker";

/// The content of the row, which any holder may have written.
struct Fence {
    /// `None` where it is below zero, or no number at all.
    token: Option<FencingToken>,
    /// Empty, which is nobody, where it is no text.
    holder: String,
}

impl Fence {
    /// The token is lower where another database of the same process made the token rise; it is higher than ours
    /// and of our name where this process was cloned before it took the lease.
    fn lets(&self, worker: &WorkerGuard) -> bool {
        self.token.is_some_and(|token| token <= worker.token()) && self.holder == worker.holder().to_string()
    }

    fn number(&self) -> u64 {
        self.token.map_or(0, FencingToken::get)
    }

    /// The token in words.
    fn describe(&self) -> String {
        self.token.map_or_else(|| "that is none".to_owned(), |token| token.to_string())
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
    prepare(connection).map_err(|error| failed(&error, path))?;
    let stored = raise_to(connection, worker, path)?;
    if stored.lets(worker) {
        return Ok(());
    }
    worker.raise(FencingToken::new(stored.number())).map_err(lock_lost)?;
    let stored = raise_to(connection, worker, path)?;
    if stored.lets(worker) { Ok(()) } else { Err(lock_lost(fenced_off(Some(&stored), worker))) }
}

fn failed(error: &rusqlite::Error, path: &Path) -> StageError {
    sqlite_failed(error, "raise the fence", path)
}

/// Makes the table, and adds what the first ones did not have.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS solostart_fence (
             name TEXT PRIMARY KEY, token INTEGER NOT NULL CHECK (token >= 1), holder TEXT NOT NULL DEFAULT ''
         ) STRICT, WITHOUT ROWID;",
    )?;
    let holder = "SELECT count(*) FROM pragma_table_info('solostart_fence') WHERE name = 'holder'";
    if connection.query_row(holder, [], |row| row.get::<_, i64>(0))? == 0 {
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
        Some(fence) if fence.token == Some(ours) => format!("another holder of the token {ours}"),
        Some(fence) => format!("token {}, and ours is {ours}", fence.describe()),
        None => format!("token none, and ours is {ours}"),
    };
    LockLost::taken(format!("the database is fenced for {found}"))
}

/// Stores token and holder unless a later holder's token is there, and returns what is there now.
fn raise_to(connection: &mut Connection, worker: &WorkerGuard, path: &Path) -> StageResult<Fence> {
    let failed = |error: rusqlite::Error| failed(&error, path);
    let transaction = connection.transaction_with_behavior(Immediate).map_err(failed)?;
    // Now, and where nothing has to be raised, too: who has lost the right must not find the door open. Until the
    // commit nobody else can write here, and so no later holder be written over.
    worker.check().map_err(lock_lost)?;
    let found = transaction.query_row(READ, [NAME], parse).optional().map_err(failed)?;
    let (token, now) = (worker.token(), Now::read().unix_us);
    if let Some(found) = found {
        if !Protocol::WHOLE.fences(found.number(), token.get(), now) {
            return Ok(found);
        }
        if !Protocol::WHOLE.credible(found.number(), now) {
            let (path, found) = (path.display(), found.describe());
            let what = format!(
                "the fence in the database {path} had a token that no instance was given ({found}); it was replaced"
            );
            tell!(warn, what, token = token.get());
        }
    }
    let holder = worker.holder().to_string();
    transaction
        .execute(
            "INSERT INTO solostart_fence (name, token, holder) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET token = excluded.token, holder = excluded.holder",
            (NAME, token.as_i64(), &holder),
        )
        .map_err(failed)?;
    transaction.commit().map_err(failed)?;
    Ok(Fence { token: Some(token), holder })
}

const READ: &str = "SELECT token, holder FROM solostart_fence WHERE name = ?1";

/// Reads the row leniently: its table's own checks can be switched off.
fn parse(row: &Row<'_>) -> rusqlite::Result<Fence> {
    let token = row.get_ref(0)?.as_i64().ok().and_then(|token| u64::try_from(token).ok());
    let holder = row.get_ref(1)?.as_str().unwrap_or_default().to_owned();
    Ok(Fence { token: token.map(FencingToken::new), holder })
}

/// Whether this process may still write. It must be asked inside the transaction that writes.
///
/// Whom the fence refuses has lost the right, and all of the process learns of it.
pub(super) fn pass(transaction: &Transaction<'_>, worker: &WorkerGuard) -> Result<(), DatabaseError> {
    if !worker.is_exclusive() {
        return Ok(());
    }
    worker.check()?;
    let stored = transaction.query_row(READ, [NAME], parse).optional()?;
    match stored {
        Some(fence) if fence.lets(worker) => Ok(()),
        stored => Err(worker.lose(fenced_off(stored.as_ref(), worker).reason).into()),
    }
}
