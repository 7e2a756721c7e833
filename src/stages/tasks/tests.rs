use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::*;
use crate::stages::testing::{Start, stop_within};

/// Counts how often it was called.
#[derive(Clone, Default)]
struct Count(Arc<AtomicU32>);

impl Count {
    fn add(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What sets the count off when it is dropped.
struct OnDrop(Count);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.add();
    }
}

async fn up<N: Clone + Send + 'static>(stage: &Tasks<N>, needs: N) -> Arc<TasksHandle> {
    Arc::new(stage.start(Start::unhurried().cx, needs).await.unwrap())
}

fn states(handle: &TasksHandle) -> Vec<TaskState> {
    handle.status().iter().map(|status| status.state).collect()
}

async fn until_cancelled(cx: RunContext, _: Count) -> StageResult<()> {
    cx.cancelled().await;
    Ok(())
}

#[tokio::test]
async fn a_stop_cancels_every_task_and_waits_for_it() {
    let ended = Count::default();
    let stage =
        Tasks::new().task("one", until_cancelled).task("two", async |cx: RunContext, ended: Count| {
            cx.cancelled().await;
            tokio::task::yield_now().await;
            ended.add();
            Ok(())
        });
    let handle = up(&stage, ended.clone()).await;
    stage.health(handle.clone()).await.unwrap();
    stage.stop(handle.clone(), stop_within(Duration::from_secs(10))).await.unwrap();
    assert_eq!(ended.get(), 1);
    assert_eq!(states(&handle), [TaskState::Ended; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_end_in_time_is_dropped_and_named() {
    let dropped = Count::default();
    let stage = Tasks::new().task("one", until_cancelled).task("stubborn", async |_, dropped: Count| {
        let _guard = OnDrop(dropped);
        std::future::pending().await
    });
    let handle = up(&stage, dropped.clone()).await;
    tokio::task::yield_now().await;
    let cx = stop_within(Duration::from_secs(4));
    let deadline = cx.deadline();
    let error = stage.stop(handle.clone(), cx).await.unwrap_err();
    assert_eq!(error.to_string(), "tasks that did not end in time and were dropped: stubborn");
    assert!(Instant::now() < deadline);
    assert_eq!(dropped.get(), 1);
    assert_eq!(states(&handle), [TaskState::Ended; 2]);
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_by_itself_is_unhealthy_and_started_again() {
    let runs = Count::default();
    let stage = Tasks::new().task("moody", async |cx: RunContext, runs: Count| {
        // Long enough for the test to see it running.
        sleep(Duration::from_millis(500)).await;
        match runs.add() {
            1 => Ok(()),
            2 => Err(StageError::from("no such table")),
            3 => panic!("on purpose"),
            _ => until_cancelled(cx, runs).await,
        }
    });
    let handle = up(&stage, runs.clone()).await;
    for expected in ["it ended by itself", "no such table", "panicked: on purpose"] {
        while states(&handle) == [TaskState::Running] {
            sleep(Duration::from_millis(100)).await;
        }
        let error = stage.health(handle.clone()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("task `moody` failed and will be started again: {expected}"));
        while states(&handle) == [TaskState::Waiting] {
            sleep(Duration::from_millis(100)).await;
        }
    }
    sleep(Duration::from_secs(1)).await;
    stage.health(handle.clone()).await.unwrap();
    assert_eq!(handle.status()[0].restarts, 3);
    stage.stop(handle, stop_within(Duration::from_secs(1))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_too_often_in_a_row_is_given_up_and_stays_unhealthy() {
    let runs = Count::default();
    let stage = Tasks::new().restarts(2).task("broken", async |_, runs: Count| {
        runs.add();
        Err(StageError::from("always"))
    });
    let handle = up(&stage, runs.clone()).await;
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(runs.get(), 3);
    let error = stage.health(handle.clone()).await.unwrap_err();
    assert_eq!(error.to_string(), "task `broken` failed too often and is given up: always");
    stage.stop(handle, stop_within(Duration::from_secs(1))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_minute_of_running_begins_the_row_anew() {
    let runs = Count::default();
    let stage = Tasks::new().restarts(1).task("rare", async |_, runs: Count| {
        runs.add();
        sleep(Duration::from_secs(61)).await;
        Err(StageError::from("now and then"))
    });
    let handle = up(&stage, runs.clone()).await;
    sleep(Duration::from_secs(3600)).await;
    assert!(runs.get() > 50, "{}", runs.get());
    stage.stop(handle, stop_within(Duration::from_secs(200))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_again_once_the_right_is_lost() {
    let runs = Count::default();
    let stage = Tasks::new().task("one", async |_, runs: Count| {
        runs.add();
        sleep(Duration::from_secs(1)).await;
        Ok(())
    });
    let start = Start::unhurried();
    let handle = Arc::new(stage.start(start.cx.clone(), runs.clone()).await.unwrap());
    start.worker.lose("the lock file was replaced");
    sleep(Duration::from_secs(3600)).await;
    assert_eq!((runs.get(), states(&handle)), (1, vec![TaskState::GivenUp]));
    stage.stop(handle, stop_within(Duration::from_secs(1))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_the_pause_of_a_task_that_failed() {
    let stage = Tasks::new().task("broken", async |_, (): ()| Err(StageError::from("always")));
    let handle = up(&stage, ()).await;
    while states(&handle) != [TaskState::Waiting] {
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    stage.stop(handle.clone(), stop_within(Duration::from_secs(60))).await.unwrap();
    assert_eq!((began.elapsed(), states(&handle)), (Duration::ZERO, vec![TaskState::Ended]));
}

#[tokio::test]
async fn two_tasks_of_one_name_are_refused() {
    let stage = Tasks::new().task("one", until_cancelled).task("one", until_cancelled);
    let error = stage.start(Start::unhurried().cx, Count::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "two tasks are named `one`");
}
