//! Restoring a backup: the recipe of `docs/database.md`, word for word, and what happens to who forgets a step. The log
//! of before is never played back into another database unnoticed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use solostart::{stages::database::rusqlite::Connection, testing::Process};
use tempfile::TempDir;

mod support;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/database.md");

/// A service that was killed while it wrote, and a backup from while it ran.
struct Killed {
    dir: TempDir,
    /// How many rows the backup has, and how many were acknowledged.
    rows: (i64, i64),
}

fn app(data: &Path, scenario: &str) -> Process {
    Process::start(&mut support::command(
        "dbapp",
        data,
        &[("DBAPP_SCHEMA", "1"), ("DBAPP_SCENARIO", scenario)],
    ))
}

fn rows(database: &Path) -> i64 {
    Connection::open(database)
        .unwrap()
        .query_row("SELECT count(*) FROM entries", [], |row| row.get(0))
        .unwrap()
}

impl Killed {
    fn new() -> Self {
        let killed = Self { dir: tempfile::tempdir().unwrap(), rows: (0, 0) };
        let mut service = app(&killed.data(), "write");
        service.wait_for("acknowledged 50.");
        let copy = format!("VACUUM INTO '{}'", killed.backup().display());
        Connection::open(killed.database()).unwrap().execute_batch(&copy).unwrap();
        let backup = rows(&killed.backup());
        service.wait_for(&format!("acknowledged {}.", backup + 50));
        let ended = service.kill();
        let acknowledged = ended.stderr.lines().filter(|line| line.starts_with("acknowledged ")).count();
        Self { rows: (backup, acknowledged.try_into().unwrap()), ..killed }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn database(&self) -> PathBuf {
        self.data().join("dbapp.db")
    }

    fn backup(&self) -> PathBuf {
        self.dir.path().join("backup.db")
    }

    fn sh(&self, script: &str) {
        let ran = Command::new("sh").args(["-euc", script]).current_dir(self.dir.path()).output().unwrap();
        assert!(ran.status.success(), "{script}: {ran:?}");
    }

    fn starts_with(&self, rows_now: i64) {
        let ended = app(&self.data(), "finish").wait();
        assert!(ended.status.success(), "{}", ended.stderr);
        assert_eq!(rows(&self.database()), rows_now);
    }
}

/// The commands of the document's section, for these files.
fn recipe(killed: &Killed) -> String {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let section = document.split("\n## Restoring a backup\n").nth(1).unwrap();
    let block = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    block
        .replace("/data", killed.data().to_str().unwrap())
        .replace("BACKUP", killed.backup().to_str().unwrap())
        .replace("app.db", "dbapp.db")
}

#[test]
fn the_recipe_of_the_document_restores_a_backup_after_a_kill_and_after_a_clean_stop() {
    let killed = Killed::new();
    killed.sh(&recipe(&killed));
    killed.starts_with(killed.rows.0);

    killed.sh(&recipe(&killed));
    killed.starts_with(killed.rows.0);
}

#[test]
fn a_service_that_was_killed_starts_again_with_every_acknowledged_row() {
    let killed = Killed::new();
    let ended = app(&killed.data(), "finish").wait();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(rows(&killed.database()) >= killed.rows.1);
}

#[test]
fn a_backup_that_is_put_beside_the_log_of_before_is_noticed_and_what_the_report_says_helps() {
    for put in ["cp backup.db data/dbapp.db", "mv backup.db data/dbapp.db", "cp -a backup.db data/dbapp.db"] {
        let killed = Killed::new();
        killed.sh(put);
        let refused = app(&killed.data(), "finish").wait();
        refused.assert_failed(65, "db.replaced");
        let log = format!("{}-wal", killed.database().display());
        let command = format!("mv {log} {log}.old");
        refused.assert_says(&command);
        killed.sh(&command);
        killed.starts_with(killed.rows.0);
    }
}

#[test]
fn a_backup_that_is_put_in_place_of_a_database_in_use_ends_the_service() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut service = app(&data, "serve");
    service.wait_for("READY");
    let (database, copy) = (data.join("dbapp.db"), dir.path().join("copy.db"));
    Connection::open(&database).unwrap().execute_batch(&format!("VACUUM INTO '{}'", copy.display())).unwrap();
    fs::rename(copy, &database).unwrap();
    service.wait().assert_failed(70, "lock.lost").assert_says("dbapp.db was replaced by another file");
}

#[test]
fn a_backup_that_is_written_into_a_database_in_use_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut service = app(&data, "write");
    service.wait_for("acknowledged 50.");
    let database = data.join("dbapp.db");
    // The same content, so that nothing is damaged and the service goes on.
    fs::write(&database, fs::read(&database).unwrap()).unwrap();
    service.wait_for("another program wrote to the database");
    service.kill();
}
