use std::{
    future::pending,
    sync::atomic::{AtomicBool, Ordering},
};

use tokio::time::advance;

use super::{super::voice, *};
use crate::run::deliver::PATIENCE;
use crate::{Env, StageContext, StageResult, Startup, WorkerMode};

/// A start whose two stages do not come to an end.
fn hanging() -> Startup {
    let none: [(&str, &str); 0] = [];
    let mut startup =
        Startup::new("shop", Env::from_vars("SHOP", none), WorkerMode::Many { reason: "a test".to_owned() });
    startup
        .stage("database", (), async |cx: StageContext, ()| {
            cx.step("migration 8/12");
            pending::<()>().await;
            Ok(())
        })
        .required();
    startup.stage("cache", (), async |_cx, ()| pending::<StageResult<()>>().await).required();
    startup
}

fn said(due: &[Slow]) -> Vec<String> {
    due.iter().map(|slow| format!("{} {} {}", slow.stage, slow.running.as_secs(), slow.what())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_slow_stage_is_told_after_ten_seconds_and_each_time_that_this_has_doubled() {
    let prepared = hanging().prepare().unwrap().prepared;
    let mut progress = Progress::new(prepared.board.clone());
    let start = tokio::task::LocalSet::new();
    let started = start.run_until(async move {
        let starting = tokio::task::spawn_local(prepared.start());
        let mut told = Vec::new();
        for _ in 0..25 {
            told.extend(said(&progress.due()));
            advance(Duration::from_secs(1)).await;
        }
        starting.abort();
        told
    });
    assert_eq!(
        started.await,
        ["database 10 migration 8/12", "cache 10 ", "database 20 migration 8/12", "cache 20 "]
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_could_not_look_for_long_tells_once() {
    let prepared = hanging().prepare().unwrap().prepared;
    let mut progress = Progress::new(prepared.board.clone());
    let start = tokio::task::LocalSet::new();
    start
        .run_until(async move {
            let starting = tokio::task::spawn_local(prepared.start());
            advance(Duration::from_millis(1)).await;
            assert!(said(&progress.due()).is_empty());
            advance(Duration::from_secs(29)).await;
            assert_eq!(said(&progress.due()), ["database 29 migration 8/12", "cache 29 "]);
            assert!(said(&progress.due()).is_empty());
            starting.abort();
        })
        .await;
}

#[test]
fn nothing_is_shown_any_more_once_something_is_written() {
    let prepared = hanging().prepare().unwrap().prepared;
    let ended = Arc::new(AtomicBool::new(false));
    let guard = OnDrop(ended.clone());
    let tell = move |_: &Slow, _: &Timeline| {
        let _held = &guard;
        String::new()
    };
    voice::show(Show::new(Progress::new(prepared.board.clone()), false, Box::new(tell)));
    assert!(!ended.load(Ordering::Acquire));
    voice::report(String::new());
    voice::settle(PATIENCE);
    assert!(ended.load(Ordering::Acquire));
}

/// Says when what holds it is gone.
struct OnDrop(Arc<AtomicBool>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
