//! What can be said about the path before SQLite is asked: its own answer to a missing directory, a
//! directory in the file's place and a lack of permission is one and the same, "unable to open database
//! file" (<https://sqlite.org/rescode.html#cantopen>).

use std::{
    fs::{File, Metadata, OpenOptions, metadata},
    io::{ErrorKind, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::{
    fs::{Access, access},
    process::{getegid, geteuid},
};

use super::errors::{advise_recovery, printable, system_failed};
use crate::{
    codes::{DB_CORRUPT, DB_DIR_MISSING, DB_NOT_WRITABLE},
    error::{StageError, StageResult},
};

/// What every SQLite file begins with (<https://sqlite.org/fileformat.html#the_database_header>).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Owner and group; whoever backs the file up is put into the group. SQLite gives `-wal` and `-shm` the
/// mode of the file itself.
const MODE: u32 = 0o640;

/// Makes sure that the file is there, and is a database or empty. An existing file is only read.
pub(super) fn check(path: &Path) -> StageResult<()> {
    directory(path.parent().unwrap_or(Path::new("/")))?;
    match metadata(path) {
        Ok(found) => file(path, &found),
        Err(error) if error.kind() == ErrorKind::NotFound => create(path),
        Err(error) => Err(system_failed(&error, "look at the database", path)),
    }
}

fn directory(path: &Path) -> StageResult<()> {
    let found = match metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(StageError::new(
                DB_DIR_MISSING,
                format!("the directory {} does not exist", path.display()),
            )
            .fact("directory", path.display().to_string())
            .hint("mount the volume there, or correct the path"));
        }
        Err(error) => return Err(system_failed(&error, "look at the database's directory", path)),
    };
    if !found.is_dir() {
        return Err(StageError::new(DB_DIR_MISSING, format!("{} is not a directory", path.display()))
            .fact("path", path.display().to_string()));
    }
    // The directory too, because the write-ahead log is a file beside the database.
    writable(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK, &found)
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
    writable(path, Access::READ_OK | Access::WRITE_OK, found)?;
    let mut header = Vec::with_capacity(MAGIC.len());
    let read = File::open(path).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut header));
    match read {
        Err(error) => Err(system_failed(&error, "read the database", path)),
        Ok(_) if header.is_empty() || header == MAGIC => Ok(()),
        Ok(_) => {
            let failed = StageError::new(DB_CORRUPT, format!("{} is not a SQLite database", path.display()))
                .fact("database", path.display().to_string())
                .fact("size", format!("{} bytes", found.len()))
                .fact("header", shown(&header));
            Err(advise_recovery(failed, path))
        }
    }
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

fn writable(path: &Path, wanted: Access, found: &Metadata) -> StageResult<()> {
    let Err(error) = access(path, wanted) else { return Ok(()) };
    let (user, group) = (geteuid(), getegid());
    Err(StageError::new(
        DB_NOT_WRITABLE,
        format!("{} cannot be written by this process: {error}", path.display()),
    )
    .fact("process", format!("uid {user}, gid {group}"))
    .fact(
        if found.is_dir() { "directory" } else { "database" },
        format!(
            "{}, owner {}:{}, mode {:04o}",
            path.display(),
            found.uid(),
            found.gid(),
            found.mode() & 0o7777
        ),
    )
    .hint(format!("give it to the user of this process: chown -R {user}:{group} {}", path.display()))
    .hint("a read-only mount? remove `:ro` from the volume"))
}

/// Bytes of a file that may hold anything, as text where they are text.
fn shown(bytes: &[u8]) -> String {
    let text: String = bytes
        .iter()
        .map(|each| char::from(*each))
        .map(|each| if each.is_ascii() { each } else { '?' })
        .collect();
    format!("\"{}\", expected \"SQLite format 3\"", printable(&text))
}
