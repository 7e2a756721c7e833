//! Damage to the locks of a running worker, done from outside: it is noticed, it has its code, and however it goes
//! two never work at once. That is not asked of the locks themselves, but of a witness which nothing happens to.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use solostart::testing::Process;
use worker::{Next, Place, RAN_OUT, TAKEN, alone};

mod support;
#[path = "support/worker.rs"]
#[allow(dead_code, reason = "every test file uses its own part of it")]
mod worker;

const HOUR: i64 = 3600;

fn lock(data: &Path) -> PathBuf {
    data.join("testapp.lock")
}

fn lease(data: &Path) -> PathBuf {
    data.join("testapp.lease.db")
}

fn of_lease(data: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| data.join(format!("testapp.lease.db{suffix}")))
}

fn cut(path: &Path, length: u64) {
    File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn replace_by_copy(path: &Path) {
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).unwrap();
    fs::rename(copy, path).unwrap();
}

fn second_name(path: &Path) {
    fs::hard_link(path, path.with_extension("second")).unwrap();
}

fn remove_second_name(path: &Path) {
    fs::remove_file(path.with_extension("second")).unwrap();
}

/// What is done, what the worker says to that, and, if the next one does not just start, how it fails and what mends
/// that.
type Harm<'a> = (fn(&Path), &'a str, Option<(i32, &'static str, fn(&Path))>);

/// Each harm in a place of its own, all at once: they take seconds in which nothing happens.
fn each(harms: &[Harm<'_>]) {
    thread::scope(|scope| {
        for (harm, says, fails) in harms {
            scope.spawn(move || {
                let next = fails.as_ref().map(|(exit, code, mend)| Next::Fails(*exit, code, mend));
                Place::new().damage(harm, says, next.unwrap_or(Next::Starts));
            });
        }
    });
}

#[test]
fn a_lock_file_that_is_deleted_or_replaced_or_linked_stops_the_worker_before_another_one_works() {
    each(&[
        (|data| fs::remove_file(lock(data)).unwrap(), "the lock file was", None),
        (
            |data| {
                fs::remove_file(lock(data)).unwrap();
                fs::write(lock(data), "").unwrap();
            },
            "the lock file was replaced by another file",
            None,
        ),
        (|data| replace_by_copy(&lock(data)), "the lock file was replaced by another file", None),
        (
            |data| second_name(&lock(data)),
            "the lock file has 2 names",
            Some((78, "lock.unsupported", |data| remove_second_name(&lock(data)))),
        ),
    ]);
}

#[test]
fn a_lease_that_is_deleted_or_cut_or_replaced_or_linked_stops_the_worker_before_another_one_works() {
    each(&[
        (|data| fs::remove_file(lease(data)).unwrap(), "testapp.lease.db was removed", None),
        (
            |data| of_lease(data).iter().for_each(|file| fs::remove_file(file).unwrap()),
            "testapp.lease.db was removed",
            None,
        ),
        (|data| fs::remove_file(&of_lease(data)[1]).unwrap(), "db-wal was", None),
        (|data| cut(&lease(data), 0), "testapp.lease.db was cut short", None),
        (|data| cut(&of_lease(data)[1], 0), "db-wal was cut short", None),
        (|data| replace_by_copy(&lease(data)), "testapp.lease.db was replaced", None),
        (
            |data| {
                // The log alone would bring the lease back.
                of_lease(data).iter().for_each(|file| fs::remove_file(file).unwrap());
                fs::write(lease(data), "this is not a lease").unwrap();
            },
            "testapp.lease.db was replaced",
            Some((65, "db.corrupt", |data| {
                // As the report says: each of the files that is there.
                for file in of_lease(data) {
                    let _missing = fs::rename(&file, file.with_extension("broken"));
                }
            })),
        ),
        (
            |data| second_name(&lease(data)),
            "testapp.lease.db has 2 names",
            Some((78, "lock.unsupported", |data| remove_second_name(&lease(data)))),
        ),
    ]);
}

#[test]
fn a_lease_that_is_made_read_only_stops_the_worker_before_another_one_works() {
    // Root may write whatever the mode says, unless it cannot have that right.
    let bound: &[&str] = if geteuid().is_root() { &["setpriv", "--bounding-set=-dac_override"] } else { &[] };
    let place = Place::new();
    let mode =
        |mode: u32| fs::set_permissions(lease(&place.data()), fs::Permissions::from_mode(mode)).unwrap();
    let (mut first, mut second) = (place.command(bound, &[]), place.waiting(bound, &[]));
    let next = Next::Fails(77, "db.not-writable", &|_| mode(0o640));
    place.damage_to(&mut first, &mut second, &[], |_| mode(0o440), (TAKEN, "was made read-only"), next);
}

#[test]
fn an_older_copy_of_the_lease_stops_the_worker_and_gives_nobody_an_older_token() {
    let place = Place::new();
    assert_eq!(Process::start(&mut place.command(&[], &[("TESTAPP_SCENARIO", "finish")])).wait().code(), 0);
    let older = of_lease(&place.data()).map(|file| fs::read(file).unwrap());
    let restore = |data: &Path| {
        for (file, content) in of_lease(data).iter().zip(&older) {
            let copy = file.with_extension("copy");
            fs::write(&copy, content).unwrap();
            fs::rename(copy, file).unwrap();
        }
    };
    place.damage(restore, "testapp.lease.db was replaced by another file", Next::Starts);
}

#[test]
fn an_index_of_the_lease_that_is_cut_while_nobody_looks_stops_the_worker_in_order() {
    // SQLite maps this file into memory, so the kernel ends whoever touches what is gone. Others who look at the
    // lease make it long again, and whole: then nothing is lost.
    let place = Place::new();
    let mut first = place.start();
    first.wait_for("READY");
    let token = place.token(&[]);
    cut(&of_lease(&place.data())[2], 0);
    let ended = first.wait();
    ended.assert_failed(70, "lock.lost").assert_says("db-shm was cut short").assert_says("base stopped");
    let mut second = place.start();
    second.wait_for("READY");
    assert!(place.token(&[]) > token);
    alone(&second.kill());
}

#[test]
fn a_worker_that_was_paused_for_longer_than_its_lease_ends_when_it_goes_on() {
    let place = Place::new();
    let mut first = Process::start(&mut place.command(&[], &[("TESTAPP_LEASE_TTL", "2s")]));
    first.wait_for("READY").pause();
    place.refused(78, "lock.held");
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut waiting = Process::start(&mut place.waiting(&[], &[]));
    let unresponsive = loop {
        let ended = place.start().wait();
        if ended.code() == 75 {
            break ended;
        }
        ended.assert_failed(78, "lock.held");
        alone(&ended);
        assert!(Instant::now() < deadline, "{}", ended.stderr);
    };
    unresponsive.assert_failed(75, "lock.holder-unresponsive").assert_says("kill -CONT");
    assert!(first.is_running() && waiting.is_running());
    let token = place.token(&[]);
    first.go_on();
    let ended = first.wait();
    ended
        .assert_failed(75, "lock.expired")
        .assert_says("stood still for about")
        .assert_says("Restarting MAY");
    waiting.wait_for("READY");
    assert!(place.token(&[]) > token);
    alone(&waiting.kill());
}

#[test]
fn a_worker_whose_time_ran_out_and_that_cannot_stop_ends_at_once_and_may_be_started_again() {
    let place = Place::new();
    let vars = [("TESTAPP_LEASE_TTL", "2s"), ("TESTAPP_SCENARIO", "stop-block")];
    let mut first = Process::start(&mut place.command(&[], &vars));
    first.wait_for("READY").pause();
    while place.start().wait().code() != 75 {}
    first.go_on();
    let ended = first.wait();
    ended.assert_failed(75, "lock.expired").assert_says("so this process is ended at once");
    ended.assert_says("Restarting MAY help");
    place.start().wait_for("READY");
}

/// Starts what follows with writing beyond the limit on files as an error, and not a signal.
const NO_SIGNAL: [&str; 2] = ["env", "--ignore-signal=XFSZ"];

#[test]
fn a_limit_on_the_size_of_files_has_a_code_of_its_own_whichever_file_reaches_it() {
    // Nothing may be written at all; the lock file may, and the lease may not.
    for (limit, file) in [("--fsize=0", "testapp.lock"), ("--fsize=2048", "testapp.lease.db")] {
        let place = Place::new();
        let through = [&NO_SIGNAL[..], &["prlimit", limit]].concat();
        let ended = Process::start(&mut place.command(&through, &[])).wait();
        ended.assert_failed(71, "process.limit").assert_says(file).assert_says("ulimit -f");
        place.start().wait_for("READY");
    }
}

#[test]
fn a_disk_that_fails_while_the_lease_is_renewed_stops_the_worker() {
    let place = Place::new();
    let mut first = place.command(&NO_SIGNAL, &[("TESTAPP_LEASE_TTL", "2s")]);
    let mut second = place.waiting(&[], &[]);
    let fail = |first: &Process| {
        let limited = Command::new("prlimit").args([&format!("--pid={}", first.id()), "--fsize=0"]).status();
        assert!(limited.unwrap().success());
    };
    place.damage_to(&mut first, &mut second, &[], fail, (RAN_OUT, "disk I/O error"), Next::Starts);
}

/// A process that a test has not started itself.
struct Stranger(Pid);

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ended = kill_process(self.0, Signal::KILL);
    }
}

#[test]
fn a_child_that_outlives_a_killed_worker_has_inherited_nothing() {
    let place = Place::new();
    let mut first = Process::start(&mut place.command(&[], &[("TESTAPP_SCENARIO", "child")]));
    first.wait_for("READY");
    let ended = first.kill();
    let number = ended.stderr.lines().find_map(|line| line.strip_prefix("child ")).unwrap();
    let child = Stranger(Pid::from_raw(number.parse().unwrap()).unwrap());
    let open = fs::read_dir(format!("/proc/{number}/fd")).unwrap();
    for file in open.map(|entry| fs::read_link(entry.unwrap().path()).unwrap()) {
        assert!(!file.starts_with(place.data()), "{}", file.display());
    }
    let mut second = place.start();
    second.wait_for("READY");
    assert!(fs::exists(format!("/proc/{number}")).unwrap(), "the child had ended before");
    drop(child);
    alone(&second.kill());
}

/// A wall clock of its own for one process, which can be stepped while it runs. The clock that never stands still is
/// not touched: no system call can step that one.
struct Clock {
    preload: String,
    steps: PathBuf,
}

impl Clock {
    fn new(steps: PathBuf) -> Self {
        let found = Command::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]).output();
        let preload = String::from_utf8(found.unwrap().stdout).unwrap().trim().to_owned();
        let clock = Self { preload, steps };
        clock.step(0);
        clock
    }

    fn step(&self, seconds: i64) {
        let written = self.steps.with_extension("written");
        fs::write(&written, format!("{seconds:+}\n")).unwrap();
        fs::rename(written, &self.steps).unwrap();
    }

    fn vars(&self) -> [(&str, &str); 4] {
        [
            ("LD_PRELOAD", &self.preload),
            ("FAKETIME_TIMESTAMP_FILE", self.steps.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    }
}

/// The sequence of the lease, and by how many seconds the wall clock that wrote it is ahead of ours.
fn written(place: &Place) -> (i64, i64) {
    let lease = Connection::open_with_flags(lease(&place.data()), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let sql = "SELECT seq, changed_unix_ms / 1000 - unixepoch() FROM solostart_lease";
    lease.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

fn wait_until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < deadline, "{what} in vain");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_wall_clock_that_is_stepped_by_an_hour_neither_ends_a_right_nor_gives_one() {
    let place = Place::new();
    let (ours, theirs) = (Clock::new(place.beside("ours")), Clock::new(place.beside("theirs")));
    let mut first = Process::start(&mut place.command(&[], &ours.vars()));
    first.wait_for("READY");
    for step in [HOUR, -HOUR] {
        ours.step(step);
        theirs.step(-step);
        wait_until("the step", || (written(&place).1 - step).abs() < HOUR / 10);
        let (seq, _) = written(&place);
        let refused = Process::start(&mut place.command(&[], &theirs.vars())).wait();
        refused.assert_failed(78, "lock.held");
        // Six renewals are longer than the lease.
        wait_until("renewals", || written(&place).0 >= seq + 6);
        assert!(first.is_running());
    }
    ours.step(HOUR);
    theirs.step(-HOUR);
    wait_until("the step", || written(&place).1 > HOUR / 2);
    let token = place.token(&[]);
    alone(&first.kill());
    let mut second = Process::start(&mut place.command(&[], &theirs.vars()));
    second.wait_for("READY");
    assert!(place.token(&[]) > token, "the token fell with the clock");
    alone(&second.kill());
}

#[test]
fn where_the_lease_alone_keeps_two_apart_an_hour_between_their_wall_clocks_changes_nothing() {
    thread::scope(|scope| {
        for step in [HOUR, -HOUR] {
            scope.spawn(move || {
                let place = Place::new();
                let (ours, theirs) = (Clock::new(place.beside("ours")), Clock::new(place.beside("theirs")));
                ours.step(step);
                theirs.step(-step);
                let mut first = place.command(&[], &ours.vars());
                let mut second = place.waiting(&[], &theirs.vars());
                let remove = |_: &Process| fs::remove_file(lock(&place.data())).unwrap();
                let says = "the lock file was";
                place.damage_to(&mut first, &mut second, &[], remove, (TAKEN, says), Next::Starts);
            });
        }
    });
}
