//! The directories in which a running service tells `healthcheck` how it is.
//!
//! A directory may lie where everybody can write (`/tmp`), so it must be ours alone, and no symbolic link. Whoever was
//! there first can keep us from one but not from all: the last one lies beside the lock, where nobody else may write.

use std::{
    fmt,
    fs::{self, DirEntry},
    hash::{DefaultHasher, Hash, Hasher},
    os::{
        fd::OwnedFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    process::geteuid,
};

use crate::{settings::paths::run_dirs, startup::Startup};

/// How many directories of other users are named.
const OTHERS_MOST: usize = 3;

/// Where the file is, or may be: the first of these that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Places {
    pub(super) all: Vec<Place>,
    service: String,
    bases: Vec<PathBuf>,
}

/// A directory, and the name of the file in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) file: String,
    /// Whether it lies among the data. A directory is then not left there.
    pub(super) beside_the_lock: bool,
}

/// Why a directory is not used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refused {
    dir: PathBuf,
    why: Why,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Why {
    Owner(u32),
    Mode(u32),
    /// Something else is there, which belongs to this user.
    Kind(&'static str, u32),
    System(Errno),
}

impl Refused {
    /// Whether somebody made something there that keeps us out, as opposed to a place that there is not.
    pub(crate) fn is_taken(&self) -> bool {
        !matches!(self.why, Why::System(_))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir = self.dir.display();
        match &self.why {
            Why::Owner(user) => write!(formatter, "{dir} belongs to uid {user}"),
            Why::Mode(mode) => write!(formatter, "{dir} has mode {mode:04o}, which lets others in"),
            Why::Kind(kind, user) => write!(formatter, "{dir} is a {kind} of uid {user}"),
            Why::System(error) => write!(formatter, "{dir}: {error}"),
        }
    }
}

impl Places {
    /// The places of an application's file.
    pub(crate) fn of(startup: &Startup) -> Self {
        Self::new(run_dirs(&startup.env()), startup.name(), &startup.lock_path())
    }

    /// The places under `bases` for the service with this name and this lock. Several services of one name may
    /// run on one machine if each has its own data, so the lock tells them apart.
    pub(super) fn new(bases: impl IntoIterator<Item = PathBuf>, service: &str, lock_path: &Path) -> Self {
        let lock = std::path::absolute(lock_path).unwrap_or_else(|_| lock_path.to_owned());
        let name = format!("{service}.{}", geteuid());
        let file = format!("{:016x}.health", hash_of(&lock));
        let bases: Vec<_> = bases.into_iter().filter(|base| base.is_absolute()).collect();
        let mut all: Vec<_> = bases
            .iter()
            .map(|base| Place { dir: base.join(&name), file: file.clone(), beside_the_lock: false })
            .collect();
        // The data may be shared with another container, whose health is not ours to tell.
        let file = format!("{:016x}.health", hash_of(&(&lock, here())));
        let beside = lock.parent().map(|dir| Place { dir: dir.join(&name), file, beside_the_lock: true });
        all.extend(beside);
        Self { all, service: service.to_owned(), bases }
    }

    /// The places that somebody keeps us out of.
    pub(crate) fn taken(&self) -> Vec<Refused> {
        let refused = self.all.iter().filter_map(|place| open_private(&place.dir).err());
        refused.filter(Refused::is_taken).collect()
    }

    /// The directories in which services of this name tell other users how they are, and those users. A directory
    /// that does not belong to the user of its name says nothing about that user.
    pub(crate) fn of_others(&self) -> Vec<(PathBuf, u32)> {
        let homes = fs::read_dir("/run/user").into_iter().flatten().flatten().map(|home| home.path());
        let mut bases: Vec<_> = self.bases.iter().cloned().chain(homes).collect();
        bases.sort();
        bases.dedup();
        let entries = bases.iter().flat_map(|base| fs::read_dir(base).into_iter().flatten().flatten());
        let mut others: Vec<_> = entries.filter_map(|entry| self.of_another(&entry)).collect();
        others.sort();
        others.truncate(OTHERS_MOST);
        others
    }

    fn of_another(&self, entry: &DirEntry) -> Option<(PathBuf, u32)> {
        let name = entry.file_name().into_string().ok()?;
        let user: u32 = name.strip_prefix(&self.service)?.strip_prefix('.')?.parse().ok()?;
        // Not of its target, where it is a symbolic link.
        let found = entry.metadata().ok()?;
        let is_theirs = user != geteuid().as_raw() && found.is_dir() && found.uid() == user;
        is_theirs.then(|| (entry.path(), user))
    }
}

fn hash_of(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// What two processes have in common that a container engine, or a service manager, calls the same container: which
/// boot it was, which processes they see and which root directory.
fn here() -> (String, Option<PathBuf>, Option<(u64, u64)>) {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let root = fs::metadata("/").ok().map(|root| (root.dev(), root.ino()));
    (boot, fs::read_link("/proc/self/ns/pid").ok(), root)
}

/// Makes a directory that is nobody's but ours, or opens the one that is there.
pub(super) fn make_private(dir: &Path) -> Result<OwnedFd, Refused> {
    match rustix::fs::mkdir(dir, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => open_private(dir),
        Err(error) => Err(Refused { dir: dir.to_owned(), why: Why::System(error) }),
    }
}

/// Opens a directory that is nobody's but ours. Whoever can write to the one above it could have made another
/// one there first, or a link.
pub(super) fn open_private(dir: &Path) -> Result<OwnedFd, Refused> {
    let refused = |why| Refused { dir: dir.to_owned(), why };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = rustix::fs::open(dir, flags, Mode::empty()).map_err(|error| refused(kept_out(dir, error)))?;
    let found = rustix::fs::fstat(&open).map_err(|error| refused(Why::System(error)))?;
    if found.st_uid != geteuid().as_raw() {
        return Err(refused(Why::Owner(found.st_uid)));
    }
    match found.st_mode & 0o7777 {
        mode if mode & 0o077 != 0 => Err(refused(Why::Mode(mode))),
        _ => Ok(open),
    }
}

/// What is at `dir` that could not be opened.
fn kept_out(dir: &Path, error: Errno) -> Why {
    let Ok(found) = dir.symlink_metadata() else { return Why::System(error) };
    let kind = found.file_type();
    match () {
        () if kind.is_dir() && found.uid() != geteuid().as_raw() => Why::Owner(found.uid()),
        () if kind.is_dir() => Why::System(error),
        () if kind.is_symlink() => Why::Kind("symbolic link", found.uid()),
        () if kind.is_file() => Why::Kind("file", found.uid()),
        () if kind.is_fifo() => Why::Kind("pipe", found.uid()),
        () => Why::Kind("device or socket", found.uid()),
    }
}

#[cfg(test)]
mod tests;
