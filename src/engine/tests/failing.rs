use std::{future::pending, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Log, Plan, limits, secs, start, start_with};
use crate::{
    ServeContext, StageContext, StageError, StageResult, codes,
    contract::{outcome::FailurePhase, state::StopReason},
    engine::Limits,
};

/// Comes up, and says a second later that it cannot go on; and again, which nobody hears.
async fn fails_later(cx: StageContext, (): ()) -> StageResult<()> {
    #[expect(clippy::disallowed_methods, reason = "what a stage starts outlives its start hook")]
    tokio::spawn(async move {
        sleep(secs(1)).await;
        cx.fail(StageError::new(codes::TASK_FAILED, "gone"));
        cx.fail("too late to be heard".into());
    });
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_cannot_go_on_stops_the_service_in_order_and_is_the_failure() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan.builder("base", (), async |_, ()| Ok(())).required();
    let worker = plan.builder("worker", base, async |cx, _| fails_later(cx, ()).await).required();
    let said = log.clone();
    plan.serve(worker, async move |cx: ServeContext, _| {
        cx.shutdown_requested().await;
        said.say("served");
        Ok(())
    });
    let running = start(plan, &log).await.unwrap();
    let began = Instant::now();
    let report = running.wait().await;
    assert_eq!(began.elapsed(), secs(1));
    assert_eq!(report.reason, StopReason::Failed);
    let failure = report.failure.unwrap();
    assert_eq!((&*failure.stage, failure.phase), ("worker", FailurePhase::Serve));
    assert_eq!(
        (failure.error.failure_code(), failure.error.to_string()),
        (codes::TASK_FAILED, "gone".into())
    );
    assert!(report.summary.is_complete(), "{:?}", report.summary);
    assert_eq!(
        log.lines()[2..],
        ["served", "stopping worker", "stopped worker", "stopping base", "stopped base"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_cannot_go_on_while_others_start_rolls_the_start_back() {
    let (log, mut plan) = (Log::default(), Plan::new());
    plan.builder("worker", (), fails_later).required();
    plan.builder("slow", (), async |_: StageContext, ()| pending::<StageResult<()>>().await).required();
    let error = start(plan, &log).await.unwrap_err();
    assert_eq!((&*error.primary.stage, error.primary.error.to_string()), ("worker", "gone".to_owned()));
    assert_eq!(error.rollback.stopped, ["worker"]);
    assert_eq!(error.cancelled, ["slow"]);
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_cannot_go_on_ends_the_drain() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let worker = plan.builder("worker", (), fails_later).required();
    plan.serve(worker, async |cx: ServeContext, _| {
        cx.shutdown_requested().await;
        Ok(())
    });
    let drain = Limits { drain: secs(60), ..limits() };
    let running = start_with(plan, &log, drain).await.unwrap();
    let began = Instant::now();
    let report = running.shutdown("enough").await;
    assert_eq!((began.elapsed(), report.reason), (secs(1), StopReason::Failed));
    assert_eq!(report.failure.unwrap().error.to_string(), "gone");
}

#[tokio::test(start_paused = true)]
async fn an_optional_stage_cannot_end_the_service() {
    let (log, mut plan) = (Log::default(), Plan::new());
    plan.builder("worker", (), fails_later).optional();
    let running = start(plan, &log).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    let report = running.shutdown("enough").await;
    assert_eq!(report.reason, StopReason::Requested("enough".to_owned()));
    assert!(report.is_clean(), "{report:?}");
}
