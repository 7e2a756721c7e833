//! Whatever the application's code fails at, the job ends, is counted, and runs again.

use super::*;
use crate::{contain::testing::Hostile, stages::testing::Copies};

async fn hostile(_: RunContext, count: Arc<AtomicU32>) -> StageResult<()> {
    match count.fetch_add(1, Ordering::Relaxed) {
        0 => Err(Hostile.into()),
        1 => std::panic::panic_any(Hostile),
        2 => {
            let _dropped_by_the_time_limit = Hostile;
            std::future::pending().await
        }
        _ => Ok(()),
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_error_panic_or_future_cannot_be_shown_or_dropped_is_over_and_runs_again() {
    let (count, counted) = counting();
    let stage = Scheduler::new().time_limit(SECOND / 2).every("hostile", SECOND, hostile);
    let scheduler = up(&stage, count).await;
    sleep(SECOND * 6 / 10).await;
    let expected = [
        Some("its text cannot be written"),
        Some("panicked: a value that is not a text"),
        Some("not done within its time limit"),
        None,
    ];
    for expected in expected {
        sleep(SECOND).await;
        let stats = &scheduler.stats()[0];
        assert_eq!((stats.running, stats.last_error.as_deref()), (false, expected));
    }
    assert_eq!((counted(), scheduler.stats()[0].failed), (4, 3));
    stop(&stage, &scheduler).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_needs_cannot_be_copied_fails_and_is_not_running() {
    // One for the job itself, one for its first run.
    let needs = Copies(Arc::new(AtomicU32::new(2)));
    let stage = Scheduler::new().every("copies", SECOND, async |_, _: Copies| Ok(()));
    let scheduler = up(&stage, needs).await;
    sleep(SECOND * 5 / 2).await;
    let stats = &scheduler.stats()[0];
    assert_eq!((stats.runs, stats.failed, stats.running), (2, 1, false));
    assert_eq!(stats.last_error.as_deref(), Some("panicked: no copies left"));
    stop(&stage, &scheduler).await.unwrap();
}
