//! A worker is paused for half to five times its lease, the lock file is deleted meanwhile, and another one tries to
//! take over: the lease and the lock on the database must keep it away until the old one has ended, and the old one must end,
//! without writing, when it goes on.
//!
//! A paused process keeps its `flock`, so on one machine nobody takes over from it. Deleting the lock file breaks the first
//! of these layers, and leaves the others to themselves.

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use solostart::{
    Env, Handle, ServeContext, StageContext, StageResult, Startup, WorkerGuard, WorkerMode,
    stages::database::{Database, DatabaseError, Migration, SqliteDatabase, rusqlite::Connection},
};

use crate::{
    Plan,
    figures::{Dice, Spread},
    process::{Process, role},
    roles::HELD,
};

const TTL: Duration = Duration::from_millis(500);

/// By when the right has ended without a renewal: 0.6 of the TTL.
const SOFT: Duration = Duration::from_millis(300);

/// How soon 99 of 100 that lost the right must have ended after they go on, beyond what the machine itself takes.
const LIMIT: Duration = Duration::from_millis(50);

/// How long a writer rests between two writes.
const PACE: Duration = Duration::from_millis(10);

/// How many pairs at once. They sleep nearly all of the time.
const AT_ONCE: usize = 4;

/// The successor waits for the paused one to be gone.
const SUCCESSOR: &[(&str, &str)] = &[("ATTACK_INSTANCE_MODE", "wait"), ("ATTACK_LOCK_WAIT", "30s")];

/// What a writer says when the fence or the guard has refused a write.
const REFUSED: &str = "write refused";

const MIGRATIONS: &[Migration] = &[Migration::new(
    "writes",
    "CREATE TABLE fenced (id INTEGER PRIMARY KEY AUTOINCREMENT, token INTEGER NOT NULL) STRICT;
     CREATE TABLE unfenced (id INTEGER PRIMARY KEY AUTOINCREMENT, token INTEGER NOT NULL) STRICT;",
)];

/// What all pairs came to.
#[derive(Default)]
struct Found {
    pauses: u64,
    /// From SIGCONT to the exit, where the right was lost by then.
    exits: Spread,
    /// What the slowest of them said.
    slowest: String,
    /// The same of a program that stores one line and ends: what the machine itself takes.
    bystanders: Spread,
    /// How often the successor was at work before the old one went on.
    overtaken: u64,
    fenced: u64,
    stale_unfenced: u64,
    restarted: u64,
    both_wrote: u64,
    refused: usize,
    /// How often a worker had lost its lease for want of a processor before it was paused.
    early: u64,
}

pub(crate) fn attack(plan: &Plan) {
    let pauses = plan.either(320, 8);
    let (next, found) = (AtomicU64::new(0), Mutex::new(Found::default()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= pauses {
                        return;
                    }
                    let mut dice = Dice::new(plan.seed, number);
                    // One in four has no watchdog that ends it, and goes on trying.
                    let role = if number % 4 == 3 { "stubborn" } else { "writer" };
                    while !pair(plan, role, &mut dice, &found) {}
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    assert!(found.both_wrote * 2 > found.pauses, "most pairs must have two writers, or nothing is tried");
    let (late, machine) = (found.exits.at(0.99), found.bystanders.at(0.99));
    let prompt = plan.quick || late <= LIMIT + machine;
    assert!(prompt, "{late:?} from SIGCONT to the exit, {machine:?} without us; the last {}", found.slowest);
    let Found {
        pauses, exits, bystanders, overtaken, fenced, stale_unfenced, restarted, refused, early, ..
    } = found;
    plan.found(
        format_args!("{pauses} pauses (SIGSTOP) of 0.5 to 5 TTL of {} ms, lock file deleted", TTL.as_millis()),
        format_args!(
            "0 stale fenced writes of {fenced} accepted, {refused} refused; {stale_unfenced} stale ones without the \
             fence; a successor at work before {overtaken} pauses were over"
        ),
    );
    plan.found("from SIGCONT to the exit where the right was lost", exits.text());
    plan.found("the same of a program that only stores one line before", bystanders.text());
    plan.found(
        "a lease of 500 ms on this machine",
        format_args!("{early} workers lost it before their pause; {restarted} successors were started again"),
    );
}

fn start(name: &str, dir: &Path, more: &[(&str, &str)]) -> Process {
    let mut command: Command = role(name, dir);
    command.env("ATTACK_LEASE_TTL", format!("{}ms", TTL.as_millis())).envs(more.iter().copied());
    Process::spawn(command)
}

/// Plays one pause. It is `false` where the first worker lost its lease before it could be paused.
fn pair(plan: &Plan, old: &str, dice: &mut Dice, found: &Mutex<Found>) -> bool {
    let place = plan.place();
    let dir = place.path();
    let length = dice.between(TTL / 2, TTL * 5);
    let watched = old == "writer";
    let mut old = start(old, dir, &[]);
    old.must_say("READY");
    thread::sleep(dice.between(Duration::ZERO, Duration::from_millis(250)));
    if !old.pause() {
        found.lock().unwrap().early += 1;
        return false;
    }
    let paused = Instant::now();
    fs::remove_file(dir.join("attack.lock")).unwrap();
    let mut heir = start("writer", dir, SUCCESSOR);
    thread::sleep(length.saturating_sub(paused.elapsed()));
    let overtaken = heir.has_said("READY");
    assert!(!overtaken, "it worked beside a paused one:\n{}", heir.seen);
    let resumed = Instant::now();
    old.signal(Signal::CONT);
    let (status, ended) = old.wait();
    // It finds its time over, or first that its lock file is gone.
    assert!(matches!(status.code(), Some(70 | 75)), "the old worker:\n{}", old.seen);
    let mut restarted = 0;
    // Started again, as by a supervisor: the paused one had the database until it ended (75, or 78 while it stops).
    while !heir.has_said("READY") && heir.said("READY").is_none() {
        must_be(&mut heir, &[70, 75, 78]);
        heir = start("writer", dir, SUCCESSOR);
        restarted += 1;
    }
    heir.signal(Signal::TERM);
    // On a busy machine it can lose so short a lease at any time; then it ends like the old one.
    must_be(&mut heir, &[0, 70, 75]);

    let beside = bystander(dir);
    let mut found = found.lock().unwrap();
    found.pauses += 1;
    found.restarted += restarted;
    found.overtaken += u64::from(overtaken);
    found.refused += old.seen.matches(REFUSED).count();
    found.bystanders.add(beside);
    // A shorter one may have been renewed in time; then the deleted file is noticed within three seconds.
    if watched && length >= SOFT {
        if ended - resumed > found.exits.max() {
            found.slowest = format!("after a pause of {length:?}:\n{}", old.seen);
        }
        found.exits.add(ended - resumed);
    }
    judge(dir, &mut found);
    true
}

/// From SIGCONT to the exit of a program that ends when it notices that it was paused.
fn bystander(dir: &Path) -> Duration {
    loop {
        let mut bystander = Process::spawn(role("bystander", dir));
        bystander.must_say(HELD);
        // One that a busy machine kept from running for so long has ended already.
        if bystander.pause() {
            thread::sleep(SOFT);
            let resumed = Instant::now();
            bystander.signal(Signal::CONT);
            return bystander.wait().1 - resumed;
        }
    }
}

fn must_be(worker: &mut Process, codes: &[i32]) {
    let (status, _) = worker.wait();
    assert!(status.code().is_some_and(|code| codes.contains(&code)), "{status}:\n{}", worker.seen);
}

/// SQLite commits one write after the other, so in the order of the rows no token may ever fall.
fn judge(dir: &Path, found: &mut Found) {
    let database = Connection::open(dir.join("attack.db")).unwrap();
    let tokens = |table: &str| -> Vec<i64> {
        let mut rows = database.prepare(&format!("SELECT token FROM {table} ORDER BY id")).unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let (fenced, unfenced) = (tokens("fenced"), tokens("unfenced"));
    assert_eq!(stale(&fenced), 0, "a stale fenced write was accepted: {fenced:?}");
    found.both_wrote += u64::from(fenced.first() < fenced.last());
    found.fenced += fenced.len() as u64;
    found.stale_unfenced += stale(&unfenced);
}

/// How many rows came after one with a higher token.
fn stale(tokens: &[i64]) -> u64 {
    let mut highest = i64::MIN;
    let mut stale = 0;
    for &token in tokens {
        stale += u64::from(token < highest);
        highest = highest.max(token);
    }
    stale
}

/// A worker that writes its token all the time, with the fence and without.
pub(crate) fn writer() -> ExitCode {
    solostart::run("attack", |startup| {
        let needs = plan_writer(startup);
        startup.serve(needs, async |cx: ServeContext, (database, guard)| {
            let mut tries_after_the_end = 0;
            // Whoever is told to stop tries a few times more: the fence must not rely on good manners.
            while tries_after_the_end < 3 {
                write(&database, &guard).await?;
                tokio::select! {
                    () = cx.shutdown_requested() => tries_after_the_end += 1,
                    () = tokio::time::sleep(PACE) => {}
                }
            }
            Ok(())
        });
        Ok(())
    })
}

/// The same in a program that has no watchdog, because it owns its runtime, and that goes on trying.
pub(crate) fn stubborn() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut startup = Startup::new("attack", Env::from_process("ATTACK"), WorkerMode::Single);
        let (database, guard) = plan_writer(&mut startup);
        let running = startup.start().await.unwrap();
        eprintln!("READY");
        let (database, guard) = (running.get(database).unwrap(), running.get(guard).unwrap());
        let mut refused = 0;
        while refused < 50 {
            refused += u64::from(!write(&database, &guard).await.unwrap());
            tokio::time::sleep(if refused > 0 { Duration::ZERO } else { PACE }).await;
        }
    });
    ExitCode::from(70)
}

fn plan_writer(startup: &mut Startup) -> (Handle<Database>, Handle<WorkerGuard>) {
    startup.allow_unshared_lock("overlay,tmpfs");
    let database = startup.add(SqliteDatabase::from_env(&startup.env()).migrations(MIGRATIONS));
    let guard = startup.stage("guard", (), async |cx: StageContext, ()| Ok(cx.worker())).required();
    (database, guard)
}

/// Writes once without the fence and once with it, and says whether the fenced write was accepted.
async fn write(database: &Database, guard: &WorkerGuard) -> StageResult<bool> {
    let token = guard.token().as_i64();
    let unfenced =
        database.write(move |tx| Ok(tx.execute("INSERT INTO unfenced (token) VALUES (?1)", [token])?)).await;
    let fenced =
        database.fenced(move |tx| Ok(tx.execute("INSERT INTO fenced (token) VALUES (?1)", [token])?)).await;
    match fenced {
        Ok(_) => unfenced.map_or_else(|error| Err(error.into()), |_| Ok(true)),
        Err(DatabaseError::LockLost(_) | DatabaseError::Stopped) => {
            eprintln!("{REFUSED}");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}
