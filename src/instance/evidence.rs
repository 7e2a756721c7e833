//! What the kernel says about a path, for the people who have to see why it cannot be used.

use std::{
    fs::{self, File, Metadata},
    io,
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, AtFlags, CWD, IFlags, Mode, OFlags, StatVfs, StatxAttributes, StatxFlags, accessat, statx},
    io::Errno,
    process::{getegid, geteuid, getgid, getuid},
};

use super::mounts::{Mount, mount_of};
use crate::error::{Fact, StageError};

/// With either of these a process may use files whatever their modes say (capabilities(7)).
const OVERRIDES: u64 = (1 << 1) | (1 << 2);

/// What an operator needs in order to see why a path cannot be used: who we are, to whom the path
/// belongs, on what it lies, how much space is left.
pub(crate) fn path_facts(path: &Path) -> Vec<Fact> {
    let fact = |name: &'static str, value: String| Fact { name: name.into(), value };
    let (name, value) = match fs::metadata(path) {
        Ok(found) => (type_name(&found), owner_and_mode(path, &found)),
        Err(error) => ("path", format!("{}: {error}", path.display())),
    };
    let around = existing(path);
    let mount = mount_at(around).describe();
    vec![
        fact("process", format!("uid {}, gid {}", geteuid(), getegid())),
        fact(name, value),
        fact(
            "mount",
            Room::at(around).map_or_else(|_| mount.clone(), |room| format!("{mount}, {}", room.shown())),
        ),
    ]
}

pub(super) fn with_facts(error: StageError, path: &Path) -> StageError {
    path_facts(path).into_iter().fold(error, |error, fact| error.fact(fact.name, fact.value))
}

/// The nearest of a path and the directories above it that is there.
pub(super) fn existing(path: &Path) -> &Path {
    let named = |each: &&Path| !each.as_os_str().is_empty();
    path.ancestors().filter(named).find(|each| fs::metadata(each).is_ok()).unwrap_or(Path::new("."))
}

/// The directory that a path lies in.
pub(super) fn around(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file's type, for people.
pub(crate) fn type_name(found: &Metadata) -> &'static str {
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

pub(super) fn owner_and_mode(path: &Path, found: &Metadata) -> String {
    let (user, group, mode) = (found.uid(), found.gid(), found.mode() & 0o7777);
    format!("{}, owner {user}:{group}, mode {mode:04o}", path.display())
}

pub(super) fn mount_at(path: &Path) -> Mount {
    // A descriptor that only names a file (`O_PATH`) drops no lock when it is closed.
    let open = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    match open.map(File::from) {
        Ok(open) => mount_of(open.as_fd(), path),
        Err(_) => Mount::unknown(path.to_owned()),
    }
}

/// Why this process may not do that with `path`; `None` where it may, or where only trying can tell.
///
/// access(2) asks for the real user. Where the effective one is another, or has rights beyond the modes, its answer
/// says nothing. faccessat2(2) could be asked for the effective one, but the filters of older container engines
/// forbid what they do not know.
pub(crate) fn denied(path: &Path, wanted: Access) -> Option<Errno> {
    let refused = accessat(CWD, path, wanted, AtFlags::empty()).err()?;
    let by_modes = refused == Errno::ACCESS;
    if by_modes
        && (getuid() != geteuid() || getgid() != getegid() || (!geteuid().is_root() && has_overrides()))
    {
        return None;
    }
    Some(refused)
}

fn has_overrides() -> bool {
    // Each thread has rights of its own.
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|set| set & OVERRIDES != 0)
}

/// The attributes of chattr(1) that keep even root from changing a file: its letters, as `-i`.
pub(super) fn chattr(path: &Path) -> Option<&'static str> {
    let (immutable, append) = attributes(path)?;
    match (immutable, append) {
        (true, true) => Some("-ia"),
        (true, false) => Some("-i"),
        (false, true) => Some("-a"),
        (false, false) => None,
    }
}

fn attributes(path: &Path) -> Option<(bool, bool)> {
    use StatxAttributes as Known;
    if let Ok(found) = statx(CWD, path, AtFlags::empty(), StatxFlags::empty())
        && found.stx_attributes_mask.contains(Known::IMMUTABLE | Known::APPEND)
    {
        let has = |one| found.stx_attributes.contains(one);
        return Some((has(Known::IMMUTABLE), has(Known::APPEND)));
    }
    // Only of a directory: a file that is opened and closed again loses the locks that SQLite has on it.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let found = rustix::fs::ioctl_getflags(open).ok()?;
    Some((found.contains(IFlags::IMMUTABLE), found.contains(IFlags::APPEND)))
}

/// How much a file system can still take from this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Room {
    pub(super) bytes: u64,
    /// How many more files; `None` where there is no fixed number of them.
    pub(super) files: Option<u64>,
}

impl Room {
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::of(&rustix::fs::statvfs(path)?))
    }

    fn of(found: &StatVfs) -> Self {
        let bytes = found.f_bavail.saturating_mul(found.f_frsize);
        Self { bytes, files: (found.f_files > 0).then_some(found.f_favail) }
    }

    /// For people. Files are only spoken of where they are scarce.
    pub(super) fn shown(self) -> String {
        match self.files {
            Some(files) if files < FEW => format!("{} free, room for {files} files", size(self.bytes)),
            _ => format!("{} free", size(self.bytes)),
        }
    }
}

/// Below this, that a file cannot be made may be for want of room for it.
pub(super) const FEW: u64 = 16;

/// How many bytes this process may still write to the file system of `path`.
#[cfg(feature = "database")]
pub(crate) fn free_space(path: &Path) -> io::Result<u64> {
    Room::at(path).map(|room| room.bytes)
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

/// `sudo ` where the command that follows needs root, and this process's user is not.
pub(super) fn sudo() -> &'static str {
    if geteuid().is_root() { "" } else { "sudo " }
}

/// The path with an ending after its name, as `SQLite` names what it keeps beside a database.
pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests;
