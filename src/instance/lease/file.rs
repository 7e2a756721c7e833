//! The files of a lease that `SQLite` keeps, as the operating system sees them.
//!
//! `SQLite` opens by name and does not look back: a database that was deleted or replaced while it was open is
//! written to as before, out of everybody's sight. And it creates files that everybody may read. Both
//! are seen to here. Nothing here opens a file that may be a database: closing it again would drop the
//! locks that `SQLite` has on it in this process (<https://sqlite.org/howtocorrupt.html>, 2.2).

use std::{
    ffi::OsString,
    fs::{self, File, Metadata},
    io::{self, ErrorKind, Read},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, AtFlags, CWD, StatxFlags, statx},
    io::Errno,
};

use super::store::StoreError;
use crate::{
    instance::{
        evidence::{denied, type_name, with_ending},
        other_names::is_mounted,
        private::{PRIVATE, keep_private},
        refusal::is_full,
    },
    owned,
};

/// The database, its write-ahead log, and the index of the log, which all readers share.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// What every database of `SQLite`'s begins with (<https://sqlite.org/fileformat.html#the_database_header>).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Which files are open, so that it can be checked that the path still leads there.
#[derive(Debug)]
pub(super) struct OpenFiles {
    files: [OpenFile; 3],
    /// The mount that the database is on, where the kernel says which one.
    mount: Option<u64>,
}

#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// None of the files ever becomes shorter while one of its users is there.
    length: u64,
}

/// The path of the file with its directory resolved: `SQLite`'s protection against symbolic links would
/// refuse one anywhere in the path, also those above the data that an operator made on purpose.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    let name = path.file_name().ok_or_else(|| StoreError::Unsupported("has no name".to_owned()))?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    Ok(parent.canonicalize().map_err(|error| failed(&error))?.join(name))
}

/// Whether a regular file is there, with one name.
pub(super) fn exists(path: &Path) -> Result<bool, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(found) => regular(&found).map(|()| true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(&error)),
    }
}

/// Whether a lease could be opened at this path, as far as that can be seen without making a file: `SQLite` makes the
/// log and its index where it only reads. Not asked in a process that has the lease open.
pub(crate) fn inspect(path: &Path) -> Result<(), StoreError> {
    let resolved = resolve(path)?;
    require_one_mount(&resolved)?;
    for file in SUFFIXES.map(|suffix| with_ending(&resolved, suffix)) {
        if exists(&file)? {
            denied(&file, Access::READ_OK | Access::WRITE_OK)
                .map_or(Ok(()), |error| Err(failed(&error.into())))?;
        }
    }
    let mut head = [0; MAGIC.len()];
    match File::open(&resolved).and_then(|mut lease| lease.read(&mut head)) {
        Ok(0) => Ok(()),
        Ok(_) if head == *MAGIC => Ok(()),
        Ok(_) => Err(StoreError::Damaged("is damaged: it is not a database".to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(&error)),
    }
}

/// Refuses a lease of which one file is mounted from elsewhere. `SQLite` finds the others by their names, so two
/// containers that share the database alone have a log and an index each, and never see each other's row.
pub(super) fn require_one_mount(path: &Path) -> Result<(), StoreError> {
    for file in SUFFIXES.map(|suffix| with_ending(path, suffix)) {
        if is_mounted(&file).map_err(|error| failed(&error.into()))? {
            let name = file.file_name().unwrap_or_default().display();
            let what =
                format!("cannot be shared: its file {name} is mounted alone; mount its whole directory");
            return Err(StoreError::Unsupported(what));
        }
    }
    Ok(())
}

/// What lies beside a database, as far as it decides how the database can be read without making anything: a connection
/// that only reads makes the log and its index, too, where they are missing (<https://sqlite.org/wal.html>, 7).
pub(super) enum Beside {
    /// Log and index are there.
    All,
    /// No log holds anything: the database alone is whole.
    NoLog,
    /// A log without an index, as where files were copied or removed by hand.
    NoIndex,
}

pub(super) fn beside(path: &Path) -> Result<Beside, StoreError> {
    let [_, log, index] = SUFFIXES.map(|suffix| with_ending(path, suffix));
    let length = |path: &Path| match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found.len())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&error)),
    };
    Ok(match (length(&log)?, length(&index)?) {
        (Some(_), Some(_)) => Beside::All,
        (None | Some(0), _) => Beside::NoLog,
        (Some(_), None) => Beside::NoIndex,
    })
}

/// The name by which `SQLite` reads a file without looking for a log (<https://sqlite.org/uri.html>).
pub(super) fn as_immutable(path: &Path) -> PathBuf {
    let mut name = b"file:".to_vec();
    for &byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'%' | b'?' | b'#') {
            name.extend(format!("%{byte:02x}").bytes());
        } else {
            name.push(byte);
        }
    }
    name.extend(b"?immutable=1");
    OsString::from_vec(name).into()
}

/// The number of the mount that the path leads to; kernels before 5.8 do not tell (statx(2)).
fn mount_of(path: &Path) -> Option<u64> {
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID).ok()?;
    (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
}

/// Makes an empty file if there is none, because `SQLite` would create it readable for everyone, and makes private what
/// is there. `O_EXCL` never follows a link, and never opens what is there (open(2)).
pub(super) fn create(path: &Path) -> Result<(), StoreError> {
    if exists(path)? {
        SUFFIXES.iter().for_each(|suffix| keep_private(&with_ending(path, suffix)));
        return Ok(());
    }
    match owned::create_if_missing(path, PRIVATE) {
        Ok(Some(_closed)) => Ok(()),
        // Another instance made it in between, or something else is there after all.
        Ok(None) => exists(path).map(drop),
        Err(error) => Err(failed(&error)),
    }
}

fn regular(found: &Metadata) -> Result<(), StoreError> {
    match () {
        () if !found.is_file() => Err(StoreError::Unsupported(format!("is a {}", type_name(found)))),
        () if found.nlink() != 1 => {
            Err(StoreError::Unsupported(format!("has {} names (hard links)", found.nlink())))
        }
        () => Ok(()),
    }
}

/// The failure that an error of the operating system stands for.
pub(super) fn failed(error: &io::Error) -> StoreError {
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => StoreError::NotWritable(error.into()),
        Some(_) if is_full(error) => StoreError::Full(error.into()),
        Some(_) | None => StoreError::Failed(error.into()),
    }
}

impl OpenFiles {
    /// Notes which files are at the path and beside it, just after `SQLite` opened them.
    pub(super) fn note(path: &Path) -> Result<Self, StoreError> {
        let note = |suffix: &str| -> Result<OpenFile, StoreError> {
            let path = with_ending(path, suffix);
            let found = fs::symlink_metadata(&path).map_err(|error| failed(&error))?;
            regular(&found)?;
            Ok(OpenFile { path, device: found.dev(), inode: found.ino(), length: found.len() })
        };
        let [database, log, index] = SUFFIXES;
        let files = [note(database)?, note(log)?, note(index)?];
        Ok(Self { files, mount: mount_of(path) })
    }

    /// The database itself.
    pub(super) fn database(&self) -> &Path {
        &self.files[0].path
    }

    /// The file system that they are on.
    pub(super) fn device(&self) -> u64 {
        self.files[0].device
    }

    /// Checks that the paths still lead to the open files, and that the next holder could open them.
    pub(super) fn verify(&mut self) -> Result<(), StoreError> {
        self.files.iter_mut().try_for_each(OpenFile::verify)?;
        match denied(self.database(), Access::WRITE_OK) {
            Some(Errno::ACCESS | Errno::PERM) => {
                Err(StoreError::Changed("file was made read-only".to_owned()))
            }
            Some(Errno::ROFS) if mount_of(self.database()) != self.mount => {
                Err(StoreError::Changed("file was made read-only".to_owned()))
            }
            // While a file is open for writing nobody can make its mount read-only (mount(2), EBUSY). The kernel does
            // it with the whole file system where the disk fails (ext4(5), `errors=remount-ro`).
            Some(error @ Errno::ROFS) => Err(failed(&error.into())),
            // Where it cannot be told, renewing does.
            None | Some(_) => Ok(()),
        }
    }
}

impl OpenFile {
    fn verify(&mut self) -> Result<(), StoreError> {
        let found = match fs::symlink_metadata(&self.path) {
            Ok(found) => found,
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::NOTDIR)) => {
                return Err(self.changed("was removed"));
            }
            Err(error) => return Err(failed(&error)),
        };
        match () {
            () if !found.is_file() => Err(self.changed(&format!("was replaced by a {}", type_name(&found)))),
            () if (found.dev(), found.ino()) != (self.device, self.inode) => {
                Err(self.changed("was replaced by another file"))
            }
            () if found.nlink() != 1 => {
                Err(self.changed(&format!("has {} names (hard links) where it must have one", found.nlink())))
            }
            () if found.len() < self.length => Err(self.changed("was cut short")),
            () => {
                self.length = found.len();
                Ok(())
            }
        }
    }

    fn changed(&self, what: &str) -> StoreError {
        let name = self.path.file_name().unwrap_or_default();
        StoreError::Changed(format!("file {} {what}", name.display()))
    }
}

#[cfg(test)]
mod tests;
