//! What can be said about the path before SQLite is asked: its own answer to a missing directory, a
//! directory in the file's place and a lack of permission is one and the same, "unable to open database
//! file" (<https://sqlite.org/rescode.html#cantopen>).

use std::{
    fs::{File, Metadata, OpenOptions, metadata},
    io::{ErrorKind, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::{Access, access};

use super::errors::system_failed;
use crate::{
    codes::DB_CORRUPT,
    error::{StageError, StageResult},
    instance::data_dir::{not_writable, prepare},
};

/// What every SQLite file begins with (<https://sqlite.org/fileformat.html#the_database_header>).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Owner and group; whoever backs the file up is put into the group. SQLite gives `-wal` and `-shm` the
/// mode of the file itself.
const MODE: u32 = 0o640;

/// Makes sure that the file is there, and is a database or empty. An existing file is only read.
pub(super) fn check(path: &Path) -> StageResult<()> {
    // The directory must be writable too, because the write-ahead log is a file beside the database.
    prepare(path.parent().unwrap_or(Path::new("/")))?;
    match metadata(path) {
        Ok(found) => file(path, &found),
        Err(error) if error.kind() == ErrorKind::NotFound => create(path),
        Err(error) => Err(system_failed(&error, "look at the database", path)),
    }
}

fn file(path: &Path, found: &Metadata) -> StageResult<()> {
    if !found.is_file() {
        let what = if found.is_dir() { "a directory" } else { "not a regular file" };
        return Err(StageError::new(DB_CORRUPT, format!("{} is {what}", path.display()))
            .fact("database", path.display().to_string())
            .hint(
                "Docker makes a directory where a mounted file does not exist: mount the directory instead",
            ));
    }
    access(path, Access::READ_OK | Access::WRITE_OK).map_err(|error| not_writable(path, &error.into()))
}

/// Creates the empty file itself, because SQLite would create it readable for everyone. It never follows
/// a link: `O_EXCL` fails on one, even on one that leads nowhere (open(2)).
fn create(path: &Path) -> StageResult<()> {
    match OpenOptions::new().write(true).create_new(true).mode(MODE).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(StageError::new(DB_CORRUPT, format!("{} is a link that leads nowhere", path.display()))
                .fact("database", path.display().to_string()))
        }
        Err(error) => Err(system_failed(&error, "create the database", path)),
    }
}

/// Adds to SQLite's refusal what the file looks like.
///
/// Only for a file that no connection of this process has open: closing any descriptor of a file gives up
/// all locks that the process holds on it, SQLite's too (<https://sqlite.org/howtocorrupt.html>, 2.2).
pub(super) fn show_refused(refused: StageError, path: &Path) -> StageError {
    if refused.failure_code() != DB_CORRUPT {
        return refused;
    }
    let mut header = Vec::with_capacity(MAGIC.len());
    let read = File::open(path).and_then(|file| {
        let size = file.metadata()?.len();
        file.take(MAGIC.len() as u64).read_to_end(&mut header).map(|_| size)
    });
    match read {
        Ok(size) => refused.fact("size", format!("{size} bytes")).fact("header", shown(&header)),
        // Whatever is wrong with the file, SQLite has said it.
        Err(_) => refused,
    }
}

/// Bytes of a file that may hold anything, as text where they are text.
fn shown(header: &[u8]) -> String {
    if header == MAGIC {
        return "as it should be".to_owned();
    }
    let text: String =
        header.iter().map(|each| if each.is_ascii_graphic() { char::from(*each) } else { '.' }).collect();
    format!("`{text}`, expected `SQLite format 3`")
}
