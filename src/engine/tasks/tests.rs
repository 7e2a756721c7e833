use futures_util::FutureExt;
use tokio::time::{sleep, timeout};

use super::*;

const STAGE: StageId = StageId(0);

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("in drop");
    }
}

fn tasks(stages: usize) -> HookTasks {
    let graph = crate::graph::Graph::default().sound().unwrap();
    let board = crate::contract::board::Board::new(graph, Vec::new(), None, false);
    HookTasks::new(Heights::new(&board), Duration::from_secs(1), stages)
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_or_is_aborted_is_heard_of_once() {
    let mut tasks = tasks(1);
    tasks.spawn(STAGE, |to_engine| async move {
        let _held = to_engine;
        panic!("a defect of the engine");
    });
    assert!(matches!(told(&mut tasks).await, Told::Lost(STAGE)));
    assert!(tasks.is_empty());

    tasks.spawn(STAGE, |to_engine| async move {
        let _held = to_engine;
        std::future::pending::<()>().await;
    });
    assert!(!tasks.is_empty());
    tasks.abort_all();
    assert!(matches!(told(&mut tasks).await, Told::Lost(STAGE)));
    assert!(tasks.is_empty());
}

/// A job that ends at once, and tells in which task it ran.
fn short(tasks: &mut HookTasks, id: StageId) -> tokio::sync::oneshot::Receiver<tokio::task::Id> {
    let (sender, ran) = tokio::sync::oneshot::channel();
    tasks.spawn(id, |to_engine| async move {
        let _nobody_asks = sender.send(tokio::task::id());
        let outcome = up::Outcome::Ended { announced: false };
        to_engine.end(Told::Start { id, outcome, problems: Vec::new() });
    });
    ran
}

/// What is told next. Where nobody can go on to tell anything, time moves and this fails.
async fn told(tasks: &mut HookTasks) -> Told {
    let told = timeout(Duration::from_secs(1), tasks.told()).await;
    told.expect("a task tells something").expect("there is a sender")
}

/// How many tasks there are once none of them can go on, because time does not move before.
async fn alive() -> usize {
    sleep(Duration::from_secs(1)).await;
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(start_paused = true)]
async fn a_task_that_has_done_its_job_does_the_next() {
    let mut tasks = tasks(1);
    let first = short(&mut tasks, STAGE);
    assert!(matches!(told(&mut tasks).await, Told::Start { .. }));
    let second = short(&mut tasks, STAGE);
    assert!(!tasks.is_empty());
    assert!(matches!(told(&mut tasks).await, Told::Start { .. }));
    assert_eq!(first.await, second.await);
    assert_eq!(alive().await, 1);
    tasks.end_idle();
    assert_eq!(alive().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_was_lost_gets_no_other_job() {
    let mut tasks = tasks(1);
    for _ in 0..2 * STAYING {
        // It drops its way to the engine, and ends without a word.
        tasks.spawn(STAGE, |to_engine| async move { drop(to_engine) });
        assert!(matches!(told(&mut tasks).await, Told::Lost(STAGE)));
        assert!(tasks.idle.is_empty());
    }
    assert_eq!(alive().await, 0);
    let _ran = short(&mut tasks, STAGE);
    assert!(matches!(told(&mut tasks).await, Told::Start { .. }));
    assert_eq!((tasks.idle.len(), tasks.staying), (1, 1), "room is left for one that stays");
}

#[tokio::test(start_paused = true)]
async fn of_many_tasks_only_a_few_stay_and_none_after_they_are_ended() {
    let many = 3 * STAYING;
    let mut tasks = tasks(many);
    for _ in 0..2 {
        for id in 0..many {
            let _ran = short(&mut tasks, StageId(u32::try_from(id).unwrap()));
        }
        for _ in 0..many {
            assert!(matches!(told(&mut tasks).await, Told::Start { .. }));
        }
        assert!(tasks.is_empty());
        assert_eq!(alive().await, STAYING);
    }
    tasks.end_idle();
    assert_eq!(alive().await, 0);
    let _ran = short(&mut tasks, STAGE);
    assert_eq!(alive().await, 1, "it stays like the first one");
    drop(tasks);
    assert_eq!(alive().await, 0);
}

#[test]
fn a_job_for_a_task_that_the_runtime_has_ended_is_heard_of_as_lost() {
    let mut tasks = tasks(1);
    let ended = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let told = ended.block_on(async {
        let _ran = short(&mut tasks, STAGE);
        tasks.told().await
    });
    assert!(matches!(told, Some(Told::Start { .. })));
    drop(ended);

    let held = PanicsWhenDropped;
    tasks.spawn(STAGE, |to_engine| async move {
        let _held = (held, to_engine);
    });
    assert!(matches!(tasks.told().now_or_never(), Some(Some(Told::Lost(STAGE)))));
    assert!(tasks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_still_runs_ends_with_the_tasks() {
    let (alive, ended) = tokio::sync::oneshot::channel::<()>();
    let mut tasks = tasks(1);
    tasks.spawn(STAGE, |to_engine| async move {
        let _held = (alive, to_engine);
        std::future::pending::<()>().await;
    });
    drop(tasks);
    assert!(ended.await.is_err(), "its sender was dropped");
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_came_too_late_is_dropped_with_the_tasks_and_its_panic_goes_nowhere() {
    let mut tasks = tasks(1);
    tasks.spawn(STAGE, |to_engine| async move {
        let outcome = up::Outcome::Acquired(Arc::new(PanicsWhenDropped), tokio::time::Instant::now());
        to_engine.end(Told::Start { id: STAGE, outcome, problems: Vec::new() });
    });
    // The one thread of this runtime plays the task here, and nobody hears what it tells.
    tokio::task::yield_now().await;
    assert_eq!(tasks.told.len(), 1);
    drop(tasks);
}
