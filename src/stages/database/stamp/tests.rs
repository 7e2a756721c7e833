use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;

/// A database with a log, and the stamp that a service left.
fn left() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("app.db");
    let connection = Connection::open(&database).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = wal; CREATE TABLE numbers (value INTEGER); INSERT INTO numbers VALUES (1);")
        .unwrap();
    Stamp::begin(&connection, &database).unwrap();
    // Never closed, as by a process that was killed.
    std::mem::forget(connection);
    (dir, database)
}

fn judge(database: &Path) -> Result<(), &'static str> {
    check(database, &fs::symlink_metadata(database).unwrap()).map_err(|error| error.failure_code().name)
}

fn rewrite(database: &Path, change: impl FnOnce(&mut Said)) {
    let stamp = beside(database, ENDING);
    let mut said = read(&stamp).unwrap();
    change(&mut said);
    fs::write(stamp, serde_json::to_vec(&said).unwrap()).unwrap();
}

#[test]
fn what_a_service_left_belongs_together_and_any_other_database_does_not() {
    type Harm = fn(&Path);
    let copy: Harm = |database| fs::write(database, fs::read(database).unwrap()).unwrap();
    let touch: Harm = |database| {
        let earlier = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
        File::options().write(true).open(database).unwrap().set_modified(earlier).unwrap();
    };
    let replace: Harm = |database| {
        fs::copy(database, database.with_extension("new")).unwrap();
        fs::rename(database.with_extension("new"), database).unwrap();
    };
    let longer: Harm = |database| {
        let file = File::options().append(true).open(database).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.set_len(file.metadata().unwrap().len() + 4096).unwrap();
        file.set_modified(modified).unwrap();
    };
    let (_dir, database) = left();
    assert_eq!(judge(&database), Ok(()));
    for harm in [copy, touch, replace, longer] {
        let (_dir, database) = left();
        harm(&database);
        assert_eq!(judge(&database), Err("db.replaced"));
    }
}

#[test]
fn after_another_boot_only_another_file_is_noticed() {
    let (_dir, database) = left();
    rewrite(&database, |said| (said.boot_id, said.database.modified) = ("earlier".to_owned(), (0, 0)));
    assert_eq!(judge(&database), Ok(()));
    rewrite(&database, |said| said.database.inode += 1);
    assert_eq!(judge(&database), Err("db.replaced"));
}

#[test]
fn a_directory_that_was_copied_as_a_whole_belongs_together() {
    let (dir, database) = left();
    let elsewhere = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), elsewhere.path().join(entry.file_name())).unwrap();
    }
    assert_eq!(judge(&elsewhere.path().join(database.file_name().unwrap())), Ok(()));
}

#[test]
fn nothing_is_refused_for_a_stamp_that_says_nothing() {
    let (_dir, database) = left();
    let stamp = beside(&database, ENDING);
    fs::write(&database, "another").unwrap();
    assert_eq!(judge(&database), Err("db.replaced"));
    for content in ["", "{", "{\"boot_id\": 1}", &"x".repeat(5000)] {
        fs::write(&stamp, content).unwrap();
        assert_eq!(judge(&database), Ok(()), "{content:.20}");
    }
    fs::remove_file(&stamp).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &stamp).unwrap();
    assert_eq!(judge(&database), Ok(()));
}

#[test]
fn the_log_is_moved_into_the_database_after_as_many_pages_as_sqlite_does_and_the_stamp_follows() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("app.db");
    let connection = Connection::open(&database).unwrap();
    connection.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE blobs (value BLOB);").unwrap();
    let stamp = Stamp::begin(&connection, &database).unwrap();
    let size = || fs::metadata(&database).unwrap().len();
    let before = size();
    for _ in 0..12 {
        let found = fs::metadata(&database).unwrap();
        connection.execute("INSERT INTO blobs VALUES (zeroblob(400000))", []).unwrap();
        stamp.after_commit(&connection, &found);
        assert_eq!(judge(&database), Ok(()));
    }
    assert!(size() > before + 4_000_000, "{before} {}", size());
    let log = fs::metadata(beside(&database, "-wal")).unwrap().len();
    assert!(log < 10_000_000, "{log}");
    stamp.end();
    assert!(!beside(&database, ENDING).exists());
}
