//! The file by which a running service tells `healthcheck` how it is.
//!
//! A health check is another process of the same image: it has the same environment and the same user, and
//! neither a shell nor a network. So the service writes a line to a place that both know and that no other
//! container sees: `health_place` finds it.
//!
//! Mostly nothing changes but when it was said, so that is the time of the file itself: a second's word costs no
//! new file, whose making and unmaking can wait for a disk.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
    time::Duration,
};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use serde::{Deserialize, Serialize};

use super::health_place::{Place, Places, Refused, make_private, open_private};
use crate::clock::boot_time;

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

impl Places {
    /// What the service says that runs now, or what the last one said, or nothing.
    pub(crate) fn read(&self) -> Option<Health> {
        let mut last = None;
        for place in &self.all {
            let Ok(dir) = open_private(&place.dir) else { continue };
            match read(&dir, &place.file).map(|(_, health)| health) {
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
    place: Place,
    dir: OwnedFd,
    pid: u32,
}

impl HealthFile {
    /// Makes the directory, and says what kept us from better ones. Nothing is written yet.
    ///
    /// # Errors
    /// None of the places can be used; why not.
    pub(super) fn create(places: &Places) -> Result<(Self, Vec<Refused>), Vec<Refused>> {
        let mut refused = Vec::new();
        for place in &places.all {
            match make_private(&place.dir) {
                Ok(dir) => {
                    let file = Self { place: place.clone(), dir, pid: std::process::id() };
                    return Ok((file, refused));
                }
                Err(error) => refused.push(error),
            }
        }
        Err(refused)
    }

    /// Whether it lies among the data, for want of a better place.
    pub(super) fn is_beside_the_lock(&self) -> bool {
        self.place.beside_the_lock
    }

    /// Whether its directory is where `healthcheck` looks. A logout, a cleaner of old files and any process that may
    /// write above it can take it away.
    pub(super) fn is_in_place(&self) -> bool {
        let identity = |found: rustix::fs::Stat| (found.st_dev, found.st_ino);
        let (there, ours) = (rustix::fs::lstat(&self.place.dir), rustix::fs::fstat(&self.dir));
        there.is_ok_and(|there| ours.is_ok_and(|ours| identity(there) == identity(ours)))
    }

    /// Replaces what is said. It is left alone while another process speaks, which is one that shares our data:
    /// the right of one of the two to run is decided elsewhere.
    pub(super) fn write(&self, started: bool, ready: bool, line: String) -> io::Result<()> {
        let file = &self.place.file;
        let mut health = Health { pid: self.pid, at_ms: 0, started, ready, line };
        if let Some((open, said)) = read(&self.dir, file) {
            if said.pid != self.pid && said.age().is_some() {
                return Ok(());
            }
            health.at_ms = said.at_ms;
            if health == said {
                return say_now(&open);
            }
        }
        let text = serde_json::to_string(&health)?;
        let new = format!("{file}.{}", self.pid);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut open = File::from(rustix::fs::openat(&self.dir, &new, flags, Mode::RUSR | Mode::WUSR)?);
        open.write_all(text.as_bytes())?;
        say_now(&open)?;
        // A reader sees the old line or the new one, never half of it.
        Ok(rustix::fs::renameat(&self.dir, &new, &self.dir, file)?)
    }
}

impl Drop for HealthFile {
    fn drop(&mut self) {
        if read(&self.dir, &self.place.file).is_some_and(|(_, said)| said.pid == self.pid) {
            // What stays behind counts as silent after some seconds.
            let _stays = rustix::fs::unlinkat(&self.dir, &self.place.file, AtFlags::empty());
        }
        if self.is_beside_the_lock() && self.is_in_place() {
            // Not while another process speaks in it.
            let _has_files = rustix::fs::rmdir(&self.place.dir);
        }
    }
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
