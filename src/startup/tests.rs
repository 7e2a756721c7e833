//! What a start refuses before anything runs.

use std::{task::Context, time::Duration};

use tokio::runtime::Builder;

use super::*;
use crate::codes;

fn shop(vars: &[(&str, &str)]) -> Startup {
    let mode = WorkerMode::Many { reason: "no lock in this test".to_owned() };
    Startup::new("shop", Env::from_vars("SHOP", vars.iter().copied()), mode)
}

fn problems(error: &StartupError) -> Vec<String> {
    error.primary.error.facts().iter().map(|fact| fact.value.clone()).collect()
}

#[test]
fn a_runtime_without_timers_is_refused_with_the_call_that_is_missing() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(shop(&[]).start()).unwrap_err();
    assert_eq!(error.primary.error.failure_code(), codes::STAGE_FAILED);
    assert_eq!(error.primary.error.to_string(), "the tokio runtime that the start runs in has no timers");
    assert!(error.primary.error.actions()[0].contains("enable_time()"), "{error:?}");
}

#[test]
fn a_start_outside_of_a_runtime_is_refused_and_does_not_panic() {
    let mut start = std::pin::pin!(shop(&[]).start());
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Err(error)) = start.as_mut().poll(&mut cx) else { panic!("it waits") };
    assert_eq!(error.primary.error.to_string(), "the start does not run in a tokio runtime");
}

#[tokio::test]
async fn a_time_of_zero_that_nothing_could_keep_is_refused_by_its_name() {
    for name in ["STARTUP_TIMEOUT", "STAGE_TIMEOUT", "SHUTDOWN_TIMEOUT", "STAGE_TIMEOUT_DATABASE"] {
        let variable = format!("SHOP_{name}");
        let mut startup = shop(&[(&variable, "0s")]);
        startup.stage("database", (), async |_cx, ()| Ok(())).required();
        let error = startup.start().await.unwrap_err();
        assert_eq!(error.primary.error.failure_code(), codes::ENV_INVALID, "{name}");
        let text = format!("{:?}", error.primary.error.facts());
        assert!(text.contains(&variable) && text.contains("from 1ms"), "{text}");
    }
}

#[tokio::test]
async fn a_drain_of_zero_is_none() {
    let mut startup = shop(&[("SHOP_DRAIN", "0s")]);
    startup.stage("database", (), async |_cx, ()| Ok(())).required();
    assert!(startup.start().await.unwrap().shutdown("enough").await.is_clean());
}

#[tokio::test]
async fn a_stage_that_is_given_no_time_at_all_is_a_problem_of_the_graph() {
    let mut startup = shop(&[]);
    startup.stage("one", (), async |_cx, ()| Ok(())).timeout(Duration::ZERO).required();
    startup.stage("two", (), async |_cx, ()| Ok(())).stop_timeout(Duration::ZERO).required();
    let error = startup.start().await.unwrap_err();
    assert_eq!(error.primary.error.failure_code(), codes::GRAPH_INVALID);
    assert_eq!(
        problems(&error),
        ["stage `one` is given no time to start", "stage `two` is given no time to stop"]
    );
}

#[tokio::test]
async fn a_second_serve_is_refused() {
    let mut startup = shop(&[]);
    startup.serve((), async |_cx, ()| Ok(()));
    startup.serve((), async |_cx, ()| Ok(()));
    let error = startup.start().await.unwrap_err();
    assert_eq!(error.primary.error.failure_code(), codes::GRAPH_INVALID);
    assert_eq!(problems(&error), ["`serve` is called twice; a service has one: join both in it"]);
}

#[tokio::test]
async fn everybody_who_listens_hears_every_event_whoever_panics() {
    let (one, two) = (Arc::new(std::sync::Mutex::new(0)), Arc::new(std::sync::Mutex::new(0)));
    let (first, second) = (one.clone(), two.clone());
    let mut startup = shop(&[]);
    startup.on_event(move |_| *first.lock().unwrap() += 1);
    startup.on_event(|_| panic!("on purpose"));
    startup.on_event(move |_| *second.lock().unwrap() += 1);
    assert!(startup.start().await.unwrap().shutdown("enough").await.is_clean());
    let heard = *one.lock().unwrap();
    assert!(heard > 3, "{heard}");
    assert_eq!(*two.lock().unwrap(), heard);
}
