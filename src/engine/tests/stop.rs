use std::{future::pending, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Log, Plan, secs, start};
use crate::{StageContext, StageResult, StopContext, StopHook, contract::state::StopReason};

async fn up(_: StageContext, (): ()) -> StageResult<u32> {
    Ok(1)
}

#[tokio::test(start_paused = true)]
async fn stages_stop_in_reverse_order_and_independent_ones_concurrently() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan.builder("base", (), up).required();
    for name in ["left", "right"] {
        plan.builder(name, base, async |_: StageContext, _: Arc<u32>| Ok(()))
            .stop(async |_, cx: StopContext| {
                assert_eq!(*cx.reason(), StopReason::Requested("enough".to_owned()));
                sleep(secs(1)).await;
                Ok(())
            })
            .required();
    }
    let running = start(plan, &log).await.unwrap();
    let began = Instant::now();
    let report = running.shutdown("enough").await;
    assert_eq!(began.elapsed(), secs(1));
    assert!(report.is_clean());
    assert_eq!(report.summary.stopped, ["left", "right", "base"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_fails_panics_or_hangs_is_named_and_the_others_stop() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan.builder("base", (), up).required();
    plan.builder("fails", base, async |_: StageContext, _: Arc<u32>| Ok(()))
        .stop(async |_, _| Err("disk gone".into()))
        .required();
    plan.builder("panics", base, async |_: StageContext, _: Arc<u32>| Ok(()))
        .stop(async |_, _| panic!("oh"))
        .required();
    plan.builder("hangs", base, async |_: StageContext, _: Arc<u32>| Ok(()))
        .stop(async |_, _| {
            pending::<()>().await;
            Ok(())
        })
        .required();
    let running = start(plan, &log).await.unwrap();
    let began = Instant::now();
    let report = running.shutdown("enough").await;
    let mut names: Vec<_> = report.summary.problems.iter().map(|each| each.stage.as_ref()).collect();
    names.sort_unstable();
    assert_eq!(names, ["fails", "hangs", "panics"]);
    assert_eq!(report.summary.stopped, ["base"]);
    assert_eq!(began.elapsed(), secs(4), "the hook that hangs had half of the eight seconds");
    assert!(!report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_hanging_stops_ends_within_the_budget_and_reaches_the_last() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let last = log.clone();
    let mut below = plan
        .builder("s0", (), up)
        .stop(async move |_, _| {
            last.say("stop hook of s0");
            Ok(())
        })
        .required();
    for index in 1..=6 {
        below = plan
            .builder(format!("s{index}"), below, async |_: StageContext, _: Arc<u32>| Ok(1_u32))
            .stop(async |_, _| {
                pending::<()>().await;
                Ok(())
            })
            .required();
    }
    let running = start(plan, &log).await.unwrap();
    let began = Instant::now();
    let report = running.shutdown("enough").await;
    assert_eq!(report.summary.problems.len(), 6);
    assert_eq!(report.summary.stopped, ["s0"]);
    assert!(began.elapsed() <= secs(8), "{:?}", began.elapsed());
    log.position("stop hook of s0");
}

#[tokio::test(start_paused = true)]
async fn a_rollback_has_a_budget_of_its_own_when_the_start_ran_out_of_time() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan
        .builder("base", (), up)
        .stop(async |_, _| {
            sleep(secs(3)).await;
            Ok(())
        })
        .required();
    plan.builder("hangs", base, async |_: StageContext, _: Arc<u32>| {
        pending::<()>().await;
        Ok(())
    })
    .timeout(secs(30))
    .required();
    let error = start(plan, &log).await.unwrap_err();
    assert_eq!(error.rollback.stopped, ["base"]);
    assert!(error.rollback.is_complete(), "{:?}", error.rollback.problems);
}

#[tokio::test(start_paused = true)]
async fn undos_that_fail_panic_or_hang_are_named_and_the_others_run() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan.builder("base", (), up).required();
    let undo = log.clone();
    plan.builder("half", base, async move |cx: StageContext, _: Arc<u32>| {
        cx.on_rollback(async move || {
            undo.say("first undone");
            Ok(())
        });
        cx.on_rollback(async || Err("cannot".into()));
        cx.on_rollback(async || panic!("oh"));
        cx.step("open");
        cx.on_rollback(async || pending().await);
        Err::<(), _>("no".into())
    })
    .required();
    let error = start(plan, &log).await.unwrap_err();
    let problems: Vec<_> = error.rollback.problems.iter().map(|each| each.error.to_string()).collect();
    assert_eq!(
        problems,
        ["did not finish within 1.50s (registered during `open`)", "oh", "cannot"],
        "last in, first out"
    );
    assert!(log.position("first undone") < log.position("stopped base"));
    assert_eq!(error.primary.error.to_string(), "no", "what went wrong first stays the cause");
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_is_still_referenced_when_its_stage_stops_is_reported() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan.builder("base", (), up).required();
    let running = start(plan, &log).await.unwrap();
    let kept = [running.get(base), running.get(base)];
    let report = running.shutdown("enough").await;
    assert_eq!(report.summary.leaked, [("base".into(), 2)]);
    drop(kept);
}

#[tokio::test(start_paused = true)]
async fn a_resource_whose_drop_panics_is_a_failed_stop() {
    struct Spiteful;
    impl Drop for Spiteful {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    let (log, mut plan) = (Log::default(), Plan::new());
    plan.builder("spiteful", (), async |_: StageContext, ()| Ok(Spiteful)).required();
    let report = start(plan, &log).await.unwrap().shutdown("enough").await;
    assert_eq!(report.summary.problems[0].error.to_string(), "in drop");
}

#[tokio::test(start_paused = true)]
async fn a_hook_may_set_itself_a_shorter_limit() {
    let (log, mut plan) = (Log::default(), Plan::new());
    plan.builder("hangs", (), up)
        .stop(async |_, _| pending().await)
        .stop_timeout(Duration::from_millis(300))
        .required();
    let running = start(plan, &log).await.unwrap();
    let began = Instant::now();
    let report = running.shutdown("enough").await;
    assert_eq!(report.summary.problems.len(), 1);
    assert_eq!(began.elapsed(), Duration::from_millis(300));
}

#[tokio::test(start_paused = true)]
async fn a_destructor_that_panics_when_a_hanging_hook_is_dropped_is_named() {
    struct Spiteful;
    impl Drop for Spiteful {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan
        .builder("base", (), up)
        .stop(async |_, _| {
            let _spiteful = Spiteful;
            pending().await
        })
        .required();
    plan.builder("half", base, async |cx: StageContext, _: Arc<u32>| {
        cx.on_rollback(async || {
            let _spiteful = Spiteful;
            pending().await
        });
        let _spiteful = Spiteful;
        pending::<StageResult<()>>().await
    })
    .timeout(secs(1))
    .required();
    let error = start(plan, &log).await.unwrap_err();
    let named = |each: &crate::StopProblem| (each.stage.to_string(), each.hook, each.error.to_string());
    let problems: Vec<_> = error.rollback.problems.iter().map(named).collect();
    assert_eq!(problems[0], ("half".to_owned(), StopHook::Undo, "in drop".to_owned()));
    assert!(problems[1].2.contains("did not finish") && problems[1].2.contains("in drop"), "{problems:?}");
    assert_eq!(problems[2], ("base".to_owned(), StopHook::Stop, "in drop".to_owned()));
    assert_eq!(problems.len(), 3);
}
