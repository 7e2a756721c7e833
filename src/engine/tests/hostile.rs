//! Errors, payloads and captured values that fail at whatever they are asked for change nothing but what is said of
//! them.

use std::{future::ready, panic::panic_any, sync::Arc};

use super::{Log, Plan, limits, start};
use crate::{
    Event, ServeContext, StageContext, StageResult, codes, contain::testing::Hostile,
    engine::running::Prepared,
};

async fn up(_: StageContext, (): ()) -> StageResult<u32> {
    Ok(1)
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_with_one_is_rolled_back_and_reported() {
    for panics in [false, true] {
        let (log, mut plan) = (Log::default(), Plan::new());
        let base = plan.builder("base", (), up).required();
        plan.builder("hostile", base, async move |_: StageContext, _: Arc<u32>| -> StageResult<()> {
            if panics { panic_any(Hostile) } else { Err(Hostile.into()) }
        })
        .required();
        let failed = start(plan, &log).await.unwrap_err();
        let expected = if panics { "a value that is not a text" } else { "its text cannot be written" };
        assert_eq!(failed.primary.error.to_string(), expected);
        log.position("stopped base");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_whose_hooks_fail_with_one_stops_in_order_and_is_reported() {
    for panics in [false, true] {
        let (log, mut plan) = (Log::default(), Plan::new());
        let fails =
            move || -> StageResult<()> { if panics { panic_any(Hostile) } else { Err(Hostile.into()) } };
        let base = plan.builder("base", (), up).stop(async move |_, _| fails()).required();
        plan.serve(base, async move |_: ServeContext, _: Arc<u32>| fails());
        let report = start(plan, &log).await.unwrap().wait().await;
        let code = if panics { codes::STAGE_PANICKED } else { codes::STAGE_FAILED };
        assert_eq!(report.failure.as_ref().unwrap().error.failure_code(), code);
        assert_eq!(report.summary.problems.len(), 1, "{report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_fails_with_one_is_a_failed_check() {
    for panics in [false, true] {
        let (log, mut plan) = (Log::default(), Plan::new());
        plan.builder("base", (), up)
            .health(move |_| ready(if panics { panic_any(Hostile) } else { Err(Hostile.into()) }))
            .required();
        let failed = start(plan, &log).await.unwrap_err();
        assert_eq!(failed.primary.stage.to_string(), "base");
        log.position("healthy base false");
    }
}

#[tokio::test(start_paused = true)]
async fn what_closures_hold_that_were_not_needed_does_not_lose_the_report_of_the_end() {
    let mut plan = Plan::new();
    let [health, check, analyser, sink] = std::array::from_fn(|_| Hostile);
    plan.builder("base", (), up)
        .health(move |_| {
            let _held = &health;
            ready(Ok(()))
        })
        .check(move || {
            let _held = &check;
            Ok(())
        })
        .required();
    plan.analysers.push(Box::new(move |_| {
        let _held = &analyser;
        None
    }));
    let tell = Arc::new(move |_: &Event| {
        let _held = &sink;
    });
    let running = Prepared::new(plan, limits(), Some(tell)).unwrap().start().await.unwrap();
    let report = running.shutdown("enough").await;
    assert!(report.is_clean(), "{report:?}");
}
