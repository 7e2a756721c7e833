//! banboard as somebody would write it without the library: the same resources, opened in the same order with
//! the same settings and the same care for the disk, and closed in the reverse order at SIGTERM. What banboard
//! does with them is banboard's own code.
//!
//! What it lacks is what the library is for: reports with codes and advice, the crash ledger, the report file, the
//! file for health checks, time limits, retries, undoing a start that fails, a second layer for file systems whose
//! locks cannot be trusted, leases that are watched before they are taken, fenced transactions (the fence is raised
//! once, but not asked before each write), the watchdog, the check of the environment as a whole, the page with its
//! login. A failure here is a line, and the exit code 1.

#![allow(clippy::disallowed_methods, reason = "the rules of the library are what it does without")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that is measured says when it is ready"
)]

mod database;
#[allow(dead_code, reason = "banboard uses more of it")]
#[path = "../../../examples/banboard/follow.rs"]
mod follow;
#[path = "../../../examples/banboard/log.rs"]
mod log;
#[allow(dead_code, reason = "banboard uses more of it")]
#[path = "../../../examples/banboard/networks.rs"]
mod networks;
#[allow(dead_code, reason = "banboard uses more of it")]
#[path = "../../../examples/banboard/schema.rs"]
mod schema;
#[allow(dead_code, reason = "banboard uses more of it")]
#[path = "../../../examples/banboard/store.rs"]
mod store;
mod worker;

use std::{
    env,
    io::IsTerminal,
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, Router, routing::get};
use moka::future::Cache;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::{JoinHandle, spawn_blocking},
    time::{MissedTickBehavior, interval_at, sleep},
};
use tokio_cron_scheduler::{Job, JobScheduler};
use tracing_subscriber::EnvFilter;

use self::{database::Database, follow::Position, networks::Network, worker::Worker};

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// The same as banboard's.
const FIRST_BATCHES: usize = 32;
const PAUSE: Duration = Duration::from_secs(1);
const EXPIRE_EVERY: Duration = Duration::from_secs(30);
const COUNT_AT: &str = "10 0 * * * *";
const BAN_TIME: Duration = Duration::from_mins(10);

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let colour = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    // In a task of its own, because what `block_on` drives is woken across threads at each step.
    let lived = runtime.block_on(async { tokio::spawn(live()).await });
    runtime.shutdown_background();
    match lived {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn live() -> Result<(), Error> {
    let began = Instant::now();
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let dir = PathBuf::from(env::var_os("BANBOARD_DATA_DIR").ok_or("BANBOARD_DATA_DIR is not set")?);
    let listen: SocketAddr = env::var("BANBOARD_LISTEN")?.parse()?;
    let log = PathBuf::from(env::var_os("BANBOARD_FAIL2BAN_LOG").ok_or("BANBOARD_FAIL2BAN_LOG is not set")?);

    let home = dir.clone();
    let worker = spawn_blocking(move || Worker::acquire(&home)).await??;

    let (token, holder) = (worker.token(), worker.holder().to_owned());
    let opening = Database::open(dir.join("banboard.db"), token, holder);
    let building = async { spawn_blocking(http_client).await? };
    let (database, http) = tokio::try_join!(opening, building)?;
    let database = Arc::new(database);
    let unknown: Cache<Network, ()> =
        Cache::builder().max_capacity(50_000).time_to_live(Duration::from_hours(24)).build();
    let sessions: Cache<[u8; 32], String> = Cache::builder()
        .max_capacity(1000)
        .time_to_live(Duration::from_hours(12))
        .time_to_idle(Duration::from_mins(30))
        .build();
    let countries: Cache<Network, String> = Cache::builder().max_capacity(500_000).build();
    for (network, country) in database.read(networks::load).await? {
        countries.insert(network, country).await;
    }

    let (mut scheduler, expiring) = schedule(&database).await?;

    let mut follower = Follower { database: database.clone(), log, position: None };
    for _ in 0..FIRST_BATCHES {
        if !follower.read_on().await? {
            break;
        }
    }
    by_parts(&database, store::expire).await?;
    let following = tokio::spawn(follow_on(follower));

    let listener = TcpListener::bind(listen).await?;
    println!("banboard is on http://{}", listener.local_addr()?);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let router = router(database.clone());
    let serving = tokio::spawn(
        axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
            .with_graceful_shutdown(async {
                let _asked_or_gone = stopped.await;
            })
            .into_future(),
    );
    eprintln!("READY in {:?}", began.elapsed());

    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    let _over_already = stop.send(());
    serving.await??;
    following.abort();
    let _aborted = following.await;
    expiring.abort();
    let _aborted = expiring.await;
    scheduler.shutdown().await?;
    drop((countries, sessions, unknown, http));
    let database = Arc::into_inner(database).ok_or("the database is still in use")?;
    spawn_blocking(move || database.close()).await??;
    spawn_blocking(move || worker.release()).await?
}

/// The client of the library: the same limits, the same roots.
fn http_client() -> Result<reqwest::Client, Error> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let limit = Duration::from_secs(5);
    Ok(reqwest::Client::builder()
        .no_proxy()
        .tls_backend_preconfigured(tls)
        .user_agent("banboard/by-hand")
        .connect_timeout(Duration::from_secs(3))
        .read_timeout(limit)
        .timeout(limit)
        .pool_max_idle_per_host(8)
        .redirect(reqwest::redirect::Policy::limited(5))
        .referer(false)
        .build()?)
}

/// One job by a timetable and one by a period, as banboard has them.
async fn schedule(database: &Arc<Database>) -> Result<(JobScheduler, JoinHandle<()>), Error> {
    let scheduler = JobScheduler::new().await?;
    // The scheduler never lets go of its jobs, so they must not keep the database open.
    let database = Arc::downgrade(database);
    let counted = database.clone();
    let count = Job::new_async(COUNT_AT, move |_, _| {
        let database = counted.upgrade();
        Box::pin(async move {
            if let Some(database) = database {
                tell(by_parts(&database, store::count_hours).await);
            }
        })
    })?;
    scheduler.add(count).await?;
    scheduler.start().await?;
    let expiring = tokio::spawn(async move {
        let mut ticks = interval_at(tokio::time::Instant::now() + EXPIRE_EVERY, EXPIRE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let Some(database) = database.upgrade() else { return };
            tell(by_parts(&database, store::expire).await);
        }
    });
    Ok((scheduler, expiring))
}

/// As banboard does it: until one has less to change than it may.
async fn by_parts(
    database: &Database,
    part: fn(&rusqlite::Connection) -> rusqlite::Result<usize>,
) -> Result<(), Error> {
    while database.write(part).await? == store::AT_ONCE {}
    Ok(())
}

fn tell(done: Result<(), Error>) {
    if let Err(error) = done {
        tracing::error!(%error, "a job failed");
    }
}

struct Follower {
    database: Arc<Database>,
    log: PathBuf,
    position: Option<Position>,
}

impl Follower {
    async fn read_on(&mut self) -> Result<bool, Error> {
        let from = match self.position.take() {
            Some(position) => position,
            None => self.database.read(store::position).await?,
        };
        let (log, begin) = (self.log.clone(), from.clone());
        let batch = spawn_blocking(move || follow::read(&log, &begin)).await??;
        let (position, more) = (batch.position.clone(), batch.more);
        if position != from {
            self.database.write(move |tx| store::ingest(tx, &batch, BAN_TIME)).await?;
        }
        self.position = Some(position);
        Ok(more)
    }
}

async fn follow_on(mut follower: Follower) {
    loop {
        match follower.read_on().await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tell(Err(error)),
        }
        sleep(PAUSE).await;
    }
}

fn router(database: Arc<Database>) -> Router {
    let bans = async move || match database.read(count).await {
        Ok(bans) => Json(bans),
        Err(error) => {
            tell(Err(error));
            Json(0)
        }
    };
    Router::new()
        .route("/", get(bans.clone()))
        .route("/api/bans", get(bans))
        .route("/icon.svg", get(async || include_str!("../../../examples/banboard/icon.svg")))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(async || "ready\n"))
        .route("/startupz", get(async || "started\n"))
}

fn count(db: &rusqlite::Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT count(*) FROM bans WHERE ended_at IS NULL", [], |row| row.get(0))
}
