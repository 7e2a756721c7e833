use std::{fs, os::unix::fs::MetadataExt, sync::Barrier, thread};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::instance::lease::{
    memory::MemoryStore,
    protocol::{Bounds, Window},
    taking::Applicant,
    testing::{NAME, applicant, at, claim_of, row, secs, take_now},
    view::LeaseView,
};

const PATIENCE: Duration = Duration::from_millis(200);

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.lease.db");
    (dir, path)
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, PATIENCE).unwrap()
}

/// A connection that knows nothing of leases, as `sqlite3` on a command line.
fn shell(path: &Path) -> Connection {
    Connection::open(path).unwrap()
}

#[test]
fn what_is_written_is_read_back_also_by_others_and_after_a_restart() {
    let (_dir, path) = place();
    let mut store = open(&path);
    assert_eq!(store.read(NAME).unwrap(), None);
    let info = Some(applicant("ours").info);
    let row = LeaseRecord { info, ..row(7, 3, secs(100)) };
    assert!(store.swap(None, &row).unwrap());
    assert_eq!(store.read(NAME).unwrap().as_ref(), Some(&row));
    assert_eq!(SqliteStore::look(&path, NAME, PATIENCE).unwrap().as_ref(), Some(&row));
    assert_eq!(store.read("another").unwrap(), None);
    drop(store);
    assert_eq!(open(&path).read(NAME).unwrap(), Some(row));
}

#[test]
fn a_look_creates_nothing() {
    let (dir, path) = place();
    assert_eq!(SqliteStore::look(&path, NAME, PATIENCE), Ok(None));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    fs::write(&path, "").unwrap();
    assert_eq!(SqliteStore::look(&path, NAME, PATIENCE), Ok(None));
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn a_look_creates_nothing_either_where_log_or_index_is_gone() {
    for (missing, whole) in [(&["-wal", "-shm"][..], true), (&["-wal"], true), (&["-shm"], false)] {
        let (dir, path) = place();
        let mut store = open(&path);
        store.swap(None, &row(7, 3, secs(100))).unwrap();
        drop(store);
        // What was written is in the database alone, as after a checkpoint, or partly in the log.
        if whole {
            shell(&path).query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(())).unwrap();
            assert_eq!(open(&path).read(NAME).unwrap().unwrap().version.token, 7);
        } else {
            open(&path).swap(Some(Version { token: 7, seq: 3 }), &row(8, 0, secs(100))).unwrap();
        }
        for ending in missing {
            let _never_there = fs::remove_file(beside(&path, ending));
        }
        let names = || {
            let entries = fs::read_dir(dir.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let before = names();
        let seen = SqliteStore::look(&path, NAME, PATIENCE);
        assert_eq!(names(), before, "{missing:?}");
        match seen {
            Ok(row) if whole => assert_eq!(row.unwrap().version.token, 7, "{missing:?}"),
            Err(StoreError::Unsupported(_)) if !whole => {}
            other => panic!("{missing:?}: {other:?}"),
        }
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// One call of a store, with everything that decides its answer.
#[derive(Clone, Debug)]
enum Call {
    Swap(Option<Version>, Box<LeaseRecord>),
    Renew(Claim, Now),
    Raise(Claim, u64),
    Release(Claim, Now),
}

fn apply(store: &mut dyn LeaseStore, call: &Call) -> bool {
    match call {
        Call::Swap(seen, next) => store.swap(*seen, next),
        Call::Renew(claim, now) => store.renew(claim, *now),
        Call::Raise(claim, token) => store.raise(claim, *token),
        Call::Release(claim, now) => store.release(claim, *now),
    }
    .unwrap()
}

/// Calls whose numbers are so few that they meet.
fn any_call() -> impl Strategy<Value = Call> {
    let number = || 1..4_u64;
    let version = || (number(), number()).prop_map(|(token, seq)| Version { token, seq });
    let holder = || prop::sample::select(vec!["a", "b"]);
    let record = (version(), prop::option::of(holder()), number()).prop_map(|(version, holder, boot)| {
        LeaseRecord { version, holder: holder.map(str::to_owned), ..row(1, 1, secs(boot)) }
    });
    let claim = || {
        (holder(), number(), number(), 0..3_u64).prop_map(|(holder, token, acknowledged, more)| Claim {
            holder: holder.to_owned(),
            window: Window { acknowledged, attempted: acknowledged + more },
            ..claim_of(&row(token, 0, secs(0)))
        })
    };
    let now = || number().prop_map(|boot| at(secs(boot)));
    prop_oneof![
        (prop::option::of(version()), record).prop_map(|(seen, next)| Call::Swap(seen, Box::new(next))),
        (claim(), now()).prop_map(|(claim, now)| Call::Renew(claim, now)),
        (claim(), number()).prop_map(|(claim, token)| Call::Raise(claim, token)),
        (claim(), now()).prop_map(|(claim, now)| Call::Release(claim, now)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The statements say in SQL what the protocol says in Rust.
    #[test]
    fn every_answer_and_every_row_is_that_of_the_protocol(calls in prop::collection::vec(any_call(), 1..40)) {
        let (_dir, path) = place();
        let (mut store, mut model) = (open(&path), MemoryStore::default());
        store.connection.execute_batch("PRAGMA synchronous = off").unwrap();
        for call in calls {
            // No caller lowers a token; the trigger that forbids it has a test of its own.
            let before = model.read(NAME).unwrap().map_or(0, |row| row.version.token);
            if matches!(&call, Call::Swap(_, next) if next.version.token < before) {
                continue;
            }
            prop_assert_eq!(apply(&mut store, &call), apply(&mut model, &call), "{:?}", call);
            prop_assert_eq!(store.read(NAME).unwrap(), model.read(NAME).unwrap(), "{:?}", call);
        }
    }
}

#[test]
fn of_many_contenders_one_wins_each_round_and_tokens_rise() {
    const CONTENDERS: usize = 4;
    const ROUNDS: usize = 50;
    let (_dir, path) = place();
    drop(open(&path));
    let start = Barrier::new(CONTENDERS);
    let won: Vec<Vec<Option<u64>>> = thread::scope(|scope| {
        let contend = |number: usize| {
            let (mut store, start) = (SqliteStore::open(&path, secs(5)).unwrap(), &start);
            move || {
                let one_round = |_| {
                    start.wait();
                    let before = store.read(NAME).unwrap();
                    start.wait();
                    let seen = before.as_ref().map(|row| row.version);
                    let token = seen.map_or(0, |seen| seen.token) + 1 + number as u64;
                    let next = row(token, 0, secs(100));
                    let won = store.swap(seen, &next).unwrap();
                    start.wait();
                    won.then_some(token)
                };
                (0..ROUNDS).map(one_round).collect()
            }
        };
        let threads: Vec<_> = (0..CONTENDERS).map(|number| scope.spawn(contend(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut last = 0;
    for round in 0..ROUNDS {
        let winners: Vec<u64> = won.iter().filter_map(|tokens| tokens[round]).collect();
        assert_eq!(winners.len(), 1, "round {round}");
        assert!(winners[0] > last);
        last = winners[0];
    }
}

#[test]
fn a_row_is_never_deleted_and_its_token_never_falls_whoever_tries() {
    let (_dir, path) = place();
    let mut store = open(&path);
    store.swap(None, &row(7, 3, secs(100))).unwrap();
    for sql in [
        "DELETE FROM solostart_lease",
        "UPDATE solostart_lease SET token = 6",
        "UPDATE solostart_lease SET token = 0",
    ] {
        assert!(shell(&path).execute(sql, []).is_err(), "{sql}");
    }
    assert_eq!(store.read(NAME).unwrap().unwrap().version.token, 7);
}

#[test]
fn a_file_that_holds_something_else_is_refused_and_not_touched() {
    type Make = fn(&Path);
    let makes: [(&str, Make); 6] = [
        ("text", |path| fs::write(path, "this is not a database").unwrap()),
        ("long text", |path| fs::write(path, "this is not a database. ".repeat(100)).unwrap()),
        ("the application's data", |path| shell(path).execute_batch("CREATE TABLE bans(id)").unwrap()),
        ("a table of the same name", |path| {
            shell(path).execute_batch("CREATE TABLE solostart_lease(token)").unwrap();
        }),
        ("a lease without its triggers", |path| {
            open(path);
            shell(path).execute_batch("DROP TRIGGER solostart_lease_is_kept").unwrap();
        }),
        ("a lease with one more trigger", |path| {
            open(path);
            shell(path)
                .execute_batch("CREATE TRIGGER t AFTER UPDATE ON solostart_lease BEGIN SELECT 1; END")
                .unwrap();
        }),
    ];
    for (what, make) in makes {
        let (_dir, path) = place();
        make(&path);
        let before = fs::read(&path).unwrap();
        let opened = SqliteStore::open(&path, PATIENCE);
        assert!(matches!(opened, Err(StoreError::Damaged(_))), "{what}: {opened:?}");
        let looked = SqliteStore::look(&path, NAME, PATIENCE);
        assert!(matches!(looked, Err(StoreError::Damaged(_))), "{what}: {looked:?}");
        assert!(fs::read(&path).unwrap() == before, "{what} was touched");
    }
}

#[test]
fn a_lease_that_was_cut_short_is_damaged_and_an_empty_one_is_new() {
    let (_dir, path) = place();
    drop(take_now(open(&path), &applicant("ours"), at(secs(100))));
    // Another program that closes the file last tidies the log away.
    shell(&path).query_row("SELECT count(*) FROM solostart_lease", [], |_| Ok(())).unwrap();
    assert!(!path.with_file_name("shop.lease.db-wal").exists());
    let whole = fs::read(&path).unwrap();
    assert!(whole.len() > 4096);
    for length in [10, 100, 2000, 4096] {
        fs::write(&path, &whole[..length]).unwrap();
        let opened = SqliteStore::open(&path, PATIENCE).and_then(|mut store| store.read(NAME));
        assert!(matches!(opened, Err(StoreError::Damaged(_))), "{length}: {opened:?}");
    }
    fs::write(&path, "").unwrap();
    assert_eq!(open(&path).read(NAME), Ok(None));
}

/// Sets a column to what neither the checks of the table nor its triggers allow.
fn forge(path: &Path, column: &str, value: &str) {
    let forger = shell(path);
    let (_, trigger) = SCHEMA[2];
    let sql = format!(
        "PRAGMA ignore_check_constraints = on; DROP TRIGGER solostart_lease_token_grows;
         UPDATE solostart_lease SET {column} = {value}; {trigger};"
    );
    forger.execute_batch(&sql).unwrap();
}

#[test]
fn a_number_at_the_end_of_its_range_keeps_nobody_from_the_lease() {
    for (column, value) in [
        ("seq", i64::MAX),
        ("expires_boot_ns", i64::MAX),
        ("changed_unix_ms", i64::MAX),
        ("changed_unix_ms", i64::MIN),
        ("ttl_ms", 200),
        ("ttl_ms", 3_600_000),
    ] {
        let (_dir, path) = place();
        let mut store = open(&path);
        store.swap(None, &row(7, 3, secs(100))).unwrap();
        forge(&path, column, &value.to_string());
        let found = store.read(NAME).unwrap().unwrap();
        // What is shown of it is some text or other.
        assert!(!LeaseView::of(found, Now::read()).heartbeat().is_empty());
        // Whoever had the same lock is proven dead, and the row is free again afterwards.
        let next = Applicant { clock: "next-boot".to_owned(), ..applicant("another-lock") };
        for _ in 0..2 {
            let mut lease = take_now(open(&path), &next, at(secs(1)));
            assert_eq!(lease.renew(at(secs(2))), Ok(true), "{column} = {value}");
            lease.release().unwrap();
        }
        assert_eq!(store.read(NAME).unwrap().unwrap().holder, None, "{column} = {value}");
    }
}

#[test]
fn a_row_that_no_holder_would_write_is_damaged() {
    for (column, value) in [
        ("token", (Bounds::REAL.calendar_max + Bounds::REAL.horizon + 1).to_string()),
        ("token", (1_i64 << 62).to_string()),
        ("token", i64::MAX.to_string()),
        ("token", "0".to_owned()),
        ("token", i64::MIN.to_string()),
        ("seq", i64::MIN.to_string()),
        ("expires_boot_ns", "-1".to_owned()),
        ("ttl_ms", i64::MAX.to_string()),
        ("ttl_ms", i64::MIN.to_string()),
        ("ttl_ms", "0".to_owned()),
        ("ttl_ms", "199".to_owned()),
        ("ttl_ms", "3600001".to_owned()),
        ("holder", "''".to_owned()),
        ("holder", "char(27) || '[2J'".to_owned()),
        ("holder", "printf('%.*c', 1000000, 'x')".to_owned()),
        ("holder", "CAST(x'ff' AS TEXT)".to_owned()),
    ] {
        let (_dir, path) = place();
        let mut store = open(&path);
        store.swap(None, &row(7, 3, secs(100))).unwrap();
        forge(&path, column, &value);
        let read = store.read(NAME);
        assert!(matches!(read, Err(StoreError::Damaged(_))), "{column} = {value}: {read:?}");
    }
}

#[test]
fn a_hostile_description_is_nobody_and_the_row_still_counts() {
    for value in ["'{}'", "'[[[['", "printf('%.*c', 1000000, 'x')", "CAST(x'ff' AS TEXT)", "NULL"] {
        let (_dir, path) = place();
        let mut store = open(&path);
        store.swap(None, &row(7, 3, secs(100))).unwrap();
        shell(&path).execute(&format!("UPDATE solostart_lease SET holder_info = {value}"), []).unwrap();
        assert_eq!(store.read(NAME).unwrap(), Some(row(7, 3, secs(100))), "{value}");
    }
}

#[test]
fn a_program_that_keeps_the_file_to_itself_is_waited_for_no_longer_than_allowed() {
    let (_dir, path) = place();
    let mut store = open(&path);
    let row = row(7, 3, secs(100));
    store.swap(None, &row).unwrap();
    let mut claim = claim_of(&row);
    claim.window.attempted += 1;
    let other = shell(&path);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let start = std::time::Instant::now();
    assert_eq!(store.renew(&claim, at(secs(101))), Err(StoreError::Busy));
    let took = start.elapsed();
    assert!(took >= PATIENCE / 2 && took < PATIENCE * 10, "{took:?}");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.renew(&claim, at(secs(102))), Ok(true));
}

#[test]
fn a_disk_without_space_is_told_from_other_failures() {
    let (_dir, path) = place();
    let mut store = open(&path);
    store.connection.execute_batch("PRAGMA max_page_count = 1").unwrap();
    let long = LeaseRecord { holder: Some("x".repeat(9000)), ..row(7, 3, secs(100)) };
    assert!(matches!(store.swap(None, &long), Err(StoreError::Full(_))));
    let full = std::io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
    assert!(matches!(file::failed(&full), StoreError::Full(_)));
}

#[test]
fn the_log_does_not_grow_with_the_number_of_renewals() {
    let (_dir, path) = place();
    let mut store = open(&path);
    let mut claim = claim_of(&row(7, 0, secs(100)));
    store.swap(None, &row(7, 0, secs(100))).unwrap();
    let length = || fs::metadata(path.with_file_name("shop.lease.db-wal")).unwrap().size();
    let renew = |store: &mut SqliteStore, claim: &mut Claim| {
        for _ in 0..2 * LOG_PAGES {
            claim.window.attempted += 1;
            assert!(store.renew(claim, at(secs(100))).unwrap());
            claim.window.acknowledged = claim.window.attempted;
        }
    };
    renew(&mut store, &mut claim);
    let full = length();
    assert!(full < 700_000, "{full}");
    renew(&mut store, &mut claim);
    assert_eq!(length(), full);
    assert_eq!(store.verify(), Ok(()));
}
