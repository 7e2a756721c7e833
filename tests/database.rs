//! A database in real processes that are killed, asked to end, and started on files that they cannot use.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![cfg(feature = "database")]

use std::{fs, path::Path, thread, time::Duration};

use solostart::{
    stages::database::rusqlite::Connection,
    testing::{Exit, Process},
};
use tempfile::TempDir;

mod support;

const ROWS: i64 = 20_000;

fn app(data: &Path, scenario: &str, schema: &str, more: &[(&str, &str)]) -> Process {
    let mut vars = vec![("DBAPP_SCENARIO", scenario), ("DBAPP_SCHEMA", schema)];
    vars.extend(more);
    Process::start(&mut support::command("dbapp", data, &vars))
}

fn succeeds(data: &Path, scenario: &str, schema: &str) -> Exit {
    let ended = app(data, scenario, schema, &[]).wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    ended.assert_says("READY");
    ended
}

/// The data of the first version, with all rows.
fn first_version() -> TempDir {
    let data = tempfile::tempdir().unwrap();
    succeeds(data.path(), "fill", "1");
    data
}

/// A copy of a directory as it is now: what a crash at this moment leaves.
fn copy_of(data: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// Fails unless the database is sound and has every row, whatever its schema is. Returns its schema.
fn assert_whole(file: &Path) -> i64 {
    let connection = Connection::open(file).unwrap();
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    let schema = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    let tables: &[&str] = match schema {
        1..=3 => &["entries"],
        4 | 5 => &["entries", "texts"],
        _ => &["texts"],
    };
    for table in tables {
        let id = if *table == "texts" { "entry" } else { "id" };
        let seen: (i64, i64, i64) = connection
            .query_row(
                &format!(
                    "SELECT count(*), sum({id}), count(*) FILTER
                         (WHERE text <> printf('entry %d %s', {id}, hex(zeroblob({id} % 50)))) FROM {table}"
                ),
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .unwrap();
        assert_eq!(seen, (ROWS, ROWS * (ROWS + 1) / 2, 0), "{table}, schema {schema}");
    }
    schema
}

/// Says of the backup that it is what its name says, if there is one.
fn assert_backup_whole(data: &Path) {
    let backup = data.join("dbapp.db.schema-1.backup");
    if backup.exists() {
        assert_eq!(assert_whole(&backup), 1);
    }
}

#[test]
fn killed_at_each_step_of_the_migration_the_next_start_succeeds_and_no_row_is_lost() {
    let base = first_version();
    let steps = [
        "step=\"look at the file\"",
        "step=\"check for damage\"",
        "step=\"raise the fence\"",
        "step=\"back up\"",
        "migration 2/6",
        "migration 3/6",
        "migration 4/6",
        "migration 5/6",
        "migration 6/6",
        "step=\"open for reading\"",
    ];
    let (mut killed, mut inside) = (0, 0);
    for step in steps {
        for delay in if step.starts_with("migration") { &[0, 5, 20][..] } else { &[0, 5] } {
            let data = copy_of(base.path());
            let mut service = app(data.path(), "serve", "6", &[]);
            service.wait_for(step);
            // Not to wait for anything: it is the instant of the kill.
            thread::sleep(Duration::from_millis(*delay));
            service.kill();
            killed += 1;
            let crashed = copy_of(data.path());
            let schema = assert_whole(&crashed.path().join("dbapp.db"));
            assert_backup_whole(crashed.path());
            if let Some(migration) = step.strip_prefix("migration ") {
                let before = i64::from(migration.as_bytes()[0] - b'0') - 1;
                assert!(schema >= before, "{step}: schema {schema}");
                inside += i64::from(schema == before);
            }
            succeeds(data.path(), "finish", "6");
            assert_eq!(assert_whole(&data.path().join("dbapp.db")), 6, "{step}");
            assert_backup_whole(data.path());
            let names = fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let partial: Vec<_> = names.filter(|name| name.to_string_lossy().contains(".partial")).collect();
            assert!(partial.is_empty(), "{step}: {partial:?}");
        }
    }
    assert!(inside >= 5, "only {inside} of {killed} kills came while a migration ran");
}

#[test]
fn killed_again_and_again_on_the_way_it_arrives_with_every_row() {
    let data = first_version();
    for step in
        ["back up", "migration 2/6", "migration 3/6", "migration 4/6", "migration 5/6", "migration 6/6"]
    {
        let mut service = app(data.path(), "serve", "6", &[]);
        // A step that an earlier process completed does not come again; then it is killed when it is ready.
        service.wait_for_any(&[step, "READY"]);
        service.kill();
    }
    succeeds(data.path(), "finish", "6");
    assert_eq!(assert_whole(&data.path().join("dbapp.db")), 6);
    assert_backup_whole(data.path());
}

#[test]
fn what_was_acknowledged_before_a_kill_is_there_after_it() {
    let data = tempfile::tempdir().unwrap();
    let mut last = 0;
    for _ in 0..3 {
        let mut service = app(data.path(), "write", "1", &[]);
        service.wait_for(&format!("acknowledged {}.", last + 40));
        let said = service.kill().stderr;
        let mut acknowledged =
            said.lines().filter_map(|line| line.strip_prefix("acknowledged ")?.strip_suffix('.'));
        let acknowledged: i64 = acknowledged.next_back().unwrap().parse().unwrap();
        let crashed = copy_of(data.path());
        let connection = Connection::open(crashed.path().join("dbapp.db")).unwrap();
        let (rows, highest): (i64, i64) = connection
            .query_row("SELECT count(*), max(id) FROM entries", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert!(rows >= acknowledged && rows == highest, "{acknowledged} acknowledged, {rows} there");
        last = rows;
    }
    succeeds(data.path(), "finish", "1");
}

#[test]
fn a_signal_interrupts_a_migration_and_the_schema_stays_as_it_was() {
    let data = first_version();
    let mut service = app(data.path(), "serve", "7", &[]);
    service.wait_for("migration 7/7").terminate();
    let ended = service.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert_eq!(assert_whole(&data.path().join("dbapp.db")), 6);
    succeeds(data.path(), "finish", "6");
}

#[test]
fn each_way_in_which_a_migration_cannot_be_done_has_its_own_report() {
    let data = first_version();
    let limit = [("DBAPP_STAGE_TIMEOUT_DATABASE", "2s")];
    app(data.path(), "serve", "7", &limit)
        .wait()
        .assert_failed(78, "db.migration-timeout")
        .assert_says("migration 7/7 endless")
        .assert_says("DBAPP_STAGE_TIMEOUT_DATABASE=");
    assert_eq!(assert_whole(&data.path().join("dbapp.db")), 6);

    app(data.path(), "serve", "3", &[])
        .wait()
        .assert_failed(65, "db.schema-newer")
        .assert_says("dbapp.db.schema-1.backup");

    let data = first_version();
    app(data.path(), "broken", "6", &[])
        .wait()
        .assert_failed(65, "db.migration-failed")
        .assert_says("migration 4/4 broken: no such table: nowhere")
        .assert_says("migrations 2-3");
    assert_eq!(assert_whole(&data.path().join("dbapp.db")), 3);
    succeeds(data.path(), "finish", "6");
    assert_eq!(assert_whole(&data.path().join("dbapp.db")), 6);
}

#[test]
fn each_file_that_cannot_be_used_has_its_own_report_and_is_left_as_it_is() {
    let data = first_version();
    let sound = fs::read(data.path().join("dbapp.db")).unwrap();
    let half = sound[..sound.len() / 2].to_vec();
    let mut damaged = sound.clone();
    let middle = sound.len() / 2 / 4096 * 4096;
    damaged[middle..middle + 4096].fill(0xA5);
    let mut marked = sound.clone();
    marked[68..72].copy_from_slice(&[0, 0, 0, 9]);
    for (content, code, says) in [
        (b"{\"not\": \"a database\"}".to_vec(), "db.corrupt", "fewer than any SQLite database"),
        (half, "db.corrupt", "it is cut off"),
        (damaged, "db.corrupt", "cp -a"),
        (marked, "db.foreign", "application id 9"),
    ] {
        let file = data.path().join("dbapp.db");
        fs::write(&file, &content).unwrap();
        app(data.path(), "serve", "6", &[]).wait().assert_failed(65, code).assert_says(says);
        assert_eq!(fs::read(&file).unwrap(), content, "{says}");
        assert!(!data.path().join("dbapp.db-wal").exists(), "{says}");
    }
    fs::write(data.path().join("dbapp.db"), &sound).unwrap();
    succeeds(data.path(), "finish", "6");
    assert_eq!(assert_whole(&data.path().join("dbapp.db")), 6);
}

#[test]
fn a_file_that_another_process_has_locked_can_be_used_once_it_is_free() {
    let data = first_version();
    let outsider = Connection::open(data.path().join("dbapp.db")).unwrap();
    outsider.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE;").unwrap();
    let busy = [("DBAPP_DATABASE_BUSY_TIMEOUT", "100ms")];
    app(data.path(), "serve", "6", &busy).wait().assert_failed(75, "db.busy").assert_says("sqlite3");
    drop(outsider);
    succeeds(data.path(), "finish", "6");
}

#[test]
fn whoever_keeps_the_database_beyond_its_stop_is_named_and_the_file_is_closed() {
    let data = tempfile::tempdir().unwrap();
    succeeds(data.path(), "leak", "6").assert_says("LEAKED").assert_says("database");
    assert!(!data.path().join("dbapp.db-wal").exists());
}
