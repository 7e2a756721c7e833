//! The subcommands that only look: `check` says what the start says, and none of them makes or changes a file.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        fs::{MetadataExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rusqlite::Connection;
use rustix::process::geteuid;
use solostart::testing::Process;

#[allow(dead_code, reason = "this file uses its own part of it")]
mod support;

/// What makes a start fail, and the variables that go with it.
type Obstacle = (&'static str, fn(&Path), &'static [(&'static str, &'static str)]);

fn nothing(_data: &Path) {}

fn database(data: &Path) -> PathBuf {
    data.join("banboard.db")
}

fn sql(data: &Path, statements: &str) {
    let database = Connection::open(database(data)).unwrap();
    database.execute_batch(statements).unwrap();
}

const OBSTACLES: &[Obstacle] = &[
    ("a lease that lasts longer than the start may take", nothing, &[("BANBOARD_LEASE_TTL", "5m")]),
    (
        "a wait for the lock that is longer than the start may take",
        nothing,
        &[("BANBOARD_INSTANCE_MODE", "wait"), ("BANBOARD_LOCK_WAIT", "10m")],
    ),
    ("a start that is shorter than its lease", nothing, &[("BANBOARD_STARTUP_TIMEOUT", "10s")]),
    ("a duration without a unit", nothing, &[("BANBOARD_LOCK_WAIT", "5")]),
    ("several workers", nothing, &[("BANBOARD_WORKERS", "2")]),
    ("no file of authorities", nothing, &[("BANBOARD_HTTP_CA_FILE", "/nonexistent/ca.pem")]),
    ("an empty file of authorities", nothing, &[("BANBOARD_HTTP_CA_FILE", "/dev/null")]),
    ("a directory of authorities", nothing, &[("BANBOARD_HTTP_CA_FILE", "/")]),
    (
        "a database in a directory that is missing",
        nothing,
        &[("BANBOARD_DATABASE_PATH", "/nonexistent/a/b.db")],
    ),
    ("a directory for the lock", |data| fs::create_dir(data.join("banboard.lock")).unwrap(), &[]),
    ("a link for the lock", |data| symlink("/dev/null", data.join("banboard.lock")).unwrap(), &[]),
    (
        "a lock with two names",
        |data| {
            fs::write(data.join("banboard.lock"), "").unwrap();
            fs::hard_link(data.join("banboard.lock"), data.join("second")).unwrap();
        },
        &[],
    ),
    ("a directory for the lease", |data| fs::create_dir(data.join("banboard.lease.db")).unwrap(), &[]),
    ("a lease that is none", |data| fs::write(data.join("banboard.lease.db"), "x".repeat(200)).unwrap(), &[]),
    ("a database that is none", |data| fs::write(database(data), "x".repeat(200)).unwrap(), &[]),
    ("a directory for the database", |data| fs::create_dir(database(data)).unwrap(), &[]),
    ("a database that leads nowhere", |data| symlink("nowhere", database(data)).unwrap(), &[]),
    (
        "a database of a newer version",
        |data| sql(data, "PRAGMA user_version = 999; CREATE TABLE t (a);"),
        &[],
    ),
    ("a database of somebody else", |data| sql(data, "PRAGMA application_id = 7; CREATE TABLE t (a);"), &[]),
];

/// How a command ended, and the first failure code that it names.
fn ended(command: &mut Command) -> (i32, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let code =
        said.split_once("  [").and_then(|(_, rest)| rest.split_once(']')).map(|(code, _)| code.to_owned());
    (output.status.code().unwrap(), code.unwrap_or(said))
}

fn banboard(data: &Path, vars: &[(&str, &str)]) -> Command {
    let mut command = support::command("banboard", data, vars);
    command.env("BANBOARD_LISTEN", "127.0.0.1:0").env("BANBOARD_ALLOW_UNSHARED_LOCK", "overlay,tmpfs");
    command
}

#[test]
fn check_says_of_every_obstacle_what_the_start_says() {
    let mut differ = Vec::new();
    for (what, bring_about, vars) in OBSTACLES {
        let place = tempfile::tempdir().unwrap();
        bring_about(place.path());
        let before = tree(place.path());
        let check = ended(banboard(place.path(), vars).arg("check"));
        assert_eq!(tree(place.path()), before, "{what}: check changed something");
        let start = ended(&mut banboard(place.path(), vars));
        assert_ne!(start.0, 0, "{what} is no obstacle: {start:?}");
        if check != start {
            differ.push(format!("{what}: check {check:?}, start {start:?}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// Every file below a place: who owns it, its mode, its size, and when it was changed.
fn tree(place: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![place.to_owned()];
    while let Some(path) = open.pop() {
        let about = fs::symlink_metadata(&path).unwrap();
        if about.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let (mode, owner, size) = (about.mode(), (about.uid(), about.gid()), about.size());
        let changed = [
            about.mtime(),
            about.mtime_nsec(),
            about.ctime(),
            about.ctime_nsec(),
            about.nlink().cast_signed(),
        ];
        found.insert(path, format!("{mode:o} {owner:?} {size} {changed:?}"));
    }
    found
}

const LOOKING: &[&[&str]] = &[
    &["check"],
    &["check", "--json"],
    &["env"],
    &["env", "--markdown"],
    &["graph"],
    &["graph", "--format", "dot"],
    &["timeline"],
    &["timeline", "--format", "svg"],
    &["report"],
    &["report", "--json"],
    &["explain"],
    &["explain", "lock.held"],
    &["healthcheck"],
    &["healthcheck", "--live"],
    &["--help"],
    &["--version"],
];

/// A user who is not the owner of the data; the tests of others run as that one anyway.
const OTHER: u32 = 10_001;

fn look_changes_nothing(place: &Path, state: &str) {
    let users: &[Option<u32>] = if geteuid().is_root() { &[None, Some(OTHER)] } else { &[None] };
    for (words, user) in LOOKING.iter().flat_map(|words| users.iter().map(move |user| (words, user))) {
        let before = tree(place);
        let mut command = banboard(&place.join("data"), &[]);
        command.args(*words).current_dir(place).env("XDG_RUNTIME_DIR", place.join("run")).env("HOME", place);
        if let Some(user) = user {
            command.uid(*user).gid(*user);
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.code().is_some(), "{words:?}: {output:?}");
        assert_eq!(tree(place), before, "{words:?} as {user:?}, {state}");
    }
}

#[test]
fn a_subcommand_that_looks_makes_and_changes_no_file() {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    look_changes_nothing(place.path(), "no data directory");
    let data = place.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::create_dir(place.path().join("run")).unwrap();
    look_changes_nothing(place.path(), "an empty data directory");
    let start = |vars: &[(&str, &str)]| {
        Process::start(banboard(&data, vars).env("XDG_RUNTIME_DIR", place.path().join("run")))
    };
    let mut service = start(&[]);
    service.wait_for("READY");
    service.terminate();
    assert_eq!(service.wait().code(), 0);
    look_changes_nothing(place.path(), "after a clean stop");
    let mut service = start(&[]);
    service.wait_for("READY");
    service.kill();
    look_changes_nothing(place.path(), "after a kill");
}
