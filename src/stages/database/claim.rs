//! Which database files this process has open.
//!
//! Closing any descriptor of a file gives up all POSIX locks that the process holds on it, those of SQLite's
//! connections too (<https://sqlite.org/howtocorrupt.html>, 2.2). So a file is only opened to be looked at while
//! no connection of ours has it open.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Device and inode: the file itself, whatever its name is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity(u64, u64);

impl Identity {
    pub(super) fn of(found: &Metadata) -> Self {
        Self(found.dev(), found.ino())
    }
}

static OPEN: Mutex<Vec<Identity>> = Mutex::new(Vec::new());

fn open() -> MutexGuard<'static, Vec<Identity>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says that this process has the file open. It is to be dropped after the last connection.
pub(super) struct Claim(Identity);

impl Claim {
    /// Looks at the file with `look` if nobody has it open, and counts it as open from then on.
    pub(super) fn after<T>(identity: Identity, look: impl FnOnce() -> T) -> (Self, Option<T>) {
        let mut open = open();
        let seen = (!open.contains(&identity)).then(look);
        open.push(identity);
        (Self(identity), seen)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut open = open();
        if let Some(at) = open.iter().position(|each| *each == self.0) {
            open.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_looked_at_only_while_nobody_has_it_open() {
        // Numbers that no file system gives out, because the list belongs to the whole process.
        let file = Identity(u64::MAX, 1);
        let (first, seen) = Claim::after(file, || ());
        assert!(seen.is_some());
        let (second, seen) = Claim::after(file, || ());
        assert!(seen.is_none());
        drop(first);
        let (third, seen) = Claim::after(file, || ());
        assert!(seen.is_none(), "the second still has it");
        drop((second, third));
        assert!(Claim::after(file, || ()).1.is_some());
    }
}
