//! What happens at the edges of a start: time limits without end, hooks that give way once, words that come too late.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use super::{Log, Plan, start};
use crate::{StageContext, StageResult, codes};

async fn up(_: StageContext, (): ()) -> StageResult<u32> {
    Ok(1)
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_that_the_clock_cannot_express_is_none() {
    let (log, mut plan) = (Log::default(), Plan::new());
    plan.builder("at-once", (), up).timeout(Duration::MAX).required();
    plan.builder("waits", (), async |_cx: StageContext, ()| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    })
    .timeout(Duration::MAX)
    .required();
    let report = start(plan, &log).await.unwrap().shutdown("enough").await;
    assert_eq!(report.summary.stopped.len(), 2);
}

#[tokio::test]
async fn a_hook_that_gives_way_once_is_not_polled_again_before_others_had_their_turn() {
    let (log, mut plan) = (Log::default(), Plan::new());
    let others = Arc::new(AtomicBool::new(false));
    let (seen, said) = (others.clone(), log.clone());
    plan.builder("gives-way", (), async move |_cx: StageContext, ()| {
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { others.store(true, Ordering::Relaxed) });
        tokio::task::yield_now().await;
        said.say(format!("others ran: {}", seen.load(Ordering::Relaxed)));
        Ok(())
    })
    .required();
    let running = start(plan, &log).await.unwrap();
    log.position("others ran: true");
    running.shutdown("enough").await;
}

#[tokio::test]
async fn an_undo_that_is_registered_after_the_start_is_over_is_dropped_at_once() {
    struct Connection(mpsc::Sender<()>);

    impl Drop for Connection {
        fn drop(&mut self) {
            let _nobody_listens = self.0.send(());
        }
    }

    for late in [true, false] {
        let (log, mut plan) = (Log::default(), Plan::new());
        let (keep, kept) = mpsc::channel();
        plan.builder("base", (), async move |cx: StageContext, ()| {
            if !late {
                cx.on_rollback(async || Ok(()));
            }
            keep.send(cx).unwrap();
            Ok(())
        })
        .required();
        let running = start(plan, &log).await.unwrap();
        let (closed, is_closed) = mpsc::channel();
        let connection = Connection(closed);
        kept.recv().unwrap().on_rollback(async move || {
            let _held = &connection;
            Ok(())
        });
        is_closed.try_recv().expect("nobody would ever run it, so what it holds is released");
        running.shutdown("enough").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_whose_copy_panics_fails_its_stage() {
    struct Uncopied;

    impl Clone for Uncopied {
        fn clone(&self) -> Self {
            panic!("no copy of this")
        }
    }

    let (log, mut plan) = (Log::default(), Plan::new());
    let uncopied = Uncopied;
    plan.builder("copied", (), move |_cx: StageContext, ()| {
        let _held = &uncopied;
        async { Ok(()) }
    })
    .retry(2)
    .required();
    let error = start(plan, &log).await.unwrap_err();
    assert_eq!(error.primary.error.failure_code(), codes::STAGE_PANICKED);
    assert!(error.primary.error.to_string().contains("no copy of this"), "{}", error.primary.error);
}
