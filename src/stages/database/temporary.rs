//! Where SQLite puts what does not fit into its memory: what it sorts, and what a statement may have to take back.
//!
//! It looks for a directory of its own accord, and in a container whose root is read-only it finds none. Then every
//! query and every migration that is large enough fails with "disk I/O error", which small data never shows.

use std::{
    env,
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use rustix::fs::{Access, access};

/// Has SQLite use the directory of `database` if it would find none. Its temporary files have no names, so they are
/// gone with their connection.
///
/// The setting holds for the whole process (<https://sqlite.org/c3ref/temp_directory.html>), and the pragma, which
/// is deprecated, is the one way to it that needs no unsafe code. A directory that the application has set stays.
pub(super) fn keep_beside(connection: &Connection, database: &Path) -> rusqlite::Result<()> {
    let set: String =
        connection.pragma_query_value(None, "temp_store_directory", |row| row.get(0)).or_else(|error| {
            if error == rusqlite::Error::QueryReturnedNoRows { Ok(String::new()) } else { Err(error) }
        })?;
    // The pragma takes UTF-8 only. For any other path SQLite goes on searching by itself.
    match database.parent().and_then(Path::to_str) {
        Some(directory) if set.is_empty() && !candidates().iter().any(|each| may_hold(each)) => {
            connection.pragma_update(None, "temp_store_directory", directory)
        }
        _ => Ok(()),
    }
}

/// Where SQLite looks, in its order (<https://sqlite.org/tempfiles.html#temporary_file_storage_locations>).
fn candidates() -> Vec<PathBuf> {
    let told = ["SQLITE_TMPDIR", "TMPDIR"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    told.chain(["/var/tmp", "/usr/tmp", "/tmp", "."].map(PathBuf::from)).collect()
}

/// Whether SQLite takes that directory.
fn may_hold(directory: &Path) -> bool {
    directory.is_dir() && access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}
