use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::stages::database::DatabaseError;

#[tokio::test]
async fn an_error_or_a_panic_rolls_back_and_the_next_write_works() {
    let site = Site::new();
    let database = site.up().await;
    let refused: Result<(), _> = database
        .write(|tx| {
            tx.execute("INSERT INTO numbers VALUES (1)", [])?;
            Err(DatabaseError::refused("not today"))
        })
        .await;
    assert!(matches!(&refused, Err(DatabaseError::Refused(reason)) if reason.to_string() == "not today"));
    let failed = database.write(|tx| Ok(tx.execute_batch("INSERT INTO numbers VALUES (1); nonsense")?)).await;
    assert!(matches!(failed, Err(DatabaseError::Sqlite(_))), "{failed:?}");
    for _ in 0..3 {
        let panicked: Result<(), _> = database
            .write(|tx| {
                tx.execute("INSERT INTO numbers VALUES (1)", [])?;
                panic!("on purpose")
            })
            .await;
        assert!(matches!(&panicked, Err(DatabaseError::Panicked(text)) if text.contains("on purpose")));
        let panicked: Result<(), _> = database.read(|_| panic!("on purpose")).await;
        assert!(matches!(panicked, Err(DatabaseError::Panicked(_))));
    }
    assert_eq!(count(&database).await, 0);
    insert(&database, 1).await;
    assert_eq!(count(&database).await, 1);
    site.stop(&database).await.unwrap();
}

#[tokio::test]
async fn foreign_keys_are_enforced_after_a_migration() {
    const KEYS: &[Migration] = &[Migration::new(
        "keys",
        "CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE child (parent REFERENCES parent);",
    )];
    let site = Site::new().migrations(KEYS);
    let database = site.up().await;
    let orphan = database.write(|tx| Ok(tx.execute("INSERT INTO child VALUES (1)", [])?)).await;
    assert!(
        matches!(&orphan, Err(DatabaseError::Sqlite(error)) if error.to_string().contains("FOREIGN KEY"))
    );
    site.stop(&database).await.unwrap();
}

#[tokio::test]
async fn writes_of_many_tasks_are_all_done() {
    let site = Site::new();
    let database = site.up().await;
    let mut tasks = tokio::task::JoinSet::new();
    for value in 0..100 {
        let database = database.clone();
        tasks.spawn(async move { insert(&database, value).await });
    }
    tasks.join_all().await;
    assert_eq!(count(&database).await, 100);
    site.stop(&database).await.unwrap();
}

/// Two ends for a closure that says when it has begun, and goes on when it is told to.
struct Gate {
    begun: Receiver<()>,
    open: Sender<()>,
}

fn gate() -> (Gate, impl FnOnce() + Send + 'static) {
    let (say, begun) = channel();
    let (open, wait) = channel::<()>();
    let pass = move || {
        say.send(()).unwrap();
        let _opened_or_dropped = wait.recv();
    };
    (Gate { begun, open }, pass)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_sees_one_moment_whatever_is_written_meanwhile() {
    let site = Site::new();
    let database = site.up().await;
    let (gate, pass) = gate();
    let reader = tokio::task::JoinSet::from_iter([{
        let database = database.clone();
        async move {
            let count = |connection: &Connection| -> rusqlite::Result<i64> {
                connection.query_row("SELECT count(*) FROM numbers", [], |row| row.get(0))
            };
            database
                .read(move |connection| {
                    let before = count(connection)?;
                    pass();
                    Ok((before, count(connection)?))
                })
                .await
        }
    }]);
    gate.begun.recv().unwrap();
    insert(&database, 1).await;
    gate.open.send(()).unwrap();
    assert_eq!(reader.join_all().await[0].as_ref().unwrap(), &(0, 0));
    assert_eq!(count(&database).await, 1);
    site.stop(&database).await.unwrap();
}

#[tokio::test]
async fn a_reader_cannot_be_talked_into_writing() {
    let site = Site::new();
    let database = site.up().await;
    let written = database
        .read(|connection| {
            Ok(connection.execute_batch("COMMIT; PRAGMA query_only = 0; INSERT INTO numbers VALUES (1);")?)
        })
        .await;
    assert!(matches!(&written, Err(DatabaseError::Sqlite(error)) if error.to_string().contains("readonly")));
    assert_eq!(count(&database).await, 0);
    site.stop(&database).await.unwrap();
}

#[tokio::test]
async fn a_dropped_write_is_done_whole_if_it_had_begun_and_never_otherwise() {
    let site = Site::new();
    let database = site.up().await;
    let (gate, pass) = gate();
    let begun = database.write(move |tx| {
        tx.execute("INSERT INTO numbers VALUES (1)", [])?;
        pass();
        Ok(tx.execute("INSERT INTO numbers VALUES (2)", [])?)
    });
    let waiting = database.write(|tx| Ok(tx.execute("INSERT INTO numbers VALUES (3)", [])?));
    {
        let (mut begun, mut waiting) = (Box::pin(begun), Box::pin(waiting));
        assert!(futures_util::poll!(&mut begun).is_pending());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        gate.begun.recv().unwrap();
    }
    gate.open.send(()).unwrap();
    insert(&database, 4).await;
    let values: Vec<i64> = database
        .read(|connection| {
            let mut all = connection.prepare("SELECT value FROM numbers ORDER BY value")?;
            Ok(all.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
        })
        .await
        .unwrap();
    assert_eq!(values, [1, 2, 4]);
    site.stop(&database).await.unwrap();
}

#[tokio::test]
async fn a_database_without_a_free_reader_is_unhealthy_until_one_is() {
    let site = Site::new();
    let database = site.up().await;
    site.stage.health(database.clone()).await.unwrap();
    let (first, pass_first) = gate();
    let (second, pass_second) = gate();
    let passing = |pass: Box<dyn FnOnce() + Send>| {
        Box::pin(database.read(move |_| {
            pass();
            Ok(())
        }))
    };
    let (mut one, mut two) = (passing(Box::new(pass_first)), passing(Box::new(pass_second)));
    assert!(futures_util::poll!(&mut one).is_pending());
    assert!(futures_util::poll!(&mut two).is_pending());
    first.begun.recv().unwrap();
    second.begun.recv().unwrap();
    tokio::time::pause();
    let error = site.stage.health(database.clone()).await.unwrap_err();
    tokio::time::resume();
    assert!(error.to_string().contains("no reader was free"), "{error}");
    drop((first.open, second.open));
    one.await.unwrap();
    two.await.unwrap();
    site.stage.health(database.clone()).await.unwrap();
}

#[tokio::test]
async fn a_log_that_grew_behind_somebody_who_reads_does_not_keep_that_size() {
    let site = Site::new();
    let database = site.up().await;
    let log = || std::fs::metadata(site.dir.path().join("app.db-wal")).unwrap().len();
    let ((begins, begun), (release, held)) = (channel(), channel::<()>());
    let mut reads = Box::pin(database.read(move |connection| {
        connection.query_row("SELECT count(*) FROM numbers", [], |_| Ok(()))?;
        begins.send(()).unwrap();
        let _released = held.recv();
        Ok(())
    }));
    assert!(futures_util::poll!(&mut reads).is_pending());
    begun.recv_timeout(Duration::from_secs(10)).unwrap();
    let fill = "CREATE TABLE IF NOT EXISTS filled (it BLOB); INSERT INTO filled VALUES (zeroblob(20000000));";
    for _ in 0..3 {
        database.write(|tx| Ok(tx.execute_batch(fill)?)).await.unwrap();
    }
    assert!(log() > 40_000_000);
    drop(release);
    reads.await.unwrap();
    // The first moves the log into the database, the second begins it anew.
    insert(&database, 1).await;
    insert(&database, 2).await;
    assert!(log() <= 8 << 20, "{}", log());
    // Nor does it grow to that size again before it is moved.
    for _ in 0..30 {
        let fill = "INSERT INTO filled VALUES (zeroblob(1500000));";
        database.write(|tx| Ok(tx.execute_batch(fill)?)).await.unwrap();
        assert!(log() < 16 << 20, "{}", log());
    }
    site.stop(&database).await.unwrap();
}
