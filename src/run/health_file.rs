//! The file by which a running service tells `healthcheck` how it is.
//!
//! A health check is another process of the same image: it has the same environment and the same user, and
//! neither a shell nor a network. So the service writes a line to a place that both know and that no other
//! container sees. It must not be the data volume, where a second replica would read the health of the first.
//!
//! The directory may lie where everybody can write (`/tmp`), so it must be ours alone, and no symbolic link.
//!
//! Mostly nothing changes but when it was said, so that is the time of the file itself: a second's word costs no
//! new file, whose making and unmaking can wait for a disk.

use std::{
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT},
    io::Errno,
    process::geteuid,
};
use serde::{Deserialize, Serialize};

use crate::{clock::boot_time, settings::paths::run_dirs, startup::Startup};

/// A service that has not said for so long that it runs does not, or not well. It says so every second.
const SILENT_MOST: Duration = Duration::from_secs(5);

/// How much of a file is read. What we write is far shorter.
const LENGTH_MOST: u64 = 4096;

/// What the service says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Health {
    pub(crate) pid: u32,
    /// When it was said, in milliseconds since the machine booted: the file's time. A suspended machine counts on,
    /// and a file from before a reboot lies in the future.
    #[serde(skip)]
    pub(crate) at_ms: u64,
    /// Whether the start is over.
    pub(crate) started: bool,
    /// Whether requests should come here.
    pub(crate) ready: bool,
    /// The same for people.
    pub(crate) line: String,
}

impl Health {
    /// How long ago it was said; `None` where its service cannot be running any more.
    pub(crate) fn age(&self) -> Option<Duration> {
        let age = boot_time().checked_sub(Duration::from_millis(self.at_ms))?;
        let runs = Path::new("/proc").join(self.pid.to_string()).exists();
        (runs && age <= SILENT_MOST).then_some(age)
    }
}

/// Where the file is, or may be: the first of these directories that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Places {
    dirs: Vec<PathBuf>,
    file: String,
}

impl Places {
    /// The places of an application's file.
    pub(crate) fn of(startup: &Startup) -> Self {
        Self::new(run_dirs(&startup.env()), startup.name(), &startup.lock_path())
    }

    /// The places under `bases` for the service with this name and this lock. Several services of one name may
    /// run on one machine if each has its own data, so the lock tells them apart.
    pub(crate) fn new(bases: impl IntoIterator<Item = PathBuf>, service: &str, lock_path: &Path) -> Self {
        let mut hasher = DefaultHasher::new();
        std::path::absolute(lock_path).unwrap_or_else(|_| lock_path.to_owned()).hash(&mut hasher);
        let dir = format!("{service}.{}", geteuid());
        let dirs = bases.into_iter().filter(|base| base.is_absolute()).map(|base| base.join(&dir)).collect();
        Self { dirs, file: format!("{:016x}.health", hasher.finish()) }
    }

    /// What the service says that runs now, or what the last one said, or nothing.
    pub(crate) fn read(&self) -> Option<Health> {
        let mut last = None;
        for dir in self.dirs.iter().filter_map(|dir| open_private(dir).ok()) {
            match read(&dir, &self.file).map(|(_, health)| health) {
                Some(health) if health.age().is_some() => return Some(health),
                other => last = last.or(other),
            }
        }
        last
    }
}

/// The file of this process. It is removed when dropped.
#[derive(Debug)]
pub(super) struct HealthFile {
    dir: OwnedFd,
    file: String,
    pid: u32,
}

impl HealthFile {
    /// Makes the directory. Nothing is written yet.
    ///
    /// # Errors
    /// None of the places can be used; why the last one cannot.
    pub(super) fn create(places: &Places) -> io::Result<Self> {
        let mut refused = Errno::NOENT;
        for dir in &places.dirs {
            match make_private(dir) {
                Ok(dir) => return Ok(Self { dir, file: places.file.clone(), pid: std::process::id() }),
                Err(error) => refused = error,
            }
        }
        Err(refused.into())
    }

    /// Replaces what is said. It is left alone while another process speaks, which is one that shares our data:
    /// the right of one of the two to run is decided elsewhere.
    pub(super) fn write(&self, started: bool, ready: bool, line: String) -> io::Result<()> {
        let mut health = Health { pid: self.pid, at_ms: 0, started, ready, line };
        if let Some((open, said)) = read(&self.dir, &self.file) {
            if said.pid != self.pid && said.age().is_some() {
                return Ok(());
            }
            health.at_ms = said.at_ms;
            if health == said {
                return say_now(&open);
            }
        }
        let text = serde_json::to_string(&health)?;
        let new = format!("{}.{}", self.file, self.pid);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut open = File::from(rustix::fs::openat(&self.dir, &new, flags, Mode::RUSR | Mode::WUSR)?);
        open.write_all(text.as_bytes())?;
        say_now(&open)?;
        // A reader sees the old line or the new one, never half of it.
        Ok(rustix::fs::renameat(&self.dir, &new, &self.dir, &self.file)?)
    }
}

impl Drop for HealthFile {
    fn drop(&mut self) {
        if read(&self.dir, &self.file).is_some_and(|(_, said)| said.pid == self.pid) {
            // What stays behind counts as silent after some seconds.
            let _stays = rustix::fs::unlinkat(&self.dir, &self.file, AtFlags::empty());
        }
    }
}

fn make_private(dir: &Path) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::mkdir(dir, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => open_private(dir),
        Err(error) => Err(error),
    }
}

/// Opens a directory that is nobody's but ours. Whoever can write to the one above it could have made another
/// one there first, or a link.
fn open_private(dir: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = rustix::fs::open(dir, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&open)?;
    let is_ours = found.st_uid == geteuid().as_raw() && found.st_mode & 0o077 == 0;
    if is_ours { Ok(open) } else { Err(Errno::PERM) }
}

/// Makes now the time of the file.
fn say_now(file: &File) -> io::Result<()> {
    let now = boot_time();
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let said = Timespec {
        tv_sec: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: now.subsec_nanos().into(),
    };
    Ok(rustix::fs::futimens(file, &Timestamps { last_access: omit, last_modification: said })?)
}

/// The file and what it says; nothing where it is missing or not of our form.
fn read(dir: &OwnedFd, file: &str) -> Option<(File, Health)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = File::from(rustix::fs::openat(dir, file, flags, Mode::empty()).ok()?);
    let mut text = Vec::new();
    (&open).take(LENGTH_MOST).read_to_end(&mut text).ok()?;
    let mut health: Health = serde_json::from_slice(&text).ok()?;
    let found = open.metadata().ok()?;
    let said = Duration::new(found.mtime().try_into().ok()?, found.mtime_nsec().try_into().ok()?);
    health.at_ms = u64::try_from(said.as_millis()).ok()?;
    Some((open, health))
}

#[cfg(test)]
mod tests;
