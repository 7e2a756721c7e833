use std::path::Path;

use super::*;
use crate::{
    ids::InstanceId,
    instance::{
        file_lock::{Outcome, acquire},
        flock,
        mounts::parse,
        other_process::OtherProcess,
    },
};

fn this(version: &str) -> Holder {
    Holder::this_process(InstanceId::mint(), "shop", version)
}

/// The refusal of `version` at `path`, one line for each fact and action.
fn refused(path: &Path, version: &str) -> String {
    let Outcome::Held(contest) = acquire(path, &|_| Ok(())).unwrap() else { panic!("not held") };
    let error = refusal(&contest, &this(version));
    assert_eq!((error.failure_code(), error.error_kind().exit_code()), (codes::LOCK_HELD, 78));
    assert!(!error.is_retryable());
    assert!(error.actions().len() <= 4, "{error:?}");
    let facts = error.facts().iter().map(|fact| {
        assert!(fact.name.len() <= 20);
        format!("{}: {}", fact.name, fact.value)
    });
    let text = facts.chain(error.actions().iter().cloned()).collect::<Vec<_>>().join("\n");
    assert!(!text.contains("rm "), "{text}");
    text
}

#[test]
fn a_held_lock_names_its_holder_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.lock");
    let other = OtherProcess::locking(&path);
    let pid = other.pid();
    let text = refused(&path, "1.0");
    for expected in [
        format!("(shop 1.0, host {}, pid {pid}), as the file says", this("1.0").host),
        format!("held by: process {pid}, says the kernel"),
        format!("flock on {} is held", path.display()),
        "same program: ".to_owned(),
        "Scaled?".to_owned(),
        format!("Leave {} in place", path.display()),
    ] {
        assert!(text.contains(&expected), "{expected} is not in\n{text}");
    }
    assert!(!text.contains("rolling") && !text.contains("note:") && !text.contains("kill"), "{text}");
    assert!(refused(&path, "1.1").contains("(1.0, 1.1): a rolling update?"));
}

#[test]
fn a_stopped_holder_is_named_as_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.lock");
    let other = OtherProcess::locking(&path);
    other.stop();
    let text = refused(&path, "1.0");
    assert!(text.contains("state T (stopped)"), "{text}");
    assert!(text.contains(&format!("kill -CONT {}", other.pid())), "{text}");
}

#[test]
fn a_holder_that_describes_nobody_is_not_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.lock");
    let _foreign = locked_by_somebody(&path);
    assert!(refused(&path, "1.0").contains("the other: not described"));
}

#[test]
fn a_description_of_a_dead_predecessor_is_said_to_be_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.lock");
    let other = OtherProcess::locking(&path);
    other.kill();
    let _foreign = locked_by_somebody(&path);
    assert!(refused(&path, "1.0").contains("may be that of an earlier, dead instance"));
}

/// This process has the lock, as a program would that knows nothing of us.
fn locked_by_somebody(path: &Path) -> std::fs::File {
    loop {
        let file = flock::open(path, true).unwrap();
        if matches!(flock::try_lock(&file), flock::Attempt::Acquired) {
            return file;
        }
    }
}

#[test]
fn a_named_volume_makes_the_command_pasteable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.lock");
    let _foreign = locked_by_somebody(&path);
    let Outcome::Held(mut contest) = acquire(&path, &|_| Ok(())).unwrap() else { panic!("not held") };
    contest.mount = parse(b"1 0 0:5 /volumes/app_data/_data /data rw - ext4 d rw").remove(0);
    let error = refusal(&contest, &this("1.0"));
    assert!(error.actions()[0].ends_with("docker ps --filter volume=app_data"), "{error:?}");
}

#[test]
fn an_age_is_told_in_the_two_units_that_matter() {
    let now = wall_clock().as_second();
    let age = |seconds: i64| since(jiff::Timestamp::from_second(now - seconds).unwrap());
    // A second may pass between the two readings of the clock.
    for (seconds, expected) in [
        (125, ["(2 m 5 s ago)", "(2 m 6 s ago)"]),
        (3 * 3600 + 25 * 60, ["(3 h 25 m ago)"; 2]),
        (50 * 3600, ["(2 d 2 h ago)"; 2]),
        (-7200, ["(by a clock that is ahead of ours)"; 2]),
    ] {
        let text = age(seconds);
        assert!(expected.iter().any(|expected| text.ends_with(expected)), "{text}");
    }
}
