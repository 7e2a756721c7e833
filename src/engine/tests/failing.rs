use std::{
    future::pending,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{Log, Plan, limits, prepare, secs, start, start_with};
use crate::{
    Event, ServeContext, StageContext, StageError, StageResult, codes,
    contract::{
        guard::GuardKeeper,
        outcome::{FailurePhase, StageFailure},
        state::StopReason,
    },
    engine::{
        Limits,
        running::{Control, Prepared},
    },
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

#[tokio::test(start_paused = true)]
async fn a_service_that_cannot_go_on_before_it_is_ready_is_never_ready() {
    let (log, mut plan) = (Log::default(), Plan::new());
    plan.builder("last", (), async |cx: StageContext, ()| {
        cx.fail("gone before it was up".into());
        Ok(())
    })
    .required();
    let (told, heard) = (log.clone(), log.sink());
    let sink = move |event: &Event| {
        heard(event);
        if let Event::Ready { .. } = event {
            told.say("ready");
        }
    };
    let error = Prepared::new(plan, limits(), Some(Arc::new(sink))).unwrap().start().await.unwrap_err();
    assert_eq!(
        (&*error.primary.stage, error.primary.error.to_string()),
        ("last", "gone before it was up".to_owned())
    );
    assert_eq!(log.lines(), ["up last", "stopping last", "stopped last"]);
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_a_start_ends_it_also_while_the_last_stage_comes_up() {
    for lost in [false, true] {
        let (log, mut plan) = (Log::default(), Plan::new());
        let keeper = Arc::new(GuardKeeper::exclusive());
        let control = Arc::new(OnceLock::<Control>::new());
        let (asked, losing) = (control.clone(), keeper.clone());
        plan.builder("last", (), async move |cx: StageContext, ()| {
            cx.publish_worker(losing.guard());
            if lost {
                losing.lose("the lock file was replaced");
            } else {
                asked.get().unwrap().stop(StopReason::Signal("SIGTERM"));
            }
            Ok(())
        })
        .required();
        let (prepared, handle) = prepare(plan, &log);
        assert!(control.set(handle).is_ok());
        let error = prepared.start().await.unwrap_err();
        let code = if lost { codes::LOCK_LOST } else { codes::STARTUP_INTERRUPTED };
        assert_eq!(error.primary.error.failure_code(), code);
        assert_eq!(error.rollback.stopped, ["last"]);
    }
}

#[tokio::test(start_paused = true)]
async fn every_failure_while_serving_is_in_the_report_and_the_first_is_the_cause() {
    let (log, mut plan) = (Log::default(), Plan::new());
    for (name, why) in [("one", "first"), ("two", "second")] {
        plan.builder(name, (), async move |cx: StageContext, ()| {
            #[expect(clippy::disallowed_methods, reason = "what a stage starts outlives its start hook")]
            tokio::spawn(async move {
                sleep(secs(1)).await;
                cx.fail(why.into());
                cx.fail("said before".into());
            });
            Ok(())
        })
        .required();
    }
    plan.serve((), async |_: ServeContext, ()| {
        sleep(secs(1)).await;
        Err("third".into())
    });
    let report = start(plan, &log).await.unwrap().wait().await;
    let said = |failure: &StageFailure| (failure.stage.to_string(), failure.error.to_string());
    let mut all: Vec<_> = report.failure.iter().chain(&report.also).map(said).collect();
    assert_eq!(all[0].0, "one", "{all:?}");
    all.sort();
    let expected = [("one", "first"), ("serve", "third"), ("two", "second")];
    assert_eq!(all, expected.map(|(stage, why)| (stage.to_owned(), why.to_owned())));
    assert!(report.summary.is_complete(), "{:?}", report.summary);
}
