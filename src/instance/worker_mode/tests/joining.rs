//! Both locks together, with real processes.

use std::{sync::mpsc, thread};

use super::*;
use crate::instance::{
    holder::{self, Content},
    lease::{
        record::LeaseRecord,
        sqlite::{SqliteStore, path_beside},
    },
    other_process::relock,
    testing::{TTL, locked_by_somebody, told},
};

fn lease(config: &WorkerConfig) -> Option<LeaseRecord> {
    SqliteStore::look(&path_beside(&config.lock_path), "shop", TTL).unwrap()
}

fn lost(held: &HeldWorker) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let lost = async { tokio::time::timeout(Duration::from_secs(30), held.guard().lost()).await };
    runtime.block_on(lost).expect("it is not lost").reason
}

#[test]
fn a_worker_holds_both_and_gives_both_back_in_the_reverse_order() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let held = acquire(&config).unwrap();
    let row = lease(&config).unwrap();
    assert_eq!(row.holder.as_deref(), Some(config.instance.to_string().as_str()));
    assert_eq!(row.version.token, held.guard().token().get());
    held.release(Instant::now()).unwrap();
    let left = lease(&config).unwrap();
    assert_eq!((left.holder, left.version.token), (None, row.version.token));
    let again = reacquire(&config);
    assert!(again.guard().token().get() > row.version.token);
    assert_eq!(again.lock().took_over, None);
}

#[test]
fn kill_9_is_taken_over_from_at_once_and_the_token_rises() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let mut token = 0;
    for _ in 0..3 {
        let other = OtherProcess::working(&config.data_dir);
        assert_eq!(other.said, "acquired");
        assert_eq!(code(&config), "lock.held");
        let row = lease(&config).unwrap();
        assert!(row.version.token > token && row.holder.is_some());
        other.kill();
        let start = Instant::now();
        let held = reacquire(&config);
        let took = start.elapsed();
        assert!(took < TTL / 2, "it waited for the expiry: {took:?}");
        assert!(held.lock().took_over.unwrap().ends_with("its file lock is free"));
        token = held.guard().token().get();
        assert!(token > row.version.token);
        held.release(Instant::now()).unwrap();
    }
}

#[test]
fn a_stopped_worker_is_first_held_then_unresponsive_and_has_lost_when_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let mut other = OtherProcess::working(&config.data_dir);
    other.stop();
    let row = lease(&config).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let refused = loop {
        let refused = acquire(&config).unwrap_err();
        match refused.failure_code().name {
            "lock.held" => assert!(Instant::now() < deadline, "{refused:?}"),
            _ => break refused,
        }
        thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(refused.failure_code().name, "lock.holder-unresponsive");
    assert!(told(&refused).contains("looks dead"), "{refused:?}");
    assert_eq!(lease(&config).unwrap(), row, "somebody took the lease of a process that may go on");
    other.go_on();
    let told = other.hear();
    assert!(told.starts_with("this process stood still for about "), "{told}");
    other.kill();
    reacquire(&config);
}

#[test]
fn a_replaced_lock_file_does_not_let_a_second_worker_in_while_the_first_renews() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let other = OtherProcess::working(&config.data_dir);
    // A copy has the same identity; only its inode is another one.
    let copy = config.lock_path.with_extension("copy");
    fs::copy(&config.lock_path, &copy).unwrap();
    fs::rename(&copy, &config.lock_path).unwrap();
    let refused = acquire(&config).unwrap_err();
    assert_eq!(refused.failure_code().name, "lock.held");
    let text = told(&refused);
    assert!(text.contains("the sequence of the lease moved while we watched"), "{text}");
    assert!(text.contains(&format!("pid {}), as the lease says", other.pid())), "{text}");
    other.kill();
    let held = reacquire(&config);
    assert!(held.lock().took_over.is_some());
}

#[test]
fn the_lease_outlives_a_deleted_lock_file_until_the_worker_has_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let first = acquire(&config).unwrap();
    fs::remove_file(&config.lock_path).unwrap();
    assert_eq!(lost(&first), "the lock file was removed");
    // It has lost the right, and whatever it still does is protected until it says that it is over.
    let second = WorkerConfig { instance: InstanceId::mint(), ..self::config(&dir) };
    assert_eq!(code(&second), "lock.held");
    let token = first.guard().token();
    first.release(Instant::now()).unwrap();
    assert!(reacquire(&second).guard().token() > token);
}

#[test]
fn tokens_grow_when_the_lease_is_deleted_and_the_clock_was_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let far = 1 << 55;
    drop(acquire(&config).unwrap());
    // What a clock that ran ahead by a millennium leaves in the lock file.
    let lock = relock(&config.lock_path);
    lock.remember(far).unwrap();
    lock.release().unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let name = format!("shop.lease.db{suffix}");
        let _missing = fs::remove_file(config.data_dir.join(name));
    }
    assert_eq!(reacquire(&config).guard().token().get(), far + 1);
    assert_eq!(reacquire(&config).guard().token().get(), far + 2);
}

#[test]
fn a_deleted_lease_ends_the_right_and_the_next_start_makes_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let held = acquire(&config).unwrap();
    let token = held.guard().token();
    fs::remove_file(held.lock().lease).unwrap();
    assert_eq!(lost(&held), "the lease file shop.lease.db was removed");
    held.release(Instant::now()).unwrap();
    assert!(reacquire(&config).guard().token() > token);
}

#[test]
fn a_wait_ends_when_the_other_one_goes() {
    let dir = tempfile::tempdir().unwrap();
    let first = acquire(&config(&dir)).unwrap();
    let waiting = WorkerConfig { wait: Some(Duration::from_secs(60)), ..config(&dir) };
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| sender.send(acquire(&waiting).map(|held| held.guard().token())).unwrap());
        assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err(), "it did not wait");
        let token = first.guard().token();
        first.release(Instant::now()).unwrap();
        let second = receiver.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
        assert!(second > token);
    });
}

#[test]
fn a_wait_ends_with_its_time_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let _first = acquire(&config(&dir)).unwrap();
    let limit = Duration::from_millis(80);
    let waiting = WorkerConfig { wait: Some(limit), ..config(&dir) };
    let start = Instant::now();
    let refused = acquire(&waiting).unwrap_err();
    assert!(start.elapsed() >= limit);
    assert_eq!(refused.failure_code().name, "lock.held");
    assert!(told(&refused).contains("of SHOP_LOCK_WAIT=80ms"), "{refused:?}");
}

#[test]
fn a_wait_that_is_cancelled_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("data")).unwrap();
    let somebody = locked_by_somebody(&config(&dir).lock_path);
    let cancelled =
        || WorkerConfig { wait: Some(Duration::from_secs(60)), cancelled: Box::new(|| true), ..config(&dir) };
    assert_eq!(code(&cancelled()), "startup.interrupted");
    drop(somebody);
    // Cancelled or not, what is free is taken without a wait.
    reacquire(&cancelled()).release(Instant::now()).unwrap();
}

#[test]
fn an_observation_that_is_cancelled_gives_the_lock_back() {
    let dir = tempfile::tempdir().unwrap();
    let first = config(&dir);
    let other = OtherProcess::working(&first.data_dir);
    fs::remove_file(&first.lock_path).unwrap();
    let cancelled = WorkerConfig { cancelled: Box::new(|| true), ..config(&dir) };
    assert_eq!(code(&cancelled), "startup.interrupted");
    other.kill();
    drop(relock(&first.lock_path));
    let content = holder::read(&fs::File::open(&first.lock_path).unwrap()).unwrap();
    assert!(matches!(content, Content::Lock { holder: None, .. }), "{content:?}");
}

#[test]
fn a_lease_that_lost_its_log_or_came_from_a_backup_still_has_growing_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    acquire(&config).unwrap().release(Instant::now()).unwrap();
    let file = path_beside(&config.lock_path);
    let backup = fs::read(&file).unwrap();
    let held = reacquire(&config);
    let token = held.guard().token();
    held.release(Instant::now()).unwrap();
    let remove =
        |suffix: &str| fs::remove_file(config.data_dir.join(format!("shop.lease.db{suffix}"))).unwrap();
    remove("-wal");
    let second = reacquire(&config);
    assert!(second.guard().token() > token);
    let token = second.guard().token();
    second.release(Instant::now()).unwrap();
    fs::write(&file, backup).unwrap();
    assert!(reacquire(&config).guard().token() > token);
}

#[test]
fn a_forged_memory_costs_nothing_and_is_healed_and_a_forged_row_costs_one_start() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    drop(acquire(&config).unwrap());
    let lock = relock(&config.lock_path);
    lock.remember(u64::MAX).unwrap();
    lock.release().unwrap();
    let held = reacquire(&config);
    let token = held.guard().token().get();
    assert!(token < 1 << 55, "it followed the memory: {token}");
    held.release(Instant::now()).unwrap();
    let lock = relock(&config.lock_path);
    assert_eq!(lock.highest_token, token);
    drop(lock);

    let file = path_beside(&config.lock_path);
    let forge = "UPDATE solostart_lease SET token = 4611686018427387903";
    rusqlite::Connection::open(&file).unwrap().execute(forge, []).unwrap();
    assert_eq!(code(&config), "db.corrupt");
    let lock = relock(&config.lock_path);
    assert_eq!(lock.highest_token, token, "the number spread");
    drop(lock);
    for suffix in ["", "-wal", "-shm"] {
        let name = config.data_dir.join(format!("shop.lease.db{suffix}"));
        let _missing = fs::rename(&name, name.with_extension("broken"));
    }
    let again = reacquire(&config).guard().token().get();
    assert!(again > token && again < 1 << 55, "{again}");
}

#[test]
fn a_lease_of_an_hour_is_refused_in_time_and_says_when_a_start_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    drop(acquire(&config).unwrap());
    let file = path_beside(&config.lock_path);
    let forge =
        "UPDATE solostart_lease SET holder = 'x', boot_id = 'another', lock = 'other', ttl_ms = 3600000";
    rusqlite::Connection::open(&file).unwrap().execute(forge, []).unwrap();
    drop(relock(&config.lock_path));
    let start = Instant::now();
    let refused = acquire(&config).unwrap_err();
    assert!(start.elapsed() < config.longest() + Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(refused.failure_code().name, "lock.holder-unresponsive");
    let text = told(&refused);
    assert!(text.contains("takes over: the first start in 1 h 11 m or later"), "{text}");
    assert!(text.contains("mv \"$f\" \"$f.broken\""), "{text}");

    // The next start goes on with it, and does not begin anew.
    let noted = || relock(&config.lock_path).observed().unwrap().expect("nothing was noted");
    let first = noted();
    assert_eq!(code(&config), "lock.holder-unresponsive");
    assert_eq!(noted(), first);
}
