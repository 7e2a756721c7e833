use std::path::Path;

use super::*;
use crate::{
    ids::InstanceId,
    instance::{
        file_lock::{Outcome, acquire},
        lease::{
            record::{LeaseRecord, Now, clock_name},
            testing::{row, secs},
        },
        mounts::parse,
        other_process::OtherProcess,
        testing::{anywhere, locked_by_somebody, told},
    },
};

fn this(version: &str) -> Holder {
    Holder::this_process(InstanceId::mint(), "shop", version)
}

/// Somebody who has the lock at `path`, and a look at the lease beside it.
fn rival(path: &Path, lease: LeaseView) -> Rival {
    let Outcome::Held(contest) = acquire(path, &anywhere).unwrap() else { panic!("not held") };
    Rival::with_lock(contest, path.with_extension("lease.db"), lease)
}

/// The refusal of `version` at `path`, one line for each fact and action.
fn refused(path: &Path, version: &str) -> String {
    let error = refusal(&rival(path, LeaseView::Absent), &this(version), None);
    assert_eq!((error.failure_code(), error.error_kind().exit_code()), (codes::LOCK_HELD, 78));
    assert!(!error.is_retryable());
    told(&error)
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
        format!("held by: process {pid}, says /proc/locks"),
        format!("flock on {} is held", path.display()),
        "machine: this one, under the same host name".to_owned(),
        "same program: ".to_owned(),
        "Keep one of the two".to_owned(),
        format!("Leave {} in place", path.display()),
    ] {
        assert!(text.contains(&expected), "{expected} is not in\n{text}");
    }
    assert!(!text.contains("rolling") && !text.contains("note:") && !text.contains("kill"), "{text}");
    let rolling = refused(&path, "1.1");
    assert!(rolling.contains("(1.0, 1.1): a rolling update?") && rolling.contains("waits for"), "{rolling}");
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

/// Every platform, and a command of its own.
fn platforms() -> [(Platform, &'static str); 5] {
    [
        (Platform::Machine, "ps -fp"),
        (Platform::Systemd { unit: "shop.service".to_owned(), of_user: false }, "systemctl "),
        (Platform::Docker, "docker "),
        (Platform::Podman { rootless: true }, "podman "),
        (Platform::Kubernetes, "kubectl "),
    ]
}

#[test]
fn a_frozen_holder_is_named_as_frozen_and_goes_on_by_a_command_of_its_platform() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.lock");
    let _other = OtherProcess::locking(&path);
    let rival = rival(&path, LeaseView::Absent);
    let owner = Owner { pid: 4711, state: Some('S'), frozen: true };
    assert_eq!(
        owner.describe(),
        "process 4711, says /proc/locks, state S (alive), frozen like a paused container"
    );
    let host = this("1.0").host;
    for (platform, expected) in [
        (0, None),
        (1, Some("systemctl thaw shop.service".to_owned())),
        (2, Some(format!("docker unpause {host}"))),
        (3, Some(format!("podman unpause {host}"))),
        (4, Some(format!("kubectl describe pod {host}"))),
    ]
    .map(|(at, expected)| (platforms()[at].0.clone(), expected))
    {
        let actions = to_run_one(&rival, Some(owner), &this("1.0"), &platform);
        assert!(actions.len() <= 4, "{actions:?}");
        let Some(expected) = expected else { continue };
        assert!(actions[0].ends_with(&expected), "{actions:?}");
        assert_eq!(to_free(&rival, Some(owner), &platform)[0], actions[0]);
    }
}

#[test]
fn advice_has_the_words_of_one_platform_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.lock");
    let _other = OtherProcess::locking(&path);
    let mut rival = rival(&path, LeaseView::Absent);
    rival.mount = parse(b"1 0 0:5 /volumes/app_data/_data /data rw - ext4 d rw").remove(0);
    let owner = Owner { pid: 4711, state: Some('S'), frozen: false };
    for (platform, command) in platforms() {
        let mut all = to_run_one(&rival, Some(owner), &this("1.0"), &platform);
        all.extend(to_run_one(&rival, None, &this("1.1"), &platform));
        all.extend(to_free(&rival, Some(owner), &platform));
        all.extend(to_free(&rival, None, &platform));
        let text = all.join("\n");
        assert!(text.contains(command), "{platform:?}: {text}");
        for (other, foreign) in platforms().into_iter().filter(|(other, _)| *other != platform) {
            assert!(!text.contains(foreign), "{platform:?} with words of {other:?}: {text}");
        }
        for word in ["compose", "--scale", "stop-first"] {
            assert!(
                platform == Platform::Docker || !text.to_lowercase().contains(word),
                "{platform:?}: {text}"
            );
        }
    }
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

#[test]
fn a_named_volume_makes_the_command_pasteable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.lock");
    let _foreign = locked_by_somebody(&path);
    let mut rival = rival(&path, LeaseView::Absent);
    rival.mount = parse(b"1 0 0:5 /volumes/app_data/_data /data rw - ext4 d rw").remove(0);
    let actions = to_run_one(&rival, rival.owner(), &this("1.0"), &Platform::Docker);
    assert!(actions[0].ends_with("docker ps -a --filter volume=app_data"), "{actions:?}");
}

#[test]
fn a_start_is_told_with_its_age() {
    let now = jiff::Timestamp::now().as_second();
    let age = |seconds: i64| since(jiff::Timestamp::from_second(now - seconds).unwrap());
    assert!(age(3 * 3600 + 25 * 60).ends_with("(3 h 25 m ago)"));
    assert!(age(0).ends_with("(less than 1 s ago)") || age(0).ends_with("(1 s ago)"), "{}", age(0));
    assert!(age(-7200).ends_with("(by a clock that is ahead of ours)"));
}

/// What a lease shows that `holder` renewed so long ago.
fn renewed(holder: &str, ago: Duration) -> LeaseView {
    let now = Now::read();
    let row = row(17, 3, now.boot - ago);
    LeaseView::of(LeaseRecord { holder: Some(holder.to_owned()), boot_id: clock_name(), ..row }, now)
}

#[test]
fn a_holder_that_stopped_renewing_is_unresponsive_and_may_be_gone_at_the_next_try() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.lock");
    let other = OtherProcess::locking(&path);
    other.stop();
    let described = rival(&path, LeaseView::Absent).holder.unwrap();
    let error = refusal(&rival(&path, renewed(&described.instance, secs(252))), &this("1.0"), None);
    assert_eq!((error.failure_code(), error.error_kind().exit_code()), (codes::LOCK_HOLDER_UNRESPONSIVE, 75));
    assert!(error.error_kind().restart_helps());
    let text = told(&error);
    for expected in [
        "heartbeat: 4 m 12 s ago (lost after 15 s): looks dead".to_owned(),
        format!("held by: process {}, says /proc/locks, state T (stopped)", other.pid()),
        format!("lease: {}: token 17", path.with_extension("lease.db").display()),
        format!("kill -CONT {}", other.pid()),
        format!("kill -KILL {}", other.pid()),
        format!("Leave {} in place", path.display()),
    ] {
        assert!(text.contains(&expected), "{expected} is not in\n{text}");
    }
}

#[test]
fn only_the_holders_own_lease_can_make_it_unresponsive() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.lock");
    let _other = OtherProcess::locking(&path);
    let described = rival(&path, LeaseView::Absent).holder.unwrap().instance;
    for (lease, expected) in [
        (renewed(&described, secs(16)), codes::LOCK_HOLDER_UNRESPONSIVE),
        (renewed(&described, secs(14)), codes::LOCK_HELD),
        // The one who has the lock has not come to its lease yet.
        (renewed("its-predecessor", secs(16)), codes::LOCK_HELD),
    ] {
        assert_eq!(refusal(&rival(&path, lease), &this("1.0"), None).failure_code(), expected);
    }
}

#[test]
fn a_holder_of_the_lease_alone_is_named_by_it() {
    let (mine, other) = (this("1.0"), this("1.4"));
    let lease = renewed(&other.instance, secs(1));
    let rival = Rival {
        by: Layer::Lease,
        lock_path: "/data/shop.lock".into(),
        lease_path: "/data/shop.lease.db".into(),
        mount: Mount::unknown("/data".into()),
        holder: Some(Holder { host: "elsewhere".to_owned(), boot_id: "other".to_owned(), ..other }),
        lease,
    };
    let error = refusal(&rival, &mine, None);
    assert_eq!(error.failure_code(), codes::LOCK_HELD);
    assert!(error.to_string().contains("renews the lease /data/shop.lease.db"), "{error}");
    let text = told(&error);
    for expected in [
        "host elsewhere, pid",
        "as the lease says",
        "heartbeat: 1 s ago",
        "machine: another one",
        "flock on /data/shop.lock was free",
        "the sequence of the lease moved while we watched, to 3",
        "(1.4, 1.0): a rolling",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert!(!text.contains("note:"), "{text}");
}

#[test]
fn a_wait_that_was_in_vain_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.lock");
    let _foreign = locked_by_somebody(&path);
    let waited = Waited { time: Duration::from_millis(15_050), limit: secs(15), prefix: "SHOP" };
    let text = told(&refusal(&rival(&path, LeaseView::Absent), &this("1.0"), Some(waited)));
    assert!(text.contains("waited: 15 s of SHOP_LOCK_WAIT=15s"), "{text}");
}
