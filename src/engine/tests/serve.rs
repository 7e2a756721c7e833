use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::time::{Instant, sleep};

use super::{Log, Plan, limits, prepare, secs, start, start_with};
use crate::{
    Event, ServeContext, StageContext, StageResult, codes,
    contract::{
        guard::GuardKeeper,
        outcome::FailurePhase,
        state::{Phase, StopReason},
    },
    engine::{Limits, running::Prepared},
};

async fn up(_: StageContext, (): ()) -> StageResult<u32> {
    Ok(1)
}

#[tokio::test(start_paused = true)]
async fn serve_runs_after_every_stage_and_ends_before_any_stops() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan.builder("base", (), up).required();
    let said = log.clone();
    plan.serve(base, async move |cx: ServeContext, base: Arc<u32>| {
        said.say(format!("serving {base}"));
        cx.shutdown_requested().await;
        sleep(secs(1)).await;
        said.say("served");
        Ok(())
    });
    let running = start(plan, &log).await.unwrap();
    tokio::task::yield_now().await;
    let report = running.shutdown("enough").await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(log.lines(), ["up base", "serving 1", "served", "stopping base", "stopped base"]);
}

#[tokio::test(start_paused = true)]
async fn no_task_of_the_start_stays_while_the_service_runs() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan.builder("base", (), up).required();
    for each in 0..200 {
        plan.builder(format!("s{each}"), base, async |_: StageContext, _: Arc<u32>| Ok(())).required();
    }
    let running = start(plan, &log).await.unwrap();
    // Time moves only when no task can go on.
    sleep(secs(1)).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 1, "the engine's own");
    assert!(running.shutdown("enough").await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_serve_that_returns_ends_the_service() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan.builder("base", (), up).required();
    plan.serve(base, async |_: ServeContext, _| Ok(()));
    let report = start(plan, &log).await.unwrap().wait().await;
    assert_eq!((report.reason.clone(), report.is_clean()), (StopReason::Finished, true));
}

#[tokio::test(start_paused = true)]
async fn a_serve_that_fails_or_panics_stops_everything_and_is_the_failure() {
    for panics in [false, true] {
        let (log, mut plan) = (Log::default(), Plan::new());
        let base = plan.builder("base", (), up).required();
        plan.serve(base, async move |_: ServeContext, _| {
            sleep(secs(1)).await;
            if panics { panic!("kaput") } else { Err("kaput".into()) }
        });
        let report = start(plan, &log).await.unwrap().wait().await;
        let failure = report.failure.unwrap();
        assert_eq!((failure.phase, failure.error.to_string()), (FailurePhase::Serve, "kaput".to_owned()));
        assert_eq!(report.summary.stopped, ["base"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_serve_that_does_not_end_is_dropped_after_half_of_the_budget_and_named() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan.builder("base", (), up).required();
    plan.serve(base, async |_: ServeContext, _base: Arc<u32>| pending().await);
    let running = start(plan, &log).await.unwrap();
    let began = Instant::now();
    let report = running.shutdown("enough").await;
    assert_eq!(began.elapsed(), secs(4));
    assert_eq!(report.summary.problems[0].stage, "serve");
    assert_eq!(report.summary.stopped, ["base"]);
    assert!(report.summary.leaked.is_empty(), "the dropped hook held a clone, and it is gone");
}

#[tokio::test(start_paused = true)]
async fn draining_is_not_ready_and_serves_on_until_it_is_over() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan.builder("base", (), up).required();
    plan.serve(base, async |cx: ServeContext, _| {
        cx.shutdown_requested().await;
        Ok(())
    });
    let running = start_with(plan, &log, Limits { drain: secs(5), ..limits() }).await.unwrap();
    let status = running.status();
    assert!(status.is_ready());
    let began = Instant::now();
    let (report, ()) = tokio::join!(running.shutdown("enough"), async {
        sleep(secs(2)).await;
        assert_eq!(status.phase(), Phase::Draining);
        assert!(!status.is_ready());
    });
    assert!(report.is_clean());
    assert_eq!(began.elapsed(), secs(5));
}

#[tokio::test(start_paused = true)]
async fn every_health_hook_is_asked_once_before_ready() {
    let (log, mut plan) = (Log::default(), Plan::new());
    plan.builder("sick", (), up).health(async |_| Err("no pulse".into())).required();
    let error = start(plan, &log).await.unwrap_err();
    assert_eq!(error.primary.phase, FailurePhase::ReadyCheck);
    assert_eq!(error.primary.error.to_string(), "no pulse");
    assert_eq!(error.rollback.stopped, ["sick"]);
}

#[tokio::test(start_paused = true)]
async fn a_health_hook_that_hangs_is_a_failed_check() {
    let (log, mut plan) = (Log::default(), Plan::new());
    plan.builder("mute", (), up).health(async |_| pending().await).required();
    let error = start(plan, &log).await.unwrap_err();
    assert_eq!(error.primary.error.to_string(), "no answer within 5.00s");
    assert!(error.rollback.leaked.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_falls_ill_makes_the_service_unready_until_it_recovers() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let ill = Arc::new(AtomicBool::new(false));
    let seen = ill.clone();
    plan.builder("moody", (), up)
        .health(move |_| {
            let ill = seen.load(Ordering::Relaxed);
            async move { if ill { Err("not today".into()) } else { Ok(()) } }
        })
        .required();
    let running = start(plan, &log).await.unwrap();
    ill.store(true, Ordering::Relaxed);
    sleep(secs(11)).await;
    assert!(!running.status().is_ready());
    assert_eq!(running.status().degraded(), ["moody"]);
    ill.store(false, Ordering::Relaxed);
    sleep(secs(10)).await;
    assert!(running.status().is_ready());
    assert_eq!(log.lines(), ["up moody", "healthy moody false", "healthy moody true"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lock_stops_everything_at_once_and_in_order() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let keeper = Arc::new(GuardKeeper::exclusive());
    let publish = keeper.clone();
    let root = plan
        .builder("worker-mode", (), async move |cx: StageContext, ()| {
            cx.publish_worker(publish.guard());
            Ok(())
        })
        .required();
    plan.builder("base", root, async |_: StageContext, _| Ok(())).required();
    let (prepared, _control) = prepare(plan, &log);
    let running = prepared.start().await.unwrap();
    keeper.lose("the lock file was replaced");
    let report = running.wait().await;
    assert_eq!(report.reason, StopReason::LockLost);
    assert_eq!(report.failure.unwrap().error.failure_code(), codes::LOCK_LOST);
    assert_eq!(report.summary.stopped, ["base", "worker-mode"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_handle_stops_the_service() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let (stopped, is_stopped) = tokio::sync::oneshot::channel();
    plan.builder("base", (), up)
        .stop(async move |_, _| {
            stopped.send(()).unwrap();
            Ok(())
        })
        .required();
    drop(start(plan, &log).await.unwrap());
    is_stopped.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn outputs_can_be_had_until_their_stage_is_stopped() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan.builder("base", (), up).required();
    let extra = plan.builder("extra", (), up).optional();
    let broken =
        plan.builder("broken", (), async |_: StageContext, ()| Err::<u32, _>("no".into())).optional();
    let running = start(plan, &log).await.unwrap();
    assert_eq!((running.get(base).as_deref(), running.get_optional(extra).as_deref()), (Some(&1), Some(&1)));
    assert_eq!(running.get_optional(broken), None);
    assert!(running.shutdown("enough").await.summary.leaked.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_service_checks_itself_once_each_interval_and_drains_only_if_told() {
    let (asked, drained) = (Log::default(), Log::default());
    let (mut plan, seen, draining) = (Plan::new(), asked.clone(), drained.clone());
    let base = plan
        .builder("base", (), up)
        .health(move |_| {
            seen.say("asked");
            async { Ok(()) }
        })
        .required();
    plan.serve(base, async |cx: ServeContext, _| {
        cx.shutdown_requested().await;
        Ok(())
    });
    let listener = move |event: &Event| {
        if let Event::Draining { .. } = event {
            draining.say("draining");
        }
    };
    let running = Prepared::new(plan, limits(), Some(Arc::new(listener))).unwrap().start().await.unwrap();
    sleep(secs(9)).await;
    assert_eq!(asked.lines().len(), 1, "before it was ready");
    sleep(secs(20)).await;
    assert_eq!(asked.lines().len(), 3);
    assert!(running.shutdown("enough").await.is_clean());
    assert!(drained.lines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_service_without_serve_drains_like_any_other() {
    let (log, mut plan) = (Log::default(), Plan::new());
    plan.builder("listener", (), up).required();
    let running = start_with(plan, &log, Limits { drain: secs(5), ..limits() }).await.unwrap();
    let status = running.status();
    let began = Instant::now();
    let (report, ()) = tokio::join!(running.shutdown("enough"), async {
        sleep(secs(2)).await;
        assert_eq!(status.phase(), Phase::Draining);
    });
    assert!(report.is_clean());
    assert_eq!(began.elapsed(), secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_finished_by_itself_has_nothing_to_drain() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan.builder("base", (), up).required();
    plan.serve(base, async |_: ServeContext, _| Ok(()));
    let running = start_with(plan, &log, Limits { drain: secs(5), ..limits() }).await.unwrap();
    let began = Instant::now();
    assert_eq!(running.wait().await.reason, StopReason::Finished);
    assert_eq!(began.elapsed(), secs(0));
}
