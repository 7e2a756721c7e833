use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{Log, Plan, limits, prepare, secs, start, start_with};
use crate::{
    ErrorKind, Event, Hint, StageContext, StageError, codes,
    contract::state::{StageState, StopReason},
    engine::{Limits, running::Prepared},
};

#[tokio::test(start_paused = true)]
async fn independent_stages_start_concurrently_and_dependants_wait() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let one = plan
        .builder("one", (), async |_: StageContext, ()| {
            sleep(secs(1)).await;
            Ok(1_u32)
        })
        .required();
    let two = plan
        .builder("two", (), async |_: StageContext, ()| {
            sleep(secs(2)).await;
            Ok(2_u32)
        })
        .required();
    let sum = plan
        .builder("sum", (one, two), async |_: StageContext, (one, two): (Arc<u32>, Arc<u32>)| Ok(*one + *two))
        .required();
    let began = Instant::now();
    let running = start(plan, &log).await.unwrap();
    assert_eq!(began.elapsed(), secs(2));
    assert_eq!(*running.get(sum).unwrap(), 3);
    assert_eq!(log.lines(), ["up one", "up two", "up sum"]);
    let timeline = running.status().timeline();
    let critical: Vec<_> = timeline.critical_path().map(|stage| stage.name.clone()).collect();
    assert_eq!(critical, ["two", "sum"]);
    assert_eq!(timeline.stages[0].slack, secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_order_only_edge_waits_without_handing_anything_over() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let slow = plan
        .builder("slow", (), async |_: StageContext, ()| {
            sleep(secs(1)).await;
            Ok(())
        })
        .required();
    plan.builder("later", (), async |_: StageContext, ()| Ok(())).after(slow).required();
    drop(start(plan, &log).await.unwrap());
    assert_eq!(log.lines(), ["up slow", "up later"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_undoes_its_half_and_stops_the_others_in_reverse() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan.builder("base", (), async |_: StageContext, ()| Ok(7_u32)).required();
    let middle = plan.builder("middle", base, async |_: StageContext, _| Ok(8_u32)).required();
    let undo = log.clone();
    let top = plan
        .builder("top", middle, async move |cx: StageContext, _: Arc<u32>| {
            let (first, second) = (undo.clone(), undo);
            cx.on_rollback(async move || {
                first.say("undo first");
                Ok(())
            });
            cx.step("second half");
            cx.on_rollback(async move || {
                second.say("undo second");
                Ok(())
            });
            Err::<(), _>("no".into())
        })
        .required();
    plan.builder("never", top, async |_: StageContext, _| Ok(())).required();
    let error = start(plan, &log).await.unwrap_err();
    assert_eq!(error.primary.stage, "top");
    assert_eq!(error.primary.step.as_deref(), Some("second half"));
    assert!(error.rollback.is_complete());
    assert_eq!(error.rollback.stopped, ["middle", "base"]);
    assert_eq!(error.never_started.len(), 1);
    assert_eq!(error.never_started[0].waited_for, [("top".into(), StageState::Failed)]);
    let lines: Vec<_> = log.lines().into_iter().filter(|line| line != "failed top").collect();
    assert_eq!(
        lines,
        [
            "up base",
            "up middle",
            "undo second",
            "undo first",
            "stopping middle",
            "stopped middle",
            "stopping base",
            "stopped base"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_stops_before_its_dependants_in_flight_have_settled() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan.builder("base", (), async |_: StageContext, ()| Ok(())).required();
    let undo = log.clone();
    plan.builder("slow", base, async move |cx: StageContext, _: Arc<()>| {
        cx.on_rollback(async move || {
            sleep(secs(1)).await;
            undo.say("undone slow");
            Ok(())
        });
        pending::<()>().await;
        Ok(())
    })
    .required();
    plan.builder("boom", base, async |_: StageContext, _: Arc<()>| {
        sleep(Duration::from_millis(30)).await;
        Err::<(), _>("boom".into())
    })
    .required();
    let error = start(plan, &log).await.unwrap_err();
    assert_eq!(error.primary.stage, "boom");
    assert_eq!(error.cancelled, ["slow"]);
    assert!(log.position("undone slow") < log.position("stopping base"));
    assert!(error.also.is_empty(), "a cancellation is no failure: {:?}", error.also);
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_comes_up_while_unwinding_is_stopped_like_any_other() {
    let (log, mut plan) = (Log::default(), Plan::new());
    plan.builder("late", (), async |cx: StageContext, ()| {
        cx.cancelled().await;
        sleep(Duration::from_millis(100)).await;
        Ok(())
    })
    .required();
    plan.builder("boom", (), async |_: StageContext, ()| Err::<(), _>("boom".into())).required();
    let error = start(plan, &log).await.unwrap_err();
    assert_eq!(error.rollback.stopped, ["late"]);
    assert_eq!(error.primary.stage, "boom");
}

#[tokio::test(start_paused = true)]
async fn a_stage_has_its_time_from_when_its_prerequisites_are_up() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan
        .builder("base", (), async |_: StageContext, ()| {
            sleep(secs(20)).await;
            Ok(())
        })
        .required();
    plan.builder("hangs", base, async |cx: StageContext, _: Arc<()>| {
        cx.step("connect");
        pending::<()>().await;
        Ok(())
    })
    .timeout(secs(5))
    .required();
    let began = Instant::now();
    let error = start(plan, &log).await.unwrap_err();
    assert_eq!(error.primary.error.failure_code(), codes::STAGE_TIMEOUT);
    assert_eq!(error.primary.step.as_deref(), Some("connect"));
    assert_eq!(error.primary.at, secs(25));
    assert_eq!(began.elapsed(), secs(27), "25 s, and a grace of 2 s");
    assert_eq!(error.kind(), ErrorKind::Temporary);
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_ran_out_of_time_may_say_what_took_so_long() {
    let (log, mut plan) = (Log::default(), Plan::new());
    plan.builder("database", (), async |cx: StageContext, ()| {
        cx.cancelled().await;
        Err::<(), _>(StageError::new(codes::DB_MIGRATION_TIMEOUT, "migration 8/12 was interrupted"))
    })
    .timeout(secs(5))
    .required();
    let error = start(plan, &log).await.unwrap_err();
    assert_eq!(error.primary.error.failure_code(), codes::DB_MIGRATION_TIMEOUT);
    assert_eq!((error.primary.at, error.also.len()), (secs(5), 0));
    assert_eq!(log.lines(), ["failed database"]);
}

#[tokio::test(start_paused = true)]
async fn the_start_as_a_whole_has_a_limit_that_names_who_was_starting() {
    let (log, mut plan) = (Log::default(), Plan::new());
    plan.builder("hangs", (), async |cx: StageContext, ()| {
        cx.step("wait for it");
        cx.cancelled().await;
        Err::<(), _>("cancelled".into())
    })
    .timeout(secs(600))
    .required();
    let limits = Limits { startup: secs(60), ..limits() };
    let error = start_with(plan, &log, limits).await.unwrap_err();
    assert_eq!(error.primary.error.failure_code(), codes::STARTUP_TIMEOUT);
    let facts = error.primary.error.facts();
    assert_eq!(facts[0].name, "hangs");
    assert!(facts[0].value.contains("wait for it"), "{facts:?}");
    assert_eq!(error.cancelled, ["hangs"]);
}

#[tokio::test(start_paused = true)]
async fn a_retryable_error_is_tried_again_after_its_half_is_undone() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let (tries, undo) = (Arc::new(AtomicU32::new(0)), log.clone());
    let seen = tries.clone();
    let stage = plan
        .builder("flaky", (), async move |cx: StageContext, ()| {
            assert_eq!(cx.attempt(), seen.fetch_add(1, Ordering::Relaxed) + 1);
            cx.on_rollback(async move || {
                undo.say("undone");
                Ok(())
            });
            if cx.attempt() < 3 { Err("not yet".into()) } else { Ok(cx.attempt()) }
        })
        .retry(5)
        .required();
    let running = start(plan, &log).await.unwrap();
    assert_eq!(*running.get(stage).unwrap(), 3);
    assert_eq!(tries.load(Ordering::Relaxed), 3);
    assert_eq!(log.lines(), ["undone", "retry flaky 1", "undone", "retry flaky 2", "up flaky"]);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_is_not_tried_again() {
    let (log, mut plan) = (Log::default(), Plan::new());
    plan.builder("strict", (), async |_: StageContext, ()| {
        Err::<(), _>(StageError::from("bad key").kind(ErrorKind::Config))
    })
    .retry(5)
    .required();
    let error = start(plan, &log).await.unwrap_err();
    assert_eq!((error.primary.attempts, error.kind()), (1, ErrorKind::Config));
}

#[tokio::test(start_paused = true)]
async fn an_optional_stage_that_fails_degrades_the_service() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let cache = plan
        .builder("cache", (), async |_: StageContext, ()| Err::<u32, _>("refused").hint("start the cache"))
        .optional();
    let user = plan
        .builder("user", cache, async |_: StageContext, cache: Option<Arc<u32>>| Ok(cache.is_none()))
        .required();
    let running = start(plan, &log).await.unwrap();
    assert!(*running.get(user).unwrap());
    assert_eq!(running.status().degraded(), ["cache"]);
    assert!(running.status().is_ready());
    assert!(running.shutdown("done").await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn an_optional_stage_that_comes_up_too_late_is_stopped_before_its_dependants_go_on() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let cache = plan
        .builder("cache", (), async |cx: StageContext, ()| {
            cx.cancelled().await;
            Ok(())
        })
        .timeout(secs(1))
        .optional();
    plan.builder("user", cache, async |_: StageContext, cache: Option<Arc<()>>| {
        assert!(cache.is_none());
        Ok(())
    })
    .required();
    let running = start(plan, &log).await.unwrap();
    assert_eq!(log.lines(), ["failed cache", "up cache", "stopping cache", "stopped cache", "up user"]);
    assert!(running.shutdown("done").await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_panic_names_its_stage_and_message_and_rolls_back() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan.builder("base", (), async |_: StageContext, ()| Ok(())).required();
    let undo = log.clone();
    plan.builder("boom", base, async move |cx: StageContext, _: Arc<()>| {
        cx.on_rollback(async move || {
            undo.say("undone");
            Ok(())
        });
        tokio::task::yield_now().await;
        if cx.attempt() == 1 { panic!("kaput {}", 7) } else { Ok(()) }
    })
    .required();
    let error = start(plan, &log).await.unwrap_err();
    assert_eq!(error.primary.error.failure_code(), codes::STAGE_PANICKED);
    assert_eq!(error.primary.error.to_string(), "kaput 7");
    assert!(log.position("undone") < log.position("stopping base"));
}

#[tokio::test(start_paused = true)]
async fn of_several_failures_the_first_in_time_is_the_cause() {
    let (log, mut plan) = (Log::default(), Plan::new());
    // The earlier failure settles later, because its undo takes a while; the other is not its doing.
    plan.builder("first", (), async |cx: StageContext, ()| {
        cx.on_rollback(async || {
            sleep(Duration::from_millis(500)).await;
            Ok(())
        });
        Err::<(), _>("first".into())
    })
    .required();
    plan.builder("second", (), async |_: StageContext, ()| Err::<(), _>("second".into())).required();
    let error = start(plan, &log).await.unwrap_err();
    assert_eq!(error.primary.stage, "first");
    assert_eq!(error.also.iter().map(|each| each.stage.as_ref()).collect::<Vec<_>>(), ["second"]);
}

#[tokio::test(start_paused = true)]
async fn a_signal_during_the_start_rolls_back() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan.builder("base", (), async |_: StageContext, ()| Ok(())).required();
    plan.builder("slow", base, async |cx: StageContext, _: Arc<()>| {
        cx.cancelled().await;
        Err::<(), _>("cancelled".into())
    })
    .required();
    let (prepared, control) = prepare(plan, &log);
    let (started, ()) = tokio::join!(prepared.start(), async {
        sleep(secs(1)).await;
        control.stop(StopReason::Signal("SIGTERM"));
    });
    let error = started.unwrap_err();
    assert_eq!(error.primary.error.failure_code(), codes::STARTUP_INTERRUPTED);
    assert_eq!(error.rollback.stopped, ["base"]);
    assert_eq!(error.cancelled, ["slow"]);
}

#[tokio::test(start_paused = true)]
async fn a_start_whose_caller_gave_up_rolls_back_on_its_own() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let base = plan.builder("base", (), async |_: StageContext, ()| Ok(())).required();
    plan.builder("slow", base, async |_: StageContext, _: Arc<()>| {
        pending::<()>().await;
        Ok(())
    })
    .required();
    let (stopped, is_stopped) = tokio::sync::oneshot::channel();
    let stopped = std::sync::Mutex::new(Some(stopped));
    let prepared = Prepared::new(
        plan,
        limits(),
        Some(Arc::new(move |event| {
            if let Event::Stopped { .. } = event {
                stopped.lock().unwrap().take().unwrap().send(()).unwrap();
            }
        })),
    )
    .unwrap();
    let board = prepared.board.clone();
    tokio::time::timeout(secs(1), prepared.start()).await.unwrap_err();
    is_stopped.await.unwrap();
    assert!(board.graph.ids().all(|id| board.cell(id).state().is_settled()));
    assert!(log.lines().is_empty());
}

#[tokio::test]
async fn a_handle_of_another_start_up_and_doubled_names_are_refused_together() {
    let (log, mut other, mut plan) = (Log::default(), Plan::new(), Plan::new());
    let foreign = other.builder("a", (), async |_: StageContext, ()| Ok(())).required();
    plan.builder("b", foreign, async |_: StageContext, _: Arc<()>| Ok(())).required();
    plan.builder("b", (), async |_: StageContext, ()| Ok(())).required();
    let error = start(plan, &log).await.unwrap_err();
    assert_eq!(error.primary.error.failure_code(), codes::GRAPH_INVALID);
    assert_eq!(error.primary.error.facts().len(), 2);
    assert!(log.lines().is_empty(), "nothing may start");
}

#[tokio::test(start_paused = true)]
async fn every_stage_that_names_nothing_starts_after_the_root_and_stops_before_it() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let root = plan.builder("root", (), async |_: StageContext, ()| Ok(())).required();
    plan.set_root(root);
    plan.builder("stage", (), async |_: StageContext, ()| Ok(())).required();
    assert_eq!(start(plan, &log).await.unwrap().shutdown("enough").await.summary.stopped, ["stage", "root"]);
}
