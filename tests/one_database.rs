//! One database has one worker, by whatever names it is reached (invariant 13): the second one meets the lock of the
//! first, or is refused because the database has another name. What was acknowledged stays.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::geteuid;
use solostart::{
    stages::database::rusqlite::{Connection, OpenFlags},
    testing::{Exit, Process},
};
use tempfile::TempDir;

mod support;

const SCHEMA: (&str, &str) = ("DBAPP_SCHEMA", "1");

/// Two data directories, and a database in the first one.
struct Places(TempDir);

impl Places {
    fn new() -> Self {
        let places = Self(tempfile::tempdir().unwrap());
        for name in ["one", "two"] {
            fs::create_dir(places.at(name)).unwrap();
        }
        places.app("one", "finish", &[]).wait().assert_succeeded();
        places
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn command(&self, data: &str, scenario: &str, vars: &[(&str, &str)]) -> Command {
        let vars = [&[SCHEMA, ("DBAPP_SCENARIO", scenario), ("DBAPP_LEASE_TTL", "5s")], vars].concat();
        support::command("dbapp", &self.at(data), &vars)
    }

    fn app(&self, data: &str, scenario: &str, vars: &[(&str, &str)]) -> Process {
        Process::start(&mut self.command(data, scenario, vars))
    }
}

trait Succeeded {
    fn assert_succeeded(&self);
}

impl Succeeded for Exit {
    fn assert_succeeded(&self) {
        assert!(self.status.success(), "{}", self.stderr);
    }
}

/// How many rows a process said are stored.
fn acknowledged(ended: &Exit) -> usize {
    ended.stderr.lines().filter(|line| line.starts_with("acknowledged ")).count()
}

fn stored(database: &Path) -> usize {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    connection
        .query_row("SELECT count(*) FROM entries", [], |row| row.get::<_, i64>(0))
        .unwrap()
        .try_into()
        .unwrap()
}

/// What makes the second name of the database, and the variables that lead the second instance to it.
type Name = (&'static str, fn(&Places), &'static [(&'static str, &'static str)]);

/// Where `$` stands for the directory of both.
const MEET: &[Name] = &[
    ("a link to the file", |it| symlink(it.at("one/dbapp.db"), it.at("two/dbapp.db")).unwrap(), &[]),
    (
        "a link to a link",
        |it| {
            symlink("../one/dbapp.db", it.at("two/first")).unwrap();
            symlink("first", it.at("two/dbapp.db")).unwrap();
        },
        &[],
    ),
    (
        "a link to the directory",
        |it| {
            fs::remove_dir(it.at("two")).unwrap();
            symlink("one", it.at("two")).unwrap();
        },
        &[],
    ),
    ("a path of its own", |_| (), &[("DBAPP_DATABASE_PATH", "$/one/dbapp.db")]),
    ("a path with dots", |_| (), &[("DBAPP_DATABASE_PATH", "$/two/../one/./dbapp.db")]),
];

#[test]
fn two_names_that_lead_to_one_database_meet_at_one_lock() {
    for (what, make, vars) in MEET {
        let places = Places::new();
        make(&places);
        let mut first = places.app("one", "write", &[]);
        first.wait_for("acknowledged 20.");
        let directory = places.0.path().to_str().unwrap();
        let values: Vec<_> =
            vars.iter().map(|(name, value)| (*name, value.replace('$', directory))).collect();
        let vars: Vec<_> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let second = places.app("two", "write", &vars).wait();
        second.assert_failed(78, "lock.held");
        assert_eq!(acknowledged(&second), 0, "{what}");
        first.terminate();
        let ended = first.wait();
        ended.assert_succeeded();
        assert_eq!(stored(&places.at("one/dbapp.db")), acknowledged(&ended), "{what}");
        places.app("two", "finish", &vars).wait().assert_succeeded();
    }
}

#[test]
fn a_lock_file_of_its_own_does_not_let_a_second_worker_in() {
    let places = Places::new();
    let (database, lock) = (places.at("one/dbapp.db"), places.at("two/own.lock"));
    let apart =
        [("DBAPP_LOCK_PATH", lock.to_str().unwrap()), ("DBAPP_DATABASE_PATH", database.to_str().unwrap())];
    let mut first = places.app("one", "write", &[]);
    first.wait_for("acknowledged 20.");
    let second = places.app("two", "write", &apart).wait();
    second.assert_failed(78, "lock.held").assert_says("by another lock file than this one");
    assert!(second.stderr.contains(&format!("process {}", first.id())), "{}", second.stderr);
    first.terminate();
    let ended = first.wait();
    ended.assert_succeeded();
    assert_eq!(stored(&database), acknowledged(&ended));
    places.app("two", "finish", &apart).wait().assert_succeeded();
}

#[test]
fn after_kill_9_the_database_can_be_had_at_once_under_another_lock_file() {
    let places = Places::new();
    let (database, lock) = (places.at("one/dbapp.db"), places.at("two/own.lock"));
    let apart =
        [("DBAPP_LOCK_PATH", lock.to_str().unwrap()), ("DBAPP_DATABASE_PATH", database.to_str().unwrap())];
    let mut first = places.app("one", "write", &[]);
    first.wait_for("acknowledged 20.");
    let ended = first.kill();
    places.app("two", "finish", &apart).wait().assert_succeeded();
    assert!(stored(&database) >= acknowledged(&ended));
}

#[test]
fn a_database_with_a_second_name_is_refused_under_both_until_one_is_gone() {
    let places = Places::new();
    let names = ["one/dbapp.db", "two/dbapp.db"].map(|name| places.at(name));
    fs::hard_link(&names[0], &names[1]).unwrap();
    for data in ["one", "two"] {
        let refused = places.app(data, "write", &[]).wait();
        refused.assert_failed(78, "lock.unsupported").assert_says("2 names (hard links)");
        assert_eq!(acknowledged(&refused), 0);
        let check = places.command(data, "write", &[]).arg("check").output().unwrap();
        assert_eq!(check.status.code(), Some(78), "{data}");
    }
    fs::remove_file(&names[1]).unwrap();
    places.app("one", "finish", &[]).wait().assert_succeeded();
}

#[test]
fn a_database_that_is_mounted_without_its_directory_is_refused() {
    let places = Places::new();
    fs::write(places.at("two/dbapp.db"), "").unwrap();
    let mut through = vec!["--mount"];
    through.extend((!geteuid().is_root()).then_some("--map-root-user"));
    let app = places.command("two", "finish", &[]);
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$1\" \"$2\"; exec \"$0\"";
    command.args(through).args(["sh", "-ec", script]).arg(app.get_program());
    command.args([places.at("one/dbapp.db"), places.at("two/dbapp.db")]);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.envs(app.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let refused = Process::start(&mut command).wait();
    refused.assert_failed(78, "lock.unsupported").assert_says("is mounted without its directory");
}

#[test]
fn a_database_that_is_replaced_under_a_worker_ends_it_and_no_acknowledged_row_is_lost() {
    // Another file in its place, as after a restore beside the running service; and none.
    for put in [true, false] {
        let places = Places::new();
        let (database, aside) = (places.at("one/dbapp.db"), places.at("aside.db"));
        let mut first = places.app("one", "write", &[]);
        first.wait_for("acknowledged 20.");
        for ending in ["", "-wal", "-shm"] {
            let name = |path: &Path| PathBuf::from(format!("{}{ending}", path.display()));
            fs::rename(name(&database), name(&aside)).unwrap();
        }
        if put {
            fs::write(&database, "").unwrap();
        }
        let ended = first.wait();
        ended.assert_failed(70, "lock.lost").assert_says("dbapp.db was removed or replaced");
        assert_eq!(stored(&aside), acknowledged(&ended), "put: {put}");
    }
}

#[test]
fn what_decides_who_works_is_for_the_services_own_user_alone() {
    let places = Places::new();
    let data = places.at("one/data");
    let data = data.to_str().unwrap();
    let mut first = places.app("one", "serve", &[("DBAPP_DATA_DIR", data)]);
    first.wait_for("READY");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(Path::new(data)), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(data).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        // A report that is just being written is hidden until it is renamed, and may be gone by now.
        if name.starts_with('.') {
            continue;
        }
        // What is for people is replaced whole, so it matters to nobody who locks it.
        let expected = if name.ends_with(".json") { 0o640 } else { 0o600 };
        assert_eq!(mode(&entry.path()), expected, "{entry:?}");
        names.push(name);
    }
    for needed in ["dbapp.lock", "dbapp.lease.db-shm", "dbapp.lease.db-wal", "dbapp.db", "dbapp.db-wal"] {
        assert!(names.iter().any(|name| name == needed), "{needed} is not among {names:?}");
    }
    first.terminate();
    first.wait().assert_succeeded();

    // What an earlier version, or an operator, made wider.
    let (chmod, wide) =
        (|mode: &str| Command::new("chmod").args(["-R", mode, data]).status().unwrap(), "u=rwX,go=rX");
    assert!(chmod(wide).success());
    let mut second = places.app("one", "serve", &[("DBAPP_DATA_DIR", data)]);
    second.wait_for("READY");
    second.terminate();
    let ended = second.wait();
    ended.assert_says(&format!("chmod 0700 {data}"));
    for name in ["dbapp.lock", "dbapp.lease.db", "dbapp.lease.db-shm", "dbapp.db"] {
        assert_eq!(mode(&Path::new(data).join(name)), 0o600, "{name}");
    }
}
