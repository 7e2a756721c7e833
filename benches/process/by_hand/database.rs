//! The database: one connection that writes and two that read, each on a thread of its own, with the settings and
//! the checks of the library's stage.

use std::{
    fs::OpenOptions,
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::oneshot;

use crate::{Error, schema};

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

const READERS: usize = 2;
const MIGRATIONS: [&str; 4] = [schema::BANS, schema::LOG_POSITION, schema::HOURLY, schema::NETWORKS];

pub(crate) struct Database {
    writes: Sender<Job>,
    reads: Sender<Job>,
    writer: JoinHandle<Result<(), Error>>,
}

/// Connections that read, and what they are to do.
struct Readers {
    threads: Vec<JoinHandle<()>>,
    jobs: Sender<Job>,
}

impl Database {
    pub(crate) async fn open(path: PathBuf, token: i64, holder: String) -> Result<Self, Error> {
        let (opened, is_open) = oneshot::channel();
        let (writes, jobs) = channel::<Job>();
        let writer = Builder::new().name("db-writer".to_owned()).spawn(move || {
            let (mut connection, readers) = match open(&path, token, &holder) {
                Ok(open) => open,
                Err(error) => {
                    let _unheard = opened.send(Err(error));
                    return Ok(());
                }
            };
            let Readers { threads, jobs: reads } = readers;
            let _unheard = opened.send(Ok(reads));
            for job in jobs {
                job(&mut connection);
            }
            for thread in threads {
                thread.join().map_err(|_| "a reader panicked")?;
            }
            connection.execute_batch("PRAGMA optimize;")?;
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            connection.close().map_err(|(_, error)| error.into())
        })?;
        let reads = is_open.await??;
        Ok(Self { writes, reads, writer })
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        Self::run(&self.reads, move |connection| work(connection)).await
    }

    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        Self::run(&self.writes, move |connection| {
            let transaction = connection.transaction()?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        jobs: &Sender<Job>,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let job = move |connection: &mut Connection| {
            let _unheard = reply.send(work(connection));
        };
        jobs.send(Box::new(job)).map_err(|_| "the database is closed")?;
        Ok(answer.await??)
    }

    /// Closes the readers, then the writer, which leaves one file without a log.
    pub(crate) fn close(self) -> Result<(), Error> {
        drop((self.writes, self.reads));
        self.writer.join().map_err(|_| "the writer panicked")?
    }
}

/// Until the file is known to be sound, nothing is written to it.
fn open(path: &Path, token: i64, holder: &str) -> Result<(Connection, Readers), Error> {
    match OpenOptions::new().write(true).create_new(true).mode(0o640).open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
        Ok(_) | Err(_) => {}
    }
    let path = path.canonicalize()?;
    let mut connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let seen: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 {
        let found: String = connection.query_row("PRAGMA quick_check(3)", [], |row| row.get(0))?;
        if found != "ok" {
            return Err(found.into());
        }
    }
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err("no write-ahead log".into());
    }
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    raise_fence(&mut connection, token, holder)?;
    migrate(&mut connection, seen)?;
    let readers = readers(&path)?;
    Ok((connection, readers))
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}

fn raise_fence(connection: &mut Connection, token: i64, holder: &str) -> Result<(), Error> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS fence (
             name TEXT PRIMARY KEY, token INTEGER NOT NULL CHECK (token >= 1), holder TEXT NOT NULL
         ) STRICT, WITHOUT ROWID;",
    )?;
    let transaction = connection.transaction()?;
    let raised = transaction.execute(
        "INSERT INTO fence VALUES ('worker', ?1, ?2)
         ON CONFLICT (name) DO UPDATE SET token = ?1, holder = ?2 WHERE token < ?1",
        (token, holder),
    )?;
    if raised == 0 {
        return Err("the database is fenced for a later holder".into());
    }
    Ok(transaction.commit()?)
}

/// One transaction for each migration, without foreign keys while it runs, and with a look at them after it.
fn migrate(connection: &mut Connection, seen: u32) -> Result<(), Error> {
    let missing: Vec<(u32, &str)> = (1..).zip(MIGRATIONS).filter(|(number, _)| *number > seen).collect();
    if missing.is_empty() {
        return Ok(());
    }
    connection.pragma_update(None, "foreign_keys", false)?;
    for (number, sql) in missing {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        if transaction.prepare("PRAGMA foreign_key_check")?.exists([])? {
            return Err("rows would point to rows that are not there".into());
        }
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(connection.pragma_update(None, "foreign_keys", true)?)
}

fn readers(path: &Path) -> Result<Readers, Error> {
    let (sender, jobs) = channel::<Job>();
    let jobs = Arc::new(Mutex::new(jobs));
    let mut threads = Vec::with_capacity(READERS);
    for number in 0..READERS {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.pragma_update(None, "query_only", true)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        let jobs = jobs.clone();
        let thread = Builder::new().name(format!("db-reader-{number}"));
        threads.push(thread.spawn(move || serve(connection, &jobs))?);
    }
    Ok(Readers { threads, jobs: sender })
}

fn serve(mut connection: Connection, jobs: &Mutex<Receiver<Job>>) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        job(&mut connection);
    }
}
