use std::fs;

use rusqlite::Transaction;

use super::*;
use crate::{
    codes::{
        DB_DISK_FULL, DB_MIGRATION_FAILED, DB_MIGRATION_TIMEOUT, DB_SCHEMA_NEWER, FailureCode,
        STARTUP_INTERRUPTED,
    },
    stages::database::DatabaseError,
};

const TWO: &[Migration] =
    &[NUMBERS[0], Migration::new("names", "CREATE TABLE names (name TEXT); INSERT INTO names VALUES ('a');")];
const SECOND_FAILS: &[Migration] =
    &[NUMBERS[0], Migration::new("broken", "CREATE TABLE half (a); INSERT INTO nowhere VALUES ('secret');")];
const SECOND_IS_ENDLESS: &[Migration] = &[NUMBERS[0], Migration::new("endless", ENDLESS)];

fn schema(site: &Site) -> i64 {
    site.outsider().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn each_migration_is_announced_and_applied_once() {
    let site = Site::new().migrations(TWO);
    for expected in [vec!["migration 1/2 numbers", "migration 2/2 names"], vec![]] {
        let start = Start::unhurried();
        let database = Arc::new(site.stage.start(start.cx.clone(), ()).await.unwrap());
        let mut steps = start.steps();
        steps.retain(|step| step.starts_with("migration"));
        assert_eq!(steps, expected);
        site.stop(&database).await.unwrap();
    }
    let names: i64 = site.outsider().query_row("SELECT count(*) FROM names", [], |row| row.get(0)).unwrap();
    assert_eq!((schema(&site), names), (2, 1));
}

#[tokio::test]
async fn a_migration_that_fails_leaves_the_schema_before_it() {
    let site = Site::new().migrations(SECOND_FAILS);
    let error = site.start().await.unwrap_err();
    assert_eq!(error.failure_code(), DB_MIGRATION_FAILED);
    assert_eq!(error.to_string(), "migration 2/2 broken: no such table: nowhere");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    site.assert_let_go();
    assert_eq!(schema(&site), 1);
    assert!(site.outsider().prepare("SELECT * FROM half").is_err());
}

#[tokio::test]
async fn a_migration_that_finds_no_space_is_not_the_migrations_fault() {
    // SQLite answers to its own page limit as it does to a full disk.
    const BIG: &[Migration] = &[Migration::new(
        "big",
        "PRAGMA max_page_count = 10; CREATE TABLE big (data); INSERT INTO big VALUES (zeroblob(1000000));",
    )];
    let site = Site::new().migrations(BIG);
    let error = site.start().await.unwrap_err();
    assert_eq!(error.failure_code(), DB_DISK_FULL, "{error}");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_not_changed() {
    let site = Site::new().migrations(TWO);
    let database = site.up().await;
    site.stop(&database).await.unwrap();
    let before = fs::read(site.file()).unwrap();
    let older = site.stage.clone().migrations(NUMBERS);
    let error = older.start(Start::unhurried().cx, ()).await.unwrap_err();
    assert_eq!(error.failure_code(), DB_SCHEMA_NEWER);
    assert_eq!(fs::read(site.file()).unwrap(), before);
}

#[tokio::test]
async fn a_parent_table_can_be_rebuilt_without_losing_its_children() {
    const REBUILD: &[Migration] = &[
        Migration::new(
            "both",
            "CREATE TABLE parent (id INTEGER PRIMARY KEY);
             CREATE TABLE child (parent REFERENCES parent ON DELETE CASCADE);
             INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1);",
        ),
        Migration::new(
            "rebuild",
            "CREATE TABLE new (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO new (id) SELECT id FROM parent;
             DROP TABLE parent; ALTER TABLE new RENAME TO parent;",
        ),
        Migration::new("orphan", "DELETE FROM parent;"),
    ];
    let site = Site::new().migrations(REBUILD);
    let error = site.start().await.unwrap_err();
    assert_eq!(error.failure_code(), DB_MIGRATION_FAILED);
    assert!(error.to_string().starts_with("migration 3/3 orphan: 1 rows"), "{error}");
    let children: i64 =
        site.outsider().query_row("SELECT count(*) FROM child", [], |row| row.get(0)).unwrap();
    assert_eq!((schema(&site), children), (2, 1));
}

/// Starts the endless migration, and calls `then` once it runs.
async fn while_it_migrates(site: &Site, start: &Start, then: impl AsyncFnOnce()) -> Option<FailureCode> {
    let running = async {
        while !start.steps().iter().any(|step| step == "migration 2/2 endless") {
            tokio::task::yield_now().await;
        }
        then().await;
    };
    tokio::select! {
        result = site.stage.start(start.cx.clone(), ()) => Some(result.unwrap_err().failure_code()),
        () = running => None,
    }
}

#[tokio::test]
async fn a_cancelled_migration_is_interrupted_and_rolled_back_before_the_start_returns() {
    let site = Site::new().migrations(SECOND_IS_ENDLESS);
    let start = Start::unhurried();
    let code = while_it_migrates(&site, &start, async || {
        start.cancel.cancel();
        std::future::pending().await
    })
    .await;
    assert_eq!(code, Some(STARTUP_INTERRUPTED));
    start.roll_back().await.unwrap();
    site.assert_let_go();
    assert_eq!(schema(&site), 1);
}

#[tokio::test]
async fn a_migration_whose_time_is_up_says_so() {
    let site = Site::new().migrations(SECOND_IS_ENDLESS);
    let start = Start::within(Duration::ZERO);
    let code = while_it_migrates(&site, &start, async || {
        start.cancel.cancel();
        std::future::pending().await
    })
    .await;
    assert_eq!(code, Some(DB_MIGRATION_TIMEOUT));
}

#[tokio::test]
async fn the_rollback_of_a_dropped_start_waits_until_the_file_is_let_go_of() {
    let site = Site::new().migrations(SECOND_IS_ENDLESS);
    let start = Start::unhurried();
    let dropped = while_it_migrates(&site, &start, async || {}).await;
    assert_eq!(dropped, None);
    start.roll_back().await.unwrap();
    site.assert_let_go();
    assert_eq!(schema(&site), 1);
}

#[tokio::test]
async fn a_migration_can_be_a_function_of_which_nothing_stays_if_it_fails() {
    fn insert(tx: &Transaction<'_>) -> Result<(), DatabaseError> {
        tx.execute("INSERT INTO numbers VALUES (7)", [])?;
        Ok(())
    }
    const WITH_FUNCTION: &[Migration] = &[NUMBERS[0], Migration::function("seven", insert)];
    let site = Site::new().migrations(WITH_FUNCTION);
    let database = site.up().await;
    assert_eq!(count(&database).await, 1);
    site.stop(&database).await.unwrap();

    fn refuse(tx: &Transaction<'_>) -> Result<(), DatabaseError> {
        insert(tx)?;
        Err(DatabaseError::refused("there are sevens"))
    }
    fn panic(tx: &Transaction<'_>) -> Result<(), DatabaseError> {
        insert(tx)?;
        panic!("on purpose")
    }
    const REFUSES: &[Migration] =
        &[WITH_FUNCTION[0], WITH_FUNCTION[1], Migration::function("refuses", refuse)];
    const PANICS: &[Migration] = &[WITH_FUNCTION[0], WITH_FUNCTION[1], Migration::function("panics", panic)];
    for (migrations, said) in [(REFUSES, "3/3 refuses: there are sevens"), (PANICS, "panicked")] {
        let newer = site.stage.clone().migrations(migrations);
        let error = newer.start(Start::unhurried().cx, ()).await.unwrap_err();
        assert_eq!(error.failure_code(), DB_MIGRATION_FAILED, "{error}");
        assert!(error.to_string().contains(said), "{error}");
        let database = site.up().await;
        assert_eq!((schema(&site), count(&database).await), (2, 1), "{said}");
        site.stop(&database).await.unwrap();
    }
}

#[tokio::test]
async fn a_migration_that_ends_its_transaction_by_itself_is_told_so() {
    const COMMITS: &[Migration] = &[Migration::new("commits", "CREATE TABLE half (a); COMMIT;")];
    let error = Site::new().migrations(COMMITS).start().await.unwrap_err();
    assert_eq!(error.failure_code(), DB_MIGRATION_FAILED);
    assert!(error.to_string().contains("ended its transaction by itself"), "{error}");
}
