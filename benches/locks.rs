//! What the right to be the only worker costs, beside the same done by hand: a raw `flock`, a raw SQLite transaction,
//! and both. `cargo bench --bench locks` measures it with criterion, in `BENCH_DIR` or else the system's place for
//! temporary files.
//!
//! The locks are private, and this bench reaches them only as an application does. So *acquire* is the start of a
//! `Startup` that has no stages but the library's own, from its declaration until it is ready, and the same without the
//! locks stands beside it; *refuse* is the failure of such a start, with its report, where another one of this process
//! has the locks. *Keep* is what is done again and again: a renewal (`renewals`), asking the guard, and writing behind the
//! fence. Takeover after `kill -9` and the refusal of whole processes are measured by `scripts/attack`.

#![allow(clippy::expect_used, reason = "a bench may fail")]
#![allow(clippy::disallowed_methods, reason = "the raw lock is the library's own floor")]

mod renewals;

use std::{
    fs::{File, OpenOptions},
    hint::black_box,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group};
use rusqlite::{Connection, config::DbConfig};
use solostart::{
    Env, Running, Startup, WorkerMode,
    stages::database::{Database, DatabaseError, Integrity, Migration, SqliteDatabase},
};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS lease (name TEXT PRIMARY KEY, token INTEGER NOT NULL,
    holder TEXT, expires INTEGER NOT NULL) STRICT, WITHOUT ROWID;";
const UPSERT: &str = "INSERT INTO lease VALUES ('worker', 1, 'somebody', 15) ON CONFLICT (name)
    DO UPDATE SET token = token + 1, holder = excluded.holder, expires = expires + 15";
const MIGRATIONS: &[Migration] = &[Migration::new(
    "rows",
    "CREATE TABLE rows (id INTEGER PRIMARY KEY, seen INTEGER NOT NULL) STRICT;
        INSERT INTO rows VALUES (1, 0);",
)];
const WRITE: &str = "UPDATE rows SET seen = seen + 1 WHERE id = 1";

fn directory() -> TempDir {
    let parent = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(parent).expect("a directory")
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// An application whose files are in this directory, whatever file system that is on.
fn startup(dir: &Path, mode: WorkerMode) -> Startup {
    configured(dir, mode, [])
}

/// The same with further settings, as the only worker.
fn startup_with<const N: usize>(dir: &Path, settings: [(&str, &str); N]) -> Startup {
    configured(dir, WorkerMode::Single, settings)
}

fn configured<const N: usize>(dir: &Path, mode: WorkerMode, settings: [(&str, &str); N]) -> Startup {
    let dir = dir.to_str().expect("it is text");
    let vars = [("BENCH_DATA_DIR", dir)].into_iter().chain(settings);
    let mut startup = Startup::new("bench", Env::from_vars("BENCH", vars), mode);
    startup.allow_unshared_lock("overlay,tmpfs");
    startup
}

fn many() -> WorkerMode {
    WorkerMode::Many { reason: "a bench".to_owned() }
}

/// The time until it is up, in all; the stop is not counted.
fn started(runtime: &Runtime, dir: &Path, mode: &WorkerMode, rounds: u64) -> Duration {
    let mut took = Duration::ZERO;
    for _ in 0..rounds {
        let began = Instant::now();
        let running = runtime.block_on(startup(dir, mode.clone()).start()).expect("it starts");
        took += began.elapsed();
        runtime.block_on(running.shutdown("over"));
    }
    took
}

fn open_lock(dir: &Path) -> File {
    let path = dir.join("raw.lock");
    OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).expect("it opens")
}

fn open_lease(dir: &Path, synchronous: &str) -> Connection {
    let lease = Connection::open(dir.join("raw.db")).expect("it opens");
    lease.pragma_update(None, "journal_mode", "wal").expect("it is a setting");
    lease.pragma_update(None, "synchronous", synchronous).expect("it is a setting");
    // As the library does: tidying the log away at the end costs writes to the disk, and as many at the next start.
    lease.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("it is a setting");
    // The log is written from its beginning again as soon as the library's is.
    lease.pragma_update(None, "wal_autocheckpoint", 128).expect("it is a setting");
    lease.execute_batch(SCHEMA).expect("it is sound");
    lease
}

fn upsert(lease: &Connection) {
    lease.prepare_cached(UPSERT).expect("it is sound").execute([]).expect("it can be written");
}

/// The same two locks without the library. Giving them back is not counted, but is part of it: without a second write
/// by the same connection the log would grow from round to round, and every opening reads all of it.
fn by_hand(dir: &Path, rounds: u64) -> Duration {
    let mut took = Duration::ZERO;
    for _ in 0..rounds {
        let began = Instant::now();
        let lock = open_lock(dir);
        lock.try_lock().expect("it is free");
        let lease = open_lease(dir, "full");
        upsert(&lease);
        took += began.elapsed();
        lease.pragma_update(None, "synchronous", "normal").expect("it is a setting");
        lease.execute("UPDATE lease SET holder = NULL", []).expect("it can be written");
        drop((lease, lock));
    }
    took
}

fn acquire(criterion: &mut Criterion) {
    let (dir, runtime) = (directory(), runtime());
    let mut group = criterion.benchmark_group("acquire");
    group.bench_function("raw flock: open, lock, close", |bencher| {
        bencher.iter(|| {
            let lock = open_lock(dir.path());
            lock.try_lock().expect("it is free");
            lock
        });
    });
    let lease = open_lease(dir.path(), "full");
    group.bench_function("raw SQLite: upsert of the lease, on the disk", |bencher| {
        bencher.iter(|| upsert(&lease))
    });
    drop(lease);
    group.bench_function("by hand: both, from opening the files", |bencher| {
        bencher.iter_custom(|rounds| by_hand(dir.path(), rounds));
    });
    for (name, mode) in [("ours: start, without locks", many()), ("ours: start", WorkerMode::Single)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| started(&runtime, dir.path(), &mode, rounds));
        });
    }
    group.finish();
}

fn refuse(criterion: &mut Criterion) {
    let (dir, runtime) = (directory(), runtime());
    let mut group = criterion.benchmark_group("refuse");
    let held = open_lock(dir.path());
    held.try_lock().expect("it is free");
    group.bench_function("raw flock: open, busy", |bencher| {
        bencher.iter(|| open_lock(dir.path()).try_lock().expect_err("it is held"));
    });
    let holder = open_lease(dir.path(), "full");
    holder.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    let second = open_lease_again(dir.path());
    group.bench_function("raw SQLite: begin, busy", |bencher| {
        bencher.iter(|| second.execute_batch("BEGIN IMMEDIATE").expect_err("it is held"));
    });
    let running = runtime.block_on(startup(dir.path(), WorkerMode::Single).start()).expect("it starts");
    group.bench_function("ours: start", |bencher| {
        bencher.iter(|| {
            let second = startup(dir.path(), WorkerMode::Single);
            runtime.block_on(second.start()).map(drop).expect_err("it is held")
        });
    });
    group.finish();
    runtime.block_on(running.shutdown("over"));
}

/// A second connection that does not wait.
fn open_lease_again(dir: &Path) -> Connection {
    let lease = Connection::open(dir.join("raw.db")).expect("it opens");
    lease.busy_timeout(Duration::ZERO).expect("it is a setting");
    lease
}

/// An application with a database and the right to be the only worker.
async fn with_database(dir: &Path) -> (Running, Arc<Database>) {
    let mut startup = startup(dir, WorkerMode::Single);
    let database = SqliteDatabase::at(dir.join("app.db"))
        .migrations(MIGRATIONS)
        .integrity(Integrity::Off, Duration::from_secs(1));
    let handle = startup.add(database);
    let running = startup.start().await.expect("it starts");
    let database = running.get(handle).expect("it is up");
    (running, database)
}

fn keep(criterion: &mut Criterion) {
    let (dir, runtime) = (directory(), runtime());
    let mut group = criterion.benchmark_group("keep");
    for (name, synchronous) in [("not waited for", "normal"), ("on the disk", "full")] {
        let lease = open_lease(dir.path(), synchronous);
        let name = format!("raw SQLite: upsert of the lease, {name}");
        group.bench_function(name, |bencher| bencher.iter(|| upsert(&lease)));
    }
    let (running, database) = runtime.block_on(with_database(dir.path()));
    let guard = running.worker();
    group.bench_function("ours: ask the guard", |bencher| {
        bencher.iter(|| black_box(&guard).check().expect("we hold it"));
    });
    let write = |transaction: &rusqlite::Transaction<'_>| -> Result<(), DatabaseError> {
        transaction.prepare_cached(WRITE)?.execute([])?;
        Ok(())
    };
    group.bench_function("ours: write through the stage, on the disk", |bencher| {
        bencher.iter(|| runtime.block_on(database.write(move |tx| write(tx))).expect("it can be written"));
    });
    group.bench_function("ours: the same behind the fence", |bencher| {
        bencher.iter(|| runtime.block_on(database.fenced(move |tx| write(tx))).expect("we hold it"));
    });
    group.finish();
    drop(database);
    runtime.block_on(running.shutdown("over"));
}

criterion_group! {
    name = locks;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2)).without_plots();
    targets = acquire, refuse, keep
}

fn main() {
    locks();
    renewals::measure();
    Criterion::default().configure_from_args().final_summary();
}
