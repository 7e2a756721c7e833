//! Bringing the schema up to date, one transaction for each migration.

use std::path::Path;

use rusqlite::{Connection, Transaction};
use rusqlite_migration::{HookError, M, Migrations};
use tokio_util::sync::CancellationToken;

use super::{
    errors::{code_of, message_of, printable, sqlite_failed},
    fence,
    threads::Plan,
};
use crate::{
    codes::{DB_CORRUPT, DB_MIGRATION_FAILED, DB_SCHEMA_NEWER, LOCK_LOST, STAGE_FAILED, STARTUP_INTERRUPTED},
    error::{StageError, StageResult},
};

/// One change of the schema: a name for people, and SQL.
///
/// Migrations are only ever appended: how many of them a database has seen is stored in the file
/// (`PRAGMA user_version`), not which ones.
///
/// ```
/// use solostart::stages::database::Migration;
///
/// const MIGRATIONS: &[Migration] = &[
///     Migration::new("users", "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;"),
///     Migration::new("bans", "CREATE TABLE bans (user INTEGER NOT NULL REFERENCES users) STRICT;"),
/// ];
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Migration {
    name: &'static str,
    sql: &'static str,
}

impl Migration {
    /// A migration that runs `sql`, which may be many statements.
    ///
    /// They run in one transaction, so they contain no `BEGIN`, `COMMIT` or `VACUUM`. Foreign keys are
    /// not enforced while they run, as SQLite advises for rebuilding tables, but the whole file is checked
    /// before the transaction is committed.
    #[must_use]
    pub const fn new(name: &'static str, sql: &'static str) -> Self {
        Self { name, sql }
    }
}

/// How many of the migrations the database has seen. A file that is newer or foreign is refused before
/// anything is written to it.
pub(super) fn seen(connection: &Connection, migrations: &[Migration], path: &Path) -> StageResult<usize> {
    let failed = |doing| move |error: rusqlite::Error| sqlite_failed(&error, doing, path);
    let total = migrations.len();
    if total == 0 {
        return Ok(0);
    }
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(failed("read the version of the schema"))?;
    match usize::try_from(version) {
        Ok(seen) if seen <= total => Ok(seen),
        Ok(_) => Err(newer(version, total, path)),
        Err(_) => Err(foreign(version, path)),
    }
}

/// Applies what is missing, each under the fence. `step` is told of each migration before it begins, `cut` is
/// looked at.
pub(super) fn run(
    connection: &mut Connection,
    plan: &Plan,
    seen: usize,
    cut: &CancellationToken,
) -> StageResult<()> {
    let Plan { path, migrations, worker, step, .. } = plan;
    let failed = |doing| move |error: rusqlite::Error| sqlite_failed(&error, doing, path);
    let total = migrations.len();
    if seen == total {
        return Ok(());
    }
    let under_fence = |each: &Migration| {
        let worker = worker.clone();
        let passes = move |transaction: &Transaction<'_>| {
            fence::pass(transaction, &worker).map_err(|error| HookError::Hook(error.to_string()))
        };
        M::up_with_hook(each.sql, passes).comment(each.name).foreign_key_check()
    };
    let all = Migrations::new(migrations.iter().map(under_fence).collect());
    // `DROP TABLE` of a parent would delete the rows of its children if foreign keys were enforced
    // (https://sqlite.org/lang_altertable.html#making_other_kinds_of_table_schema_changes).
    enforce_foreign_keys(connection, false).map_err(failed("prepare the migration"))?;
    for (index, migration) in migrations.iter().enumerate().skip(seen) {
        let place = format!("migration {}/{total} {}", index + 1, migration.name);
        if cut.is_cancelled() {
            return Err(StageError::new(STARTUP_INTERRUPTED, format!("stopped before {place}")));
        }
        step(place.clone());
        all.to_version(connection, index + 1)
            .map_err(|error| migration_failed(&error, &place, index, path))?;
    }
    enforce_foreign_keys(connection, true).map_err(failed("finish the migration"))
}

pub(super) fn enforce_foreign_keys(connection: &Connection, on: bool) -> rusqlite::Result<()> {
    connection.pragma_update(None, "foreign_keys", on)
}

fn newer(version: i64, total: usize, path: &Path) -> StageError {
    StageError::new(DB_SCHEMA_NEWER, format!("the database has schema {version}, this version knows {total}"))
        .fact("database", path.display().to_string())
        .fact("schema", version.to_string())
        .fact("known", total.to_string())
        .hint("start the newer version again")
        .hint(format!("or restore the backup from before the upgrade to {}", path.display()))
}

fn foreign(version: i64, path: &Path) -> StageError {
    StageError::new(DB_CORRUPT, format!("the database has schema {version}: it belongs to something else"))
        .fact("database", path.display().to_string())
        .fact("schema", version.to_string())
}

fn migration_failed(
    error: &rusqlite_migration::Error,
    place: &str,
    complete: usize,
    path: &Path,
) -> StageError {
    let (code, message) = if let rusqlite_migration::Error::Hook(lost) = error {
        (LOCK_LOST, lost.clone())
    } else if let rusqlite_migration::Error::RusqliteError { err, .. } = error {
        (code_of(err), message_of(err))
    } else if let rusqlite_migration::Error::ForeignKeyCheck(rows) = error {
        (STAGE_FAILED, format!("{} rows would point to rows that are not there", rows.len()))
    } else {
        (STAGE_FAILED, printable(&error.to_string()))
    };
    // A full disk or a lock is no fault of the migration's, and has its own code.
    let code = if code == STAGE_FAILED { DB_MIGRATION_FAILED } else { code };
    StageError::new(code, format!("{place}: {message}"))
        .fact("database", path.display().to_string())
        .fact("migration", place.to_owned())
        .fact("SQLite", message)
        .fact("schema", format!("{complete}, unchanged by this migration"))
}
