use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown, symlink},
        process::CommandExt,
    },
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    Env,
    codes::{DB_BUSY, DB_CORRUPT, DB_DIR_MISSING, DB_NOT_WRITABLE, STARTUP_INTERRUPTED},
};

#[tokio::test]
async fn a_new_file_is_private_and_durable() {
    let site = Site::new();
    let database = site.up().await;
    let settings = database
        .write(|tx| {
            let text = |name| tx.pragma_query_value(None, name, |row| row.get::<_, String>(0));
            let number = |name| tx.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            Ok((text("journal_mode")?, number("synchronous")?, number("foreign_keys")?))
        })
        .await
        .unwrap();
    assert_eq!(settings, ("wal".to_owned(), 2, 1));
    for name in site.files() {
        let mode = fs::metadata(site.dir.path().join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o027, 0, "{name} has mode {mode:o}");
    }
    site.stop(&database).await.unwrap();
}

#[tokio::test]
async fn a_missing_volume_is_named_and_not_created() {
    let site = Site::new();
    let missing = site.dir.path().join("volume");
    let stage = SqliteDatabase::at(missing.join("data/app.db"));
    let error = stage.start(Start::unhurried().cx, ()).await.unwrap_err();
    assert_eq!(error.failure_code(), DB_DIR_MISSING);
    assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
    assert!(!missing.exists());
}

#[tokio::test]
async fn a_directory_or_a_dangling_link_in_the_files_place_is_refused() {
    let site = Site::new();
    fs::create_dir(site.file()).unwrap();
    let error = site.start().await.unwrap_err();
    assert_eq!(error.failure_code(), DB_CORRUPT);
    assert!(error.to_string().contains("is a directory"), "{error}");

    fs::remove_dir(site.file()).unwrap();
    symlink(site.dir.path().join("elsewhere"), site.file()).unwrap();
    let error = site.start().await.unwrap_err();
    assert!(error.to_string().contains("leads nowhere"), "{error}");
    assert_eq!(site.files(), ["app.db"]);
}

#[tokio::test]
async fn a_foreign_file_is_refused_and_not_changed() {
    let site = Site::new();
    let content = b"this is not a database, but \x1b[31mpage one\x1b[0m of a letter";
    fs::write(site.file(), content).unwrap();
    let error = site.start().await.unwrap_err();
    assert_eq!(error.failure_code(), DB_CORRUPT);
    assert!(!error.facts().iter().any(|fact| fact.value.contains('\x1b')), "{error:?}");
    assert_eq!(fs::read(site.file()).unwrap(), content);
    assert_eq!(site.files(), ["app.db"]);
}

#[tokio::test]
async fn a_truncated_or_overwritten_database_is_refused_and_not_changed() {
    let site = Site::new();
    let database = site.up().await;
    database
        .write(|tx| {
            Ok(tx.execute_batch("CREATE TABLE big (data BLOB); INSERT INTO big VALUES (zeroblob(100000));")?)
        })
        .await
        .unwrap();
    site.stop(&database).await.unwrap();
    let sound = fs::read(site.file()).unwrap();

    let mut overwritten = sound.clone();
    overwritten[100..2000].fill(0xA5);
    for damaged in [&sound[..sound.len() / 2], &sound[..50], &overwritten] {
        fs::write(site.file(), damaged).unwrap();
        let error = site.start().await.unwrap_err();
        assert_eq!(error.failure_code(), DB_CORRUPT, "{error}");
        assert_eq!(fs::read(site.file()).unwrap(), damaged);
        site.assert_no_log();
    }
}

impl Site {
    fn assert_no_log(&self) {
        assert_eq!(self.files(), ["app.db"]);
    }
}

#[tokio::test]
async fn a_file_that_another_program_has_locked_is_busy() {
    let mut site = Site::new();
    site.stage = site.stage.busy_timeout(Duration::from_millis(50));
    let database = site.up().await;
    insert(&database, 1).await;
    site.stop(&database).await.unwrap();
    let mut other = elsewhere::holding(&site.file());
    let error = site.start().await.unwrap_err();
    assert_eq!(error.failure_code(), DB_BUSY, "{error}");
    assert!(error.is_retryable());

    other.let_go();
    let database = site.up().await;
    assert_eq!(count(&database).await, 1);
    site.stop(&database).await.unwrap();
}

#[tokio::test]
async fn a_start_that_waits_for_a_lock_ends_when_it_is_cancelled() {
    let mut site = Site::new();
    site.stage = site.stage.busy_timeout(Duration::from_secs(600));
    let database = site.up().await;
    site.stop(&database).await.unwrap();
    let outsider = site.outsider();
    outsider.execute_batch("BEGIN IMMEDIATE").unwrap();
    let start = Start::unhurried();
    let began = Instant::now();
    let (result, ()) = tokio::join!(site.stage.start(start.cx.clone(), ()), async {
        // Raising the fence is announced before it asks for the lock.
        while !start.steps().iter().any(|step| step == "raise the fence") {
            tokio::task::yield_now().await;
        }
        start.cancel.cancel();
    });
    let code = result.unwrap_err().failure_code();
    assert!(code == DB_BUSY || code == STARTUP_INTERRUPTED, "{code:?}");
    start.roll_back().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn names_that_mean_something_to_sqlite_are_files() {
    let dir = TempDir::new().unwrap();
    let stage = SqliteDatabase::at(dir.path().join(":memory:")).migrations(NUMBERS);
    let database = Arc::new(stage.start(Start::unhurried().cx, ()).await.unwrap());
    insert(&database, 1).await;
    stage.stop(database, stop_within(Duration::from_secs(10))).await.unwrap();
    assert!(fs::metadata(dir.path().join(":memory:")).unwrap().len() > 0);
}

#[tokio::test]
async fn the_environment_says_where_the_file_is() {
    let env = |vars: &[(&str, &str)]| Env::from_vars("BAN_BOARD", vars.iter().copied());
    for (vars, path) in [
        (env(&[]), "ban-board-data/ban-board.db"),
        (env(&[("BAN_BOARD_DATA_DIR", "/data")]), "/data/ban-board.db"),
        (env(&[("BAN_BOARD_DATA_DIR", "/data"), ("BAN_BOARD_DATABASE_PATH", "/srv/a.db")]), "/srv/a.db"),
        (env(&[]).for_application("board"), "board-data/board.db"),
    ] {
        assert_eq!(SqliteDatabase::from_env(&vars).path(), Path::new(path));
        assert!(vars.check().unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_environment_says_how_the_database_is_checked_kept_and_read() {
    let set = [
        ("SHOP_DATABASE_READERS", "7"),
        ("SHOP_DATABASE_BUSY_TIMEOUT", "250ms"),
        ("SHOP_DATABASE_INTEGRITY", "full"),
        ("SHOP_DATABASE_INTEGRITY_LIMIT", "1m"),
        ("SHOP_DATABASE_BACKUPS", "0"),
    ];
    let env = Env::from_vars("SHOP", set);
    let read = SqliteDatabase::from_env(&env);
    assert_eq!((read.readers, read.busy_timeout, read.backups), (7, Duration::from_millis(250), 0));
    assert_eq!((read.integrity, read.integrity_limit), (Integrity::Full, Duration::from_mins(1)));
    assert!(env.check().unwrap().is_empty());

    let env = Env::from_vars("SHOP", set.map(|(name, _)| (name, "sometimes")));
    let _stand_in = SqliteDatabase::from_env(&env);
    let problems = env.check().unwrap_err().to_string();
    assert!(set.iter().all(|(name, _)| problems.contains(name)), "{problems}");
}

/// Where the test below finds its file when it runs as another user, and which file is at fault.
const PROTECTED: &str = "SOLOSTART_TEST_PROTECTED_FILE";
const AT_FAULT: &str = "SOLOSTART_TEST_FILE_AT_FAULT";

const NOBODY: u32 = 65_534;

/// What a start of the stage is refused with.
fn refusal_of(stage: &SqliteDatabase) -> crate::StageError {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(stage.start(Start::unhurried().cx, ())).unwrap_err()
}

#[test]
fn a_file_that_belongs_to_somebody_else_is_not_writable() {
    if let Ok(path) = std::env::var(PROTECTED) {
        let error = refusal_of(&SqliteDatabase::at(path));
        assert_eq!(error.failure_code(), DB_NOT_WRITABLE, "{error}");
        let file = format!("{}, owner 0:0, mode 0644", std::env::var(AT_FAULT).unwrap());
        assert!(error.facts().iter().any(|fact| fact.value == file), "{error:?}");
        let user = format!("uid {NOBODY}, gid {NOBODY}");
        assert!(error.facts().iter().any(|fact| fact.value == user), "{error:?}");
        return;
    }
    for at_fault in ["app.db", "app.db-wal", "app.db-shm", "app.db-journal"] {
        let site = Site::new();
        fs::set_permissions(site.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(site.file(), []).unwrap();
        let file = site.dir.path().join(at_fault);
        if !rustix::process::geteuid().is_root() {
            // Without root there are no files of somebody else, but ones that the owner may not write.
            fs::write(&file, []).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
            let error = refusal_of(&SqliteDatabase::at(site.file()));
            assert_eq!(error.failure_code(), DB_NOT_WRITABLE, "{at_fault}: {error}");
            continue;
        }
        chown(site.file(), Some(NOBODY), Some(NOBODY)).unwrap();
        fs::write(&file, []).unwrap();
        chown(&file, Some(0), Some(0)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        // The test binary is copied to where that user can reach it.
        let program = site.dir.path().join("test-binary");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let name = "stages::database::tests::opening::a_file_that_belongs_to_somebody_else_is_not_writable";
        let child = Command::new(program)
            .args(["--exact", name])
            .env(PROTECTED, site.file())
            .env(AT_FAULT, &file)
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{at_fault}: {said}");
    }
}

#[tokio::test]
async fn a_link_to_the_file_is_followed_and_one_in_its_logs_place_is_not() {
    let (site, real) = (Site::new(), Site::new());
    symlink(real.file(), site.file()).unwrap();
    fs::write(real.file(), []).unwrap();
    let database = site.up().await;
    insert(&database, 1).await;
    assert!(real.files().contains(&"app.db-wal".to_owned()));
    site.stop(&database).await.unwrap();

    symlink(site.dir.path().join("elsewhere"), real.dir.path().join("app.db-wal")).unwrap();
    let error = site.start().await.unwrap_err();
    assert!(error.to_string().contains("app.db-wal is not a regular file"), "{error}");
    assert_eq!(site.files(), ["app.db"]);
}
