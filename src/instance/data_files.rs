//! The data files that the right covers: each is locked itself, for as long as the right lasts.
//!
//! The lock file excludes those who look for it at the same path. A database can be reached by other paths: a hard link,
//! a link from another directory, a file that is mounted alone, another `<P>_LOCK_PATH`. All of them lead to one inode,
//! so `flock` on the database meets the other worker whatever the names are (invariant 13).
//!
//! `SQLite` locks ranges of the file with fcntl(2), which `flock` does not touch on a local file system
//! (flock(2), NOTES). Elsewhere, where the one is made of the other, the database is not locked: such a file system is
//! used only where the operator allowed it by name, and then the lease excludes.
//!
//! A descriptor of a database must not be closed while `SQLite` has the file open in this process, because that would
//! drop `SQLite`'s locks (<https://sqlite.org/howtocorrupt.html>, 2.2). These are opened before, and closed when
//! everything that used the files has stopped.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{
    evidence::quoted,
    file_lock::Doubt,
    flock::{self, Attempt},
    mounts::{self, Class},
    other_names,
    private::{PRIVATE, keep_private},
    program::Program,
    refusal,
    siblings::lock_owner,
};
use crate::{
    codes,
    contract::guard::{GIVEN_BACK, LockLost, Loss},
    error::{StageError, StageResult},
    owned,
};

/// How long a lock on the data may outlive the lock file's: the kernel closes the files of a process that ended one
/// after the other.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(5);

/// The files under one right.
#[derive(Clone, Debug, Default)]
pub(super) struct DataFiles(Arc<Mutex<Vec<DataFile>>>);

/// A file that is locked as long as this value lives.
#[derive(Debug)]
struct DataFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// `None` where a lock would disturb those of `SQLite`.
    _lock: Option<File>,
}

impl DataFiles {
    /// Locks the file at `path`, links followed, and keeps it for its owner alone. It is made, empty, if it is missing.
    /// A file that is locked already stays so.
    ///
    /// # Errors
    /// `lock.held` where another instance has it, `lock.busy` where another program has it locked, `lock.unsupported`
    /// where it has another name or is mounted alone; and what the system says.
    pub(super) fn protect(&self, path: &Path) -> StageResult<()> {
        let failed = |error: io::Error| refusal::system(path, "lock", &error);
        let path = existing(path).map_err(failed)?;
        let mut files = self.lock();
        let found = other_names::require_one(&path)?;
        if files.iter().any(|file| (file.device, file.inode) == (found.dev(), found.ino())) {
            return Ok(());
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let open = flock::open_to_read(&path).map_err(failed)?;
            let found = open.metadata().map_err(failed)?;
            let mount = mounts::mount_of(open.as_fd(), &path);
            let lock = if mount.class() == Class::Untrusted {
                None
            } else {
                match flock::try_lock(&open) {
                    Attempt::Acquired => Some(open),
                    Attempt::Held if Instant::now() < until => {
                        thread::sleep(LOOK);
                        continue;
                    }
                    Attempt::Held => {
                        return Err(in_use(&path, Program::of(lock_owner(mount.device, found.ino()))));
                    }
                    Attempt::Failed(error) => return Err(failed(error)),
                }
            };
            // It may have been replaced before it was locked.
            let now = other_names::require_one(&path)?;
            if (now.dev(), now.ino()) == (found.dev(), found.ino()) {
                other_names::with_companions(&path).for_each(|file| keep_private(&file));
                files.push(DataFile { path, device: found.dev(), inode: found.ino(), _lock: lock });
                return Ok(());
            }
        }
    }

    /// What a guard does for [`protect`](Self::protect): it can outlive the right, and must not keep the files locked.
    pub(super) fn protector(&self) -> impl Fn(&Path) -> StageResult<()> + Send + Sync + 'static {
        let kept = Arc::downgrade(&self.0);
        move |path| match kept.upgrade() {
            Some(files) => Self(files).protect(path),
            None => Err(LockLost::new(Loss::NotHeld, GIVEN_BACK).into_error()),
        }
    }

    /// Checks that the paths still lead to the locked files.
    pub(super) fn verify(&self) -> Result<(), Doubt> {
        self.lock().iter().try_for_each(DataFile::verify)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<DataFile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DataFile {
    fn verify(&self) -> Result<(), Doubt> {
        let shown = self.path.display();
        match fs::symlink_metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == (self.device, self.inode) => Ok(()),
            Ok(_) => Err(Doubt::Changed(format!("the data file {shown} was replaced by another file"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Doubt::Changed(format!("the data file {shown} was removed")))
            }
            Err(error) => Err(Doubt::Unclear(error)),
        }
    }
}

/// The path of the file without links, of a file that is made if there is none.
fn existing(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let path = std::path::absolute(path)?;
            // A link that leads nowhere is not followed, and stays an error.
            owned::create_if_missing(&path, PRIVATE)?;
            fs::canonicalize(&path)
        }
        found => found,
    }
}

/// The refusal for a database that another process has locked: an instance, if it runs this executable, or a program.
fn in_use(path: &Path, owner: Option<Program>) -> StageError {
    let shown = path.display();
    let (code, cause) = match &owner {
        Some(program) if !program.is_ours() => {
            (codes::LOCK_BUSY, format!("The program {} has the data file {shown} locked.", program.name()))
        }
        Some(program) if program.stands_still() => (
            codes::LOCK_HOLDER_UNRESPONSIVE,
            format!(
                "Another instance has the data file {shown}, by another lock file than this one, and does not run. \
                 Working beside it could let two workers write as soon as it goes on."
            ),
        ),
        Some(_) | None => (
            codes::LOCK_HELD,
            format!(
                "Another instance has the data file {shown}, by another lock file than this one. Only one may work \
                 with it; the other one was not disturbed."
            ),
        ),
    };
    let refused = StageError::new(code, cause)
        .fact("data file", shown.to_string())
        .fact("evidence", format!("flock on {shown} is held"));
    let refused = match &owner {
        Some(program) => refused
            .fact("held by", program.describe())
            .hint(format!("See who has it: ps -fp {}", program.pid())),
        None => refused.hint(format!("See who has it: fuser -v {}", quoted(path))),
    };
    match &owner {
        Some(_) if code == codes::LOCK_BUSY => refused.hint("Let it finish, or end it; then start again"),
        Some(program) if code == codes::LOCK_HOLDER_UNRESPONSIVE => refused
            .hint(format!("Let it go on: kill -CONT {}", program.pid()))
            .hint(format!("Or end it, which frees the data: kill -KILL {}", program.pid())),
        Some(_) | None => refused.hint("Give each service a database of its own, or let one of them run"),
    }
}

#[cfg(test)]
mod tests;
