//! The directory that holds the data and the lock: made if it is missing, and shown to be writable
//! before anything is opened in it.
//!
//! `SQLite` says "unable to open database file" for a missing directory, a directory in place of the file
//! and a missing permission alike. `refusal` says which, to whom it belongs and who we are.

use std::{
    fs::{self, Metadata},
    io,
    path::Path,
};

use rustix::{fs::Access, io::Errno};

use super::{
    evidence::{around, denied},
    missing::{awaits_mount, missing},
    refusal,
};
use crate::{error::StageResult, owned};

/// Who can open a lock or a database can lock it, so the directory is for the service's user alone.
const MODE: u32 = 0o700;

/// Makes sure that `dir` is a directory in which this process can create and replace files.
///
/// Only the last part of the path is created. A parent that is missing is most often a volume that was
/// not mounted or a misspelt name, and data written to a new directory in its place would be lost. So is one that is
/// the mount point of a disk that `/etc/fstab` names and that is not mounted yet.
///
/// # Errors
/// `db.dir-missing`, `db.not-writable`, `db.disk-full`, `db.io`, `env.invalid` and `process.limit`.
pub(crate) fn prepare(dir: &Path) -> StageResult<()> {
    let found = match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(dir).and_then(|()| fs::metadata(dir)),
        found => found,
    };
    usable(dir, found)
}

/// Whether [`prepare`] would succeed, without creating anything.
///
/// # Errors
/// The same as [`prepare`].
pub(crate) fn inspect(dir: &Path) -> StageResult<()> {
    match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = around(dir);
            if awaits_mount(parent) || fs::symlink_metadata(dir).is_ok() {
                return Err(missing(dir, &error));
            }
            usable(parent, fs::metadata(parent).map_err(|_| error))
        }
        found => usable(dir, found),
    }
}

fn usable(dir: &Path, found: io::Result<Metadata>) -> StageResult<()> {
    let found = found.map_err(|error| refusal::directory(dir, &error))?;
    if !found.is_dir() {
        return Err(missing(dir, &Errno::NOTDIR.into()));
    }
    match denied(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        None => Ok(()),
        Some(error) => Err(refusal::not_writable(dir, &error.into())),
    }
}

fn create(dir: &Path) -> io::Result<()> {
    if awaits_mount(around(dir)) {
        return Err(Errno::NOENT.into());
    }
    match owned::create_dir(dir, MODE) {
        // Another instance that starts at the same time made it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests;
