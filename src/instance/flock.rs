//! The kernel's file lock. This is the only file that uses `fs2`.

use std::{fs::File, io, path::Path};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::private::PRIVATE;
use crate::owned;

/// What came of one attempt to lock.
#[derive(Debug)]
pub(super) enum Attempt {
    Acquired,
    /// Somebody else has the lock.
    Held,
    /// The lock could not be taken, and nobody is known to have it: `ENOLCK`, `ENOTSUP`, `EIO`.
    Failed(io::Error),
}

/// Tries to lock an open file, without waiting.
///
/// The lock belongs to the open file, so it is released when the last descriptor of it is closed, at the
/// latest by the kernel when the process ends (flock(2)). There is no function to unlock: whoever
/// unlocked a descriptor that a child process inherited would unlock it for the parent, too.
pub(super) fn try_lock(file: &File) -> Attempt {
    // Called by its full name, because the standard library's own methods shadow most of this trait.
    attempt(fs2::FileExt::try_lock_exclusive(file))
}

/// Whether somebody has the lock for itself alone, as [`try_lock`] takes it. The file is closed, and nothing of it is
/// kept.
pub(super) fn is_held(file: File) -> io::Result<bool> {
    match attempt(fs2::FileExt::try_lock_shared(&file)) {
        Attempt::Acquired => Ok(false),
        Attempt::Held => Ok(true),
        Attempt::Failed(error) => Err(error),
    }
}

/// Whether somebody has the lock at all, also together with others. The file is closed, and nothing of it is kept; but
/// for the length of this call nobody else can lock it.
pub(super) fn is_shared(file: File) -> io::Result<bool> {
    match try_lock(&file) {
        Attempt::Acquired => Ok(false),
        Attempt::Held => Ok(true),
        Attempt::Failed(error) => Err(error),
    }
}

fn attempt(outcome: io::Result<()>) -> Attempt {
    match outcome {
        Ok(()) => Attempt::Acquired,
        Err(error) if error.raw_os_error() == Some(Errno::WOULDBLOCK.raw_os_error()) => Attempt::Held,
        Err(error) => Attempt::Failed(error),
    }
}

/// Opens the file that is to be locked, and creates it if asked to.
///
/// A symbolic link in the last place is not followed, and nothing is waited for: opening a pipe or a
/// device could last for ever. The descriptor is not inherited by programs that this process starts, for
/// such a program would keep the lock alive.
pub(super) fn open(path: &Path, create: bool) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    if create {
        owned::create_if_missing(path, PRIVATE)?;
    }
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Opens the file for those who only want to read who has the lock.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Looks whether the lock is held for as long as the file that it returns is open.
#[cfg(test)]
pub(super) fn looking(path: &Path) -> File {
    let file = open_to_read(path).unwrap();
    fs2::FileExt::try_lock_shared(&file).unwrap();
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_held_lock_counts_as_held_and_only_success_as_acquired() {
        assert!(matches!(attempt(Ok(())), Attempt::Acquired));
        for held in [Errno::WOULDBLOCK, Errno::AGAIN] {
            assert!(matches!(attempt(Err(held.into())), Attempt::Held), "{held}");
        }
        for failed in [Errno::NOLCK, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS, Errno::IO, Errno::INTR] {
            assert!(matches!(attempt(Err(failed.into())), Attempt::Failed(_)), "{failed}");
        }
        assert!(matches!(attempt(Err(io::ErrorKind::WouldBlock.into())), Attempt::Failed(_)));
    }

    #[test]
    fn who_looks_sees_a_holder_and_does_not_take_another_who_looks_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let holder = open(&path, true).unwrap();
        let looks = || is_held(open_to_read(&path).unwrap()).unwrap();
        assert!(!looks());
        let looking = looking(&path);
        assert!(matches!(try_lock(&holder), Attempt::Held), "two locked it at once");
        assert!(!looks());
        drop(looking);
        assert!(matches!(try_lock(&holder), Attempt::Acquired));
        assert!(looks());
    }

    #[test]
    fn two_open_files_of_one_process_exclude_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = open(&path, true).unwrap();
        assert!(matches!(try_lock(&first), Attempt::Acquired));
        assert!(matches!(try_lock(&open(&path, false).unwrap()), Attempt::Held));
        assert!(matches!(try_lock(&first), Attempt::Acquired));
    }
}
