//! Faults of the disk, from a kernel that really refuses.

use std::{fs, io::Write, path::Path};

use rusqlite::ffi;

use super::*;
use crate::{
    codes::{DB_DISK_FULL, DB_IO, DB_NOT_WRITABLE, FailureCode, PROCESS_LIMIT},
    stages::database::errors::of_the_system,
};

const TMPFS: &str = "mount -t tmpfs -o size=4m none \"$DIR\"";

/// Puts this much into the database.
const BIG: &[Migration] = &[
    NUMBERS[0],
    Migration::new("big", "CREATE TABLE big (data); INSERT INTO big VALUES (randomblob(2500000));"),
];

fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(test)
}

fn stage_in(dir: &Path) -> SqliteDatabase {
    SqliteDatabase::at(dir.join("app.db")).migrations(NUMBERS).backups(0)
}

async fn up(stage: &SqliteDatabase) -> Arc<Database> {
    stage.start(Start::unhurried().cx, ()).await.unwrap().into()
}

async fn stop(stage: &SqliteDatabase, database: Arc<Database>) {
    stage.stop(database, stop_within(Duration::from_secs(10))).await.unwrap();
}

async fn refusal(stage: &SqliteDatabase) -> (FailureCode, String) {
    let error = stage.start(Start::unhurried().cx, ()).await.unwrap_err();
    let facts: Vec<_> = error.facts().iter().map(|fact| format!("{}: {}", fact.name, fact.value)).collect();
    (error.failure_code(), format!("{error}\n{}\n{}", facts.join("\n"), error.actions().join("\n")))
}

/// A file that takes all the space but `free` bytes.
fn fill(dir: &Path, free: u64) {
    let mut file = fs::File::create(dir.join("filler")).unwrap();
    while let Ok(()) = file.write_all(&[1; 4096]) {}
    let size = file.metadata().unwrap().len();
    file.set_len(size.saturating_sub(free)).unwrap();
}

async fn insert_blob(database: &Database) -> Result<usize, crate::stages::database::DatabaseError> {
    let sql = "INSERT INTO numbers SELECT length(hex(randomblob(1))) FROM generate";
    let sql = format!(
        "WITH RECURSIVE generate(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM generate LIMIT 500000) {sql}"
    );
    database.write(move |tx| Ok(tx.execute(&sql, [])?)).await
}

#[test]
fn a_disk_that_becomes_full_loses_nothing_that_was_acknowledged() {
    let Some(dir) = elsewhere::prepared() else {
        return elsewhere::run("faults::a_disk_that_becomes_full_loses_nothing_that_was_acknowledged", TMPFS);
    };
    block_on(async {
        let stage = stage_in(&dir);
        let database = up(&stage).await;
        insert(&database, 1).await;
        fill(&dir, 0);
        let full = insert_blob(&database).await.unwrap_err();
        assert_eq!(full.failure_code(), DB_DISK_FULL, "{full}");
        assert_eq!(count(&database).await, 1, "reading goes on");
        stage.health(database.clone()).await.unwrap();
        stop(&stage, database).await;

        let (code, text) = refusal(&stage).await;
        assert_eq!((code, code.kind.exit_code()), (DB_DISK_FULL, 74), "{text}");
        assert!(text.contains("tmpfs") && text.contains("bytes free") && text.contains("df -h"), "{text}");
        fs::remove_file(dir.join("filler")).unwrap();
        let database = up(&stage).await;
        assert_eq!(count(&database).await, 1);
        stop(&stage, database).await;
    });
}

/// What a container with a read-only root has: nothing but its volume can be written.
const ONLY_THE_VOLUME: &str = "mount -t tmpfs none \"$DIR\"
     for each in / /tmp /var/tmp; do mount -o remount,bind,ro \"$each\" || true; done";

#[test]
fn what_does_not_fit_into_memory_has_a_place_where_the_root_is_read_only() {
    let Some(dir) = elsewhere::prepared() else {
        let name = "faults::what_does_not_fit_into_memory_has_a_place_where_the_root_is_read_only";
        return elsewhere::run(name, ONLY_THE_VOLUME);
    };
    std::env::set_current_dir("/").unwrap();
    assert!(["/tmp/x", "/var/tmp/x", "/x"].iter().all(|file| fs::File::create(file).is_err()));
    block_on(async {
        let stage = stage_in(&dir);
        let database = up(&stage).await;
        insert_blob(&database).await.unwrap();
        let sorted = "SELECT count(*) FROM (SELECT DISTINCT value, hex(randomblob(16)) FROM numbers)";
        let rows =
            database.read(|db| Ok(db.query_row(sorted, [], |row| row.get::<_, i64>(0))?)).await.unwrap();
        assert_eq!(rows, 500_000);
        // What may have to be taken back.
        let changed = "CREATE TABLE once (value UNIQUE); INSERT INTO once SELECT hex(randomblob(16)) FROM numbers LIMIT 50000;
                       UPDATE once SET value = value || value;";
        database.write(|tx| Ok(tx.execute_batch(changed)?)).await.unwrap();
        let names: Vec<_> = fs::read_dir(&dir).unwrap().map(|each| each.unwrap().file_name()).collect();
        assert!(!names.iter().any(|name| name.to_string_lossy().contains("etilqs")), "{names:?}");
        stop(&stage, database).await;
    });
}

#[test]
fn a_migration_that_finds_no_space_changes_nothing_and_is_done_once_there_is_some() {
    let Some(dir) = elsewhere::prepared() else {
        let name = "faults::a_migration_that_finds_no_space_changes_nothing_and_is_done_once_there_is_some";
        return elsewhere::run(name, &TMPFS.replace("4m", "8m"));
    };
    block_on(async {
        let stage = stage_in(&dir);
        let database = up(&stage).await;
        insert(&database, 1).await;
        stop(&stage, database).await;

        fill(&dir, 1_500_000);
        let newer = stage.clone().migrations(BIG);
        let (code, text) = refusal(&newer).await;
        assert_eq!(code, DB_DISK_FULL, "{text}");
        assert!(text.contains("migration 2/2 big") && text.contains("schema: 1, unchanged"), "{text}");

        fs::remove_file(dir.join("filler")).unwrap();
        let database = up(&newer).await;
        assert_eq!(count(&database).await, 1);
        stop(&newer, database).await;
    });
}

#[test]
fn a_backup_that_finds_no_space_is_refused_before_anything_is_migrated() {
    let Some(dir) = elsewhere::prepared() else {
        let name = "faults::a_backup_that_finds_no_space_is_refused_before_anything_is_migrated";
        return elsewhere::run(name, &TMPFS.replace("4m", "8m"));
    };
    const THREE: &[Migration] = &[BIG[0], BIG[1], Migration::new("small", "CREATE TABLE small (a);")];
    block_on(async {
        let stage = stage_in(&dir).migrations(BIG);
        let database = up(&stage).await;
        stop(&stage, database).await;
        fill(&dir, 3_000_000);
        let env = crate::Env::from_vars("SHOP", [("SHOP_DATABASE_PATH", dir.join("app.db"))]);
        let newer = SqliteDatabase::from_env(&env).migrations(THREE);
        let (code, text) = refusal(&newer).await;
        assert_eq!(code, DB_DISK_FULL, "{text}");
        assert!(text.contains("MiB for a backup") && text.contains("SHOP_DATABASE_BACKUPS=0"), "{text}");
        let database = up(&newer.backups(0)).await;
        stop(&stage, database).await;
    });
}

#[test]
fn sqlites_disk_error_on_a_full_disk_is_called_a_full_disk() {
    let Some(dir) = elsewhere::prepared() else {
        return elsewhere::run("faults::sqlites_disk_error_on_a_full_disk_is_called_a_full_disk", TMPFS);
    };
    let error = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_SHMSIZE), None);
    let code = || of_the_system(&error, "cannot", &dir.join("app.db")).unwrap().failure_code();
    assert_eq!(code(), DB_IO);
    fill(&dir, 0);
    assert_eq!(code(), DB_DISK_FULL);
}

#[test]
fn a_limit_on_the_size_of_files_is_told_from_a_full_disk_and_loses_nothing() {
    // SQLite says of it what it says of a broken disk; the signal that comes with it is ignored.
    const LIMIT: &str = "trap '' XFSZ; ulimit -f 2000";
    let Some(dir) = elsewhere::prepared() else {
        let name = "faults::a_limit_on_the_size_of_files_is_told_from_a_full_disk_and_loses_nothing";
        return elsewhere::run(name, LIMIT);
    };
    block_on(async {
        let stage = stage_in(&dir);
        let database = up(&stage).await;
        insert(&database, 1).await;
        let failed = insert_blob(&database).await.unwrap_err();
        assert_eq!((failed.failure_code(), failed.failure_code().kind.exit_code()), (DB_IO, 74), "{failed}");
        insert(&database, 2).await;
        stop(&stage, database).await;

        let (code, text) = refusal(&stage.clone().migrations(BIG)).await;
        assert_eq!(code, PROCESS_LIMIT, "{text}");
        assert!(text.contains("SQLite: disk I/O error") && text.contains("ulimit -f"), "{text}");
        let database = up(&stage).await;
        assert_eq!(count(&database).await, 2);
        stop(&stage, database).await;
    });
}

#[test]
fn a_read_only_mount_is_told_from_a_missing_permission() {
    let Some(dir) = elsewhere::prepared() else {
        let mounts = "mkdir \"$DIR/all\"; touch \"$DIR/all/app.db\"; \
             mount --bind \"$DIR/all\" \"$DIR/all\"; mount -o remount,bind,ro \"$DIR/all\"";
        return elsewhere::run("faults::a_read_only_mount_is_told_from_a_missing_permission", mounts);
    };
    block_on(async {
        let (code, text) = refusal(&stage_in(&dir.join("all"))).await;
        assert_eq!((code, code.kind.exit_code()), (DB_NOT_WRITABLE, 77), "{text}");
        assert!(text.contains("Read-only file system") && text.contains("`:ro`"), "{text}");
    });
}

#[tokio::test]
async fn a_file_that_is_deleted_or_replaced_while_it_is_in_use_makes_the_database_unhealthy() {
    let site = Site::new();
    let database = site.up().await;
    site.stage.health(database.clone()).await.unwrap();
    fs::rename(site.file(), site.dir.path().join("moved")).unwrap();
    for replace in [false, true] {
        if replace {
            fs::write(site.file(), []).unwrap();
        }
        let error = site.stage.health(database.clone()).await.unwrap_err();
        assert_eq!(error.failure_code(), DB_IO, "{error}");
        assert!(error.to_string().contains("deleted or replaced"), "{error}");
    }
    fs::rename(site.dir.path().join("moved"), site.file()).unwrap();
    site.stage.health(database.clone()).await.unwrap();
    site.stop(&database).await.unwrap();
}

#[test]
fn every_answer_of_sqlites_about_the_file_has_its_code() {
    for (answer, code) in [
        (ffi::SQLITE_FULL, DB_DISK_FULL),
        (ffi::SQLITE_IOERR, DB_IO),
        (ffi::SQLITE_IOERR_FSYNC, DB_IO),
        (ffi::SQLITE_NOTADB, crate::codes::DB_CORRUPT),
        (ffi::SQLITE_CORRUPT_INDEX, crate::codes::DB_CORRUPT),
        (ffi::SQLITE_BUSY_SNAPSHOT, crate::codes::DB_BUSY),
        (ffi::SQLITE_LOCKED, crate::codes::DB_BUSY),
        (ffi::SQLITE_READONLY_DBMOVED, DB_NOT_WRITABLE),
        (ffi::SQLITE_CANTOPEN_ISDIR, DB_IO),
        (ffi::SQLITE_NOMEM, PROCESS_LIMIT),
        (ffi::SQLITE_PERM, DB_NOT_WRITABLE),
        (ffi::SQLITE_INTERRUPT, crate::codes::STARTUP_INTERRUPTED),
        (ffi::SQLITE_CONSTRAINT, crate::codes::STAGE_FAILED),
    ] {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(answer), None);
        let error = crate::stages::database::DatabaseError::from(error);
        assert_eq!(error.failure_code(), code, "{answer}");
    }
}
