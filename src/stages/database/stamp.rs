//! Whether a log that was left behind belongs to the database that it lies beside.
//!
//! After a crash SQLite plays the log back, whatever file has the database's name by then: put a backup there without
//! moving the log away, and pages of the old database overwrite pages of the backup
//! (<https://sqlite.org/howtocorrupt.html>, 1.4). SQLite cannot tell, because nothing in a log says which file it was
//! written for. So a small file beside the database does: it holds which file that is, and its size and time as this process left
//! them. In between only a checkpoint changes the database, and during one the stamp is empty.
//!
//! Times are compared for being the same, never for their order, and only within one boot: after a power failure the disk may
//! have the content and not the time. Where the log is another one too, both were copied together, and belong together.
//! Nothing is decided by a stamp that is missing, empty or of another form.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rusqlite::Connection;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::{open::LOG_KEPT, preflight::beside};
use crate::{
    clock::boot_id,
    codes::DB_REPLACED,
    contract::tell::{shown, tell},
    error::{StageError, StageResult},
    instance::{evidence::quoted, sharing::typed},
    owned,
};

/// The log is moved into the database after so many transactions. SQLite's own rule is 1,000 pages
/// (<https://sqlite.org/pragma.html#pragma_wal_autocheckpoint>); a small transaction writes two or three. Old versions of
/// rusqlite have no hook that counts pages.
const COMMITS: u32 = 400;

/// It is also moved once large transactions have made it longer by so many bytes: 1,000 pages.
const GROWTH: u64 = 1000 * 4096;

/// Far more than a stamp has.
const LENGTH_MOST: usize = 1024;

const ENDING: &str = "-stamp";

/// A file, as it was at one time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Seen {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// What the stamp says.
#[derive(Serialize, Deserialize)]
struct Said {
    boot_id: String,
    database: Seen,
    /// Device and inode.
    log: (u64, u64),
}

/// The stamp of a database that this process writes.
pub(super) struct Stamp {
    database: PathBuf,
    file: File,
    last: Mutex<Option<Seen>>,
    log: Mutex<Log>,
}

/// The log since it was last moved into the database as a whole.
#[derive(Default)]
struct Log {
    /// How long it was then.
    length: u64,
    commits: u32,
}

impl Seen {
    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        }
    }

    fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// Refuses a database beside a log that was written for another one, or for an earlier content of it.
///
/// # Errors
/// `db.replaced`.
pub(super) fn check(database: &Path, found: &Metadata) -> StageResult<()> {
    let Some(said) = read(&beside(database, ENDING)) else { return Ok(()) };
    let Ok(log) = fs::symlink_metadata(beside(database, "-wal")) else { return Ok(()) };
    if (log.dev(), log.ino()) != said.log {
        return Ok(());
    }
    let now = Seen::of(found);
    let same =
        if said.boot_id == boot_id() { now == said.database } else { now.is_same_file(&said.database) };
    if same { Ok(()) } else { Err(replaced(database, &now, &said.database)) }
}

/// Removes the stamp of an earlier process, before the database changes.
///
/// # Errors
/// It is there and stays, and would accuse the database that is written now.
pub(super) fn forget(database: &Path) -> io::Result<()> {
    match fs::remove_file(beside(database, ENDING)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn read(stamp: &Path) -> Option<Said> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(stamp).ok()?;
    let mut text = [0; LENGTH_MOST];
    let length = file.read_at(&mut text, 0).ok()?;
    serde_json::from_slice(&text[..length]).ok()
}

fn replaced(database: &Path, now: &Seen, before: &Seen) -> StageError {
    let shown = database.display();
    let what = if now.is_same_file(before) { "was written by another program" } else { "is another file" };
    let cause = format!(
        "The database {shown} {what} since this service last did, and beside it lies the log of before, which was not \
         played back. Together they would make a database that never was."
    );
    let away = |name: &str| typed(&format!("mv {name} {name}.old"), database);
    let [log, stamp] = ["-wal", ENDING].map(|ending| quoted(&beside(database, ending)));
    StageError::new(DB_REPLACED, cause)
        .fact("database", shown.to_string())
        .fact("size", format!("{} bytes, {} when the service left it", now.size, before.size))
        .fact("inode", format!("{}, {} when the service left it", now.inode, before.inode))
        .hint(format!("A backup was restored? Move the old log away:\n{}", away(&log)))
        .hint(format!("Only `sqlite3` was used on it? Then the log is needed:\n{}", away(&stamp)))
}

impl Stamp {
    /// Begins to stamp a database, which from now on is checkpointed by [`after_commit`](Self::after_commit) alone.
    ///
    /// # Errors
    /// The stamp cannot be made.
    pub(super) fn begin(connection: &Connection, database: &Path) -> io::Result<Self> {
        let path = beside(database, ENDING);
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = match owned::create_if_missing(&path, 0o600)? {
            Some(made) => made,
            None => OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path)?,
        };
        connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(io::Error::other)?;
        let stamp =
            Self { database: database.to_owned(), file, last: Mutex::default(), log: Mutex::default() };
        stamp.set();
        Ok(stamp)
    }

    /// Moves the log into the database once it is long enough. `found` is what the database was before the commit.
    pub(super) fn after_commit(&self, connection: &Connection, found: &Metadata) {
        if self.lock().as_ref().is_some_and(|last| *last != Seen::of(found)) {
            let what = "another program wrote to the database beside this service; a backup is restored while the service is stopped";
            tell!(warn, what, database = shown(self.database.display()));
            self.set();
        }
        if !self.is_long() {
            return;
        }
        self.clear();
        // As with SQLite's own, what could not be moved now, because somebody reads, is moved later.
        let moved = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
            Ok(row.get::<_, i64>(1)? == row.get::<_, i64>(2)?)
        });
        if let Err(error) = &moved {
            tell!(debug, "the log was not moved into the database", error = shown(error));
        }
        self.set();
        if matches!(moved, Ok(true)) {
            // The next transaction begins it anew, and cuts it to what is kept.
            *self.log() = Log { length: self.length().min(LOG_KEPT), commits: 0 };
        }
    }

    /// Counts a transaction, and says whether the log has become long by it.
    fn is_long(&self) -> bool {
        let length = self.length();
        let mut log = self.log();
        log.commits = log.commits.saturating_add(1);
        log.commits >= COMMITS || length >= log.length.saturating_add(GROWTH)
    }

    fn length(&self) -> u64 {
        fs::symlink_metadata(beside(&self.database, "-wal")).map_or(0, |log| log.len())
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says nothing any more, before the database changes.
    pub(super) fn clear(&self) {
        *self.lock() = None;
        if let Err(error) = self.file.set_len(0) {
            let stamp = beside(&self.database, ENDING);
            tell!(warn, "the stamp stays", error = shown(error), stamp = shown(stamp.display()));
        }
    }

    /// Removes it, once no log is left.
    pub(super) fn end(&self) {
        self.clear();
        // An empty one says as little.
        let _stays_empty = fs::remove_file(beside(&self.database, ENDING));
    }

    fn set(&self) {
        if let Err(error) = self.try_set() {
            self.clear();
            tell!(debug, "the database is not stamped", error = shown(error));
        }
    }

    fn try_set(&self) -> io::Result<()> {
        let database = Seen::of(&fs::symlink_metadata(&self.database)?);
        let log = fs::symlink_metadata(beside(&self.database, "-wal"))?;
        let said = Said { boot_id: boot_id(), database: database.clone(), log: (log.dev(), log.ino()) };
        let text = serde_json::to_vec(&said)?;
        self.file.write_all_at(&text, 0)?;
        self.file.set_len(text.len() as u64)?;
        *self.lock() = Some(database);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Seen>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
