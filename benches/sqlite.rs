//! What async access to SQLite costs: the same queries by plain rusqlite, by this crate's stage, by
//! `deadpool-sqlite` and by `tokio-rusqlite`, in turn in one run. `cargo bench --bench sqlite` in this folder prints
//! the table; the method is in `docs/performance.md`.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints its table, and may fail")]

use std::{
    hint::black_box,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use deadpool_sqlite::{Hook, Pool, Runtime as PoolRuntime};
use solostart::{
    Env, Startup, WorkerMode,
    stages::database::{
        Database, Integrity, Migration, SqliteDatabase,
        rusqlite::{self, Connection},
    },
};
use tokio::{runtime::Builder, task::JoinSet};

const ROWS: i64 = 10_000;
const READ: &str = "SELECT text FROM rows WHERE id = ?1";
const WRITE: &str = "INSERT INTO written (text) VALUES (?1)";
const MIGRATIONS: &[Migration] = &[Migration::new(
    "rows",
    "CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
     CREATE TABLE written (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
     WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10000)
     INSERT INTO rows SELECT i, printf('row %d', i) FROM n;",
)];

fn read(connection: &Connection, id: i64) -> rusqlite::Result<String> {
    connection.prepare_cached(READ)?.query_row([id], |row| row.get(0))
}

fn write(connection: &mut Connection, id: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction.prepare_cached(WRITE)?.execute([id.to_string()])?;
    transaction.commit()
}

/// What the stage sets as well, so that all write with the same care.
fn settle(connection: &Connection, full: bool) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", if full { "full" } else { "off" })?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.busy_timeout(Duration::from_secs(5))
}

/// The four ways to the same file.
struct Ways {
    stage: Arc<Database>,
    pool: Pool,
    single: tokio_rusqlite::Connection,
}

#[derive(Clone, Copy)]
enum Work {
    Read,
    Write,
}

/// Some number that is different each time, and the same in every run.
fn pick(index: i64) -> i64 {
    index * 7_919 % ROWS + 1
}

fn plainly(connection: &mut Connection, work: Work, calls: i64) {
    for index in 0..calls {
        match work {
            Work::Read => drop(black_box(read(connection, pick(index)).expect("the row is there"))),
            Work::Write => write(connection, index).expect("it can be written"),
        }
    }
}

/// Each of the stage's reads is a transaction, so that it sees one moment. The others' are not.
async fn by_stage(ways: Arc<Ways>, work: Work, calls: i64) {
    for index in 0..calls {
        match work {
            Work::Read => {
                let row = ways.stage.read(move |connection| Ok(read(connection, pick(index))?)).await;
                drop(black_box(row.expect("the row is there")));
            }
            Work::Write => ways
                .stage
                .write(move |tx| {
                    tx.prepare_cached(WRITE)?.execute([index.to_string()])?;
                    Ok(())
                })
                .await
                .expect("it can be written"),
        }
    }
}

async fn by_pool(ways: Arc<Ways>, work: Work, calls: i64) {
    for index in 0..calls {
        let connection = ways.pool.get().await.expect("one is free");
        let done = connection.interact(move |connection| match work {
            Work::Read => read(connection, pick(index)).map(|row| drop(black_box(row))),
            Work::Write => write(connection, index),
        });
        done.await.expect("it does not panic").expect("the query is sound");
    }
}

async fn by_single(ways: Arc<Ways>, work: Work, calls: i64) {
    for index in 0..calls {
        let done = ways.single.call(move |connection| match work {
            Work::Read => read(connection, pick(index)).map(|row| drop(black_box(row))),
            Work::Write => write(connection, index),
        });
        done.await.expect("the query is sound");
    }
}

#[derive(Default)]
struct Samples(Vec<f64>);

impl Samples {
    fn add(&mut self, took: Duration, calls: i64) {
        self.0.push(took.as_secs_f64() * 1e6 / calls as f64);
    }

    fn print(&mut self, name: &str, plain: Option<f64>) -> f64 {
        self.0.sort_by(f64::total_cmp);
        let median = self.0[self.0.len() / 2];
        let more = plain.map_or_else(String::new, |plain| format!("{:+8.1}", median - plain));
        let (low, high) = (self.0[0], self.0[self.0.len() - 1]);
        println!("  {name:16} {median:>8.1}  ({low:>6.1} to {high:>7.1}) {more}");
        median
    }
}

/// The time from here to the end of `tasks` tasks that share the calls, spawned as a service's requests are.
async fn timed<F: Future<Output = ()> + Send + 'static>(tasks: i64, make: impl Fn() -> F) -> Duration {
    let began = Instant::now();
    let mut set = JoinSet::new();
    for _ in 0..tasks {
        set.spawn(make());
    }
    set.join_all().await;
    began.elapsed()
}

async fn measure(
    ways: &Arc<Ways>,
    plain: &mut Connection,
    work: Work,
    tasks: i64,
    calls: i64,
    rounds: usize,
) {
    let (mut alone, mut stage, mut pool, mut single) =
        (Samples::default(), Samples::default(), Samples::default(), Samples::default());
    let each = calls / tasks;
    // In turn, so that what else the machine does meets all alike. The first round warms up.
    for round in 0..=rounds {
        let began = Instant::now();
        plainly(plain, work, calls);
        let took = [
            began.elapsed(),
            timed(tasks, || by_stage(ways.clone(), work, each)).await,
            timed(tasks, || by_pool(ways.clone(), work, each)).await,
            timed(tasks, || by_single(ways.clone(), work, each)).await,
        ];
        if round > 0 {
            for (samples, took) in [&mut alone, &mut stage, &mut pool, &mut single].into_iter().zip(took) {
                samples.add(took, calls);
            }
        }
    }
    let plain = alone.print("rusqlite", None);
    stage.print("stage", Some(plain));
    pool.print("deadpool-sqlite", Some(plain));
    single.print("tokio-rusqlite", Some(plain));
}

async fn ways(path: &Path, full: bool) -> (Arc<Ways>, solostart::Running) {
    let none: [(&str, &str); 0] = [];
    let many = WorkerMode::Many { reason: "a bench".to_owned() };
    let mut startup = Startup::new("bench", Env::from_vars("BENCH", none), many);
    let stage =
        SqliteDatabase::at(path).migrations(MIGRATIONS).integrity(Integrity::Off, Duration::from_secs(1));
    let handle = startup.add(stage);
    let running = startup.start().await.expect("it starts");
    let stage = running.get(handle).expect("it is up");
    if !full {
        stage
            .write(|tx| Ok(tx.execute_batch("COMMIT; PRAGMA synchronous = OFF; BEGIN IMMEDIATE;")?))
            .await
            .expect("it is a setting");
    }
    let pool = deadpool_sqlite::Config::new(path)
        .builder(PoolRuntime::Tokio1)
        .expect("the settings are sound")
        // As many connections as the stage has: one that writes and two that read.
        .max_size(3)
        .post_create(Hook::async_fn(move |connection, _| {
            Box::pin(async move {
                let settled = connection.interact(move |connection| settle(connection, full)).await;
                settled.expect("it does not panic").expect("the settings are sound");
                Ok(())
            })
        }))
        .build()
        .expect("the pool is sound");
    let single = tokio_rusqlite::Connection::open(path).await.expect("it opens");
    single.call(move |connection| settle(connection, full)).await.expect("the settings are sound");
    (Arc::new(Ways { stage, pool, single }), running)
}

fn main() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    println!(
        "microseconds per call: median (lowest to highest) of 15 rounds, and what it is over plain rusqlite"
    );
    for full in [true, false] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("bench.db");
        runtime.block_on(async {
            let (ways, running) = ways(&path, full).await;
            let mut plain = Connection::open(&path).expect("it opens");
            settle(&plain, full).expect("the settings are sound");
            if full {
                println!("read one row, one task");
                measure(&ways, &mut plain, Work::Read, 1, 4_000, 15).await;
                println!("read one row, 16 tasks");
                measure(&ways, &mut plain, Work::Read, 16, 8_000, 15).await;
            }
            let care = if full { "synchronous=FULL" } else { "synchronous=OFF" };
            println!("write one row in a transaction, one task, {care}");
            measure(&ways, &mut plain, Work::Write, 1, 400, 15).await;
            println!("write one row in a transaction, 16 tasks, {care}");
            measure(&ways, &mut plain, Work::Write, 16, 800, 15).await;
            drop(ways);
            running.shutdown("over").await;
        });
    }
}
