use std::{sync::Arc, time::Duration};

use super::{NUMBERS, Site};
use crate::{
    LockLost, Stage, StageError, codes,
    contract::guard::{FencingToken, GuardKeeper},
    stages::{
        database::{Database, DatabaseError},
        testing::{Start, stop_within},
    },
};

/// A start of another process, which acquired the right under this token.
fn holder(token: u64) -> Start {
    let start = Start::by(GuardKeeper::exclusive(), Duration::from_secs(60));
    start.worker.issue(FencingToken::new(token));
    start
}

/// The same for one whose lease still is its own, so that its token can be raised.
fn raising(token: u64) -> Start {
    let start = holder(token);
    let own = Arc::downgrade(&start.worker);
    start.worker.raise_with(move |above: FencingToken| {
        let token = FencingToken::new(above.get() + 1);
        own.upgrade().unwrap().issue(token);
        Ok(token)
    });
    start
}

async fn insert(database: &Database, value: i64) -> Result<usize, DatabaseError> {
    database.fenced(move |tx| Ok(tx.execute("INSERT INTO numbers VALUES (?1)", [value])?)).await
}

async fn values(database: &Database) -> Vec<i64> {
    database
        .read(|connection| {
            let mut all = connection.prepare("SELECT value FROM numbers ORDER BY value")?;
            let rows = all.query_map([], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
            Ok(rows)
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn the_database_refuses_an_ex_holder_although_it_still_believes_to_hold() {
    let (site, early, late) = (Site::new(), holder(5), holder(6));
    let first = site.stage.start(early.cx.clone(), ()).await.unwrap();
    assert_eq!(insert(&first, 1).await.unwrap(), 1);
    let second = site.stage.start(late.cx.clone(), ()).await.unwrap();
    assert!(early.cx.worker().check().is_ok(), "it was paused, and has not noticed");
    let refused = insert(&first, 2).await.unwrap_err();
    assert!(matches!(refused, DatabaseError::LockLost(_)), "{refused}");
    assert_eq!(insert(&second, 3).await.unwrap(), 1);
    assert_eq!(values(&second).await, [1, 3]);
    for database in [first, second] {
        site.stage.stop(database.into(), stop_within(Duration::from_secs(5))).await.unwrap();
    }
}

#[tokio::test]
async fn of_two_holders_of_one_token_only_the_one_that_fenced_writes() {
    let (site, one, other) = (Site::new(), holder(5), holder(5));
    let first = site.stage.start(one.cx.clone(), ()).await.unwrap();
    assert_eq!(insert(&first, 1).await.unwrap(), 1);
    // Who has the lease rises above whoever had the same token; who has it no longer cannot.
    other.worker.raise_with(|_above| Err(LockLost::taken("somebody else has the lease")));
    let refused = site.stage.start(other.cx.clone(), ()).await.unwrap_err();
    assert_eq!(refused.failure_code(), codes::LOCK_LOST);
    other.roll_back().await.unwrap();
    assert_eq!(insert(&first, 2).await.unwrap(), 1);

    let newer = raising(5);
    let second = site.stage.start(newer.cx.clone(), ()).await.unwrap();
    assert_eq!(newer.cx.worker().token().get(), 6);
    assert!(one.cx.worker().check().is_ok(), "it has not noticed");
    let refused = insert(&first, 3).await.unwrap_err();
    assert!(matches!(refused, DatabaseError::LockLost(_)), "{refused}");
    assert_eq!(insert(&second, 4).await.unwrap(), 1);
    assert_eq!(values(&second).await, [1, 2, 4]);
}

#[tokio::test]
async fn a_write_with_the_token_of_the_fence_is_refused_where_another_holder_raised_it() {
    let (site, start) = (Site::new(), holder(5));
    let database = site.stage.start(start.cx.clone(), ()).await.unwrap();
    site.outsider().execute("UPDATE solostart_fence SET holder = 'somebody'", []).unwrap();
    let refused = insert(&database, 1).await.unwrap_err();
    let refused = StageError::from(refused).to_string();
    assert!(refused.contains("another holder"), "{refused}");
    assert_eq!(values(&database).await, [0_i64; 0]);
}

#[tokio::test]
async fn a_holder_passes_its_own_fence_again() {
    let site = Site::new();
    let first = site.stage.start(Start::unhurried().cx, ()).await.unwrap();
    let again = Start::unhurried();
    let second = site.stage.start(again.cx.clone(), ()).await.unwrap();
    assert_eq!(insert(&first, 1).await.unwrap() + insert(&second, 2).await.unwrap(), 2);
    assert_eq!(again.cx.worker().token().get(), 1);
}

#[tokio::test]
async fn a_fence_without_a_holder_is_given_one() {
    let (site, start) = (Site::new(), raising(5));
    site.outsider()
        .execute_batch(
            "CREATE TABLE solostart_fence (
                 name TEXT PRIMARY KEY, token INTEGER NOT NULL CHECK (token >= 1)
             ) STRICT, WITHOUT ROWID;
             INSERT INTO solostart_fence VALUES ('worker', 5);",
        )
        .unwrap();
    let database = site.stage.start(start.cx.clone(), ()).await.unwrap();
    assert_eq!(start.cx.worker().token().get(), 6);
    assert_eq!(insert(&database, 1).await.unwrap(), 1);
}

#[tokio::test]
async fn a_lost_right_is_refused_before_the_fence_is_asked_and_after_the_closure() {
    let (site, start) = (Site::new(), holder(5));
    let database = site.stage.start(start.cx.clone(), ()).await.unwrap();
    let keeper = start.worker;
    let refused = database
        .fenced(move |tx| {
            tx.execute("INSERT INTO numbers VALUES (1)", [])?;
            keeper.lose("the lock file was replaced");
            Ok(())
        })
        .await
        .unwrap_err();
    for refused in [refused, insert(&database, 2).await.unwrap_err()] {
        let refused = StageError::from(refused).to_string();
        assert!(refused.contains("replaced"), "{refused}");
    }
    assert_eq!(values(&database).await, [0_i64; 0]);
}

#[tokio::test]
async fn a_start_with_a_lower_token_than_the_file_has_is_refused_and_migrates_nothing() {
    let (site, late) = (Site::new().migrations(&NUMBERS[..0]), holder(6));
    let database = site.stage.start(late.cx.clone(), ()).await.unwrap();
    site.stage.stop(database.into(), stop_within(Duration::from_secs(5))).await.unwrap();

    let (site, early) = (site.migrations(NUMBERS), holder(5));
    early.worker.raise_with(|_above| Err(LockLost::taken("somebody else has the lease")));
    let error = site.stage.start(early.cx.clone(), ()).await.unwrap_err();
    assert_eq!(error.failure_code(), codes::LOCK_LOST);
    early.roll_back().await.unwrap();
    let tables: i64 = site
        .outsider()
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'numbers'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 0);
}

#[tokio::test]
async fn a_holder_whose_lease_was_restored_from_an_old_copy_rises_above_the_fence() {
    let (site, late) = (Site::new(), holder(6));
    let database = site.stage.start(late.cx.clone(), ()).await.unwrap();
    site.stage.stop(database.into(), stop_within(Duration::from_secs(5))).await.unwrap();

    let restored = raising(5);
    let database = site.stage.start(restored.cx.clone(), ()).await.unwrap();
    assert_eq!(insert(&database, 1).await.unwrap(), 1);
    let stored: i64 =
        site.outsider().query_row("SELECT token FROM solostart_fence", [], |row| row.get(0)).unwrap();
    assert_eq!(stored, 7);
}

#[tokio::test]
async fn a_write_that_the_fence_refuses_ends_the_right() {
    for damage in [
        "UPDATE solostart_fence SET holder = 'somebody'",
        "UPDATE solostart_fence SET token = 9223372036854775807",
        "DELETE FROM solostart_fence",
    ] {
        let (site, start) = (Site::new(), holder(5));
        let database = site.stage.start(start.cx.clone(), ()).await.unwrap();
        site.outsider().execute(damage, []).unwrap();
        assert!(start.cx.worker().check().is_ok(), "{damage}");
        let refused = insert(&database, 1).await.unwrap_err();
        assert!(matches!(refused, DatabaseError::LockLost(_)), "{damage}: {refused}");
        let lost = start.cx.worker().lost().await;
        assert!(lost.reason.starts_with("the database is fenced for "), "{damage}: {lost}");
    }
}

/// Sets the token to what neither the check nor the type of its table allows.
fn forge(site: &Site, token: &str) {
    let rewrite = |old: &str, new: &str| {
        let sql = format!(
            "PRAGMA writable_schema = on;
             UPDATE sqlite_schema SET sql = replace(sql, '{old}', '{new}') WHERE name = 'solostart_fence';"
        );
        site.outsider().execute_batch(&sql).unwrap();
    };
    rewrite("STRICT, WITHOUT", "WITHOUT");
    let set = format!("PRAGMA ignore_check_constraints = on; UPDATE solostart_fence SET token = {token};");
    site.outsider().execute_batch(&set).unwrap();
    rewrite("WITHOUT", "STRICT, WITHOUT");
}

#[tokio::test]
async fn a_fence_whose_number_is_no_token_is_written_over_and_the_lease_not_raised() {
    for number in ["9223372036854775807", "4611686018427387904", "0", "-1", "-9223372036854775808", "'none'"]
    {
        let (site, early) = (Site::new(), holder(5));
        let first = site.stage.start(early.cx.clone(), ()).await.unwrap();
        forge(&site, number);
        let late = raising(6);
        let second = site.stage.start(late.cx.clone(), ()).await.unwrap();
        assert_eq!(late.cx.worker().token().get(), 6, "{number}");
        assert_eq!(insert(&second, 2).await.unwrap(), 1, "{number}");
        let refused = insert(&first, 1).await.unwrap_err();
        assert!(matches!(refused, DatabaseError::LockLost(_)), "{number}: {refused}");
        assert_eq!(values(&second).await, [2], "{number}");
    }
}

#[tokio::test]
async fn who_has_lost_the_right_writes_over_no_fence() {
    let (site, late) = (Site::new(), holder(6));
    let _database = site.stage.start(late.cx.clone(), ()).await.unwrap();
    site.outsider().execute("UPDATE solostart_fence SET token = 9223372036854775807", []).unwrap();
    let early = holder(5);
    early.worker.lose("the lock file was replaced");
    let refused = site.stage.start(early.cx.clone(), ()).await.unwrap_err();
    assert_eq!(refused.failure_code(), codes::LOCK_LOST);
    let stored: (i64, String) = site
        .outsider()
        .query_row("SELECT token, holder FROM solostart_fence", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(stored, (i64::MAX, late.cx.worker().holder().to_string()));
}
