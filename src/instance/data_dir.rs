//! The directory that holds the data and the lock: made if it is missing, and shown to be writable
//! before anything is opened in it.
//!
//! `SQLite` says "unable to open database file" for a missing directory, a directory in place of the file
//! and a missing permission alike. What stands here says which, to whom it belongs and who we are.

use std::{
    fs::{self, File, Metadata},
    io,
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};

use rustix::{
    fs::{Access, AtFlags, CWD, Mode, OFlags},
    io::Errno,
    process::{getegid, geteuid},
};

use super::{
    flock,
    id_map::IdMap,
    mounts::{Mount, mount_of},
    sharing::Surroundings,
};
use crate::{
    codes,
    error::{Fact, StageError, StageResult},
    owned,
};

/// Makes sure that `dir` is a directory in which this process can create and replace files.
///
/// Only the last part of the path is created. A parent that is missing is most often a volume that was
/// not mounted or a misspelt name, and data written to a new directory in its place would be lost.
///
/// # Errors
/// `db.dir-missing`, `db.not-writable` and `db.disk-full`.
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
            let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            usable(parent, fs::metadata(parent).map_err(|_| error))
        }
        found => usable(dir, found),
    }
}

fn usable(dir: &Path, found: io::Result<Metadata>) -> StageResult<()> {
    let found = found.map_err(|error| missing(dir, &error))?;
    if !found.is_dir() {
        return Err(missing(dir, &Errno::NOTDIR.into()));
    }
    match rustix::fs::accessat(
        CWD,
        dir,
        Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK,
        AtFlags::EACCESS,
    ) {
        // Kernels before 5.8 cannot tell about the effective user; opening the lock file will.
        Ok(()) | Err(Errno::NOSYS) => Ok(()),
        Err(error) => Err(not_writable(dir, &error.into())),
    }
}

fn create(dir: &Path) -> io::Result<()> {
    match owned::create_dir(dir, 0o700) {
        // Another instance that starts at the same time made it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}

fn missing(dir: &Path, error: &io::Error) -> StageError {
    if is_full(error) {
        return disk_full(dir, error);
    }
    // The nearest directory that exists tells whether a mount or a permission is missing.
    let existing = dir.ancestors().skip(1).find(|parent| parent.is_dir()).unwrap_or(Path::new("/"));
    if Errno::from_io_error(error) == Some(Errno::ROFS) {
        return not_writable(existing, error);
    }
    let (user, group) = (geteuid(), getegid());
    let shown = dir.display();
    let cause = format!("The directory {shown} cannot be used or created: {error}");
    with_facts(StageError::new(codes::DB_DIR_MISSING, cause), existing)
        .hint(format!("In Compose, mount a named volume there: `volumes: [data:{shown}]`"))
        .hint(format!("Or create it: install -d -o {user} -g {group} -m 0700 {}", quoted(dir)))
}

/// The refusal for a file or directory at `path` that exists but that this process cannot write.
///
/// `error` is what the operating system said; it decides between a permission and a read-only mount.
pub(crate) fn not_writable(path: &Path, error: &io::Error) -> StageError {
    let permission = matches!(Errno::from_io_error(error), Some(Errno::ACCESS | Errno::PERM));
    let read_only = Errno::from_io_error(error) == Some(Errno::ROFS);
    let cause = format!("{} cannot be written by this process: {error}", path.display());
    let refusal = with_facts(StageError::new(codes::DB_NOT_WRITABLE, cause), path);
    let mount = mount_at(path);
    if read_only {
        let point = mount.point.display();
        return refusal
            .hint(format!("Remove `:ro` or `read_only: true` from the mount of {point}"))
            .hint(format!("Not a container? mount -o remount,rw {}", quoted(&mount.point)));
    }
    if !permission {
        return refusal.code(codes::DB_IO).hint("Look for errors of the disk: dmesg | tail");
    }
    let found = fs::metadata(path);
    if found.as_ref().is_ok_and(|found| found.uid() == geteuid().as_raw()) {
        // Giving it to its owner would change nothing.
        return refusal.hint(format!("It is ours, but its mode forbids it: chmod -R u+rwX {}", quoted(path)));
    }
    let (surroundings, ids) = (Surroundings::default(), IdMap::of_this_process());
    let platform = surroundings.platform();
    // What cannot be looked at may belong to anybody.
    let owned = found.map_or((u32::MAX, u32::MAX), |found| (found.uid(), found.gid()));
    let refusal = refusal.hint(platform.give(path, &mount, owned, &ids));
    match platform.run_as(owned, &ids).filter(|_| owned.0 != u32::MAX) {
        Some(written) => refusal.hint(format!("Or run as its owner: {written}")),
        None => refusal,
    }
}

/// The failure of an operation on `path` for want of space.
pub(crate) fn disk_full(path: &Path, error: &io::Error) -> StageError {
    let cause = format!("There is no space left to write {}: {error}", path.display());
    with_facts(StageError::new(codes::DB_DISK_FULL, cause), path)
        .hint(format!("Free space on it, or raise its quota: df -h {}", quoted(path)))
}

/// Whether an error means that the disk, or this user's share of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}

/// What an operator needs in order to see why a path cannot be used: who we are, to whom the path
/// belongs, on what it lies, how much space is left.
pub(crate) fn path_facts(path: &Path) -> Vec<Fact> {
    let fact = |name: &'static str, value: String| Fact { name: name.into(), value };
    let (name, value) = match fs::metadata(path) {
        Ok(found) => (type_name(&found), owner_and_mode(path, &found)),
        Err(error) => ("path", format!("{}: {error}", path.display())),
    };
    let space = free_space(path).map_or_else(|_| "free space not known".to_owned(), free);
    vec![
        fact("process", format!("uid {}, gid {}", geteuid(), getegid())),
        fact(name, value),
        fact("mount", format!("{}, {space}", mount_at(path).describe())),
    ]
}

fn with_facts(error: StageError, path: &Path) -> StageError {
    path_facts(path).into_iter().fold(error, |error, fact| error.fact(fact.name, fact.value))
}

/// A file's type, for people.
pub(super) fn type_name(found: &Metadata) -> &'static str {
    let kind = found.file_type();
    match () {
        () if kind.is_file() => "file",
        () if kind.is_dir() => "directory",
        () if kind.is_symlink() => "symbolic link",
        () if kind.is_fifo() => "pipe",
        () if kind.is_socket() => "socket",
        () => "device",
    }
}

fn owner_and_mode(path: &Path, found: &Metadata) -> String {
    let (user, group, mode) = (found.uid(), found.gid(), found.mode() & 0o7777);
    format!("{}, owner {user}:{group}, mode {mode:04o}", path.display())
}

pub(super) fn mount_at(path: &Path) -> Mount {
    let open = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    match open.map(File::from) {
        Ok(open) => mount_of(open.as_fd(), path),
        Err(_) => Mount::unknown(path.to_owned()),
    }
}

/// How many bytes this process may still write to the file system of `path`.
pub(crate) fn free_space(path: &Path) -> io::Result<u64> {
    flock::free_space(path)
}

fn free(bytes: u64) -> String {
    format!("{} free", size(bytes))
}

/// A number of bytes in the unit that leaves one to three digits before the point.
pub(crate) fn size(bytes: u64) -> String {
    const KIB: u64 = 1024;
    let (unit, name) = match bytes {
        0..KIB => return format!("{bytes} bytes"),
        KIB..0x10_0000 => (KIB, "KiB"),
        0x10_0000..0x4000_0000 => (KIB * KIB, "MiB"),
        _ => (KIB * KIB * KIB, "GiB"),
    };
    format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit)
}

/// A path as one word of a shell command.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    shlex::try_quote(&text).map(|word| word.into_owned()).unwrap_or(text)
}

#[cfg(test)]
mod tests;
