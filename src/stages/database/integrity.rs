//! Looking for damage before the database is used.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::{
    errors::{advise_recovery, code_of, printable, sqlite_failed},
    progress::{ask_after, ask_nobody},
};
use crate::{
    codes::{DB_CORRUPT, STARTUP_INTERRUPTED},
    contract::tell::{shown, tell},
    error::{StageError, StageResult},
};

/// How thoroughly the file is looked at before it is used.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum Integrity {
    /// Not at all.
    Off,
    /// `PRAGMA quick_check`: every page and every row is read, in a time that grows with the size of the file.
    #[default]
    Quick,
    /// `PRAGMA integrity_check`: also that every index says the same as its table, which takes several times
    /// as long.
    Full,
}

/// How many findings are reported; one would do to refuse the file.
const FINDINGS: usize = 3;

/// Between how many steps of SQLite's the clock is looked at. A step reads a cell or a page.
const STEPS: i32 = 1000;

/// Refuses a damaged file. After `limit` the check is given up and the start goes on: a large file must not
/// keep the service from starting.
pub(super) fn check(
    connection: &mut Connection,
    how: Integrity,
    limit: Duration,
    cut: &CancellationToken,
    path: &Path,
) -> StageResult<()> {
    let pragma = match how {
        Integrity::Off => return Ok(()),
        Integrity::Quick => "quick_check",
        Integrity::Full => "integrity_check",
    };
    let failed = |error: rusqlite::Error| sqlite_failed(&error, "check the database", path);
    let (until, cancelled) = (Instant::now() + limit, cut.clone());
    ask_after(STEPS, connection, move || cancelled.is_cancelled() || Instant::now() >= until)
        .map_err(failed)?;
    let found = findings(connection, pragma);
    ask_nobody(connection).map_err(failed)?;
    match found {
        Ok(found) if found.iter().all(|finding| finding == "ok") => Ok(()),
        Ok(found) => Err(damaged(&found, path)),
        Err(error) if code_of(&error) != STARTUP_INTERRUPTED => Err(failed(error)),
        Err(_) if cut.is_cancelled() => {
            Err(StageError::new(STARTUP_INTERRUPTED, "stopped while the database was checked"))
        }
        Err(_) => {
            tell!(
                warn,
                "the database is too large to be checked in this time; it is used unchecked",
                database = shown(path.display()),
                limit = format!("{limit:?}")
            );
            Ok(())
        }
    }
}

fn findings(connection: &Connection, pragma: &str) -> rusqlite::Result<Vec<String>> {
    // Room for what is said of the one row of the fence: a check and two types.
    let mut statement = connection.prepare(&format!("PRAGMA {pragma}({})", FINDINGS + 3))?;
    let mut found: Vec<String> = Vec::new();
    for row in statement.query_map([], |row| row.get(0))? {
        match row {
            Ok(finding) => found.push(finding),
            // What was found first says more than the damage that ended the search.
            Err(error) if code_of(&error) == DB_CORRUPT && !found.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    found.retain(|finding| !is_of_the_fence(finding));
    found.truncate(FINDINGS);
    Ok(found)
}

/// Whether a value in the fence is what a check or a type forbids. It is none of the application's data, and the next
/// step replaces it: no backup needs to be restored for it.
fn is_of_the_fence(finding: &str) -> bool {
    let columns = ["token", "holder"].map(|column| format!(" value in solostart_fence.{column}"));
    finding == "CHECK constraint failed in solostart_fence"
        || columns.iter().any(|column| finding.ends_with(column))
}

fn damaged(found: &[String], path: &Path) -> StageError {
    let first = found.first().map_or_else(String::new, |first| printable(first));
    let error = StageError::new(DB_CORRUPT, format!("{} is damaged: {first}", path.display()))
        .fact("database", path.display().to_string());
    let error = found.iter().fold(error, |error, finding| error.fact("finding", printable(finding)));
    advise_recovery(error, path)
}
