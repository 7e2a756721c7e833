//! Whose the file is, whether it is whole, and that it is not touched unless both are well.

use std::fs;

use super::*;
use crate::{
    codes::{DB_CORRUPT, DB_FOREIGN, DB_SCHEMA_NEWER},
    stages::database::DatabaseError,
};

const TWO: &[Migration] = &[NUMBERS[0], Migration::new("names", "CREATE TABLE names (name TEXT);")];

/// Runs `make` as another program with the file, and hands out what the file then holds.
fn made_by_another(site: &Site, make: &str) -> Vec<u8> {
    site.outsider().execute_batch(make).unwrap();
    fs::read(site.file()).unwrap()
}

#[tokio::test]
async fn a_database_of_another_application_is_refused_and_not_changed() {
    for (make, why) in [
        ("PRAGMA application_id = 252006673; CREATE TABLE t (a);", "252006673"),
        ("PRAGMA application_id = -5;", "-5"),
        ("CREATE TABLE users (id);", "none of this application's migrations"),
        ("PRAGMA user_version = -1;", "-1"),
    ] {
        let site = Site::new();
        let before = made_by_another(&site, make);
        let error = site.start().await.unwrap_err();
        assert_eq!((error.failure_code(), error.error_kind().exit_code()), (DB_FOREIGN, 65), "{error}");
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(fs::read(site.file()).unwrap(), before);
        assert_eq!(site.files(), ["app.db"], "{make}");
    }
}

#[tokio::test]
async fn a_database_is_marked_once_and_then_known_by_its_mark() {
    let mut site = Site::new();
    let database = site.up().await;
    insert(&database, 1).await;
    site.stop(&database).await.unwrap();
    site.stage = site.stage.clone().application_id(77);
    for _ in 0..2 {
        let database = site.up().await;
        assert_eq!(count(&database).await, 1);
        site.stop(&database).await.unwrap();
        let mark: i64 = site.outsider().pragma_query_value(None, "application_id", |row| row.get(0)).unwrap();
        assert_eq!(mark, 77);
    }
    site.stage = site.stage.clone().application_id(78);
    assert_eq!(site.start().await.unwrap_err().failure_code(), DB_FOREIGN);
}

#[tokio::test]
async fn tables_that_no_migration_made_are_accepted_with_the_applications_own_mark() {
    let mut site = Site::new();
    made_by_another(
        &site,
        "PRAGMA application_id = 77; CREATE TABLE older (a); INSERT INTO older VALUES (1);",
    );
    site.stage = site.stage.clone().application_id(77);
    let database = site.up().await;
    insert(&database, 1).await;
    site.stop(&database).await.unwrap();
    let kept: i64 = site.outsider().query_row("SELECT a FROM older", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn a_database_without_migrations_is_left_as_its_application_made_it() {
    let site = Site::new();
    made_by_another(&site, "CREATE TABLE own (a); PRAGMA user_version = 12;");
    let stage = site.stage.clone().migrations(&[]);
    let database = Arc::new(stage.start(Start::unhurried().cx, ()).await.unwrap());
    site.stop(&database).await.unwrap();
    let version: i64 = site.outsider().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 12);
}

/// The files as a crash at this moment would leave them.
async fn crashed(site: &Site) -> Site {
    let database = site.up().await;
    insert(&database, 1).await;
    let copy = Site::new();
    for name in site.files() {
        fs::copy(site.dir.path().join(&name), copy.dir.path().join(&name)).unwrap();
    }
    site.stop(&database).await.unwrap();
    copy
}

#[tokio::test]
async fn a_newer_database_with_an_open_log_is_refused_with_file_and_log_unchanged() {
    let site = crashed(&Site::new().migrations(TWO)).await;
    let log = site.dir.path().join("app.db-wal");
    let before = (fs::read(site.file()).unwrap(), fs::read(&log).unwrap());
    assert!(!before.1.is_empty());
    let error = site.start().await.unwrap_err();
    assert_eq!(error.failure_code(), DB_SCHEMA_NEWER, "{error}");
    assert_eq!((fs::read(site.file()).unwrap(), fs::read(&log).unwrap()), before);

    let site = site.migrations(TWO);
    let database = site.up().await;
    assert_eq!(count(&database).await, 1);
    site.stop(&database).await.unwrap();
}

#[tokio::test]
async fn what_is_only_in_the_log_of_an_empty_file_is_recovered() {
    let site = crashed(&Site::new()).await;
    let database = site.up().await;
    assert_eq!(count(&database).await, 1);
    site.stop(&database).await.unwrap();
}

/// A sound database of some hundred pages.
async fn large() -> Site {
    let site = Site::new();
    let database = site.up().await;
    database
        .write(|tx| {
            Ok(tx.execute_batch(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000)
                 INSERT INTO numbers SELECT i FROM n;",
            )?)
        })
        .await
        .unwrap();
    site.stop(&database).await.unwrap();
    site
}

#[tokio::test]
async fn damage_within_is_found_by_the_quick_check_before_anything_is_written() {
    let site = large().await;
    let mut content = fs::read(site.file()).unwrap();
    let middle = content.len() / 2 / 4096 * 4096;
    content[middle..middle + 4096].fill(0xA5);
    fs::write(site.file(), &content).unwrap();
    for how in [Integrity::Quick, Integrity::Full] {
        let stage = site.stage.clone().integrity(how, Duration::from_secs(60));
        let error = stage.start(Start::unhurried().cx, ()).await.unwrap_err();
        assert_eq!(error.failure_code(), DB_CORRUPT, "{error}");
        assert!(error.facts().iter().any(|fact| fact.name == "finding"), "{error:?}");
        assert!(error.actions().iter().any(|action| action.contains("cp -a")), "{error:?}");
        assert_eq!(fs::read(site.file()).unwrap(), content);
        assert_eq!(site.files(), ["app.db"]);
    }
    // Without the check it is found only when somebody reads there, and then it has the same code.
    let stage = site.stage.clone().integrity(Integrity::Off, Duration::from_secs(60));
    let database = Arc::new(stage.start(Start::unhurried().cx, ()).await.unwrap());
    let sum = database
        .read(|db| Ok(db.query_row("SELECT sum(value) FROM numbers", [], |row| row.get::<_, i64>(0))?));
    let error: DatabaseError = sum.await.unwrap_err();
    assert_eq!(error.failure_code(), DB_CORRUPT);
    site.stop(&database).await.unwrap();
}

#[tokio::test]
async fn an_index_that_disagrees_with_its_table_is_found_by_the_full_check_alone() {
    let site = Site::new();
    let database = site.up().await;
    database
        .write(|tx| {
            Ok(tx.execute_batch(
                "CREATE TABLE names (name TEXT); CREATE INDEX by_name ON names (name);
                 INSERT INTO names VALUES ('needle in both');",
            )?)
        })
        .await
        .unwrap();
    site.stop(&database).await.unwrap();
    let mut content = fs::read(site.file()).unwrap();
    let needle = b"needle in both";
    let last = content.windows(needle.len()).rposition(|window| window == needle).unwrap();
    content[last] = b'N';
    fs::write(site.file(), &content).unwrap();

    let full = site.stage.clone().integrity(Integrity::Full, Duration::from_secs(60));
    let error = full.start(Start::unhurried().cx, ()).await.unwrap_err();
    assert_eq!(error.failure_code(), DB_CORRUPT, "{error}");
    assert!(error.to_string().contains("by_name"), "{error}");
    let database = site.up().await;
    site.stop(&database).await.unwrap();
}

#[tokio::test]
async fn a_check_that_takes_too_long_does_not_keep_the_service_from_starting() {
    let site = large().await;
    let stage = site.stage.clone().integrity(Integrity::Full, Duration::ZERO);
    let start = Start::unhurried();
    let database = Arc::new(stage.start(start.cx.clone(), ()).await.unwrap());
    assert!(start.steps().iter().any(|step| step == "check for damage"));
    // The interruption belongs to the check alone.
    insert(&database, 1).await;
    assert_eq!(count(&database).await, 100_001);
    site.stop(&database).await.unwrap();
}
