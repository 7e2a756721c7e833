//! Graph and engine without any feature: no lock, no reports, nothing that `run` brings. `scripts/test` runs it in a
//! build without features, too.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use solostart::{Env, Event, StageContext, StageError, StageState, Startup, WorkerMode};

/// A start-up that writes what happens to each stage, in the order in which it happens.
fn startup() -> (Startup, Arc<Mutex<Vec<String>>>) {
    let mode = WorkerMode::Many { reason: "it keeps nothing".to_owned() };
    let mut startup = Startup::new("shop", Env::from_vars("SHOP", [("SHOP_DRAIN", "0s")]), mode);
    let told = Arc::new(Mutex::new(Vec::new()));
    let write = told.clone();
    startup.on_event(move |event| {
        if let Event::StageUp { stage, .. } = event {
            write.lock().unwrap().push(format!("up {stage}"));
        }
        if let Event::StageStopped { stage, .. } = event {
            write.lock().unwrap().push(format!("stopped {stage}"));
        }
    });
    (startup, told)
}

#[tokio::test]
async fn stages_start_after_what_they_need_and_stop_before_it() {
    let (mut startup, told) = startup();
    let numbers = startup.stage("numbers", (), async |_cx, ()| Ok(vec![1, 2, 3])).required();
    let sum = startup
        .stage("sum", numbers, async |cx: StageContext, numbers: Arc<Vec<i32>>| {
            assert!(!cx.worker().is_exclusive(), "no lock stands behind it");
            Ok(numbers.iter().sum::<i32>())
        })
        .stop(async |_sum, _cx| Ok(()))
        .required();
    let running = startup.start().await.unwrap();
    assert_eq!(*running.get(sum).unwrap(), 6);
    assert!(running.status().is_ready());
    let stages = running.status().timeline().stages;
    assert_eq!(
        stages.iter().map(|stage| &*stage.name).collect::<Vec<_>>(),
        ["worker-mode", "numbers", "sum"]
    );
    assert!(stages.iter().all(|stage| stage.state == StageState::Up), "{stages:?}");
    assert!(running.shutdown("the test is over").await.is_clean());
    let expected =
        ["up worker-mode", "up numbers", "up sum", "stopped sum", "stopped numbers", "stopped worker-mode"];
    assert_eq!(*told.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_start_that_fails_is_undone() {
    let (mut startup, _told) = startup();
    let undone = Arc::new(Mutex::new(Vec::new()));
    let (stopped, rolled_back) = (undone.clone(), undone.clone());
    let numbers = startup
        .stage("numbers", (), async |_cx, ()| Ok(vec![1]))
        .stop(async move |_numbers, _cx| {
            stopped.lock().unwrap().push("numbers");
            Ok(())
        })
        .required();
    startup
        .stage("sum", numbers, async move |cx: StageContext, _numbers: Arc<Vec<i32>>| {
            cx.on_rollback(async move || {
                rolled_back.lock().unwrap().push("half of the sum");
                Ok(())
            });
            Err::<(), _>(StageError::from("it does not add up"))
        })
        .required();
    let error = startup.start().await.unwrap_err();
    assert_eq!(error.primary.stage, "sum");
    assert!(error.rollback.is_complete());
    assert_eq!(*undone.lock().unwrap(), ["half of the sum", "numbers"]);
}
