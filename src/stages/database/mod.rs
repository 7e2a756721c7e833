//! A SQLite file as a stage.
//!
//! The stage checks the file, brings its schema up to date, and hands out a [`Database`]: closures go in,
//! results come out, and no async thread ever waits for the disk. Stopping it finishes the writes that
//! wait and leaves one file without a write-ahead log.

mod busy;
mod errors;
mod fence;
mod handle;
mod migrate;
mod open;
mod preflight;
mod queue;
mod threads;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

pub use self::{errors::DatabaseError, handle::Database, migrate::Migration};
use self::{
    errors::system_failed,
    threads::{Plan, Threads},
};
use crate::{
    codes::{DB_MIGRATION_TIMEOUT, STARTUP_INTERRUPTED},
    contract::{
        context::{StageContext, StopContext},
        stage::Stage,
    },
    error::{StageError, StageResult},
    settings::{Env, paths::database_path},
};
/// The crate whose types [`Database`] hands to closures, so that applications use the same version of it.
pub use rusqlite;

/// A SQLite database in a file, with its schema brought up to date before anyone uses it.
///
/// ```
/// use solostart::stages::database::{Migration, SqliteDatabase};
///
/// const MIGRATIONS: &[Migration] =
///     &[Migration::new("bans", "CREATE TABLE bans (user INTEGER PRIMARY KEY) STRICT;")];
///
/// let stage = SqliteDatabase::at("/data/banboard.db").migrations(MIGRATIONS).readers(4);
/// ```
///
/// # Guarantees
/// - A write that was acknowledged survives a crash and a power failure (`synchronous=FULL`), as far as the
///   disk keeps what it promises.
/// - Foreign keys are enforced, except while a migration runs, after which they are checked.
/// - A migration is applied whole or not at all, also when the start is cancelled or runs out of time; the
///   rollback ends only when the file is let go of.
/// - A file that is damaged, foreign, or newer than the program is refused and not changed. A new file is
///   created with mode 0640. Of its directory only the last part is created: if more is missing, that is
///   usually a volume that is not mounted.
///
/// # Failure codes
/// `db.dir-missing`, `db.not-writable`, `db.corrupt`, `db.busy`, `db.disk-full`, `db.schema-newer`,
/// `db.migration-failed`, `db.migration-timeout`.
#[derive(Clone, Debug)]
pub struct SqliteDatabase {
    name: &'static str,
    path: PathBuf,
    migrations: &'static [Migration],
    readers: usize,
    busy_timeout: Duration,
}

impl SqliteDatabase {
    /// The database in the file `path`, as a stage named `database`, with two readers and 5 s of patience.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            name: "database",
            path: path.into(),
            migrations: &[],
            readers: 2,
            busy_timeout: Duration::from_secs(5),
        }
    }

    /// The same in the file that the environment names: `<P>_DATABASE_PATH`, or `<name>.db` in `<P>_DATA_DIR`, where
    /// `<name>` is the prefix in small letters with hyphens. The lock lies beside it.
    #[must_use]
    pub fn from_env(env: &Env) -> Self {
        Self::at(database_path(env, &env.prefix().to_ascii_lowercase().replace('_', "-")))
    }

    /// Names the stage, for a service with more than one database.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// What the schema consists of, oldest first. Without any, the schema is left alone.
    #[must_use]
    pub fn migrations(mut self, migrations: &'static [Migration]) -> Self {
        self.migrations = migrations;
        self
    }

    /// How many reads can run at the same time, each on a thread of its own; at least one.
    #[must_use]
    pub fn readers(mut self, readers: usize) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// How long to wait for a lock that another program holds on the file, such as a `sqlite3` shell.
    #[must_use]
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// The path as given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Stage for SqliteDatabase {
    type Needs = ();
    type Output = Database;

    fn name(&self) -> &'static str {
        self.name
    }

    async fn start(&self, cx: StageContext, (): ()) -> StageResult<Database> {
        // Absolute, because `:memory:` and other names that mean something to SQLite are files here.
        let path = std::path::absolute(&self.path)
            .map_err(|error| system_failed(&error, "find the database", &self.path))?;
        let told = cx.clone();
        let (threads, mut opened) = Threads::start(Plan {
            path: path.clone(),
            migrations: self.migrations,
            readers: self.readers,
            busy_timeout: self.busy_timeout,
            worker: cx.worker(),
            step: Box::new(move |step| told.step(step)),
        })?;
        let threads = Arc::new(threads);
        let undo = threads.clone();
        cx.on_rollback(async move || undo.abandon().await);
        let given_up = async {
            cx.cancelled().await;
            threads.interrupt().await;
        };
        let result = tokio::select! {
            result = &mut opened => result,
            () = given_up => opened.await,
        };
        match result {
            Ok(Ok(())) => Ok(Database::new(path, threads, cx.worker())),
            Ok(Err(error)) => Err(if_too_late(error, &cx)),
            Err(_) => Err(StageError::from("the thread of the database ended early")),
        }
    }

    async fn stop(&self, database: Arc<Database>, cx: StopContext) -> StageResult<()> {
        database.stop(cx.deadline()).await
    }

    async fn health(&self, database: Arc<Database>) -> StageResult<()> {
        database.health().await
    }
}

/// A migration that was interrupted because the time was up: that is the limit's fault, and another start
/// with the same limit would only interrupt it again.
fn if_too_late(error: StageError, cx: &StageContext) -> StageError {
    if error.failure_code() == STARTUP_INTERRUPTED && Instant::now() >= cx.deadline() {
        error.code(DB_MIGRATION_TIMEOUT)
    } else {
        error
    }
}

#[cfg(test)]
mod tests;
