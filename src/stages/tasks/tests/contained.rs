//! Whatever the application's code fails at, a task is told of, and is not dead without notice.

use super::*;
use crate::{contain::testing::Hostile, stages::testing::Copies};

async fn hostile(_: RunContext, count: Count) -> StageResult<()> {
    match count.add() {
        1 => Err(Hostile.into()),
        _ => std::panic::panic_any(Hostile),
    }
}

#[tokio::test(start_paused = true)]
async fn an_essential_task_whose_error_or_panic_cannot_be_shown_or_dropped_ends_the_service() {
    for (restarts, expected) in [(0, TASK_FAILED), (1, codes::STAGE_PANICKED)] {
        let stage = Tasks::new().restarts(restarts).essential_task("hostile", hostile);
        let start = Start::unhurried();
        let handle = Arc::new(stage.start(start.cx.clone(), Count::default()).await.unwrap());
        start.cx.board().failed().await;
        let error = start.cx.board().gave_up().remove(0).error;
        assert_eq!(error.failure_code(), expected);
        assert_eq!(states(&handle), [TaskState::GivenUp]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_essential_task_whose_needs_cannot_be_copied_ends_the_service() {
    let stage = Tasks::new().restarts(0).essential_task("copies", async |_, _: Copies| Ok(()));
    let start = Start::unhurried();
    // One for the task itself.
    let needs = Copies(Arc::new(AtomicU32::new(1)));
    let handle = Arc::new(stage.start(start.cx.clone(), needs).await.unwrap());
    start.cx.board().failed().await;
    let error = start.cx.board().gave_up().remove(0).error;
    assert_eq!(error.to_string(), "panicked: no copies left");
    assert_eq!(states(&handle), [TaskState::GivenUp]);
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_future_panics_when_it_is_dropped_has_ended_with_the_stage() {
    let stage = Tasks::new().task("stubborn", async |_, _: Count| {
        let _dropped_with_the_stage = Hostile;
        std::future::pending().await
    });
    let handle = up(&stage, Count::default()).await;
    tokio::task::yield_now().await;
    stage.stop(handle.clone(), stop_within(Duration::from_secs(4))).await.unwrap_err();
    assert_eq!(states(&handle), [TaskState::Ended]);
}

#[tokio::test]
async fn no_task_runs_where_the_needs_of_one_of_them_cannot_be_copied() {
    let begun = Count::default();
    let seen = begun.clone();
    let stage = Tasks::new()
        .task("one", move |_, _: Copies| {
            seen.add();
            std::future::pending()
        })
        .task("two", async |_, _: Copies| Ok(()));
    let start = Start::unhurried();
    let cx = start.cx.clone();
    let starting = async move { stage.start(cx, Copies(Arc::new(AtomicU32::new(1)))).await.map(drop) };
    assert!(Handle::current().spawn(starting).await.unwrap_err().is_panic());
    tokio::task::yield_now().await;
    assert_eq!(begun.get(), 0);
}
