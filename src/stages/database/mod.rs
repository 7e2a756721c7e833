//! A SQLite file as a stage.
//!
//! The stage checks the file, brings its schema up to date, and hands out a [`Database`]: closures go in,
//! results come out, and no async thread ever waits for the disk. Stopping it finishes the writes that
//! wait and leaves one file without a write-ahead log.

mod backup;
mod busy;
mod claim;
mod errors;
mod fence;
mod handle;
mod header;
mod integrity;
mod looking;
mod migrate;
mod open;
mod opening;
mod origin;
mod preflight;
mod progress;
mod queue;
mod settings;
mod stamp;
mod temporary;
mod threads;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

pub use self::{errors::DatabaseError, handle::Database, integrity::Integrity, migrate::Migration};
use self::{errors::MIGRATION_INTERRUPTED, opening::Plan, threads::Threads};
use crate::{
    codes::{DB_MIGRATION_TIMEOUT, STAGE_FAILED, STARTUP_INTERRUPTED},
    contract::{
        context::{StageContext, StopContext},
        stage::Stage,
        tell::tell,
    },
    error::{StageError, StageResult},
    instance::refusal,
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
/// - A migration is applied whole or not at all, also when the start is cancelled, runs out of time or is killed;
///   the rollback ends only when the file is let go of. Before the first one a copy of the file is made.
/// - A file that is damaged, foreign, or newer than the program is refused and not changed. A new file is
///   created with mode 0640, a backup with 0600. Of its directory only the last part is created: if more is missing,
///   that is usually a volume that is not mounted.
///
/// No other part of the process may have the file open while the stage starts (but a second stage of this kind may):
/// closing a file gives up the locks of all who have it open.
///
/// # Failure codes
/// `db.dir-missing`, `db.not-writable`, `db.foreign`, `db.corrupt`, `db.busy`, `db.disk-full`, `db.io`,
/// `db.schema-newer`, `db.migration-failed`, `db.migration-timeout`. `docs/database.md` says when, and what to do.
#[derive(Clone, Debug)]
pub struct SqliteDatabase {
    name: &'static str,
    path: PathBuf,
    migrations: &'static [Migration],
    application_id: i32,
    readers: usize,
    busy_timeout: Duration,
    integrity: Integrity,
    integrity_limit: Duration,
    backups: usize,
    /// Of the variables that it was read from, for advice.
    prefix: Option<String>,
}

impl SqliteDatabase {
    /// The database in the file `path`, as a stage named `database`, with two readers, 5 s of patience, a quick check
    /// for damage of at most 5 s, and the backups of three migrations.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            name: "database",
            path: path.into(),
            migrations: &[],
            application_id: 0,
            readers: 2,
            busy_timeout: Duration::from_secs(5),
            integrity: Integrity::Quick,
            integrity_limit: Duration::from_secs(5),
            backups: 3,
            prefix: None,
        }
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

    /// A number of the application's own choice that marks its files, so that a file of another application is
    /// never taken for its own. A file without any mark is marked when it is opened for the first time; one with
    /// another mark is refused. Without this, every marked file is, and one whose tables no migration made.
    ///
    /// See <https://sqlite.org/pragma.html#pragma_application_id>.
    #[must_use]
    pub fn application_id(mut self, id: i32) -> Self {
        self.application_id = id;
        self
    }

    /// How thoroughly the file is checked for damage at each start, and how long that may take. After that time
    /// the file is used unchecked, with a warning in the log.
    #[must_use]
    pub fn integrity(mut self, how: Integrity, limit: Duration) -> Self {
        (self.integrity, self.integrity_limit) = (how, limit);
        self
    }

    /// How many backups are kept, each from before the migrations of one start; 0 makes none. They lie beside
    /// the file as `<file>.schema-<n>.backup`, where `n` is how many migrations the copy has seen.
    #[must_use]
    pub fn backups(mut self, keep: usize) -> Self {
        self.backups = keep;
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

impl SqliteDatabase {
    /// Absolute, because `:memory:` and other names that mean something to SQLite are files here.
    fn absolute(&self) -> StageResult<PathBuf> {
        std::path::absolute(&self.path)
            .map_err(|error| refusal::system(&self.path, "find the database", &error))
    }
}

impl Stage for SqliteDatabase {
    type Needs = ();
    type Output = Database;

    fn name(&self) -> &'static str {
        self.name
    }

    fn check(&self) -> StageResult<()> {
        let path = self.absolute()?;
        looking::look(&path, self)
    }

    async fn start(&self, cx: StageContext, (): ()) -> StageResult<Database> {
        let path = self.absolute()?;
        let told = cx.clone();
        let (threads, mut opened) = Threads::start(Plan {
            settings: self.clone(),
            path: path.clone(),
            worker: cx.worker(),
            step: Box::new(move |step| {
                tell!(info, "step", stage = told.stage().to_owned(), step = step.to_owned());
                told.step(step);
            }),
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
            Ok(Ok(place)) => Ok(Database::new(path, place, threads, cx.worker())),
            Ok(Err(error)) => Err(interrupted_by_what(error, &cx)),
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

/// Says who ended a start that was interrupted. A migration whose time was up is the limit's fault, and another start
/// with the same limit would only interrupt it again. For anything else the engine's own time-out says enough.
fn interrupted_by_what(error: StageError, cx: &StageContext) -> StageError {
    let late = Instant::now() >= cx.deadline();
    match (error.failure_code(), late) {
        (MIGRATION_INTERRUPTED, true) => error.code(DB_MIGRATION_TIMEOUT),
        (MIGRATION_INTERRUPTED, false) => error.code(STARTUP_INTERRUPTED),
        (STARTUP_INTERRUPTED, true) => error.code(STAGE_FAILED),
        _ => error,
    }
}

#[cfg(test)]
mod tests;
