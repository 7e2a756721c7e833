//! Hooks that keep their thread, as the watchdog reports them, and others that end too late.

use std::{
    sync::{Arc, mpsc::channel},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{Log, Plan, limits, secs, start, start_with};
use crate::{
    ErrorKind, Event, StageContext, StageError, codes,
    engine::{BLOCKING_TICKS, Limits, running::Prepared},
    ids::StageId,
};

#[tokio::test(start_paused = true)]
async fn a_stage_that_blocks_is_told_once_and_has_until_its_time_is_up() {
    let (told, mut plan) = (Log::default(), Plan::new());
    plan.builder("slow", (), async |_: StageContext, ()| {
        sleep(secs(3)).await;
        Ok(())
    })
    .timeout(secs(5))
    .required();
    let sink = told.clone();
    let listener = move |event: &Event| {
        if let Event::StageBlocking { stage, .. } = event {
            sink.say(stage.as_ref());
        }
    };
    let prepared = Prepared::new(plan, limits(), Some(Arc::new(listener))).unwrap();
    let control = prepared.control.clone();
    let (started, ()) = tokio::join!(prepared.start(), async {
        for _ in 0..3 {
            sleep(secs(2)).await;
            // The third time it is up, and what then blocks is a check.
            control.blocking(StageId(0));
        }
    });
    tokio::task::yield_now().await;
    let report = started.unwrap().shutdown("enough").await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(told.lines(), ["slow"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_that_blocks_beyond_its_time_fails_the_start_and_is_stuck() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let (free, freed) = channel::<()>();
    let base = plan.builder("base", (), async |_: StageContext, ()| Ok(())).required();
    plan.builder("other", (), async |_: StageContext, ()| Ok(())).required();
    plan.builder("blocks", base, async move |cx: StageContext, _: Arc<()>| {
        cx.step("wait for the lock");
        let _disconnected = freed.recv();
        Ok(())
    })
    .timeout(Duration::from_millis(50))
    .required();
    let limits = Limits { shutdown: Duration::from_millis(200), ..limits() };
    let prepared = Prepared::new(plan, limits, Some(log.sink())).unwrap();
    let control = prepared.control.clone();
    let (started, ()) = tokio::join!(prepared.start(), async {
        sleep(Duration::from_millis(100)).await;
        control.blocking(StageId(2));
    });
    let error = started.unwrap_err();
    assert_eq!(error.primary.error.failure_code(), codes::STAGE_BLOCKED_EXECUTOR);
    assert_eq!(error.rollback.stopped, ["other"]);
    assert_eq!(error.rollback.stuck, [("blocks".into(), Some("wait for the lock".to_owned()))]);
    assert_eq!(error.rollback.left_up, [("base".into(), "blocks".into())]);
    drop(free);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_leaves_no_time_for_another_attempt_is_told_before_its_undo() {
    let (log, mut plan) = (Log::default(), Plan::new());
    plan.builder("flaky", (), async |cx: StageContext, ()| {
        cx.on_rollback(async || {
            sleep(secs(1)).await;
            Ok(())
        });
        sleep(Duration::from_millis(90)).await;
        Err::<(), _>("not yet".into())
    })
    .retry(5)
    .timeout(Duration::from_millis(150))
    .required();
    let error = start(plan, &log).await.unwrap_err();
    assert_eq!(
        error.primary.at,
        Duration::from_millis(90),
        "the next attempt would begin at 190 ms at least"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_ran_out_of_time_while_it_retried_tells_the_last_error_and_that_time_was_up() {
    // In the wait before another attempt, and in one that hangs.
    for hangs_in in [u32::MAX, 3] {
        let (log, mut plan) = (Log::default(), Plan::new());
        plan.builder("flaky", (), async move |cx: StageContext, ()| {
            if cx.attempt() == hangs_in {
                std::future::pending::<()>().await;
            }
            let refused = StageError::new(codes::DB_BUSY, "the database is locked");
            Err::<(), _>(refused.kind(ErrorKind::Temporary).hint("See who has it"))
        })
        .retry(50)
        .timeout(secs(20))
        .required();
        let failure = start(plan, &log).await.unwrap_err().primary;
        assert_eq!(failure.error.failure_code(), codes::DB_BUSY);
        assert_eq!(failure.error.actions(), ["See who has it"]);
        let gave_up = failure.error.facts().iter().find(|fact| fact.name == "gave up").unwrap();
        let attempt = format!("its time of 20.00s was up in attempt {}", failure.attempts);
        assert_eq!(gave_up.value, attempt);
        assert!(failure.attempts == hangs_in || hangs_in == u32::MAX);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_tries_again_until_the_whole_start_is_over_does_not_blame_its_own_time() {
    let (log, mut plan) = (Log::default(), Plan::new());
    plan.builder("flaky", (), async |_: StageContext, ()| Err::<(), _>("refused".into()))
        .retry(50)
        .timeout(secs(60))
        .required();
    let limits = Limits { startup: secs(10), ..limits() };
    let failure = start_with(plan, &log, limits).await.unwrap_err().primary;
    let gave_up = failure.error.facts().iter().find(|fact| fact.name == "gave up").unwrap();
    let expected = format!("the time of the whole start was up in attempt {}", failure.attempts);
    assert_eq!(gave_up.value, expected);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_returns_after_its_limit_is_late_and_one_that_returns_at_it_is_not() {
    let beats = BLOCKING_TICKS;
    for (took, beats, code) in [
        (secs(5), beats, None),
        (secs(6), beats - 1, Some(codes::STAGE_TIMEOUT)),
        (secs(6), beats, Some(codes::STAGE_BLOCKED_EXECUTOR)),
    ] {
        let (log, mut plan) = (Log::default(), Plan::new());
        plan.builder("busy", (), async move |cx: StageContext, ()| {
            // What a blocking call looks like from outside: the watchdog beats and the clock goes on, and
            // this does not return to the runtime.
            for _ in 0..beats {
                cx.board().tick();
            }
            let _unfinished = futures_util::poll!(std::pin::pin!(tokio::time::advance(took)));
            Ok(())
        })
        .timeout(secs(5))
        .required();
        match start(plan, &log).await {
            Ok(running) => assert!(code.is_none() && running.shutdown("enough").await.is_clean()),
            Err(error) => {
                assert_eq!(Some(error.primary.error.failure_code()), code);
                assert_eq!(log.lines(), ["failed busy", "up busy", "stopping busy", "stopped busy"]);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_watchdog_sees_what_a_hook_does_before_it_returns_its_future() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let busy = plan.builder("busy", (), |cx: StageContext, ()| {
        let seen: Vec<StageId> = cx.board().blocking_for(0).collect();
        async move { Ok((seen, cx.id())) }
    });
    let busy = busy.required();
    let running = start(plan, &log).await.unwrap();
    let (seen, id) = Arc::unwrap_or_clone(running.get(busy).unwrap());
    assert_eq!(seen, [id]);
    assert!(running.shutdown("enough").await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn an_error_that_only_the_request_to_end_brought_is_no_failure_of_its_own() {
    let (log, mut plan) = (Log::default(), Plan::new());
    plan.builder("slow", (), async |cx: StageContext, ()| {
        cx.cancelled().await;
        Err::<(), _>("the connection was closed".into())
    })
    .timeout(secs(5))
    .required();
    plan.builder("busy", (), async |cx: StageContext, ()| {
        cx.cancelled().await;
        Err::<(), _>(StageError::new(codes::DB_BUSY, "interrupted"))
    })
    .timeout(secs(9))
    .required();
    let error = start(plan, &log).await.unwrap_err();
    assert_eq!(error.primary.error.failure_code(), codes::STAGE_TIMEOUT, "the error says nothing more");
    assert!(error.also.is_empty(), "{:?}", error.also);
    assert_eq!(error.cancelled, ["busy"]);
}

#[tokio::test(start_paused = true)]
async fn no_stage_is_promised_time_after_the_end_of_the_whole_start() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let first = plan
        .builder("first", (), async |_: StageContext, ()| {
            sleep(secs(8)).await;
            Ok(())
        })
        .required();
    let said = log.clone();
    plan.builder("second", first, async move |cx: StageContext, _| {
        said.say(format!("{:?}", cx.deadline() - Instant::now()));
        Ok(())
    })
    .required();
    let limits = Limits { startup: secs(10), stage: secs(9), ..limits() };
    let running = start_with(plan, &log, limits).await.unwrap();
    assert!(running.shutdown("enough").await.is_clean());
    log.position("2s");
}
