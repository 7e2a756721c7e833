use super::{NUMBERS, Site};
use crate::{
    Stage, codes,
    contract::guard::FencingToken,
    stages::{
        database::{Database, DatabaseError},
        testing::{Start, stop_within},
    },
};

/// A start of a process that acquired the right under this token.
fn holder(token: u64) -> Start {
    let start = Start::unhurried();
    start.worker.issue(FencingToken::new(token));
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
        site.stage.stop(database.into(), stop_within(std::time::Duration::from_secs(5))).await.unwrap();
    }
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
    assert!(refused.to_string().contains("replaced"), "{refused}");
    assert!(insert(&database, 2).await.unwrap_err().to_string().contains("replaced"));
    assert_eq!(values(&database).await, [0_i64; 0]);
}

#[tokio::test]
async fn a_start_with_a_lower_token_than_the_file_has_is_refused_and_migrates_nothing() {
    let (site, late) = (Site::new().migrations(&NUMBERS[..0]), holder(6));
    let database = site.stage.start(late.cx.clone(), ()).await.unwrap();
    site.stage.stop(database.into(), stop_within(std::time::Duration::from_secs(5))).await.unwrap();

    let (site, early) = (site.migrations(NUMBERS), holder(5));
    early.worker.raise_with(Box::new(|_above| {
        Err(crate::LockLost { reason: "the lease belongs to somebody else".to_owned() })
    }));
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
    site.stage.stop(database.into(), stop_within(std::time::Duration::from_secs(5))).await.unwrap();

    let restored = holder(5);
    let keeper = std::sync::Arc::new(restored.worker);
    let raised = keeper.clone();
    keeper.raise_with(Box::new(move |above: FencingToken| {
        let token = FencingToken::new(above.get() + 1);
        raised.issue(token);
        Ok(token)
    }));
    let database = site.stage.start(restored.cx.clone(), ()).await.unwrap();
    assert_eq!(insert(&database, 1).await.unwrap(), 1);
    let stored: i64 =
        site.outsider().query_row("SELECT token FROM solostart_fence", [], |row| row.get(0)).unwrap();
    assert_eq!(stored, 7);
}
