use std::{fs, time::Instant};

use super::*;
use crate::instance::{
    lease::{
        record::clock_name,
        sqlite::path_beside,
        store::{Claim, LeaseStore},
        testing::{claim_of, row},
        timings::Timings,
    },
    other_process::OtherProcess,
    testing::{TTL, code, config_at, reacquire},
};

/// A lease that nobody renews, of somebody who had another lock file.
fn abandoned(config: &WorkerConfig) -> LeaseRecord {
    let row = row(7, 1, Now::read().boot);
    let row = LeaseRecord { boot_id: clock_name(), ttl: TTL, ..row };
    let mut store = SqliteStore::open(&path_beside(&config.lock_path), TTL).unwrap();
    assert!(store.swap(None, &row).unwrap());
    row
}

fn look(config: &WorkerConfig) -> LeaseRecord {
    SqliteStore::look(&path_beside(&config.lock_path), "shop", TTL).unwrap().unwrap()
}

#[test]
fn a_broken_lease_has_no_holder_and_a_higher_token_and_starts_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_at(dir.path());
    let mut frozen = claim_of(&abandoned(&config));
    let broken = break_lease(&config, 7).unwrap();
    assert_eq!((broken.token_before, broken.holder.as_str()), (7, "somebody (token 7)"));
    let row = look(&config);
    assert_eq!((row.holder, row.version.token), (None, broken.token));
    assert!(broken.token > 7);
    let again = break_lease(&config, broken.token).unwrap_err();
    assert_eq!(again.error_kind().exit_code(), 64);
    assert!(again.to_string().contains("nothing to break"), "{again}");

    // The one who held it finds out when it goes on.
    let mut store = SqliteStore::open(&path_beside(&config.lock_path), TTL).unwrap();
    frozen.window.attempted += 1;
    assert!(!store.renew(&frozen, Now::read()).unwrap());
    drop(store);
    let start = Instant::now();
    let held = reacquire(&config);
    assert!(start.elapsed() < TTL, "it waited");
    assert!(held.guard().token().get() > broken.token);
}

#[test]
fn a_lease_is_watched_for_as_long_as_the_right_of_its_holder_can_last() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_at(dir.path());
    let row = abandoned(&config);
    let start = boot_time();
    break_lease(&config, 7).unwrap();
    let watched = boot_time() - start;
    assert!(watched >= Timings::new(Some(row.ttl), None).unwrap().hard, "{watched:?}");

    // Whoever breaks it may be configured with shorter times than the holder.
    for ttl in [1, 15, 600].map(Duration::from_secs) {
        let slowest = Timings::new(Some(ttl), None).unwrap();
        assert!(longest_right(&LeaseRecord { ttl, ..row.clone() }) >= slowest.hard, "{ttl:?}");
    }
}

#[test]
fn the_lock_file_remembers_the_token_of_a_broken_lease() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_at(dir.path());
    abandoned(&config);
    let broken = break_lease(&config, 7).unwrap();
    let lock = crate::instance::other_process::relock(&config.lock_path);
    assert_eq!(lock.highest_token, broken.token);
}

#[test]
fn only_the_token_that_was_looked_at_is_broken() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_at(dir.path());
    let absent = break_lease(&config, 7).unwrap_err();
    assert_eq!((code(&absent), absent.error_kind().exit_code()), ("command.refused", 64));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "something was created");
    let row = abandoned(&config);
    for token in [6, 8, 0] {
        let refused = break_lease(&config, token).unwrap_err();
        assert_eq!((code(&refused), refused.error_kind().exit_code()), ("command.refused", 64));
        assert!(refused.facts().iter().any(|fact| fact.value.ends_with(": token 7")), "{refused:?}");
    }
    assert_eq!(look(&config), row);
}

#[test]
fn nothing_is_broken_while_somebody_has_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_at(&dir.path().join("data"));
    let other = OtherProcess::working(&config.data_dir);
    let row = look(&config);
    assert_eq!(code(&break_lease(&config, row.version.token).unwrap_err()), "lock.held");
    other.stop();
    assert_eq!(code(&break_lease(&config, row.version.token).unwrap_err()), "lock.held");
    assert_eq!(look(&config).version.token, row.version.token);
}

#[test]
fn nothing_is_broken_that_is_renewed_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_at(dir.path());
    let row = abandoned(&config);
    let mut claim: Claim = claim_of(&row);
    let refused = thread::scope(|scope| {
        let path = path_beside(&config.lock_path);
        scope.spawn(move || {
            let mut store = SqliteStore::open(&path, TTL).unwrap();
            thread::sleep(4 * LOOK);
            claim.window.attempted += 1;
            assert!(store.renew(&claim, Now::read()).unwrap());
        });
        break_lease(&config, 7).unwrap_err()
    });
    assert_eq!((code(&refused), refused.error_kind().exit_code()), ("lock.held", 78));
    assert_eq!(look(&config).version.token, 7);
}

#[test]
fn an_observation_that_is_cancelled_breaks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = WorkerConfig { cancelled: Box::new(|| true), ..config_at(dir.path()) };
    let row = abandoned(&config);
    assert_eq!(code(&break_lease(&config, 7).unwrap_err()), "startup.interrupted");
    assert_eq!(look(&config), row);
}

#[test]
fn a_lease_that_is_damaged_is_not_broken_any_further() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_at(dir.path());
    fs::write(path_beside(&config.lock_path), "this is not a lease").unwrap();
    assert_eq!(code(&break_lease(&config, 7).unwrap_err()), "db.corrupt");
}
