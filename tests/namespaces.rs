//! Workers that see different mounts, processes or clocks, as containers do: two never work at once.
//!
//! The namespaces are made by `unshare`, which needs no right that root in its own user namespace has not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use rustix::process::geteuid;
use solostart::testing::Process;
use worker::{Next, Place, RAN_OUT, TAKEN, alone};

mod support;
#[path = "support/worker.rs"]
#[allow(dead_code, reason = "every test file uses its own part of it")]
mod worker;

/// The words that start what follows in namespaces of its own.
fn unshare<'a>(which: &[&'a str]) -> Vec<&'a str> {
    let user: &[&str] = if geteuid().is_root() { &[] } else { &["--map-root-user"] };
    [&["unshare"], user, which].concat()
}

/// A set of mounts, in which processes are started.
struct Mounts {
    number: String,
    _keeper: Process,
}

impl Mounts {
    /// Makes the mounts by a script, to which `$0` is the directory of the data.
    fn new(place: &Place, script: &str) -> Self {
        let words = unshare(&["--mount", "sh", "-ec"]);
        let script = format!("{script}\necho made >&2; exec sleep 600");
        let mut keeper = Command::new(words[0]);
        let mut keeper = Process::start(keeper.args(&words[1..]).arg(script).arg(place.data()));
        keeper.wait_for("made");
        Self { number: keeper.id().to_string(), _keeper: keeper }
    }

    /// The words that start what follows with these mounts.
    fn words(&self) -> Vec<&str> {
        let user: &[&str] = if geteuid().is_root() { &[] } else { &["--user", "--preserve-credentials"] };
        [&["nsenter", "--mount", "--target", &self.number], user].concat()
    }

    fn run(&self, place: &Place, script: &str) -> Output {
        let words = self.words();
        let mut command = Command::new(words[0]);
        let ran = command.args(&words[1..]).args(["sh", "-ec", script]).arg(place.data()).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        ran
    }

    /// Where this process sees what is at `path` for those who have the mounts.
    fn seen(&self, path: &Path) -> PathBuf {
        Path::new("/proc").join(&self.number).join("root").join(path.strip_prefix("/").unwrap())
    }
}

#[test]
fn a_disk_that_is_full_when_the_lease_is_renewed_stops_the_worker_and_keeps_others_from_starting() {
    let place = Place::new();
    let mounts = Mounts::new(&place, "mount -t tmpfs -o size=1m none \"$0\"");
    let through = mounts.words();
    let mut first = place.command(&through, &[("TESTAPP_LEASE_TTL", "2s")]);
    let mut second = place.waiting(&through, &[]);
    let rubbish = mounts.seen(&place.data().join("rubbish"));
    let fill = |_: &Process| {
        let mut file = fs::File::create(&rubbish).unwrap();
        while file.write_all(&[0; 1024]).is_ok() {}
    };
    let next = Next::Fails(74, "db.disk-full", &|_| fs::remove_file(&rubbish).unwrap());
    place.damage_to(&mut first, &mut second, &through, fill, (RAN_OUT, "database or disk is full"), next);
}

#[test]
fn a_mount_that_becomes_read_only_stops_the_worker_and_keeps_others_from_starting() {
    // Of the lease alone, and of all the data.
    for (file, exit, code) in [("testapp.lease.db", 78, "lock.unsupported"), ("", 77, "db.not-writable")] {
        let place = Place::new();
        let mounts = Mounts::new(&place, "");
        let through = mounts.words();
        let (mut first, mut second) = (place.command(&through, &[]), place.waiting(&through, &[]));
        let seal = |_: &Process| {
            let script = format!(
                "cd \"$0\"; mount --bind \"$0/{file}\" \"$0/{file}\"; mount -o remount,bind,ro \"$0/{file}\""
            );
            mounts.run(&place, &script);
        };
        let open = |_: &Path| {
            mounts.run(&place, &format!("umount \"$0/{file}\""));
        };
        let next = Next::Fails(exit, code, &open);
        place.damage_to(&mut first, &mut second, &through, seal, (TAKEN, "was made read-only"), next);
    }
}

#[test]
fn a_lock_that_is_free_proves_nobody_dead_whose_lock_was_on_another_device() {
    // Each container has a lock file of its own over the common one: copies, with the same identity, and on file
    // systems of their own with the same number, too.
    let place = Place::new();
    assert_eq!(Process::start(&mut place.command(&[], &[("TESTAPP_SCENARIO", "finish")])).wait().code(), 0);
    fs::create_dir(place.beside("own")).unwrap();
    let script = "mount -t tmpfs none \"$0/../own\"
        cp \"$0/testapp.lock\" \"$0/../own/lock\"
        mount --bind \"$0/../own/lock\" \"$0/testapp.lock\"";
    let containers = [Mounts::new(&place, script), Mounts::new(&place, script)];
    let number = |mounts: &Mounts| mounts.run(&place, "stat -c %i \"$0/testapp.lock\"").stdout;
    assert_eq!(number(&containers[0]), number(&containers[1]), "this kernel tells the copies apart");

    let mut first = Process::start(&mut place.command(&containers[0].words(), &[]));
    first.wait_for("READY");
    let refused = Process::start(&mut place.command(&containers[1].words(), &[])).wait();
    refused.assert_failed(78, "lock.held").assert_says("the sequence of the lease moved while we watched");
    alone(&refused);
    first.terminate();
    assert_eq!(first.wait().code(), 0);
    let mut second = Process::start(&mut place.command(&containers[1].words(), &[]));
    second.wait_for("READY");
}

#[test]
fn a_lease_file_that_is_mounted_alone_is_refused_because_its_log_would_be_somebodys_own() {
    let place = Place::new();
    fs::write(place.beside("lease"), "").unwrap();
    let script = "mount -t tmpfs none \"$0\"
        touch \"$0/testapp.lease.db\"
        mount --bind \"$0/../lease\" \"$0/testapp.lease.db\"";
    let script = script.replace("$0/../lease", place.beside("lease").to_str().unwrap());
    let containers = [Mounts::new(&place, &script), Mounts::new(&place, &script)];
    for mounts in &containers {
        let ended = Process::start(&mut place.command(&mounts.words(), &[])).wait();
        ended.assert_failed(78, "lock.unsupported").assert_says("testapp.lease.db is mounted alone");
    }
}

#[test]
fn process_1_of_a_new_pid_namespace_starts_at_once_after_kill_9_and_not_beside_another_one() {
    let place = Place::new();
    let through = unshare(&["--pid", "--fork", "--mount-proc", "--kill-child"]);
    // A lease that nobody waits for.
    let vars = [("TESTAPP_LEASE_TTL", "10m"), ("TESTAPP_STARTUP_TIMEOUT", "20m")];
    let start = || Process::start(&mut place.command(&through, &vars));
    let mut token = 0;
    let mut worker = start();
    for _ in 0..3 {
        worker.wait_for("READY");
        let refused = start().wait();
        refused.assert_failed(78, "lock.held").assert_says("pid 1)");
        alone(&refused);
        let newer = place.token(&[]);
        assert!(newer > token);
        token = newer;
        alone(&worker.kill());
        worker = start();
    }
    worker.wait_for("READY");
    alone(&worker.kill());
}

#[test]
fn where_the_lease_alone_keeps_two_apart_a_hundred_hours_between_their_clocks_change_nothing() {
    let ahead = unshare(&["--time", "--boottime", "360000", "--fork", "--kill-child"]);
    let (ahead, here): (&[&str], &[&str]) = (&ahead, &[]);
    thread::scope(|scope| {
        for (ours, theirs) in [(ahead, here), (here, ahead)] {
            scope.spawn(move || {
                let place = Place::new();
                let (mut first, mut second) = (place.command(ours, &[]), place.waiting(theirs, &[]));
                let remove = |_: &Process| fs::remove_file(place.data().join("testapp.lock")).unwrap();
                let says = "the lock file was";
                place.damage_to(&mut first, &mut second, &[], remove, (TAKEN, says), Next::Starts);
            });
        }
    });
}
