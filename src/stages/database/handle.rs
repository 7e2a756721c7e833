//! What the stages and the application get to use.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::{Connection, Transaction};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    errors::{DatabaseError, sqlite_failed},
    fence,
    opening::Place,
    progress::ask_after,
    threads::Threads,
};
use crate::{
    codes::DB_IO,
    contract::guard::WorkerGuard,
    error::{ErrorKind, StageError, StageResult},
};

/// How long a health check waits for one row.
const HEALTH_LIMIT: Duration = Duration::from_secs(2);

/// After how many of its virtual machine's instructions SQLite asks whether anybody still waits for a query: some
/// microseconds, and more than beginning and ending a transaction take
/// (<https://sqlite.org/c3ref/progress_handler.html>).
const STEPS: i32 = 1000;

/// A SQLite database that is up: closures are run with a connection, on threads that are made for it.
///
/// ```
/// use solostart::stages::database::{Database, DatabaseError};
///
/// async fn bans(database: &Database) -> Result<i64, DatabaseError> {
///     database.read(|connection| Ok(connection.query_row("SELECT count(*) FROM bans", [], |row| row.get(0))?)).await
/// }
/// ```
///
/// After its stage was stopped, every call answers [`DatabaseError::Stopped`].
pub struct Database {
    path: PathBuf,
    place: Place,
    threads: Arc<Threads>,
    worker: WorkerGuard,
}

impl Database {
    pub(super) fn new(path: PathBuf, place: Place, threads: Arc<Threads>, worker: WorkerGuard) -> Self {
        Self { path, place, threads, worker }
    }

    /// Runs `closure` in a transaction that writes only while this process is the only worker: the same as
    /// [`write`](Self::write), but the database itself refuses it once a later worker has opened the file,
    /// however long this process was paused in between.
    ///
    /// Where the application lets several workers run, it is `write`.
    ///
    /// ```
    /// use solostart::stages::database::{Database, DatabaseError};
    ///
    /// async fn unban(database: &Database, user: i64) -> Result<usize, DatabaseError> {
    ///     database.fenced(move |tx| Ok(tx.execute("DELETE FROM bans WHERE user = ?1", [user])?)).await
    /// }
    /// ```
    ///
    /// # Cancel safety
    /// That of [`write`](Self::write).
    ///
    /// # Errors
    /// [`DatabaseError::LockLost`] if the right is lost; otherwise those of [`write`](Self::write). Nothing is
    /// written then.
    pub async fn fenced<T, F>(&self, closure: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, DatabaseError> + Send + 'static,
    {
        let worker = self.worker.clone();
        self.write(move |transaction| {
            fence::pass(transaction, &worker)?;
            let value = closure(transaction)?;
            // Once more, because the closure may have taken long: the clock says so before the fence does.
            worker.check()?;
            Ok(value)
        })
        .await
    }

    /// Runs `closure` in a transaction that may write. It is committed if the closure returns `Ok`, and rolled
    /// back if it returns an error or panics.
    ///
    /// Writes run one at a time, in the order in which they were asked for. Keep them short, and do
    /// nothing in them that waits for something else: every other write waits with them.
    ///
    /// # Cancel safety
    /// A write is done whole or not at all. If the future is dropped before the closure's turn, the closure
    /// is never run; if it is dropped later, the transaction still runs to its end and is committed.
    ///
    /// # Errors
    /// The closure's own error, SQLite's, [`DatabaseError::Stopped`], or [`DatabaseError::Replaced`]. The transaction is
    /// rolled back.
    pub async fn write<T, F>(&self, closure: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, DatabaseError> + Send + 'static,
    {
        let (place, worker) = (self.place.clone(), self.worker.clone());
        self.threads
            .writes()
            .run(move |connection| {
                // Dropped without a commit, by `?` or by a panic, the transaction rolls back.
                let transaction = connection.transaction()?;
                let value = closure(&transaction)?;
                // What is committed to a file without a name is lost when the service stops.
                let Some(found) = place.look() else { return Err(replaced(&place, &worker)) };
                transaction.commit()?;
                if let Some(stamp) = &place.stamp {
                    stamp.after_commit(connection, &found);
                }
                Ok(value)
            })
            .await
    }

    /// Runs `closure` with a connection that can only read. All that it reads is of one moment, however many
    /// queries it makes and whatever is written meanwhile. Reads and writes do not wait for each other.
    ///
    /// # Cancel safety
    /// Cancel safe. A query that is under way when the future is dropped is interrupted, so that nobody waits for the
    /// reader of a caller that went away; what the closure does outside of SQLite runs to its end.
    ///
    /// # Errors
    /// The closure's own error, SQLite's, or [`DatabaseError::Stopped`].
    pub async fn read<T, F>(&self, closure: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, DatabaseError> + Send + 'static,
    {
        let caller = CancellationToken::new();
        let _waits = caller.clone().drop_guard();
        let has_gone = move || caller.is_cancelled();
        self.threads
            .reads()
            .run(move |connection| {
                ask_after(STEPS, connection, has_gone)?;
                closure(&*connection.transaction()?)
            })
            .await
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn stop(&self, deadline: Instant) -> StageResult<()> {
        self.threads.stop(deadline).await
    }

    /// Reads the first page, which writes nothing and fails on a file that cannot be read, and looks whether the
    /// file is still the one at its path.
    pub(super) async fn health(&self) -> StageResult<()> {
        let place = self.place.clone();
        let query = self.read(move |connection| {
            // First, because a file that is gone explains whatever SQLite would say next.
            if place.look().is_none() {
                return Ok(false);
            }
            connection.pragma_query_value(None, "schema_version", |row| row.get::<_, i64>(0))?;
            Ok(true)
        });
        match timeout(HEALTH_LIMIT, query).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(StageError::new(
                DB_IO,
                format!("{} was deleted or replaced while it was in use", self.place.file.display()),
            )
            .hint("What is written from now on is lost when the service stops: restart it after the file is back")),
            Ok(Err(DatabaseError::Sqlite(error))) => {
                Err(sqlite_failed(&error, "read the database", &self.path))
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(StageError::from("no reader was free, or the disk did not answer, within 2 s")
                .kind(ErrorKind::Temporary)),
        }
    }
}

/// The refusal to write to a file that others no longer find. It ends the right, so that the service stops.
fn replaced(place: &Place, worker: &WorkerGuard) -> DatabaseError {
    if worker.is_exclusive() {
        let _known = worker.lose(format!("the data file {} was removed or replaced", place.file.display()));
    }
    DatabaseError::Replaced(place.file.clone())
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.path).finish_non_exhaustive()
    }
}
