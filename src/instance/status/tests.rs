use std::{fs, thread};

use super::*;
use crate::{
    ids::InstanceId,
    instance::{
        lease::{
            record::{LeaseRecord, Now, clock_name},
            store::StoreError,
            testing::row,
        },
        other_process::OtherProcess,
        testing::{TTL, config, config_at, locked_by_somebody, reacquire},
        worker_mode::{Timings, acquire},
    },
};

#[test]
fn a_worker_is_seen_with_its_lock_its_lease_and_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let other = OtherProcess::working(&config.data_dir);
    let seen = status(&config).unwrap();
    assert_eq!(seen.verdict, Verdict::Running);
    assert!(matches!(seen.flock, FlockStatus::Held { pid: Some(pid), .. } if pid == other.pid()), "{seen:?}");
    assert_eq!(seen.lease.state, "fresh");
    assert_eq!(seen.lease.holder.as_ref().unwrap().pid, other.pid());
    assert_eq!(seen.lease.holder, seen.described);
    assert_eq!(seen.lease.token, Some(seen.highest_token));
    assert!(seen.lease.age_ms.unwrap() < u64::try_from(TTL.as_millis()).unwrap());
    assert!(seen.lock_uuid.is_some());
}

#[test]
fn a_worker_that_is_stopped_becomes_unresponsive() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let other = OtherProcess::working(&config.data_dir);
    other.stop();
    let stale = || status(&config).unwrap().lease.state == "stale";
    while !stale() {
        thread::sleep(Duration::from_millis(10));
    }
    let seen = status(&config).unwrap();
    assert_eq!(seen.verdict, Verdict::Unresponsive);
    let FlockStatus::Held { process_state, frozen, .. } = seen.flock else { panic!("{seen:?}") };
    assert_eq!((process_state, frozen), (Some('T'), false));
}

#[test]
fn what_was_given_back_is_free_and_keeps_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let held = acquire(&config).unwrap();
    let token = held.guard().token().get();
    held.release(std::time::Instant::now()).unwrap();
    let seen = status(&config).unwrap();
    assert_eq!(seen.verdict, Verdict::Free);
    assert_eq!((seen.lease.state, seen.lease.token, seen.highest_token), ("free", Some(token), token));
    assert_eq!((seen.described, seen.lease.instance), (None, None));
}

#[test]
fn where_nothing_is_nothing_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_at(dir.path());
    let seen = status(&config).unwrap();
    assert!(matches!(seen.flock, FlockStatus::NoFile { .. }), "{seen:?}");
    assert_eq!((seen.verdict, seen.lease.state), (Verdict::Free, "absent"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_lease_that_cannot_be_read_is_said_to_be_so() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_at(dir.path());
    fs::write(dir.path().join("shop.lease.db"), "this is not a lease").unwrap();
    let seen = status(&config).unwrap();
    assert_eq!((seen.verdict, seen.lease.state), (Verdict::Unclear, "unreadable"));
    assert!(seen.lease.error.unwrap().contains("damaged"));
    let _somebody = locked_by_somebody(&config.lock_path);
    assert_eq!(status(&config).unwrap().verdict, Verdict::Running);
}

#[test]
fn the_verdict_follows_from_what_is_seen_of_both() {
    let held_by = |program: Option<&str>| FlockStatus::Held {
        pid: Some(1),
        process_state: None,
        frozen: false,
        program: program.map(str::to_owned),
        together: false,
    };
    let held = || held_by(None);
    let unknown = || FlockStatus::Unknown { error: String::new() };
    let none = || FlockStatus::NoFile { error: String::new() };
    let described = Holder::this_process(InstanceId::mint(), "shop", "1.0");
    let now = Now::read();
    let lease = |boot: Duration, clock: &str| {
        let holder = Some(described.instance.clone());
        LeaseView::of(LeaseRecord { holder, boot_id: clock.to_owned(), ..row(7, 1, boot) }, now)
    };
    let fresh = lease(now.boot, &clock_name());
    let stale = lease(Duration::ZERO, &clock_name());
    let foreign = lease(now.boot, "another-boot");
    let damaged = LeaseView::Unreadable(StoreError::Damaged(String::new()));
    let another = Holder { instance: "another".to_owned(), ..described.clone() };
    for (flock, described, is_of_the_lease, lease, expected) in [
        (held(), Some(&described), true, &fresh, Verdict::Running),
        (held(), Some(&described), true, &stale, Verdict::Unresponsive),
        (held(), None, false, &stale, Verdict::Unresponsive),
        (held(), Some(&another), true, &stale, Verdict::Running),
        (held(), Some(&described), true, &foreign, Verdict::Running),
        (held(), None, false, &damaged, Verdict::Running),
        (held_by(Some("`flock`")), Some(&described), true, &fresh, Verdict::Busy),
        (held_by(Some("`flock`")), None, false, &LeaseView::Absent, Verdict::Busy),
        (FlockStatus::Free, None, false, &stale, Verdict::Gone),
        (FlockStatus::Free, None, false, &fresh, Verdict::Unclear),
        (FlockStatus::Free, None, false, &foreign, Verdict::Unclear),
        // It would still have the lock.
        (FlockStatus::Free, Some(&described), true, &fresh, Verdict::Gone),
        (FlockStatus::Free, Some(&described), true, &foreign, Verdict::Gone),
        (FlockStatus::Free, None, false, &LeaseView::Absent, Verdict::Free),
        (FlockStatus::Free, None, false, &damaged, Verdict::Unclear),
        (none(), None, false, &stale, Verdict::Gone),
        (none(), None, false, &fresh, Verdict::Unclear),
        (unknown(), None, false, &fresh, Verdict::Running),
        (unknown(), None, false, &stale, Verdict::Unclear),
    ] {
        let text = format!("{flock:?} {lease:?}");
        let lock = LockView {
            flock,
            file_system: String::new(),
            shared: true,
            lock_uuid: None,
            highest_token: 0,
            described: described.cloned(),
            is_of_the_lease,
        };
        assert_eq!(verdict(&lock, lease), expected, "{text}");
    }
}

#[test]
fn after_kill_9_the_holder_is_gone_although_its_lease_is_fresh_and_the_next_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let config = WorkerConfig { timings: Timings::default(), ..config(&dir) };
    let other = OtherProcess::working(&config.data_dir);
    assert_eq!(status(&config).unwrap().verdict, Verdict::Running);
    other.kill();
    let seen = status(&config).unwrap();
    assert_eq!((seen.verdict, seen.lease.state), (Verdict::Gone, "fresh"), "{seen:?}");
    assert_eq!(seen.flock, FlockStatus::Free);
    assert!(reacquire(&config).lock().took_over.unwrap().ends_with("its file lock is free"));
}

#[test]
fn a_lease_whose_lock_file_was_replaced_does_not_prove_anybody_dead() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let _other = OtherProcess::working(&config.data_dir);
    let copy = config.lock_path.with_extension("copy");
    fs::copy(&config.lock_path, &copy).unwrap();
    fs::rename(&copy, &config.lock_path).unwrap();
    let seen = status(&config).unwrap();
    assert_eq!((seen.verdict, seen.flock), (Verdict::Unclear, FlockStatus::Free));
}

#[test]
fn the_json_form_has_fields_that_programs_can_rely_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let _held = acquire(&config).unwrap();
    let json = serde_json::to_value(status(&config).unwrap()).unwrap();
    assert_eq!(json["verdict"], "running");
    assert_eq!(json["flock"]["state"], "held");
    assert_eq!(json["flock"]["pid"], std::process::id());
    assert_eq!(json["lease"]["state"], "fresh");
    assert_eq!(json["lease"]["holder"]["version"], "1.0");
    assert!(json["lease"]["token"].is_u64() && json["shared"].is_boolean());
}
