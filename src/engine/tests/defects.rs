//! The smallest case of each defect that the random services found, or that was found while writing them.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        mpsc::{Sender, channel},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{Log, Plan, limits, prepare, secs, start, start_with};
use crate::{
    Event, ServeContext, StageContext, StageResult,
    contract::{
        guard::GuardKeeper,
        outcome::{FailurePhase, StopHook},
        state::{StageState, StopReason},
    },
    engine::{Limits, running::Prepared},
};

async fn up(_: StageContext, (): ()) -> StageResult<u32> {
    Ok(1)
}

#[tokio::test(start_paused = true)]
async fn a_deep_chain_of_hanging_stops_leaves_each_stage_its_share() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let mut below = plan
        .builder("s0", (), up)
        .stop(async |_, _| {
            sleep(Duration::from_millis(50)).await;
            Ok(())
        })
        .required();
    for index in 1..30 {
        below = plan
            .builder(format!("s{index}"), below, async |_: StageContext, _: Arc<u32>| Ok(1_u32))
            .stop(async |_, _| pending().await)
            .required();
    }
    let report = start(plan, &log).await.unwrap().shutdown("enough").await;
    assert_eq!(report.summary.stopped, ["s0"], "{:?}", report.summary);
    assert_eq!((report.summary.problems.len(), report.summary.stuck.len()), (29, 0));
    assert!(report.summary.elapsed <= secs(8));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_never_begins_after_the_time_limit() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let tries = log.clone();
    plan.builder("flaky", (), move |cx: StageContext, ()| {
        tries.say(format!("attempt {}", cx.attempt()));
        cx.on_rollback(async || {
            sleep(secs(3)).await;
            Ok(())
        });
        async { Err::<(), _>("not yet".into()) }
    })
    .retry(5)
    .timeout(secs(2))
    .required();
    let error = start(plan, &log).await.unwrap_err();
    assert_eq!(log.lines(), ["attempt 1", "failed flaky"], "its undo used up the time for another attempt");
    assert_eq!((error.primary.attempts, error.primary.error.to_string()), (1, "not yet".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn no_hook_begins_after_the_start_was_interrupted() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let began = log.clone();
    plan.builder("base", (), async move |_: StageContext, ()| {
        began.say("began");
        Ok(())
    })
    .required();
    let (prepared, control) = prepare(plan, &log);
    control.stop(StopReason::Signal("SIGTERM"));
    let error = prepared.start().await.unwrap_err();
    assert_eq!(error.cancelled, ["base"]);
    assert_eq!(log.lines(), ["cancelled base"]);
}

#[tokio::test(start_paused = true)]
async fn every_check_that_had_failed_when_the_start_ended_is_listed() {
    let (log, mut plan) = (Log::default(), Plan::new());
    for name in ["one", "two", "three"] {
        plan.builder(name, (), up)
            .health(async |_| {
                sleep(secs(1)).await;
                Err("no pulse".into())
            })
            .required();
    }
    let error = start(plan, &log).await.unwrap_err();
    let also: Vec<_> = error.also.iter().map(|each| (each.stage.as_ref(), each.phase)).collect();
    assert_eq!(also, [("two", FailurePhase::ReadyCheck), ("three", FailurePhase::ReadyCheck)]);
}

#[tokio::test(start_paused = true)]
async fn a_serve_that_fails_after_the_lock_was_lost_is_told_beside_it() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let keeper = Arc::new(GuardKeeper::exclusive());
    let publish = keeper.clone();
    let root = plan
        .builder("worker-mode", (), async move |cx: StageContext, ()| {
            cx.publish_worker(publish.guard());
            Ok(())
        })
        .required();
    plan.serve(root, async |cx: ServeContext, _: Arc<()>| {
        cx.shutdown_requested().await;
        Err("requests were lost".into())
    });
    let running = start(plan, &log).await.unwrap();
    keeper.lose("the lock file was replaced");
    let report = running.wait().await;
    assert_eq!(report.failure.unwrap().stage, "worker-mode");
    let problem = &report.summary.problems[0];
    assert_eq!((problem.hook, problem.error.to_string()), (StopHook::Serve, "requests were lost".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_lost_while_serving_ends_is_the_failure() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let keeper = Arc::new(GuardKeeper::exclusive());
    let (publish, lose) = (keeper.clone(), keeper.clone());
    let root = plan
        .builder("worker-mode", (), async move |cx: StageContext, ()| {
            cx.publish_worker(publish.guard());
            Ok(())
        })
        .required();
    plan.serve(root, async move |cx: ServeContext, _: Arc<()>| {
        cx.shutdown_requested().await;
        lose.lose("the lock file was replaced");
        Ok(())
    });
    let report = start(plan, &log).await.unwrap().shutdown("enough").await;
    assert_eq!(report.failure.unwrap().error.failure_code(), crate::codes::LOCK_LOST);
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_came_up_too_late_is_what_its_dependants_waited_for() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let cache = plan.builder("cache", (), async |_: StageContext, ()| Err::<(), _>("no".into())).optional();
    let late = plan
        .builder("late", (), async |cx: StageContext, ()| {
            cx.cancelled().await;
            Ok(())
        })
        .required();
    plan.builder("user", (cache, late), async |_: StageContext, _: (Option<Arc<()>>, Arc<()>)| Ok(()))
        .required();
    plan.builder("fails", (), async |_: StageContext, ()| {
        sleep(secs(1)).await;
        Err::<(), _>("no".into())
    })
    .required();
    let error = start(plan, &log).await.unwrap_err();
    assert_eq!(error.never_started[0].stage, "user");
    let waited_for = &error.never_started[0].waited_for;
    assert_eq!(*waited_for, [("late".into(), StageState::Stopped)], "the service can do without the cache");
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_panics_does_not_end_the_engine() {
    let mut plan = Plan::new();
    let base = plan.builder("base", (), up).required();
    plan.builder("fails", base, async |_: StageContext, _: Arc<u32>| Err::<(), _>("no".into()))
        .retry(2)
        .required();
    let sink = |_: &Event| panic!("a careless listener");
    let error = Prepared::new(plan, limits(), Some(Arc::new(sink))).unwrap().start().await.unwrap_err();
    assert_eq!((error.primary.stage.as_ref(), error.primary.attempts), ("fails", 2));
    assert_eq!(error.rollback.stopped, ["base"]);
}

#[tokio::test(start_paused = true)]
async fn a_destructor_that_panics_in_a_forgotten_undo_is_named_and_loses_nothing() {
    struct Spiteful;
    impl Drop for Spiteful {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    let (log, mut plan) = (Log::default(), Plan::new());
    plan.builder("base", (), async |cx: StageContext, ()| {
        let spiteful = Spiteful;
        cx.on_rollback(async move || {
            drop(spiteful);
            Ok(())
        });
        Ok(())
    })
    .required();
    let running = start(plan, &log).await.unwrap();
    let report = running.shutdown("enough").await;
    assert_eq!(report.summary.stopped, ["base"]);
    assert_eq!(report.summary.problems[0].error.to_string(), "in drop");
}

/// Keeps its thread until the sender is dropped.
fn block() -> (Sender<()>, impl Fn() + Send + Sync) {
    let (free, freed) = channel();
    let freed = Mutex::new(freed);
    (free, move || {
        let _disconnected = freed.lock().unwrap().recv();
    })
}

fn short() -> Limits {
    Limits { shutdown: Duration::from_millis(800), ..limits() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_serve_that_keeps_its_thread_leaves_up_only_what_it_uses() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let (free, block) = block();
    let base = plan.builder("base", (), up).required();
    plan.builder("other", (), up).required();
    plan.serve(base, async move |_: ServeContext, _: Arc<u32>| {
        block();
        Ok(())
    });
    let running = start_with(plan, &log, short()).await.unwrap();
    let began = Instant::now();
    let summary = running.shutdown("enough").await.summary;
    assert!(began.elapsed() < short().shutdown, "{:?}", began.elapsed());
    assert_eq!(summary.stopped, ["other"], "{summary:?}");
    assert_eq!(summary.stuck, [("serve".into(), None)]);
    assert_eq!(summary.left_up, [("base".into(), "serve".into())]);
    drop(free);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_check_that_keeps_its_thread_leaves_up_only_what_it_uses() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let (free, block) = block();
    let base = plan.builder("base", (), up).required();
    plan.builder("other", (), up)
        .health(async |_| {
            sleep(Duration::from_millis(50)).await;
            Err("no pulse".into())
        })
        .required();
    let block = Arc::new(block);
    plan.builder("checked", base, async |_: StageContext, _: Arc<u32>| Ok(()))
        .health(move |_| {
            let block = block.clone();
            async move {
                block();
                Ok(())
            }
        })
        .required();
    let error = start_with(plan, &log, short()).await.unwrap_err();
    let summary = error.rollback;
    assert!(summary.elapsed < short().shutdown, "{:?}", summary.elapsed);
    assert_eq!(summary.stopped, ["other"], "{summary:?}");
    assert_eq!(summary.stuck, [("checked".into(), None)]);
    assert_eq!(summary.left_up, [("base".into(), "checked".into()), ("checked".into(), "checked".into())]);
    drop(free);
}
