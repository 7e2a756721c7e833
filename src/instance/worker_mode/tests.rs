use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use super::*;
use crate::instance::{
    heartbeat,
    other_process::{OtherProcess, unprivileged},
    sharing::Surroundings,
    testing::{config, mount_of_dir, reacquire},
};

mod joining;
mod table;

fn code(config: &WorkerConfig) -> &'static str {
    crate::instance::testing::code(&acquire(config).unwrap_err())
}

#[test]
fn one_worker_holds_and_a_second_is_refused_until_it_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let first = acquire(&config(&dir)).unwrap();
    let (guard, lock) = (first.guard(), first.lock());
    assert!(guard.is_exclusive());
    assert_eq!(guard.check(), Ok(()));
    assert_eq!(lock.file, config(&dir).lock_path);
    assert_eq!(code(&config(&dir)), "lock.held");
    assert_eq!(guard.check(), Ok(()));

    first.release(Instant::now()).unwrap();
    assert!(guard.check().is_err(), "a guard outlived its lock");
    assert!(lock.file.exists());
    assert_eq!(reacquire(&config(&dir)).lock().lock_uuid, lock.lock_uuid);
}

#[test]
fn a_file_that_the_application_protects_is_had_by_one_worker_whatever_its_lock_file() {
    let dir = tempfile::tempdir().unwrap();
    let queue = dir.path().join("queue.db");
    let first = acquire(&config(&dir)).unwrap();
    let guard = first.guard();
    guard.protect_blocking(&queue).unwrap();
    let apart = WorkerConfig { lock_path: dir.path().join("apart.lock"), ..config(&dir) };
    let second = acquire(&apart).unwrap();
    let refused = second.guard().protect_blocking(&queue).unwrap_err();
    assert_eq!(crate::instance::testing::code(&refused), "lock.held");

    first.release(Instant::now()).unwrap();
    second.guard().protect_blocking(&queue).unwrap();
    assert!(guard.protect_blocking(&queue).is_err(), "a guard outlived its right");

    // Dropped without being released, as by a panic, with a guard that is still there.
    let guard = second.guard();
    drop(second);
    let third = reacquire(&apart);
    third.guard().protect_blocking(&queue).unwrap();
    assert!(guard.check().is_err());
}

#[test]
fn a_worker_that_is_dropped_frees_the_lock_and_ends_its_guards() {
    let dir = tempfile::tempdir().unwrap();
    let first = acquire(&config(&dir)).unwrap();
    let guard = first.guard();
    drop(first);
    assert!(guard.check().is_err());
    reacquire(&config(&dir));
}

#[test]
fn another_process_that_has_the_lock_is_respected() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    fs::create_dir(&config.data_dir).unwrap();
    let other = OtherProcess::locking(&config.lock_path);
    assert_eq!(code(&config), "lock.held");
    other.kill();
    reacquire(&config);
}

#[test]
fn the_environment_is_judged_before_anything_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let config = WorkerConfig {
        lookup: Box::new(|name| (name == "SHOP_WORKERS").then(|| OsString::from("2"))),
        ..config(&dir)
    };
    assert_eq!(code(&config), "worker.count-configured");
    assert!(!config.data_dir.exists());
}

#[test]
fn data_that_cannot_be_written_is_told_before_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    fs::create_dir(&config.data_dir).unwrap();
    fs::set_permissions(&config.data_dir, fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(unprivileged(|| code(&config)), "db.not-writable");
    assert!(!config.lock_path.exists());
}

#[test]
fn the_lock_may_be_apart_from_the_data() {
    let dir = tempfile::tempdir().unwrap();
    let config = WorkerConfig { lock_path: dir.path().join("locks/shop.lock"), ..config(&dir) };
    let held = acquire(&config).unwrap();
    assert!(config.data_dir.is_dir() && held.lock().file.is_file());
}

#[test]
fn where_nothing_is_allowed_only_a_shared_file_system_will_do() {
    let dir = tempfile::tempdir().unwrap();
    let config = WorkerConfig { allow_unshared: String::new(), ..config(&dir) };
    // Which it is depends on where the tests run, but the two must agree.
    match Surroundings::default().reach(&mount_of_dir(dir.path())) {
        Reach::Machine => assert!(acquire(&config).unwrap().lock().shared),
        Reach::Container | Reach::Elsewhere => assert_eq!(code(&config), "lock.not-shared"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_lock_file_is_noticed_within_three_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let held = acquire(&config(&dir)).unwrap();
    let start = Instant::now();
    fs::remove_file(held.lock().file).unwrap();
    let lost = tokio::time::timeout(Duration::from_secs(30), held.guard().lost()).await.unwrap();
    let noticed = start.elapsed();
    assert_eq!(lost.reason, "the lock file was removed");
    // The three seconds, and what a busy machine takes to wake a thread.
    assert!(noticed < heartbeat::INTERVAL + Duration::from_secs(1), "{noticed:?}");
}
