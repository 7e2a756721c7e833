use std::{fs, sync::mpsc::channel, time::Instant};

use futures_util::future::maybe_done;

use super::*;
use crate::stages::database::DatabaseError;

#[tokio::test]
async fn a_stop_finishes_what_waits_and_leaves_one_file() {
    let site = Site::new();
    let database = site.up().await;
    let write = |value| maybe_done(Box::pin(insert(&database, value)));
    let mut writes: Vec<_> = (0..50).map(write).collect();
    for write in &mut writes {
        // Asked for before the stop; the first may be done by then.
        let _begun = futures_util::poll!(write);
    }
    site.stop(&database).await.unwrap();
    futures_util::future::join_all(writes).await;
    assert_eq!(site.files(), ["app.db"]);
    let written: i64 =
        site.outsider().query_row("SELECT count(*) FROM numbers", [], |row| row.get(0)).unwrap();
    assert_eq!(written, 50);
}

#[tokio::test]
async fn a_stopped_database_answers_with_an_error() {
    let site = Site::new();
    let database = site.up().await;
    site.stop(&database).await.unwrap();
    site.assert_let_go();
    assert!(matches!(database.write(|_| Ok(())).await, Err(DatabaseError::Stopped)));
    assert!(matches!(database.read(|_| Ok(())).await, Err(DatabaseError::Stopped)));
    assert!(site.stage.health(database.clone()).await.is_err());
    site.stop(&database).await.unwrap();
}

#[tokio::test]
async fn a_write_that_is_too_long_for_the_stop_is_interrupted_and_rolled_back() {
    let site = Site::new();
    let database = site.up().await;
    insert(&database, 1).await;
    let mut long = Box::pin(database.write(|tx| Ok(tx.execute_batch(ENDLESS)?)));
    let mut queued = Box::pin(database.write(|_| Ok(())));
    assert!(futures_util::poll!(&mut long).is_pending());
    assert!(futures_util::poll!(&mut queued).is_pending());
    let began = Instant::now();
    let error = site.stage.stop(database.clone(), stop_within(Duration::from_secs(3))).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(error.to_string().contains("interrupted"), "{error}");
    site.assert_let_go();
    assert!(matches!(long.await, Err(DatabaseError::Sqlite(_))));
    assert!(matches!(queued.await, Err(DatabaseError::Stopped)));
    let rows: i64 = site.outsider().query_row("SELECT count(*) FROM numbers", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn a_query_whose_caller_went_away_is_interrupted_and_its_reader_serves_the_next() {
    let site = Site::new();
    let database = site.up().await;
    let (begins, begun) = channel();
    for _ in 0..8 {
        let begins = begins.clone();
        let mut long = Box::pin(database.read(move |connection| {
            begins.send(()).unwrap();
            let endless = ENDLESS.trim_start_matches("INSERT INTO numbers ");
            Ok(connection.query_row(endless, [], |row| row.get::<_, i64>(0))?)
        }));
        assert!(futures_util::poll!(&mut long).is_pending());
        begun.recv_timeout(Duration::from_secs(10)).expect("no reader is free");
    }
    assert_eq!(count(&database).await, 0);
    site.stage.stop(database.clone(), stop_within(Duration::from_secs(10))).await.unwrap();
    site.assert_let_go();
}

#[tokio::test]
async fn a_closure_that_hangs_outside_of_sqlite_is_told_before_the_deadline() {
    let site = Site::new();
    let database = site.up().await;
    let (release, hang) = channel::<()>();
    let mut hanging = Box::pin(database.write(move |_| {
        let _released = hang.recv();
        Ok(())
    }));
    assert!(futures_util::poll!(&mut hanging).is_pending());
    let began = Instant::now();
    let error = site.stage.stop(database.clone(), stop_within(Duration::from_secs(3))).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(error.to_string().contains("cannot interrupt"), "{error}");
    drop(release);
    hanging.await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_dropped_without_a_stop_lets_go_of_the_file() {
    let site = Site::new();
    let database = site.up().await;
    insert(&database, 1).await;
    drop(database);
    let outsider = site.outsider();
    outsider.busy_timeout(Duration::from_secs(10)).unwrap();
    outsider.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT;").unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_before_a_crash_is_there_after_it() {
    let site = Site::new();
    let database = site.up().await;
    insert(&database, 1).await;
    // What a crash leaves behind is what the files hold at that moment, write-ahead log included.
    let crashed = Site::new();
    for name in site.files() {
        fs::copy(site.dir.path().join(&name), crashed.dir.path().join(&name)).unwrap();
    }
    site.stop(&database).await.unwrap();
    assert!(crashed.files().contains(&"app.db-wal".to_owned()));
    let recovered = crashed.up().await;
    assert_eq!(count(&recovered).await, 1);
    crashed.stop(&recovered).await.unwrap();
}
