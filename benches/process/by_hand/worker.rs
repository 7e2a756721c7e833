//! The right to be the only worker: the lock on a file that names its holder, and a row in a file of its own that is
//! renewed by a thread, as often as the library renews its lease.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, OptionalExtension, config::DbConfig};
use uuid::Uuid;

use crate::Error;

const RENEW: Duration = Duration::from_secs(3);
const TTL: Duration = Duration::from_secs(15);

/// How long the file's identity is, which stays while its holders come and go.
const IDENTITY: u64 = 36;

pub(crate) struct Worker {
    lock: File,
    token: i64,
    holder: String,
    running: Sender<()>,
    keeper: JoinHandle<Result<(), Error>>,
}

impl Worker {
    pub(crate) fn acquire(dir: &Path) -> Result<Self, Error> {
        match DirBuilder::new().mode(0o750).create(dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        let path = dir.join("banboard.lock");
        let lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o640).open(&path)?;
        lock.try_lock()?;
        require_same(&lock, &path)?;
        let mut identity = [0; IDENTITY as usize];
        if lock.read_at(&mut identity, 0)? != identity.len() {
            lock.write_all_at(Uuid::new_v4().to_string().as_bytes(), 0)?;
            lock.sync_all()?;
            File::open(dir)?.sync_all()?;
        }
        let holder = Uuid::new_v4().to_string();
        let host = rustix::system::uname();
        let description = format!(
            "{{\"instance\":\"{holder}\",\"pid\":{},\"host\":{:?}}}\n",
            std::process::id(),
            host.nodename()
        );
        lock.write_all_at(description.as_bytes(), IDENTITY)?;
        lock.set_len(IDENTITY + description.len() as u64)?;

        let mut lease = open(&dir.join("banboard.lease.db"))?;
        let token = take(&mut lease, &holder)?;
        let (running, ended) = channel();
        let (name, file) = (holder.clone(), lock.try_clone()?);
        let keeper = thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || keep(lease, &name, file, path, &ended))?;
        Ok(Self { lock, token, holder, running, keeper })
    }

    pub(crate) fn token(&self) -> i64 {
        self.token
    }

    pub(crate) fn holder(&self) -> &str {
        &self.holder
    }

    /// Frees the row, then the lock, whose file stays without a holder.
    pub(crate) fn release(self) -> Result<(), Error> {
        drop(self.running);
        self.keeper.join().map_err(|_| "the thread that renews panicked")??;
        Ok(self.lock.set_len(IDENTITY)?)
    }
}

fn require_same(lock: &File, path: &Path) -> Result<(), Error> {
    let (locked, found) = (lock.metadata()?, fs::symlink_metadata(path)?);
    if (locked.dev(), locked.ino()) == (found.dev(), found.ino()) {
        Ok(())
    } else {
        Err("the lock file was replaced".into())
    }
}

fn open(path: &Path) -> Result<Connection, Error> {
    match OpenOptions::new().write(true).create_new(true).mode(0o640).open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
        Ok(_) | Err(_) => {}
    }
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(2))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "wal_autocheckpoint", 128)?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        connection.execute_batch(
            "CREATE TABLE lease (name TEXT PRIMARY KEY, token INTEGER NOT NULL, seq INTEGER NOT NULL,
                 holder TEXT, expires_unix_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
        )?;
    }
    Ok(connection)
}

/// Takes the row; on the disk before it counts. Whoever had it is gone, because we have the lock.
fn take(lease: &mut Connection, holder: &str) -> Result<i64, Error> {
    lease.pragma_update(None, "synchronous", "full")?;
    let before: Option<i64> = lease
        .query_row("SELECT token FROM lease WHERE name = 'banboard'", [], |row| row.get(0))
        .optional()?;
    let token = before.unwrap_or(0).saturating_add(1).max(i64::try_from(since_1970().as_micros())?);
    lease.execute(
        "INSERT INTO lease VALUES ('banboard', ?1, 0, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET token = ?1, seq = 0, holder = ?2, expires_unix_ms = ?3",
        (token, holder, expires()?),
    )?;
    lease.pragma_update(None, "synchronous", "normal")?;
    Ok(token)
}

/// Renews until it is told to end, then gives the row back. What cannot be kept ends the process.
fn keep(
    lease: Connection,
    holder: &str,
    lock: File,
    path: PathBuf,
    ended: &Receiver<()>,
) -> Result<(), Error> {
    while ended.recv_timeout(RENEW) == Err(RecvTimeoutError::Timeout) {
        let renewed = lease
            .prepare_cached("UPDATE lease SET seq = seq + 1, expires_unix_ms = ?2 WHERE holder = ?1")?
            .execute((holder, expires()?))?;
        if renewed != 1 || require_same(&lock, &path).is_err() {
            eprintln!("the lock is lost");
            std::process::exit(1);
        }
    }
    lease.execute("UPDATE lease SET holder = NULL WHERE holder = ?1", [holder])?;
    Ok(())
}

fn expires() -> Result<i64, Error> {
    Ok(i64::try_from((since_1970() + TTL).as_millis())?)
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
