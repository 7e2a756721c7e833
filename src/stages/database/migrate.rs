//! Bringing the schema up to date, one transaction for each migration.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::Instant,
};

use rusqlite::{Connection, Transaction};
use rusqlite_migration::{HookError, M, Migrations};
use tokio_util::sync::CancellationToken;

use super::{
    backup,
    errors::{MIGRATION_INTERRUPTED, code_of, message_of, numbered, of_the_system, printable, sqlite_failed},
    fence,
    opening::Plan,
};
use crate::{
    codes::{DB_MIGRATION_FAILED, FailureCode, LOCK_LOST, STAGE_FAILED, STARTUP_INTERRUPTED},
    contract::state::format_elapsed,
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
    // The hook's own error is a text, which does not say what helps.
    let refused: Arc<OnceLock<FailureCode>> = Arc::default();
    let under_fence = |each: &Migration| {
        let (worker, refused) = (worker.clone(), Arc::clone(&refused));
        let passes = move |transaction: &Transaction<'_>| {
            fence::pass(transaction, &worker).map_err(|error| {
                refused.get_or_init(|| error.failure_code());
                HookError::Hook(error.to_string())
            })
        };
        M::up_with_hook(each.sql, passes).comment(each.name).foreign_key_check()
    };
    let all = Migrations::new(settings.migrations.iter().map(under_fence).collect());
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
        all.to_version(connection, index + 1).map_err(|error| {
            let error = migration_failed(&error, refused.get(), &place, index, path);
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

fn migration_failed(
    error: &rusqlite_migration::Error,
    refused: Option<&FailureCode>,
    place: &str,
    complete: usize,
    path: &Path,
) -> StageError {
    let (mut of_system, mut said) = (None, String::new());
    let (code, message) = if let rusqlite_migration::Error::Hook(lost) = error {
        (refused.copied().unwrap_or(LOCK_LOST), lost.clone())
    } else if let rusqlite_migration::Error::RusqliteError { err, .. } = error {
        of_system = of_the_system(err, &format!("{place}: {}", message_of(err)), path);
        said = numbered(err);
        (code_of(err), message_of(err))
    } else if let rusqlite_migration::Error::ForeignKeyCheck(rows) = error {
        (STAGE_FAILED, format!("{} rows would point to rows that are not there", rows.len()))
    } else {
        (STAGE_FAILED, printable(&error.to_string()))
    };
    let code = match code {
        // A full disk or a lock is no fault of the migration's, and has its own code.
        STAGE_FAILED => DB_MIGRATION_FAILED,
        STARTUP_INTERRUPTED => MIGRATION_INTERRUPTED,
        code => code,
    };
    let by_itself = of_system.is_none();
    let failed = of_system
        .unwrap_or_else(|| StageError::new(code, format!("{place}: {message}")))
        .fact("database", path.display().to_string())
        .fact("migration", place.to_owned())
        .fact("SQLite", if said.is_empty() { message } else { said })
        .fact("schema", format!("{complete}, unchanged by this migration"));
    if by_itself && code == DB_MIGRATION_FAILED {
        return failed.hint("Start the version that ran before again, and send its developers this report");
    }
    failed
}
