use std::future::Future;

use super::*;
use crate::{
    contract::guard::WorkerGuard,
    instance::lease::{
        memory::MemoryStore,
        record::LeaseRecord,
        sqlite::SqliteStore,
        store::LeaseStore,
        testing::{NAME, applicant, row, secs, take_now},
    },
};

/// Short enough for a test, and long enough for a busy machine.
fn times() -> Timings {
    Timings::new(Some(Duration::from_millis(1500)), Some(Duration::from_millis(50))).unwrap()
}

/// Times under which nothing is renewed while a test lasts.
fn idle() -> Timings {
    Timings::new(Some(secs(3600)), None).unwrap()
}

fn keep_with(store: impl LeaseStore + 'static, times: Timings) -> (LeaseKeeper, WorkerGuard) {
    let now = Now::read();
    let lease = take_now(store, &applicant("ours"), now);
    let keeper = Arc::new(GuardKeeper::exclusive());
    let guard = keeper.guard();
    (LeaseKeeper::start(lease, now.boot, times, keeper).unwrap(), guard)
}

fn kept(times: Timings) -> (LeaseKeeper, WorkerGuard, MemoryStore) {
    let store = MemoryStore::default();
    let (kept, guard) = keep_with(store.clone(), times);
    (kept, guard, store)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(secs(30), future).await.expect("no answer") })
}

fn lost(guard: &WorkerGuard) -> String {
    block_on(guard.lost()).reason
}

/// Waits until the row's sequence has passed `seq`.
fn renewed_past(store: &MemoryStore, seq: u64) -> LeaseRecord {
    let deadline = Instant::now() + secs(30);
    loop {
        let row = store.state().row.clone().unwrap();
        if row.version.seq > seq {
            return row;
        }
        assert!(Instant::now() < deadline, "it is not renewed");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_lease_that_is_renewed_lasts_longer_than_one_renewal_allows() {
    let (kept, guard, store) = kept(times());
    let first = guard.until_hard_limit().unwrap();
    let start = boot_time();
    let row = renewed_past(&store, 3);
    assert!(row.expires > start + times().ttl);
    assert!(guard.until_hard_limit().unwrap() + (boot_time() - start) > first);
    assert_eq!(guard.check(), Ok(()));
    assert_eq!(guard.token().get(), row.version.token);
    kept.release(Instant::now()).unwrap();
}

#[test]
fn release_ends_the_guards_and_leaves_a_row_without_a_holder_and_nothing_to_be_ended_for() {
    let (kept, guard, store) = kept(idle());
    let token = guard.token().get();
    kept.release(Instant::now()).unwrap();
    let row = store.state().row.clone().unwrap();
    assert_eq!((row.holder, row.version.token), (None, token));
    assert_eq!(guard.check().unwrap_err().reason, "it was given back");
    assert!(!guard.hard_limit_passed());
}

#[test]
fn a_keeper_that_is_dropped_gives_back_and_ends_at_once() {
    let (kept, guard, store) = kept(idle());
    let start = Instant::now();
    drop(kept);
    assert!(start.elapsed() < secs(10), "the thread slept on");
    assert!(guard.check().is_err());
    assert_eq!(store.state().row.as_ref().unwrap().holder, None);
}

#[test]
fn a_lease_that_somebody_took_over_is_lost_at_once_and_names_him() {
    let (_kept, guard, store) = kept(times());
    store.state().row = Some(row(u64::MAX >> 2, 0, secs(0)));
    let reason = lost(&guard);
    assert!(reason.starts_with("the lease was taken over: somebody (token "), "{reason}");
    assert_eq!(guard.check().unwrap_err().loss, Loss::Taken);
    assert!(!guard.hard_limit_passed());
}

#[test]
fn a_row_that_is_gone_is_lost() {
    let (_kept, guard, store) = kept(times());
    store.state().row = None;
    assert_eq!(lost(&guard), "the lease was taken over: it is gone");
}

#[test]
fn a_store_that_fails_is_tried_until_the_right_ends_and_the_reason_says_why() {
    let (kept, guard, store) = kept(times());
    let calls = store.state().calls;
    store.state().failing = Some(StoreError::Full("disk full".to_owned().into()));
    let start = boot_time();
    let reason = lost(&guard);
    assert_eq!(reason, "it was not renewed in time: the lease cannot be written: disk full");
    let ended_by = guard.check().unwrap_err();
    assert_eq!(ended_by.loss, Loss::Expired);
    assert!(ended_by.actions().iter().any(|action| action.contains("df ")), "{ended_by:?}");
    let ended = boot_time() - start;
    assert!(ended <= times().soft + secs(5), "{ended:?}");
    assert!(ended >= times().soft / 2, "given up early: {ended:?}");
    assert!(store.state().calls > calls + 2, "tried once");
    // The process must end when nothing was renewed for long enough, whatever it does meanwhile.
    thread::sleep(guard.until_hard_limit().unwrap() + Duration::from_millis(1));
    assert!(guard.hard_limit_passed());
    assert!(kept.release(Instant::now()).is_err());
    assert!(!guard.hard_limit_passed());
}

#[test]
fn a_failure_that_passes_loses_nothing_even_if_answers_were_lost() {
    let (_kept, guard, store) = kept(times());
    {
        let mut state = store.state();
        state.failing = Some(StoreError::Busy);
        state.answers_are_lost = true;
    }
    let seq = store.state().row.as_ref().unwrap().version.seq;
    let row = renewed_past(&store, seq + 2);
    store.state().failing = None;
    renewed_past(&store, row.version.seq + 2);
    assert_eq!(guard.check(), Ok(()));
}

#[test]
fn a_process_that_stood_still_for_too_long_does_not_touch_the_row_again() {
    let store = MemoryStore::default();
    let long_ago = Now { boot: Now::read().boot.saturating_sub(times().soft * 2), ..Now::read() };
    let lease = take_now(store.clone(), &applicant("ours"), long_ago);
    let before = store.state().calls;
    let keeper = Arc::new(GuardKeeper::exclusive());
    let guard = keeper.guard();
    let kept = LeaseKeeper::start(lease, long_ago.boot, times(), keeper).unwrap();
    assert!(lost(&guard).starts_with("this process stood still for about "), "{:?}", guard.check());
    assert_eq!(guard.check().unwrap_err().loss, Loss::Expired);
    assert!(guard.hard_limit_passed());
    drop(kept);
    // The one call gives it back.
    assert_eq!(store.state().calls, before + 1);
}

#[test]
fn the_lease_is_renewed_until_the_service_has_stopped_even_if_the_right_was_lost_otherwise() {
    let store = MemoryStore::default();
    let now = Now::read();
    let lease = take_now(store.clone(), &applicant("ours"), now);
    let keeper = Arc::new(GuardKeeper::exclusive());
    let kept = LeaseKeeper::start(lease, now.boot, times(), Arc::clone(&keeper)).unwrap();
    keeper.lose("the lock file was removed");
    let row = renewed_past(&store, 0);
    renewed_past(&store, row.version.seq + 2);
    assert_eq!(lost(&keeper.guard()), "the lock file was removed");
    kept.release(Instant::now()).unwrap();
}

#[test]
fn a_token_that_is_raised_is_the_rows_and_renewals_go_on() {
    let (_kept, guard, store) = kept(times());
    let stored = FencingToken::new(guard.token().get() + 1000);
    let raised = guard.raise(stored).unwrap();
    assert!(raised > stored);
    assert_eq!(guard.token(), raised);
    let row = store.state().row.clone().unwrap();
    assert_eq!(row.version.token, raised.get());
    renewed_past(&store, row.version.seq + 1);
    assert_eq!(guard.check(), Ok(()));
}

#[test]
fn a_token_that_cannot_be_raised_is_a_lost_right() {
    let (_kept, guard, store) = kept(idle());
    let above = FencingToken::new(guard.token().get() + 1);
    store.state().row = Some(row(7, 0, secs(0)));
    let lost = guard.raise(above).unwrap_err();
    assert!(lost.reason.starts_with("the lease was taken over"), "{lost}");
    assert_eq!(guard.check(), Err(lost));
}

#[test]
fn a_token_that_the_store_does_not_take_ends_the_right_although_nobody_took_it() {
    let (_kept, guard, store) = kept(idle());
    store.state().failing = Some(StoreError::Failed("disk I/O error".to_owned().into()));
    let lost = guard.raise(FencingToken::new(guard.token().get() + 1)).unwrap_err();
    assert_eq!(lost.loss, Loss::Expired, "{lost}");
    assert!(lost.to_string().contains("could not be raised") && !lost.actions().is_empty(), "{lost:?}");
}

#[test]
fn a_store_that_does_not_answer_ends_the_right_and_the_disk_is_what_to_look_at() {
    let (_kept, guard, store) = kept(times());
    // Whoever renews waits here, as in a system call on a disk that hangs.
    let hangs = store.state();
    let lost = block_on(guard.lost());
    assert_eq!(lost.loss, Loss::Expired);
    assert_eq!(lost.reason, "it was not renewed in time: the disk that the lease is on did not answer");
    assert!(lost.actions()[0].contains("dmesg"), "{lost:?}");
    drop(hangs);
}

#[test]
fn a_lease_file_that_is_deleted_or_replaced_is_lost_and_says_so() {
    for (expected, replace) in [("was removed", false), ("was replaced by another file", true)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.lease.db");
        let older = dir.path().join("older");
        let (_kept, guard) = keep_with(SqliteStore::open(&path, secs(1)).unwrap(), times());
        std::fs::copy(&path, &older).unwrap();
        if replace {
            std::fs::rename(&older, &path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        let reason = lost(&guard);
        assert_eq!(reason, format!("the lease file shop.lease.db {expected}"));
        assert_eq!(guard.check().unwrap_err().loss, Loss::Taken);
    }
}

#[test]
fn a_log_that_is_cut_short_is_lost_although_the_next_renewal_would_make_it_long_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.lease.db");
    let (_kept, guard) = keep_with(SqliteStore::open(&path, secs(1)).unwrap(), times());
    std::fs::File::options().write(true).open(path.with_extension("db-wal")).unwrap().set_len(0).unwrap();
    assert_eq!(lost(&guard), "the lease file shop.lease.db-wal was cut short");
}

#[test]
fn nothing_is_written_any_more_to_a_lease_that_was_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.lease.db");
    let (kept, guard) = keep_with(SqliteStore::open(&path, secs(1)).unwrap(), times());
    let row = || SqliteStore::look(&path, NAME, secs(1)).unwrap().unwrap();
    std::fs::hard_link(&path, dir.path().join("second")).unwrap();
    assert!(lost(&guard).contains("has 2 names"));
    std::fs::remove_file(dir.path().join("second")).unwrap();
    let before = row();
    kept.release(Instant::now()).unwrap();
    assert_eq!(row(), before);

    // Nor is it given back to people who could not find it, when that is the first to notice.
    let (kept, _guard) = keep_with(SqliteStore::open(&path, secs(1)).unwrap(), idle());
    let before = row();
    std::fs::hard_link(&path, dir.path().join("second")).unwrap();
    kept.release(Instant::now()).unwrap();
    std::fs::remove_file(dir.path().join("second")).unwrap();
    assert_eq!(row(), before);
}

#[test]
fn a_program_that_keeps_the_lease_to_itself_ends_the_right_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.lease.db");
    let times = times();
    let (kept, guard) = keep_with(SqliteStore::open(&path, times.attempt).unwrap(), times);
    let shell = rusqlite::Connection::open(&path).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(lost(&guard), "it was not renewed in time: the lease is locked by another program");
    shell.execute_batch("ROLLBACK").unwrap();
    kept.release(Instant::now()).unwrap();
    let row = SqliteStore::look(&path, NAME, secs(1)).unwrap().unwrap();
    assert_eq!(row.holder, None);
}

#[test]
fn a_lease_that_cannot_be_given_back_at_once_is_tried_again_until_the_time_is_up() {
    for answers_are_lost in [false, true] {
        let rarely = Timings::new(Some(secs(3600)), Some(secs(30))).unwrap();
        let (kept, _guard, store) = kept(rarely);
        {
            let mut state = store.state();
            state.failing = Some(StoreError::Busy);
            state.answers_are_lost = answers_are_lost;
        }
        let calls = store.state().calls;
        let recovering = store.clone();
        let recovers = thread::spawn(move || {
            let deadline = Instant::now() + secs(30);
            while recovering.state().calls < calls + 2 {
                assert!(Instant::now() < deadline, "it was not tried again");
                thread::sleep(Duration::from_millis(1));
            }
            recovering.state().failing = None;
        });
        kept.release(Instant::now() + secs(3600)).unwrap();
        recovers.join().unwrap();
        assert_eq!(store.state().row.as_ref().unwrap().holder, None);
    }
}

#[test]
fn a_lease_that_cannot_be_given_back_keeps_nobody_longer_than_its_time() {
    let (kept, _guard, store) = kept(times());
    store.state().failing = Some(StoreError::Busy);
    let began = Instant::now();
    assert_eq!(kept.release(began + times().attempt + Duration::from_millis(500)), Err(StoreError::Busy));
    assert!(began.elapsed() < secs(20), "{:?}", began.elapsed());
}
