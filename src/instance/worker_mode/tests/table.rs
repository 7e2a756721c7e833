//! What a start does in every state of the two locks: the table of `docs/locking.md`, cell by cell.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use rusqlite::Connection;

use super::*;
use crate::instance::{
    file_lock::{self, Outcome},
    holder::Holder,
    lease::{
        protocol::Version,
        record::{LeaseRecord, Now, clock_name},
        sqlite::{SqliteStore, path_beside},
        store::LeaseStore,
    },
    other_process::relock,
    testing::{TTL, anywhere, locked_by_somebody},
};

/// The time of a lease whose end is not waited for.
const LONG: Duration = Duration::from_secs(600);

/// The state of the file lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lock {
    Free,
    /// Somebody has it, and the file says that it is the one who holds the lease.
    HeldByTheLeases,
    /// Somebody has it whom the lease does not know.
    HeldByAnother,
    /// It cannot be told who has it.
    Unusable,
}

/// The state of the lease, and of the lock file that its holder had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lease {
    Absent,
    Free,
    /// Its holder had this very lock file.
    OfThisLock,
    /// The same, before the machine was booted again.
    OfThisLockAndAnotherBoot,
    Expired,
    Live,
    Stale,
    ForeignLive,
    ForeignStale,
    Corrupt,
}

const LEASES: [Lease; 10] = [
    Lease::Absent,
    Lease::Free,
    Lease::OfThisLock,
    Lease::OfThisLockAndAnotherBoot,
    Lease::Expired,
    Lease::Live,
    Lease::Stale,
    Lease::ForeignLive,
    Lease::ForeignStale,
    Lease::Corrupt,
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Starts,
    /// Starts, and says from whom it took over, and why.
    TakesOver(&'static str),
    Refuses(&'static str, u8),
}

const HELD: Answer = Answer::Refuses("lock.held", 78);
const UNRESPONSIVE: Answer = Answer::Refuses("lock.holder-unresponsive", 75);

/// The table.
fn expected(lock: Lock, lease: Lease) -> Answer {
    match (lock, lease) {
        (Lock::Unusable, _) => Answer::Refuses("lock.unsupported", 78),
        (Lock::HeldByTheLeases, Lease::Expired) => UNRESPONSIVE,
        (Lock::HeldByTheLeases | Lock::HeldByAnother, _) => HELD,
        (Lock::Free, Lease::Absent | Lease::Free) => Answer::Starts,
        (Lock::Free, Lease::OfThisLock | Lease::OfThisLockAndAnotherBoot) => {
            Answer::TakesOver("its file lock is free")
        }
        (Lock::Free, Lease::Expired | Lease::Stale) => Answer::TakesOver("its time was up"),
        (Lock::Free, Lease::ForeignStale) => Answer::TakesOver("it did not renew while we watched"),
        (Lock::Free, Lease::Live | Lease::ForeignLive) => HELD,
        (Lock::Free, Lease::Corrupt) => Answer::Refuses("db.corrupt", 65),
    }
}

fn in_words(lease: Lease) -> &'static str {
    match lease {
        Lease::Absent => "absent: no file, or no row",
        Lease::Free => "given back",
        Lease::OfThisLock => "of a holder that had this lock file",
        Lease::OfThisLockAndAnotherBoot => "the same, of another boot",
        Lease::Expired => "expired, of this boot",
        Lease::Live => "renewed, of this boot",
        Lease::Stale => "silent, not yet expired, of this boot",
        Lease::ForeignLive => "renewed, of another boot or machine",
        Lease::ForeignStale => "silent, of another boot or machine",
        Lease::Corrupt => "corrupt",
    }
}

#[test]
fn the_document_shows_this_table() {
    let document = include_str!("../../../../docs/locking.md");
    for lease in LEASES {
        let cells = [Lock::Free, Lock::HeldByTheLeases, Lock::HeldByAnother, Lock::Unusable];
        let cells = cells.map(|lock| match expected(lock, lease) {
            Answer::Starts => "starts".to_owned(),
            Answer::TakesOver(why) => format!("takes over: {why}"),
            Answer::Refuses(code, exit) => format!("`{code}` {exit}"),
        });
        let row = format!("| {} | {} |\n", in_words(lease), cells.join(" | "));
        assert!(document.contains(&row), "docs/locking.md has no row\n{row}");
    }
}

/// One cell of the table, made real.
struct Cell {
    config: WorkerConfig,
    holder: String,
    renewing: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
    _lock: Option<fs::File>,
    _dir: tempfile::TempDir,
}

impl Cell {
    fn make(lock: Lock, lease: Lease) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = config(&dir);
        fs::create_dir(&config.data_dir).unwrap();
        let path = config.lock_path.as_path();
        // The lock file gets its identity, and a description of the one who will hold the lease.
        let Outcome::Acquired(first) = file_lock::acquire(path, &anywhere).unwrap() else { panic!("held") };
        let this_lock = first.name();
        let info = Holder::this_process(InstanceId::mint(), "shop", "1.0");
        let described = match lock {
            Lock::HeldByAnother => Holder { instance: InstanceId::mint().to_string(), ..info.clone() },
            Lock::Free | Lock::HeldByTheLeases | Lock::Unusable => info.clone(),
        };
        first.describe(&described).unwrap();
        drop(first);
        let held = match lock {
            Lock::HeldByTheLeases | Lock::HeldByAnother => Some(locked_by_somebody(path)),
            Lock::Unusable => {
                fs::hard_link(path, path.with_extension("second")).unwrap();
                None
            }
            Lock::Free => None,
        };
        let holder = info.instance.clone();
        let row = row(lease, info, this_lock, if lock == Lock::Free { TTL } else { LONG });
        let renewing = row.and_then(|row| write(&path_beside(path), lease, row));
        if lease == Lease::Corrupt {
            fs::write(path_beside(path), "this is not a lease").unwrap();
        }
        Self { config, holder, renewing, _lock: held, _dir: dir }
    }

    fn token(&self) -> Option<(u64, Option<String>)> {
        let row = SqliteStore::look(&path_beside(&self.config.lock_path), "shop", TTL).ok()??;
        Some((row.version.token, row.holder))
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        if let Some((over, thread)) = self.renewing.take() {
            over.store(true, Ordering::SeqCst);
            thread.join().unwrap();
        }
    }
}

fn row(lease: Lease, info: Holder, this_lock: String, ttl: Duration) -> Option<LeaseRecord> {
    let now = Now::read();
    let ttl = if matches!(lease, Lease::Live | Lease::ForeignLive) { LONG } else { ttl };
    let boot_id = match lease {
        Lease::ForeignLive | Lease::ForeignStale | Lease::OfThisLockAndAnotherBoot => {
            "another-boot".to_owned()
        }
        Lease::Absent | Lease::Corrupt => return None,
        Lease::Free | Lease::OfThisLock | Lease::Expired | Lease::Live | Lease::Stale => clock_name(),
    };
    let is_of_this = matches!(lease, Lease::OfThisLock | Lease::OfThisLockAndAnotherBoot);
    Some(LeaseRecord {
        name: "shop".to_owned(),
        version: Version { token: 7, seq: 1 },
        holder: (lease != Lease::Free).then(|| info.instance.clone()),
        info: Some(info),
        boot_id,
        lock: if is_of_this { this_lock } else { "another-lock@1".to_owned() },
        ttl,
        expires: if lease == Lease::Expired { now.boot - Duration::from_millis(1) } else { now.boot + ttl },
        changed_unix_ms: 0,
    })
}

/// Writes the row, and goes on renewing it where it is alive.
fn write(path: &Path, lease: Lease, row: LeaseRecord) -> Option<(Arc<AtomicBool>, JoinHandle<()>)> {
    let mut store = SqliteStore::open(path, TTL).unwrap();
    assert!(store.swap(None, &row).unwrap());
    if !matches!(lease, Lease::Live | Lease::ForeignLive) {
        return None;
    }
    let over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&over);
    let renew = move || {
        let mut row = row;
        while !ended.load(Ordering::SeqCst) {
            let seen = row.version;
            row.version.seq += 1;
            row.expires = Now::read().boot + LONG;
            assert!(store.swap(Some(seen), &row).unwrap(), "somebody took the row of a living holder");
            thread::sleep(Duration::from_millis(50));
        }
    };
    Some((over, thread::spawn(renew)))
}

fn judge(lock: Lock, lease: Lease) {
    let cell = Cell::make(lock, lease);
    let before = cell.token();
    let started = acquire(&cell.config);
    let answer = match &started {
        Ok(held) => {
            let lock = held.lock();
            assert!(lock.token.get() > 7, "{lock:?}");
            assert_eq!(held.guard().check(), Ok(()));
            match lock.took_over {
                None => Answer::Starts,
                Some(text) => {
                    assert!(text.starts_with(&cell.holder[..8]), "{text}");
                    Answer::TakesOver(
                        ["its file lock is free", "its time was up", "it did not renew while we watched"]
                            .into_iter()
                            .find(|why| text.ends_with(why))
                            .unwrap_or("for no reason"),
                    )
                }
            }
        }
        Err(error) => Answer::Refuses(error.failure_code().name, error.error_kind().exit_code()),
    };
    assert_eq!(answer, expected(lock, lease), "{lock:?} x {lease:?}: {started:?}");
    if started.is_err() {
        assert_eq!(cell.token(), before, "{lock:?} x {lease:?}: a refused start changed the lease");
        if lock == Lock::Free {
            drop(relock(&cell.config.lock_path));
        }
    }
}

/// The cells stand beside each other, because some of them take as long as a lease lasts.
fn judge_all(lock: Lock) {
    thread::scope(|scope| {
        for lease in LEASES {
            scope.spawn(move || judge(lock, lease));
        }
    });
}

#[test]
fn a_free_lock_with_every_state_of_the_lease() {
    judge_all(Lock::Free);
}

#[test]
fn a_lock_that_the_holder_of_the_lease_has_with_every_state_of_the_lease() {
    judge_all(Lock::HeldByTheLeases);
}

#[test]
fn a_lock_that_somebody_else_has_with_every_state_of_the_lease() {
    judge_all(Lock::HeldByAnother);
}

#[test]
fn an_unusable_lock_with_every_state_of_the_lease() {
    judge_all(Lock::Unusable);
}

#[test]
fn a_lease_that_lost_a_table_is_corrupt_and_an_empty_file_is_a_new_one() {
    let cell = Cell::make(Lock::Free, Lease::Free);
    let path = path_beside(&cell.config.lock_path);
    Connection::open(&path).unwrap().execute_batch("DROP TABLE solostart_lease; VACUUM").unwrap();
    // No table at all is what an interrupted creation leaves.
    assert!(acquire(&cell.config).is_ok());
    let cell = Cell::make(Lock::Free, Lease::Free);
    let path = path_beside(&cell.config.lock_path);
    Connection::open(&path).unwrap().execute_batch("DROP TRIGGER solostart_lease_token_grows").unwrap();
    assert_eq!(code(&cell.config), "db.corrupt");
    fs::write(&path, "").unwrap();
    assert!(acquire(&cell.config).is_ok());
}
