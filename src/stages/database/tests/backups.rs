use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    codes::{DB_MIGRATION_FAILED, DB_SCHEMA_NEWER},
    stages::database::{backup, errors::MIGRATION_INTERRUPTED, opening::Plan},
};

const FOUR: &[Migration] = &[
    NUMBERS[0],
    Migration::new("second", "UPDATE numbers SET value = value * 10;"),
    Migration::new("third", "UPDATE numbers SET value = value + 1;"),
    Migration::new("fourth", "CREATE TABLE more (a);"),
];
const LAST_FAILS: &[Migration] =
    &[FOUR[0], FOUR[1], Migration::new("broken", "INSERT INTO nowhere VALUES (1);")];

/// A database of schema 1 with the row 7.
async fn first_version() -> Site {
    let site = Site::new();
    let database = site.up().await;
    insert(&database, 7).await;
    site.stop(&database).await.unwrap();
    site
}

async fn upgrade(site: &Site, stage: &SqliteDatabase) {
    let database = Arc::new(stage.start(Start::unhurried().cx, ()).await.unwrap());
    site.stop(&database).await.unwrap();
}

fn value(file: &Path) -> i64 {
    let connection = Connection::open(file).unwrap();
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    connection.query_row("SELECT value FROM numbers", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_new_database_and_one_that_is_up_to_date_are_not_backed_up() {
    let site = first_version().await;
    upgrade(&site, &site.stage).await;
    assert_eq!(site.files(), ["app.db"]);
}

#[tokio::test]
async fn a_backup_holds_what_was_there_before_the_migration_for_nobody_else_to_read() {
    let site = first_version().await;
    let start = Start::unhurried();
    let stage = site.stage.clone().migrations(&FOUR[..3]);
    let database = Arc::new(stage.start(start.cx.clone(), ()).await.unwrap());
    site.stop(&database).await.unwrap();
    assert!(start.steps().iter().any(|step| step == "back up"), "{:?}", start.steps());
    assert_eq!(site.files(), ["app.db", "app.db.schema-1.backup"]);
    let backup = site.dir.path().join("app.db.schema-1.backup");
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!((value(&backup), value(&site.file())), (7, 71));
}

#[tokio::test]
async fn what_is_still_in_the_log_is_in_the_backup() {
    let site = Site::new();
    let database = site.up().await;
    insert(&database, 7).await;
    let crashed = Site::new();
    for name in site.files() {
        fs::copy(site.dir.path().join(&name), crashed.dir.path().join(&name)).unwrap();
    }
    site.stop(&database).await.unwrap();
    upgrade(&crashed, &crashed.stage.clone().migrations(&FOUR[..2])).await;
    assert_eq!(value(&crashed.dir.path().join("app.db.schema-1.backup")), 7);
}

#[tokio::test]
async fn no_more_backups_are_kept_than_asked_for_and_the_newest_are() {
    let site = first_version().await;
    for known in 2..=4 {
        upgrade(&site, &site.stage.clone().migrations(&FOUR[..known]).backups(2)).await;
    }
    assert_eq!(site.files(), ["app.db", "app.db.schema-2.backup", "app.db.schema-3.backup"]);
    let none = first_version().await;
    upgrade(&none, &none.stage.clone().migrations(FOUR).backups(0)).await;
    assert_eq!(none.files(), ["app.db"]);
}

#[tokio::test]
async fn a_migration_that_fails_again_and_again_replaces_only_its_own_backup() {
    let site = first_version().await;
    let broken = site.stage.clone().migrations(LAST_FAILS).backups(2);
    for attempt in 0..3 {
        let error = broken.start(Start::unhurried().cx, ()).await.unwrap_err();
        assert_eq!(error.failure_code(), DB_MIGRATION_FAILED, "{error}");
        let restore = error.actions().iter().find(|action| action.contains("schema-1.backup"));
        assert_eq!(
            restore.is_some(),
            attempt == 0,
            "only then an earlier migration is to be undone: {error:?}"
        );
    }
    assert_eq!(site.files(), ["app.db", "app.db.schema-1.backup", "app.db.schema-2.backup"]);
    assert_eq!(value(&site.dir.path().join("app.db.schema-1.backup")), 7);
}

#[tokio::test]
async fn the_way_back_that_a_refusal_advises_works() {
    let site = first_version().await;
    upgrade(&site, &site.stage.clone().migrations(&FOUR[..3])).await;
    let error = site.start().await.unwrap_err();
    assert_eq!(error.failure_code(), DB_SCHEMA_NEWER);
    let (_, command) = error.actions().last().unwrap().split_once(":\n").unwrap();
    assert!(std::process::Command::new("sh").args(["-ec", command]).status().unwrap().success());
    upgrade(&site, &site.stage).await;
    assert_eq!(value(&site.file()), 7);
}

#[tokio::test]
async fn what_a_killed_backup_left_behind_is_removed_by_the_next() {
    let site = first_version().await;
    for name in ["app.db.schema-1.backup.partial", "app.db.schema-1.backup.partial-journal"] {
        fs::write(site.dir.path().join(name), "half of a file").unwrap();
    }
    upgrade(&site, &site.stage.clone().migrations(&FOUR[..2])).await;
    assert_eq!(site.files(), ["app.db", "app.db.schema-1.backup"]);
}

#[tokio::test]
async fn a_cancelled_backup_leaves_nothing_and_its_predecessor() {
    let site = first_version().await;
    let kept = site.dir.path().join("app.db.schema-1.backup");
    fs::write(&kept, "the one before").unwrap();
    let plan = Plan {
        settings: site.stage.clone(),
        path: site.file(),
        worker: Start::unhurried().cx.worker(),
        step: Box::new(drop),
    };
    let cut = CancellationToken::new();
    cut.cancel();
    let error = backup::make(&site.outsider(), &plan, &site.file(), 1, &cut).unwrap_err();
    assert_eq!(error.failure_code(), MIGRATION_INTERRUPTED);
    assert_eq!(site.files(), ["app.db", "app.db.schema-1.backup"]);
    assert_eq!(fs::read(&kept).unwrap(), b"the one before");
}
