//! Bringing the schema up to date, one transaction for each migration.

use std::{fmt, path::Path, time::Instant};

use rusqlite::{Connection, Transaction};
use tokio_util::sync::CancellationToken;

use super::{
    backup,
    errors::{
        DatabaseError, MIGRATION_INTERRUPTED, message_of, numbered, of_the_system, printable, sqlite_failed,
    },
    fence,
    opening::Plan,
};
use crate::{
    codes::{DB_MIGRATION_FAILED, STAGE_FAILED, STAGE_PANICKED, STARTUP_INTERRUPTED},
    contain::contain,
    contract::{guard::WorkerGuard, state::format_elapsed},
    error::{StageError, StageResult},
};

/// One change of the schema: a name for people, and SQL or a function.
///
/// Migrations are only ever appended: how many of them a database has seen is stored in the file
/// (`PRAGMA user_version`), not which ones.
///
/// ```
/// use rusqlite::{Transaction, params};
/// use solostart::stages::database::{DatabaseError, Migration};
///
/// const MIGRATIONS: &[Migration] = &[
///     Migration::new("users", "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;"),
///     Migration::function("lower-case names", lower_case_names),
/// ];
///
/// fn lower_case_names(tx: &Transaction<'_>) -> Result<(), DatabaseError> {
///     let mut query = tx.prepare("SELECT id, name FROM users")?;
///     let users = query.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
///     for user in users {
///         let (id, name) = user?;
///         tx.execute("UPDATE users SET name = ?2 WHERE id = ?1", params![id, name.to_lowercase()])?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Migration {
    name: &'static str,
    change: Change,
}

#[derive(Clone, Copy)]
enum Change {
    Sql(&'static str),
    Function(fn(&Transaction<'_>) -> Result<(), DatabaseError>),
}

impl Migration {
    /// A migration that runs `sql`, which may be many statements.
    ///
    /// They run in one transaction, so they contain no `BEGIN`, `COMMIT` or `VACUUM`. Foreign keys are
    /// not enforced while they run, as SQLite advises for rebuilding tables, but the whole file is checked
    /// before the transaction is committed.
    #[must_use]
    pub const fn new(name: &'static str, sql: &'static str) -> Self {
        Self { name, change: Change::Sql(sql) }
    }

    /// A migration that runs `function` in such a transaction, for what SQL alone cannot say. If it fails or panics,
    /// nothing of it stays.
    #[must_use]
    pub const fn function(
        name: &'static str,
        function: fn(&Transaction<'_>) -> Result<(), DatabaseError>,
    ) -> Self {
        Self { name, change: Change::Function(function) }
    }

    /// Applies it in one transaction, which also holds that the database has now seen `seen` of them.
    fn apply(
        &self,
        connection: &mut Connection,
        seen: usize,
        worker: &WorkerGuard,
    ) -> Result<(), DatabaseError> {
        let transaction = connection.transaction()?;
        match self.change {
            Change::Sql(sql) => transaction.execute_batch(sql)?,
            Change::Function(function) => contain(|| function(&transaction))
                .unwrap_or_else(|panicked| Err(DatabaseError::Panicked(panicked.to_string())))?,
        }
        if transaction.is_autocommit() {
            return Err(DatabaseError::refused(
                "it ended its transaction by itself, so not all of it can be taken back",
            ));
        }
        let lost: i64 =
            transaction.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))?;
        if lost > 0 {
            return Err(DatabaseError::refused(format!(
                "{lost} rows would point to rows that are not there"
            )));
        }
        transaction.pragma_update(None, "user_version", i64::try_from(seen).unwrap_or(i64::MAX))?;
        fence::pass(&transaction, worker)?;
        Ok(transaction.commit()?)
    }
}

impl fmt::Debug for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migration").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Applies what is missing after the first `seen`, each under the fence. `backup` is the copy from before.
pub(super) fn run(
    connection: &mut Connection,
    plan: &Plan,
    seen: usize,
    backup: Option<&Path>,
    cut: &CancellationToken,
) -> StageResult<()> {
    let Plan { path, settings, worker, step, .. } = plan;
    let failed = |doing| move |error: rusqlite::Error| sqlite_failed(&error, doing, path);
    let total = settings.migrations.len();
    // `DROP TABLE` of a parent would delete the rows of its children if foreign keys were enforced
    // (https://sqlite.org/lang_altertable.html#making_other_kinds_of_table_schema_changes).
    enforce_foreign_keys(connection, false).map_err(failed("prepare the migration"))?;
    let begun = Instant::now();
    for (index, migration) in settings.migrations.iter().enumerate().skip(seen) {
        let place = format!("migration {}/{total} {}", index + 1, migration.name);
        if cut.is_cancelled() {
            return Err(StageError::new(MIGRATION_INTERRUPTED, format!("stopped before {place}")));
        }
        step(place.clone());
        let this = Instant::now();
        migration.apply(connection, index + 1, worker).map_err(|error| {
            let error = migration_failed(&error, &place, index, path);
            let error = error.fact("it took", format_elapsed(this.elapsed()));
            if index == seen {
                return error;
            }
            let earlier = format_elapsed(this.duration_since(begun));
            let error =
                error.fact("before it", format!("migrations {}-{index}, {earlier}, are done", seen + 1));
            match backup {
                Some(kept) if error.failure_code() == DB_MIGRATION_FAILED => {
                    error.hint(backup::how_to_restore(kept, path))
                }
                _ => error,
            }
        })?;
    }
    enforce_foreign_keys(connection, true).map_err(failed("finish the migration"))
}

pub(super) fn enforce_foreign_keys(connection: &Connection, on: bool) -> rusqlite::Result<()> {
    connection.pragma_update(None, "foreign_keys", on)
}

fn migration_failed(error: &DatabaseError, place: &str, complete: usize, path: &Path) -> StageError {
    let message = if let DatabaseError::Sqlite(error) = error {
        message_of(error)
    } else if let DatabaseError::Refused(reason) = error {
        printable(&reason.to_string())
    } else if let DatabaseError::LockLost(lost) = error {
        lost.to_string()
    } else {
        printable(&error.to_string())
    };
    let cause = format!("{place}: {message}");
    let of_sqlite = if let DatabaseError::Sqlite(error) = error { Some(error) } else { None };
    let of_system = of_sqlite.and_then(|error| of_the_system(error, &cause, path));
    let code = match error.failure_code() {
        // A full disk or a lock is no fault of the migration's, and has its own code.
        STAGE_FAILED | STAGE_PANICKED => DB_MIGRATION_FAILED,
        STARTUP_INTERRUPTED => MIGRATION_INTERRUPTED,
        code => code,
    };
    let by_itself = of_system.is_none();
    let failed = of_system
        .unwrap_or_else(|| StageError::new(code, cause))
        .fact("database", path.display().to_string())
        .fact("migration", place.to_owned());
    let failed = match of_sqlite {
        Some(error) => failed.fact("SQLite", numbered(error)),
        None => failed,
    };
    let failed = failed.fact("schema", format!("{complete}, unchanged by this migration"));
    if by_itself && code == DB_MIGRATION_FAILED {
        return failed.hint("Start the version that ran before again, and send its developers this report");
    }
    failed
}
