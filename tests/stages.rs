//! The ready-made stages under the engine: the graph of the reference service, with real files and sockets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![cfg(all(feature = "database", feature = "cache", feature = "http-session", feature = "scheduler"))]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use solostart::{
    Env, Handle, StageContext, Startup, WorkerMode, codes,
    stages::{
        RunContext,
        cache::{Cache, CacheHandle},
        database::{Database, DatabaseError, Migration, SqliteDatabase},
        http_session::{HttpClient, HttpSession},
        scheduler::{JobScheduler, Scheduler},
        tasks::{Tasks, TasksHandle},
    },
};
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const MIGRATIONS: &[Migration] = &[Migration::new(
    "numbers",
    "CREATE TABLE numbers (value INTEGER PRIMARY KEY) STRICT; INSERT INTO numbers VALUES (7);",
)];

/// Runs for minutes unless it is interrupted.
const ENDLESS: &[Migration] = &[Migration::new(
    "endless",
    "CREATE TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000000000)
     SELECT max(i) FROM n;",
)];

type Numbers = CacheHandle<i64, i64>;
type Told = Arc<UnboundedSender<&'static str>>;
type Needs = (Arc<Database>, Arc<Numbers>, Arc<HttpClient>, Told);

/// A start-up in a directory of its own.
fn shop(dir: &TempDir, vars: &[(&str, &str)]) -> Startup {
    let data = [("SHOP_DATA_DIR", dir.path().to_str().unwrap())];
    let env = Env::from_vars("SHOP", data.iter().chain(vars).copied());
    let mut startup = Startup::new("shop", env, WorkerMode::Single);
    // Continuous integration keeps its temporary files on either of these.
    startup.allow_unshared_lock("overlay,tmpfs");
    startup
}

async fn load(_cx: StageContext, database: Arc<Database>, cache: Numbers) -> solostart::StageResult<()> {
    let numbers = database.read(|connection| {
        let mut all = connection.prepare("SELECT value FROM numbers")?;
        Ok(all.query_map([], |row| Ok((row.get(0)?, row.get(0)?)))?.collect::<Result<Vec<_>, _>>()?)
    });
    cache.insert_all(numbers.await?).await;
    Ok(())
}

struct Shop {
    database: Handle<Database>,
    cache: Handle<Numbers>,
    http: Handle<HttpClient>,
    scheduler: Handle<JobScheduler>,
    tasks: Handle<TasksHandle>,
}

/// Everything, with a job and a task that say when they have used it all.
fn add_all(startup: &mut Startup, told: UnboundedSender<&'static str>) -> Shop {
    let env = startup.env();
    let database = startup.add(SqliteDatabase::from_env(&env).migrations(MIGRATIONS));
    let cache = startup.add_with(Cache::holding(100).warm_up(load), database);
    let http = startup.add(HttpSession::from_env(&env));
    let teller = startup.stage("teller", (), async move |_, ()| Ok(told)).required();
    let needs = (database, cache, http, teller);
    let scheduler = Scheduler::from_env(&env).every(
        "job",
        Duration::from_millis(10),
        async |_: RunContext, needs: Needs| {
            let (database, _cache, _http, told) = needs;
            database.write(|tx| Ok(tx.execute("INSERT OR IGNORE INTO numbers VALUES (8)", [])?)).await?;
            told.send("job")?;
            Ok(())
        },
    );
    let scheduler = startup.add_with(scheduler, needs);
    let tasks = Tasks::new().task("task", async |cx: RunContext, (_, told): (Arc<JobScheduler>, Told)| {
        told.send("task")?;
        cx.cancelled().await;
        Ok(())
    });
    let tasks = startup.add_with(tasks, (scheduler, teller));
    Shop { database, cache, http, scheduler, tasks }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_graph_comes_up_works_and_stops_clean_again_and_again() {
    let dir = TempDir::new().unwrap();
    for _ in 0..2 {
        let (told, mut said) = unbounded_channel();
        let mut startup = shop(&dir, &[]);
        let shop = add_all(&mut startup, told);
        let running = startup.start().await.unwrap();
        let cache = running.get(shop.cache).unwrap();
        assert_eq!(cache.get(&7).await, Some(7));
        drop(cache);
        let mut pending = vec!["job", "task"];
        while !pending.is_empty() {
            let which = said.recv().await.unwrap();
            pending.retain(|each| *each != which);
        }
        let (scheduler, tasks) = (running.get(shop.scheduler).unwrap(), running.get(shop.tasks).unwrap());
        assert_eq!((scheduler.stats()[0].failed, tasks.status()[0].restarts), (0, 0));
        drop((scheduler, tasks));
        let database = running.get(shop.database).unwrap();
        let path = database.path().to_owned();
        drop(database);
        let http = running.get(shop.http).unwrap();
        let report = running.shutdown("the test is over").await;
        assert!(report.is_clean(), "{report:?}");
        // Only what this test itself still holds.
        assert_eq!(report.summary.leaked, [("http-session".into(), 1)]);
        assert!(
            http.request(async |client| Ok(client.get("http://127.0.0.1/").send().await?)).await.is_err()
        );
        assert!(path.ends_with("shop.db") && !path.with_extension("db-wal").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_upstream_rolls_the_database_back() {
    let dir = TempDir::new().unwrap();
    // The port is taken, and nobody listens on it.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/health?token=hunter2", closed.local_addr().unwrap());
    let mut startup = shop(&dir, &[("SHOP_HTTP_PROBE_URL", &url), ("SHOP_HTTP_RETRY_BUDGET", "100ms")]);
    let env = startup.env();
    let database = startup.add(SqliteDatabase::from_env(&env).migrations(MIGRATIONS));
    let cache = startup.add_with(Cache::holding(100).warm_up(load), database);
    startup.configure(HttpSession::from_env(&env), ()).after(cache).required();
    let error = startup.start().await.unwrap_err();
    assert_eq!(error.primary.error.failure_code(), codes::HTTP_CONNECT, "{error}");
    assert!(error.rollback.is_complete(), "{error:?}");
    assert_eq!(error.rollback.stopped, ["cache", "database", "worker-mode"]);
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_is_too_slow_is_reported_as_such_and_lets_go_of_the_file() {
    let dir = TempDir::new().unwrap();
    let mut startup = shop(&dir, &[("SHOP_STAGE_TIMEOUT_DATABASE", "200ms")]);
    let database = startup.add(SqliteDatabase::from_env(&startup.env()).migrations(ENDLESS));
    let used = Arc::new(AtomicU32::new(0));
    let counted = used.clone();
    let _never = startup
        .stage("user", database, async move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .required();
    let error = startup.start().await.unwrap_err();
    assert_eq!(error.primary.error.failure_code(), codes::DB_MIGRATION_TIMEOUT, "{error:?}");
    assert_eq!(error.primary.step.as_deref(), Some("migration 1/1 endless"));
    assert!(error.rollback.is_complete(), "{error:?}");
    assert_eq!(used.load(Ordering::Relaxed), 0);

    let mut again = shop(&dir, &[]);
    let database = again.add(SqliteDatabase::from_env(&again.env()).migrations(MIGRATIONS));
    let running = again.start().await.unwrap();
    let database = running.get(database).unwrap();
    let rows = database.read(|connection| {
        Ok(connection.query_row("SELECT count(*) FROM numbers", [], |row| row.get::<_, i64>(0))?)
    });
    assert_eq!(rows.await.unwrap(), 1);
    assert!(running.shutdown("the test is over").await.is_clean());
    assert!(matches!(database.read(|_| Ok(())).await, Err(DatabaseError::Stopped)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_without_its_warm_up_degrades_the_service_and_a_retry_begins_with_a_clean_slate() {
    let dir = TempDir::new().unwrap();
    let mut startup = shop(&dir, &[]);
    let cold = Cache::holding(10)
        .warm_up(async |_, (): (), _: Numbers| Err(solostart::StageError::from("no such table")));
    let _cache = startup.add(cold);
    let _fickle = startup
        .stage("fickle", (), async |cx: StageContext, ()| {
            if cx.attempt() > 1 {
                return Ok(());
            }
            cx.degraded("only in the first attempt");
            Err("once more".into())
        })
        .retry(2)
        .required();
    let running = startup.start().await.unwrap();
    let status = running.status();
    assert!(status.is_ready());
    assert_eq!(status.degraded(), ["cache"]);
    let timeline = status.timeline();
    let told = timeline.stages.iter().find_map(|stage| stage.degraded.as_deref());
    assert_eq!(told, Some("the warm-up failed: no such table; 0 entries"));
    assert!(running.shutdown("the test is over").await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_cache_outlives_a_restart_and_a_rollback() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let saved = dir.path().join("cache.cache");
    for round in 0..3 {
        let mut startup = shop(&dir, &[]);
        let cache = Cache::<i64, i64>::holding(100).saved_in_data_dir(&startup.env());
        let cache = startup.add(cache);
        if round == 1 {
            let _fails =
                startup.stage("fails", cache, async |_, _| Err::<(), _>("on purpose".into())).required();
            let error = startup.start().await.unwrap_err();
            assert!(error.rollback.is_complete(), "{error:?}");
            continue;
        }
        let running = startup.start().await.unwrap();
        let handle = running.get(cache).unwrap();
        assert_eq!(handle.get(&7).await, (round == 2).then_some(49));
        handle.insert(7, 49).await;
        assert!(!saved.exists());
        drop(handle);
        assert!(running.shutdown("the test is over").await.is_clean());
        assert_eq!(saved.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
