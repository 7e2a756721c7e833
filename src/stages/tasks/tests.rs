use std::{
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    codes::{self, TASK_FAILED},
    contract::{board::GaveUp, event::Event, state::Phase},
    stages::testing::{Start, stop_within},
};

mod contained;

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

/// Starts it in a service whose other stages are up.
async fn up<N: Clone + Send + 'static>(stage: &Tasks<N>, needs: N) -> Arc<TasksHandle> {
    let cx = Start::unhurried().cx;
    cx.board().set_phase(Phase::Ready);
    Arc::new(stage.start(cx, needs).await.unwrap())
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
    let error = stage.stop(handle, stop_within(Duration::from_secs(200))).await.unwrap_err();
    assert_eq!(error.to_string(), "task `rare` failed while it was stopped: now and then");
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

#[tokio::test(start_paused = true)]
async fn a_task_that_dies_in_a_loop_is_told_once_in_thirty_seconds_and_when_it_is_given_up() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = heard.clone();
    let start = Start::told_to(move |event| {
        if let Event::TaskEnded { task, error, pause, held_back, .. } = event {
            let again = if pause.is_some() { "again" } else { "given up" };
            hear.lock().unwrap().push(format!("{task}: {error}, {again} ({held_back})"));
        }
    });
    let stage = Tasks::new().restarts(4).task("broken", async |_, runs: Count| match runs.add() {
        1 => panic!("on purpose"),
        nth => Err(StageError::from(format!("failure {nth}"))),
    });
    let handle = Arc::new(stage.start(start.cx.clone(), Count::default()).await.unwrap());
    // The pauses are at most 2, 4, 8 and 16 s, and at least half as long.
    sleep(Duration::from_secs(60)).await;
    assert_eq!(handle.status()[0].restarts, 4);
    let heard = heard.lock().unwrap().clone();
    assert_eq!(heard.first().unwrap(), "broken: panicked: on purpose, again (0)");
    assert!(heard.last().unwrap().starts_with("broken: failure 5, given up ("), "{heard:?}");
    assert!(heard.len() <= 3, "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_held_back_is_told_when_the_service_stops() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = heard.clone();
    let start = Start::told_to(move |event| {
        if let Event::TaskEnded { error, held_back, .. } = event {
            hear.lock().unwrap().push(format!("{error} ({held_back})"));
        }
    });
    let stage = Tasks::new().task("broken", async |cx: RunContext, runs: Count| match runs.add() {
        nth @ 1..=3 => Err(StageError::from(format!("failure {nth}"))),
        _ => until_cancelled(cx, runs).await,
    });
    let handle = Arc::new(stage.start(start.cx.clone(), Count::default()).await.unwrap());
    sleep(Duration::from_secs(20)).await;
    stage.stop(handle, stop_within(Duration::from_secs(10))).await.unwrap();
    assert_eq!(*heard.lock().unwrap(), ["failure 1 (0)", "failure 3 (1)"]);
}

#[tokio::test(start_paused = true)]
async fn an_essential_task_that_is_given_up_ends_the_service_with_its_own_error() {
    let stage = Tasks::new().restarts(1).task("other", until_cancelled).essential_task(
        "vital",
        async |_, runs: Count| {
            runs.add();
            Err(StageError::from("no such table").kind(ErrorKind::Data))
        },
    );
    let (start, runs) = (Start::unhurried(), Count::default());
    let _handle = stage.start(start.cx.clone(), runs.clone()).await.unwrap();
    start.cx.board().failed().await;
    let GaveUp { stage: id, error, .. } = start.cx.board().gave_up().remove(0);
    assert_eq!((id, runs.get()), (start.cx.id(), 2));
    assert_eq!((error.failure_code(), error.error_kind()), (codes::STAGE_DATA, ErrorKind::Data));
    assert_eq!((error.to_string().as_str(), error.facts()[0].value.as_str()), ("no such table", "vital"));
}

#[tokio::test(start_paused = true)]
async fn an_essential_task_ends_the_service_however_it_ends() {
    type Ended = fn() -> StageResult<()>;
    let ways: [(Ended, _, &str); 3] = [
        (|| Ok(()), TASK_FAILED, "it ended by itself"),
        (|| panic!("on purpose"), codes::STAGE_PANICKED, "panicked: on purpose"),
        (|| Err(StageError::new(codes::DB_CORRUPT, "broken")), codes::DB_CORRUPT, "broken"),
    ];
    for (way, code, says) in ways {
        let stage = Tasks::new().restarts(0).essential_task("vital", move |_, (): ()| async move { way() });
        let start = Start::unhurried();
        let _handle = stage.start(start.cx.clone(), ()).await.unwrap();
        start.cx.board().failed().await;
        let error = start.cx.board().gave_up().remove(0).error;
        assert_eq!((error.failure_code(), error.to_string().as_str()), (code, says));
    }
}

#[tokio::test(start_paused = true)]
async fn only_an_essential_task_that_failed_under_a_right_that_holds_ends_the_service() {
    let fails = async |_: RunContext, (): ()| Err(StageError::from("always"));
    for (stage, lost) in [
        (Tasks::new().restarts(0).task("one", fails), false),
        (Tasks::new().restarts(0).essential_task("one", fails), true),
    ] {
        let start = Start::unhurried();
        if lost {
            start.worker.lose("the lock file was replaced");
        }
        let handle = Arc::new(stage.start(start.cx.clone(), ()).await.unwrap());
        let waited = tokio::time::timeout(Duration::from_secs(60), start.cx.board().failed()).await;
        assert!(waited.is_err(), "the lost right is the cause, and is told by itself");
        assert_eq!(states(&handle), [TaskState::GivenUp]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_blocks_its_thread_is_named_and_does_not_keep_the_stop() {
    type Parts = Arc<Mutex<Option<(tokio::sync::oneshot::Sender<()>, std::sync::mpsc::Receiver<()>)>>>;
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (began, has_begun) = tokio::sync::oneshot::channel::<()>();
    let parts: Parts = Arc::new(Mutex::new(Some((began, released))));
    let stage = Tasks::new()
        .task("one", async |cx: RunContext, _| {
            cx.cancelled().await;
            Ok(())
        })
        .task("blocking", async |_, parts: Parts| {
            let (began, released) = parts.lock().unwrap().take().unwrap();
            began.send(()).unwrap();
            let _sender_is_gone = released.recv();
            Ok(())
        });
    let handle = up(&stage, parts).await;
    has_begun.await.unwrap();
    let error = stage.stop(handle, stop_within(Duration::from_millis(500))).await.unwrap_err();
    assert_eq!(error.to_string(), "tasks that did not end in time and block their thread: blocking");
    drop(release);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_or_panics_while_it_stops_makes_the_stop_fail() {
    type Ended = fn() -> StageResult<()>;
    let ways: [(Ended, _, &str); 2] = [
        (|| Err("flush failed: disk full".into()), TASK_FAILED, "flush failed: disk full"),
        (|| panic!("on purpose"), codes::STAGE_PANICKED, "panicked: on purpose"),
    ];
    for (way, code, says) in ways {
        let stage =
            Tasks::new().task("calm", until_cancelled).task("writer", move |cx: RunContext, _| async move {
                cx.cancelled().await;
                way()
            });
        let handle = up(&stage, Count::default()).await;
        let error = stage.stop(handle.clone(), stop_within(Duration::from_secs(10))).await.unwrap_err();
        assert_eq!(error.to_string(), format!("task `writer` failed while it was stopped: {says}"));
        assert_eq!(error.failure_code(), code);
        assert_eq!(states(&handle), [TaskState::Ended; 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn every_task_that_does_not_end_well_is_named() {
    let fails = async |cx: RunContext, (): ()| {
        cx.cancelled().await;
        Err(StageError::from("disk full"))
    };
    let stage = Tasks::new()
        .task("one", fails)
        .task("two", fails)
        .task("stubborn", async |_: RunContext, (): ()| std::future::pending().await);
    let handle = up(&stage, ()).await;
    let error = stage.stop(handle, stop_within(Duration::from_secs(4))).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "tasks that did not end in time and were dropped: stubborn; task `one` failed while it was stopped: disk \
         full; task `two` failed while it was stopped: disk full"
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_that_was_told_that_the_right_is_lost_fails_no_stop() {
    let stage = Tasks::new().task("writer", async |cx: RunContext, (): ()| {
        cx.cancelled().await;
        cx.worker().check()?;
        Ok(())
    });
    let start = Start::unhurried();
    let handle = Arc::new(stage.start(start.cx.clone(), ()).await.unwrap());
    tokio::task::yield_now().await;
    start.worker.lose("the lock file was replaced");
    stage.stop(handle, stop_within(Duration::from_secs(1))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_before_the_others_are_up_is_started_again_as_one_that_ends_later() {
    let stage = Tasks::new().task("broken", async |_, (): ()| Err(StageError::from("not yet")));
    let start = Start::unhurried();
    let handle = Arc::new(stage.start(start.cx.clone(), ()).await.unwrap());
    while states(&handle) != [TaskState::Waiting] {
        tokio::task::yield_now().await;
    }
    stage.health(handle.clone()).await.unwrap();
    start.cx.board().set_phase(Phase::Ready);
    let error = stage.health(handle.clone()).await.unwrap_err();
    assert_eq!(error.to_string(), "task `broken` failed and will be started again: not yet");
    stage.stop(handle, stop_within(Duration::from_secs(1))).await.unwrap();
}
