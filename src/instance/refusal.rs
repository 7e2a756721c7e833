//! What an error means that the operating system gave for a path of the data, and where to look when it gave none.
//!
//! `SQLite` has one answer, "unable to open database file", to a missing permission, a path that is too long, a process
//! without a descriptor left and a disk without room. It keeps the system's error to itself, so the kernel is asked
//! again, without opening the database: closing a descriptor of it would drop the locks that `SQLite` has in this
//! process (<https://sqlite.org/howtocorrupt.html>, 2.2).

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    process::{Resource, getrlimit},
};

use super::{
    evidence::{FEW, Room, around, existing, mount_at, quoted, sudo, with_ending, with_facts},
    missing::missing,
    mounts::Mount,
    obstacles,
    sharing::typed,
};
use crate::{
    codes::{self, FailureCode},
    error::{ErrorKind, StageError},
    limits::Limit,
};

/// How long the path of a database may be, in bytes: `SQLite` takes 512 (`MAX_PATHNAME` in os_unix.c), and adds
/// `-journal` to it (`sqlite3PagerOpen`).
const PATH_MOST: usize = 504;

/// How many descriptors `SQLite` has open at once for one database: the file, its log, its index, a directory that is
/// synced; and the same for the lease.
const DESCRIPTORS: usize = 8;

/// `SQLITE_NOMEM`, `SQLITE_IOERR_NOMEM` (<https://sqlite.org/rescode.html>).
const NO_MEMORY: [i32; 2] = [7, 3082];

/// Written to find out whether anything can be: as much as the index of a log takes.
const PROBE: usize = 64 * 1024;

/// The refusal for `path`, of which the operating system said `error` while `doing` something with it.
pub(crate) fn system(path: &Path, doing: &str, error: &io::Error) -> StageError {
    if let Some(limit) = Limit::behind(error) {
        return limit.refusal(format!("cannot {doing} {}: {error}", path.display()));
    }
    if is_full(error) {
        return disk_full(path, error);
    }
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => not_writable(path, error),
        Some(Errno::NAMETOOLONG) => too_long(path, error),
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => missing(around(path), error),
        Some(Errno::TXTBSY) => in_use(path, doing, error),
        Some(Errno::STALE) => disk(path, doing, error).hint(remount(path)),
        Some(Errno::INTR | Errno::AGAIN) => {
            disk(path, doing, error).kind(ErrorKind::Temporary).hint(KERNEL_LOG)
        }
        _ => disk(path, doing, error).hint(KERNEL_LOG),
    }
}

/// The refusal for the directory of the data, which cannot be used or created.
pub(super) fn directory(dir: &Path, error: &io::Error) -> StageError {
    match Errno::from_io_error(error) {
        // What cannot be made is a matter of the directory around it.
        Some(Errno::PERM | Errno::ROFS) => not_writable(existing(dir), error),
        // Whoever may not make it there is not given the directory around it.
        Some(Errno::ACCESS)
            if fs::metadata(dir).is_err_and(|found| found.kind() == io::ErrorKind::NotFound) =>
        {
            missing(dir, error)
        }
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => missing(dir, error),
        _ => system(dir, "use the directory", error),
    }
}

/// The refusal for a file or directory at `path` that exists but that this process cannot write.
///
/// `error` is what the operating system said; it decides between a permission and a read-only file system.
pub(crate) fn not_writable(path: &Path, error: &io::Error) -> StageError {
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM) => obstacles::refusal(path, error),
        Some(Errno::ROFS) => read_only(path, error),
        _ => system(path, "write", error),
    }
}

fn read_only(path: &Path, error: &io::Error) -> StageError {
    let mount = mount_at(existing(path));
    // A read-only error where nobody made anything read-only comes from the disk.
    if mount.gave_up || !mount.read_only {
        return gave_up(path, &mount, &error.to_string());
    }
    let cause = format!("{} cannot be written by this process: {error}", path.display());
    let point = mount.point.display();
    with_facts(StageError::new(codes::DB_NOT_WRITABLE, cause), path)
        .hint(format!("Remove `:ro` or `read_only: true` from the mount of {point}"))
        .hint(format!("Not a container? {}mount -o remount,rw {}", sudo(), quoted(&mount.point)))
}

/// The kernel stopped writing to the file system, because it met an error. Mounting it again without a check could
/// make it worse (ext4(5), `errors=remount-ro`).
fn gave_up(path: &Path, mount: &Mount, said: &str) -> StageError {
    let cause = format!("The file system of {} takes no more writes after an error: {said}", path.display());
    let device = Path::new(&mount.source);
    let check = if device.is_absolute() {
        format!(
            "Unmount it, check it, mount it again: umount {0}; fsck -f {1}",
            quoted(&mount.point),
            quoted(device)
        )
    } else {
        format!("Unmount it, check it, mount it again: umount {}", quoted(&mount.point))
    };
    with_facts(StageError::new(codes::DB_IO, cause), path)
        .fact("file system", "not mounted read-only by anybody: it stopped by itself")
        .hint(KERNEL_LOG)
        .hint(check)
        .hint("Copy the data to another disk while it can be read")
}

const KERNEL_LOG: &str = "Look for errors of the disk: dmesg | tail";

fn disk(path: &Path, doing: &str, error: &io::Error) -> StageError {
    let cause = format!("cannot {doing} {}: {error}", path.display());
    with_facts(StageError::new(codes::DB_IO, cause), path)
}

fn remount(path: &Path) -> String {
    let point = mount_at(existing(path)).point;
    format!(
        "The server forgot what is mounted there; mount it again: umount -l {0} && mount {0}",
        quoted(&point)
    )
}

fn in_use(path: &Path, doing: &str, error: &io::Error) -> StageError {
    disk(path, doing, error)
        .kind(ErrorKind::Config)
        .hint(format!("It is a program or a swap file in use; see by whom: fuser -v {}", quoted(path)))
        .hint("Point the service at a file of its own")
}

fn too_long(path: &Path, why: impl std::fmt::Display) -> StageError {
    let length = path.as_os_str().len();
    let longest = path.iter().map(|part| part.as_bytes().len()).max().unwrap_or(0);
    StageError::new(codes::ENV_INVALID, format!("{why}: the path {}", path.display()))
        .fact("length", format!("{length} bytes, the longest part has {longest}"))
        .fact("limit", format!("{PATH_MOST} bytes for the path of a database, 255 for each part"))
        .hint("Give the data a shorter path: the variable that ends in _DATA_DIR or _DATABASE_PATH")
        .hint("Or mount it at a shorter one, and name that: mount --bind LONG SHORT")
}

/// Refuses the path of a database that `SQLite` could not open. It counts what links lead to.
pub(crate) fn fits(path: &Path) -> Result<(), StageError> {
    let dir = fs::canonicalize(around(path));
    let resolved = dir.ok().zip(path.file_name()).map(|(dir, name)| dir.join(name));
    let path = resolved.as_deref().unwrap_or(path);
    let length = path.as_os_str().len();
    if length <= PATH_MOST {
        return Ok(());
    }
    Err(too_long(path, format!("SQLite takes {PATH_MOST} bytes, and {length} are too long")))
}

/// The failure of an operation on `path` for want of room.
pub(crate) fn disk_full(path: &Path, error: &io::Error) -> StageError {
    no_room(path, &format!("There is no space left to write {}: {error}", path.display()), is_quota(error))
}

/// The refusal to begin with less than `needed` bytes of room.
#[cfg(feature = "database")]
pub(crate) fn too_little_room(path: &Path, free: u64, needed: u64) -> StageError {
    use super::evidence::size;

    let cause =
        format!("Only {} are free to write {}, and {} are needed", size(free), path.display(), size(needed));
    no_room(path, &cause, false)
}

fn no_room(path: &Path, cause: &str, quota: bool) -> StageError {
    let place = existing(path);
    let refused = with_facts(StageError::new(codes::DB_DISK_FULL, cause.to_owned()), path);
    let name = quoted(if place.is_dir() { place } else { around(place) });
    let room = Room::at(place).ok();
    let without_files = room.is_some_and(|room| room.files.is_some_and(|files| files < FEW));
    let point = quoted(&mount_at(place).point);
    match () {
        () if quota => {
            refused.fact("full", "the quota of this user, group or directory; not the disk").hint(format!(
                "Free space on it, or raise the quota; see the disk: {}",
                typed(&format!("df -h {name}"), place)
            ))
        }
        () if without_files => refused
            .fact("full", "the number of files: there is no inode left, whatever bytes are free")
            .hint(format!(
                "Remove files, or make the file system with more inodes: {}",
                typed(&format!("df -i {name}"), place)
            ))
            .hint(format!("See where the many files are: du --inodes -xd2 {point} | sort -n | tail")),
        () if room.is_some_and(|room| room.bytes > 16 * 1024 * 1024) => refused
            .hint(format!("Free space on it, or raise its quota: {}", typed(&format!("df -h {name}"), place)))
            .hint(format!("Or it has no inode left: {}", typed(&format!("df -i {name}"), place))),
        () => refused
            .hint(format!("Free space on it, or raise its quota: {}", typed(&format!("df -h {name}"), place)))
            .hint(format!(
                "See what takes it: {} | sort -h | tail",
                typed(&format!("du -xhd1 {point}"), place)
            )),
    }
}

/// Whether an error means that the disk, or this user's share of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC)) || is_quota(error)
}

fn is_quota(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::DQUOT))
}

/// The refusal for the database at `path`, which `SQLite` cannot open or use for a reason that it does not tell: its
/// extended result code is `number`. Where the kernel does not tell either, it is `unknown`, in the words of `SQLite`.
pub(crate) fn of_sqlite(path: &Path, unknown: FailureCode, cause: &str, number: i32) -> StageError {
    let resolved = fs::canonicalize(path);
    let path = resolved.as_deref().unwrap_or(path);
    if let Err(refused) = fits(path) {
        return refused;
    }
    if NO_MEMORY.contains(&number) {
        return Limit::Memory.refusal(cause.to_owned());
    }
    if let Err(refused) = descriptors_left(cause) {
        return refused;
    }
    if let Err(error) = fs::metadata(path).and_then(|_| fs::metadata(around(path)))
        && error.kind() != io::ErrorKind::NotFound
    {
        return system(path, "open", &error);
    }
    let dir = around(path);
    if !dir.is_dir() {
        return missing(dir, &Errno::NOENT.into());
    }
    if let Some((obstacle, error)) = obstacles::first(path) {
        return not_writable(&obstacle, &error.into());
    }
    let mount = mount_at(dir);
    if mount.gave_up {
        return gave_up(path, &mount, cause);
    }
    if let Err(error) = try_to_write(dir) {
        return system(dir, "write in", &error);
    }
    if let Some(most) = reached_size(path) {
        return Limit::FileSize.refusal(format!("{cause}: no file may grow beyond {most} bytes"));
    }
    if unknown == codes::DB_DISK_FULL {
        return no_room(path, cause, false);
    }
    with_facts(StageError::new(unknown, cause.to_owned()), path)
        .hint(KERNEL_LOG)
        .hint("Check limits on the size of files, and quotas: ulimit -f; quota")
}

/// Refuses where this process could not open as many files as `SQLite` does: that is then the reason of what `failed`.
pub(super) fn descriptors_left(failed: &str) -> Result<(), StageError> {
    let Err(error) = descriptors() else { return Ok(()) };
    match Limit::behind(&error) {
        Some(limit) => Err(limit.refusal(format!("{failed}: {error}"))),
        None => Ok(()),
    }
}

/// Opens them, and closes them.
fn descriptors() -> io::Result<()> {
    let open = || rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let all: Result<Vec<_>, Errno> = (0..DESCRIPTORS).map(|_| open()).collect();
    Ok(all.map(drop)?)
}

/// Writes to a file without a name, which is gone when it is closed (`O_TMPFILE`, open(2)).
fn try_to_write(dir: &Path) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mut file = match rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR) {
        Ok(open) => File::from(open),
        // Not every file system has such files, and filters may not know them.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::NOSYS | Errno::INVAL) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // Beyond its limit a process is ended by a signal, unless it ignores that (setrlimit(2)).
    if getrlimit(Resource::Fsize).current.is_some_and(|most| most < PROBE as u64) {
        return Ok(());
    }
    file.write_all(&[0; PROBE])?;
    file.sync_data()
}

/// The limit on the size of files, where one of the database's has come near it.
fn reached_size(path: &Path) -> Option<u64> {
    let most = getrlimit(Resource::Fsize).current?;
    let near = |length: u64| length.saturating_add(PROBE as u64 * 2) > most;
    let length = |ending| fs::metadata(with_ending(path, ending)).map_or(0, |found| found.len());
    ["", "-wal", "-shm", "-journal"].map(length).into_iter().any(near).then_some(most)
}

#[cfg(test)]
mod tests;
