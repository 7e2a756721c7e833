//! Whose database a file is, judged before anything is written to it.

use std::path::Path;

use rusqlite::Connection;

use super::{
    SqliteDatabase, backup,
    errors::{sqlite_failed, staged},
    fence,
};
use crate::{
    codes::{DB_FOREIGN, DB_SCHEMA_NEWER},
    contract::guard::WorkerGuard,
    error::{StageError, StageResult},
};

/// A database that this application may use.
pub(super) struct Origin {
    /// How many of the migrations it has seen.
    pub(super) seen: usize,
    /// Whether it holds nothing that could be lost.
    pub(super) empty: bool,
    /// The mark that it does not carry yet.
    mark: Option<i32>,
}

/// Refuses a file of another application, and one that a newer version of this application wrote.
///
/// The application marks its file with a number in the header (<https://sqlite.org/pragma.html#pragma_application_id>),
/// and `PRAGMA user_version` counts its migrations. Tables without either belong to somebody else: to migrate
/// them would damage them.
pub(super) fn judge(connection: &Connection, settings: &SqliteDatabase, path: &Path) -> StageResult<Origin> {
    let failed = |error: rusqlite::Error| sqlite_failed(&error, "read what the file is", path);
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let mark = number("application_id").map_err(failed)?;
    let version = number("user_version").map_err(failed)?;
    let tables: i64 = connection
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name NOT GLOB 'sqlite_*' AND tbl_name <> 'solostart_fence'",
            [],
            |row| row.get(0),
        )
        .map_err(failed)?;
    let (ours, total) = (settings.application_id, settings.migrations.len());
    let refused = |why: String| Err(foreign(why, mark, version, tables, path));
    if mark != 0 && mark != i64::from(ours) {
        return refused(format!("it is marked with the application id {mark}, and ours is {ours}"));
    }
    let marked = mark != 0;
    if total == 0 {
        let seen = Origin { seen: 0, empty: tables == 0, mark: (!marked && ours != 0).then_some(ours) };
        return Ok(seen);
    }
    match usize::try_from(version) {
        Err(_) => refused(format!("its schema has the version {version}")),
        Ok(0) if tables > 0 && !marked => {
            refused("it has tables, and none of this application's migrations made them".to_owned())
        }
        Ok(seen) if seen > total => Err(newer(seen, total, path)),
        Ok(seen) => Ok(Origin { seen, empty: tables == 0, mark: (!marked && ours != 0).then_some(ours) }),
    }
}

impl Origin {
    /// Marks a file that is ours and does not say so yet.
    pub(super) fn mark(
        &self,
        connection: &mut Connection,
        worker: &WorkerGuard,
        path: &Path,
    ) -> StageResult<()> {
        let Some(ours) = self.mark else { return Ok(()) };
        let failed = |error: rusqlite::Error| sqlite_failed(&error, "mark the database", path);
        let transaction = connection.transaction().map_err(failed)?;
        fence::pass(&transaction, worker).map_err(staged)?;
        transaction.pragma_update(None, "application_id", ours).map_err(failed)?;
        transaction.commit().map_err(failed)
    }
}

fn newer(version: usize, total: usize, path: &Path) -> StageError {
    let error = StageError::new(
        DB_SCHEMA_NEWER,
        format!("the database has schema {version}, this version knows {total}"),
    )
    .fact("database", path.display().to_string())
    .fact("schema", version.to_string())
    .fact("known", total.to_string())
    .hint("Start the newer version again");
    match backup::newest(path, total) {
        Some(found) => {
            error.fact("backup", found.display().to_string()).hint(backup::how_to_restore(&found, path))
        }
        None => error.hint(format!("Or restore the backup from before the upgrade to {}", path.display())),
    }
}

fn foreign(why: String, mark: i64, version: i64, tables: i64, path: &Path) -> StageError {
    StageError::new(DB_FOREIGN, format!("{} belongs to another application: {why}", path.display()))
        .fact("database", path.display().to_string())
        .fact("application id", mark.to_string())
        .fact("schema", format!("{version}, {tables} tables and indexes"))
        .hint("Point the service at its own file: it makes a new one where there is none")
}
