//! The file lock: at most one process of this machine has it.
//!
//! 1. The file is opened, never through a symbolic link, and locked with `flock`, without waiting.
//!    `lock status` has it for an instant, so a lock without an instance behind it is tried again for a second.
//! 2. The locked file must be the one that the path names, and the path its only name; whoever locked a
//!    file that was replaced in between starts over.
//! 3. Opened a second time, the file must count as held. A file system that grants a lock twice fails
//!    here (Lucene's `LockStressTest` calls it a double obtain).
//! 4. The file's identity is read, or minted once in the life of the file.
//! 5. The file is never removed, renamed or unlocked; it is closed. Three processes that lock, unlink and
//!    create in turn can hold two locks at once: 60 % of the acquisitions overlapped with eight
//!    processes under that protocol, none under this one.
//!
//! Every doubt is an error, and never "held" or "acquired" (invariant 7).

use std::{
    fs::{File, Metadata},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::io::Errno;
use uuid::Uuid;

use super::{
    evidence::{quoted, type_name},
    flock::{self, Attempt},
    holder::{self, Content, Holder, Observed},
    lease::record::lock_name,
    mounts::Mount,
    private::keep_private,
    program::Occupant,
    refusal,
    sharing::typed,
};
use crate::{
    codes,
    error::{StageError, StageResult},
};

/// How often a file that is replaced while it is being locked is tried again. `PostgreSQL` gives its
/// lock file as many tries (`CreateLockFile`).
const TRIES: usize = 100;

/// How often a lock is tried again that no instance is known to have, and the pause before each try. `lock status`
/// has it for some microseconds, or for longer where it loses the processor, and an instance that starts has not
/// described itself yet.
pub(super) const LOOKS: usize = 1_000;
/// The same where the owner is not shown, and the file describes an instance that may have been killed: `lock status` in
/// another container looks like it for an instant.
const LOOKS_AT_HIDDEN: usize = 5;
pub(super) const LOOK: Duration = Duration::from_millis(1);

/// The lock, for as long as this value lives.
#[derive(Debug)]
pub(super) struct FileLock {
    file: File,
    pub(super) identity: Identity,
    pub(super) mount: Mount,
    /// The random identity that the file carries for ever.
    pub(super) lock_uuid: Uuid,
    /// The highest token that an earlier holder had, as far as the file remembers.
    pub(super) highest_token: u64,
}

/// Which file is locked, so that others can check that the path still leads there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    pub(super) path: PathBuf,
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// A lock that somebody else has.
#[derive(Debug)]
pub(super) struct Contest {
    pub(super) identity: Identity,
    pub(super) mount: Mount,
    /// Who the file says has it. It may be a dead predecessor.
    pub(super) holder: Option<Holder>,
    pub(super) occupant: Occupant,
}

/// What came of trying to lock.
#[derive(Debug)]
pub(super) enum Outcome {
    Acquired(FileLock),
    Held(Contest),
}

/// Why a path does not show the locked file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Doubt {
    /// The file there is another one, or none: the lock protects nothing any more.
    #[error("{0}")]
    Changed(String),
    /// It cannot be told.
    #[error("the lock file cannot be looked at: {0}")]
    Unclear(io::Error),
}

/// Finds out on which mount an open file lies, and judges it.
pub(super) type Accept<'a> = &'a dyn Fn(BorrowedFd<'_>) -> StageResult<Mount>;

/// Tries to take the lock on `path`, without waiting for an instance; anybody else is waited for, a second or so at
/// most. `accept` is asked before anything is locked or written.
///
/// # Errors
/// `lock.unsupported` where it cannot be told who has the lock or where the path names something other
/// than a lock file; `db.not-writable`, `db.dir-missing`, `db.disk-full` and `db.io`; and what `accept` returns.
pub(super) fn acquire(path: &Path, accept: Accept<'_>) -> StageResult<Outcome> {
    let (mut tries, mut looks) = (0, 0);
    while tries < TRIES {
        let file = flock::open(path, true).map_err(|error| cannot_open(path, &error))?;
        let opened = file.metadata().map_err(|error| broken(path, &error))?;
        if !opened.is_file() {
            return Err(not_a_file(path, type_name(&opened)));
        }
        let mount = accept(file.as_fd())?;
        let identity = Identity { path: path.to_owned(), device: opened.dev(), inode: opened.ino() };
        match flock::try_lock(&file) {
            Attempt::Failed(error) => return Err(unsupported(path, &mount, &error)),
            Attempt::Held => {
                let contest = look_at_holder(file, identity, mount)?;
                let enough = match contest.occupant {
                    Occupant::Instance => 0,
                    Occupant::Hidden => LOOKS_AT_HIDDEN,
                    Occupant::Other(_) => LOOKS,
                };
                if looks >= enough {
                    return Ok(Outcome::Held(contest));
                }
                looks += 1;
                thread::sleep(LOOK);
                continue;
            }
            Attempt::Acquired => {}
        }
        match identity.verify() {
            Ok(()) => {}
            // Trying again does not cure a second name.
            Err(Doubt::Changed(_)) if identity.names() > 1 => {
                return Err(refused(path, &too_many_names(identity.names())));
            }
            Err(Doubt::Changed(_)) => {
                tries += 1;
                continue;
            }
            Err(Doubt::Unclear(error)) => return Err(broken(path, &error)),
        }
        return own(file, identity, mount).map(Outcome::Acquired);
    }
    Err(replaced(path))
}

/// What is known of the one who has the lock.
fn look_at_holder(file: File, identity: Identity, mount: Mount) -> StageResult<Contest> {
    let holder = match holder::read(&file) {
        Ok(Content::Lock { holder, .. }) => holder,
        Ok(Content::Blank | Content::Foreign) | Err(_) => None,
    };
    let exclusive = flock::is_held(file).map_err(|error| unsupported(&identity.path, &mount, &error))?;
    let occupant = Occupant::find(mount.device, identity.inode, exclusive, holder.as_ref());
    Ok(Contest { identity, mount, holder, occupant })
}

/// Checks that [`acquire`] could lock the file at `path` once it is free. Creates and locks nothing.
///
/// # Errors
/// Those of [`acquire`].
pub(super) fn inspect(path: &Path) -> StageResult<()> {
    let file = match flock::open(path, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(|error| cannot_open(path, &error))?,
    };
    let opened = file.metadata().map_err(|error| broken(path, &error))?;
    if !opened.is_file() {
        return Err(not_a_file(path, type_name(&opened)));
    }
    let identity = Identity { path: path.to_owned(), device: opened.dev(), inode: opened.ino() };
    match identity.verify() {
        Err(Doubt::Changed(_)) if identity.names() > 1 => {
            Err(refused(path, &too_many_names(identity.names())))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Steps 3 and 4, for a file that is locked and verified.
fn own(file: File, identity: Identity, mount: Mount) -> StageResult<FileLock> {
    let path = identity.path.as_path();
    let second = flock::open(path, false).map_err(|error| cannot_open(path, &error))?;
    match flock::try_lock(&second) {
        Attempt::Held => {}
        Attempt::Acquired => return Err(refused(path, "can be locked twice at once on this file system")),
        Attempt::Failed(error) => return Err(unsupported(path, &mount, &error)),
    }
    drop(second);
    let (found, highest_token) = match holder::read(&file).map_err(|error| broken(path, &error))? {
        Content::Lock { lock_uuid, highest_token, .. } => (lock_uuid, highest_token),
        Content::Blank => (None, 0),
        // `<P>_LOCK_PATH=/data/shop.db` must not cost anybody the database.
        Content::Foreign => return Err(refused(path, "holds something else, which was not touched")),
    };
    keep_private(path);
    let lock_uuid = match found {
        Some(lock_uuid) => lock_uuid,
        None => mint(&file, path, highest_token).map_err(|error| broken(path, &error))?,
    };
    Ok(FileLock { file, identity, mount, lock_uuid, highest_token })
}

/// Mints the file's identity and stores the file's name with it: after a power cut both are there, or
/// neither is.
fn mint(file: &File, path: &Path, highest_token: u64) -> io::Result<Uuid> {
    let lock_uuid = holder::mint(file, highest_token)?;
    if let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(lock_uuid)
}

impl FileLock {
    /// What a lease calls this lock.
    pub(super) fn name(&self) -> String {
        lock_name(self.lock_uuid, self.identity.inode)
    }

    /// Writes who has the lock, for the people who are refused.
    ///
    /// # Errors
    /// `db.disk-full`, or `db.io` where writing fails otherwise.
    pub(super) fn describe(&self, holder: &Holder) -> StageResult<()> {
        holder::describe(&self.file, holder).map_err(|error| broken(&self.identity.path, &error))
    }

    /// Remembers the token of a lease, for the case that the lease is lost.
    ///
    /// # Errors
    /// As for [`describe`](Self::describe).
    pub(super) fn remember(&self, highest_token: u64) -> StageResult<()> {
        holder::remember(&self.file, highest_token).map_err(|error| broken(&self.identity.path, &error))
    }

    /// What the one observed who had the lock before, if it did not end its observation.
    ///
    /// # Errors
    /// `db.io` where the file cannot be read.
    pub(super) fn observed(&self) -> StageResult<Option<Observed>> {
        holder::observed(&self.file).map_err(|error| broken(&self.identity.path, &error))
    }

    /// Notes what is observed, so that the next start can go on with it.
    ///
    /// # Errors
    /// As for [`describe`](Self::describe).
    pub(super) fn observe(&self, observed: &Observed) -> StageResult<()> {
        holder::observe(&self.file, observed).map_err(|error| broken(&self.identity.path, &error))
    }

    /// Gives the lock back: removes the holder's description and closes the file, which stays.
    ///
    /// # Errors
    /// The description could not be removed. The lock is given back all the same.
    pub(super) fn release(self) -> StageResult<()> {
        holder::clear(&self.file).map_err(|error| broken(&self.identity.path, &error))
    }
}

impl Identity {
    /// Whether the path still names the locked file, and nothing else does.
    ///
    /// The kernel does not give an inode's number away while the file is open, so the same number on the
    /// same device is the same file as long as the lock is held.
    ///
    /// # Errors
    /// [`Doubt`]: the lock is lost, or nobody can tell.
    pub(super) fn verify(&self) -> Result<(), Doubt> {
        let found = self.look().map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOTDIR) => changed("was removed"),
            _ => Doubt::Unclear(error),
        })?;
        if !found.is_file() {
            return Err(changed(&format!("was replaced by a {}", type_name(&found))));
        }
        if (found.dev(), found.ino()) != (self.device, self.inode) {
            return Err(changed("was replaced by another file"));
        }
        match found.nlink() {
            1 => Ok(()),
            links => Err(changed(&too_many_names(links))),
        }
    }

    /// How many names the locked file has, as far as the path still leads to it.
    fn names(&self) -> u64 {
        self.look().map_or(0, |found| if found.ino() == self.inode { found.nlink() } else { 0 })
    }

    fn look(&self) -> io::Result<Metadata> {
        std::fs::symlink_metadata(&self.path)
    }
}

fn too_many_names(links: u64) -> String {
    format!("has {links} names (hard links) where it must have one")
}

fn changed(what: &str) -> Doubt {
    Doubt::Changed(format!("the lock file {what}"))
}

fn cannot_open(path: &Path, error: &io::Error) -> StageError {
    match Errno::from_io_error(error) {
        // Also for a circle on the way to it; this one is a link itself.
        Some(Errno::LOOP) if let Ok(target) = std::fs::read_link(path) => {
            not_a_file(path, "symbolic link").fact("leads to", target.display().to_string())
        }
        Some(Errno::ISDIR) => not_a_file(path, "directory"),
        Some(Errno::NXIO | Errno::NODEV) => not_a_file(path, "socket or a device"),
        _ => broken(path, error),
    }
}

fn not_a_file(path: &Path, found: &str) -> StageError {
    refused(path, &format!("is a {found}, not a regular file"))
}

/// The path cannot carry the lock, and trying again does not change that.
fn refused(path: &Path, reason: &str) -> StageError {
    let shown = path.display();
    StageError::new(codes::LOCK_UNSUPPORTED, format!("The lock file {shown} {reason}."))
        .fact("lock file", shown.to_string())
        .hint(format!("See what it is: {}", typed(&format!("ls -lid {}", quoted(path)), path)))
        .hint(format!(
            "Move it away once no instance runs: {}",
            typed(&format!("mv {0} {0}.old", quoted(path)), path)
        ))
}

/// Somebody replaces the file again and again; whether he still does then is for the next start to see.
fn replaced(path: &Path) -> StageError {
    let shown = path.display();
    StageError::new(
        codes::LOCK_REPLACED,
        format!("The lock file {shown} was replaced each time it was locked."),
    )
    .fact("lock file", shown.to_string())
    .hint("Find out who replaces files in that directory, such as a backup that is being restored")
}

/// The kernel has no lock to give on this file system: `ENOLCK`, `ENOTSUP`.
fn unsupported(path: &Path, mount: &Mount, error: &io::Error) -> StageError {
    let cause = format!("{} cannot be locked: {error}", path.display());
    StageError::new(codes::LOCK_UNSUPPORTED, cause)
        .fact("lock file", path.display().to_string())
        .fact("mount", mount.describe())
        .hint("Keep the lock on a local disk or a named volume (ext4, xfs, btrfs, zfs)")
}

/// Opening, reading or writing failed, or a look at the file did.
fn broken(path: &Path, error: &io::Error) -> StageError {
    refusal::system(path, "use the lock file", error)
}

#[cfg(test)]
mod tests;
