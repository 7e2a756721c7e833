use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::{Instant, sleep},
};

use super::*;
use crate::{
    contract::{event::Event, stage::Stage, state::Phase},
    error::StageError,
    stages::testing::{Start, stop_within},
};

mod contained;
mod cron_times;
mod missed;
mod refused;
mod set_back;
mod ticking;

const SECOND: Duration = Duration::from_secs(1);

async fn up<N: Clone + Send + Sync + 'static>(stage: &Scheduler<N>, needs: N) -> Arc<JobScheduler> {
    Arc::new(stage.start(Start::unhurried().cx, needs).await.unwrap())
}

async fn stop<N: Clone + Send + Sync + 'static>(
    stage: &Scheduler<N>,
    up: &Arc<JobScheduler>,
) -> StageResult<()> {
    stage.stop(up.clone(), stop_within(4 * SECOND)).await
}

fn counting() -> (Arc<AtomicU32>, impl Fn() -> u32) {
    let count = Arc::new(AtomicU32::new(0));
    let read = count.clone();
    (count, move || read.load(Ordering::Relaxed))
}

async fn count_up(_: RunContext, count: Arc<AtomicU32>) -> StageResult<()> {
    count.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_once_in_each_period_and_not_after_the_stop() {
    let (count, counted) = counting();
    let stage = Scheduler::new().every("count", SECOND, count_up);
    let scheduler = up(&stage, count).await;
    sleep(SECOND / 2).await;
    assert_eq!(counted(), 0);
    sleep(3 * SECOND).await;
    assert_eq!(counted(), 3);
    stop(&stage, &scheduler).await.unwrap();
    sleep(10 * SECOND).await;
    assert_eq!(counted(), 3);
    let stats = &scheduler.stats()[0];
    assert_eq!((stats.runs, stats.failed, stats.skipped, stats.running), (3, 0, 0, false));
    assert!(stats.last_began.is_some() && stats.last_took.is_some());
    assert_eq!(stats.schedule, "every 1s");
}

#[tokio::test(start_paused = true)]
async fn the_operator_can_switch_every_job_off() {
    let (count, counted) = counting();
    let env = Env::from_vars("SHOP", [("SHOP_SCHEDULER", "off")]);
    let stage =
        Scheduler::from_env(&env).every("count", SECOND, count_up).cron("cron", "* * * * * *", count_up);
    assert!(env.check().unwrap().is_empty());
    let start = Start::unhurried();
    let scheduler = Arc::new(stage.start(start.cx.clone(), count).await.unwrap());
    sleep(10 * SECOND).await;
    assert_eq!((counted(), scheduler.stats().len()), (0, 2));
    assert_eq!(start.note().as_deref(), Some("scheduler off: no job runs"));
    stop(&stage, &scheduler).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_job_never_overlaps_itself_and_the_skipped_runs_are_counted() {
    let (running, at_most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let stage = Scheduler::new().every(
        "slow",
        SECOND,
        async |_, (running, at_most): (Arc<AtomicU32>, Arc<AtomicU32>)| {
            at_most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            sleep(Duration::from_millis(2500)).await;
            running.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        },
    );
    let scheduler = up(&stage, (running, at_most.clone())).await;
    sleep(Duration::from_millis(9100)).await;
    // Due at 1 to 9 s: it runs from 1, 4 and 7 s.
    assert_eq!((scheduler.stats()[0].runs, scheduler.stats()[0].skipped), (3, 6));
    assert_eq!(at_most.load(Ordering::Relaxed), 1);
    stop(&stage, &scheduler).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn failures_panics_and_overruns_are_counted_and_do_not_end_the_job() {
    let (count, counted) = counting();
    let stage =
        Scheduler::new().time_limit(SECOND / 2).every("moody", SECOND, async |_, count: Arc<AtomicU32>| {
            match count.fetch_add(1, Ordering::Relaxed) {
                0 => Err(StageError::from("no such table")),
                1 => panic!("on purpose"),
                2 => std::future::pending().await,
                _ => Ok(()),
            }
        });
    let scheduler = up(&stage, count).await;
    sleep(SECOND * 6 / 10).await;
    for expected in ["no such table", "panicked: on purpose", "not done within its time limit"] {
        sleep(SECOND).await;
        assert_eq!(scheduler.stats()[0].last_error.as_deref(), Some(expected));
        stage.health(scheduler.clone()).await.unwrap();
    }
    sleep(SECOND).await;
    let stats = &scheduler.stats()[0];
    assert_eq!((counted(), stats.runs, stats.failed, stats.skipped), (4, 4, 3, 0));
    assert_eq!(stats.last_error, None);
    stop(&stage, &scheduler).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_is_dropped_and_none_begins_once_the_right_is_lost() {
    let (count, counted) = counting();
    let stage = Scheduler::new().every("long", SECOND, async |_, count: Arc<AtomicU32>| {
        count.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    });
    let start = Start::unhurried();
    let scheduler = Arc::new(stage.start(start.cx.clone(), count).await.unwrap());
    sleep(SECOND * 3 / 2).await;
    assert!(scheduler.stats()[0].running);
    start.worker.lose("the lock file was replaced");
    sleep(2 * SECOND).await;
    let stats = &scheduler.stats()[0];
    assert_eq!((counted(), stats.running, stats.failed, stats.skipped), (1, false, 1, 2));
    assert!(stats.last_error.as_ref().unwrap().contains("the lock file was replaced"), "{stats:?}");
    stop(&stage, &scheduler).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_the_run_that_goes_on() {
    let (count, counted) = counting();
    let stage = Scheduler::new().every("long", SECOND, async |cx: RunContext, count: Arc<AtomicU32>| {
        cx.cancelled().await;
        sleep(2 * SECOND).await;
        count_up(cx, count).await
    });
    let scheduler = up(&stage, count).await;
    sleep(SECOND * 3 / 2).await;
    stop(&stage, &scheduler).await.unwrap();
    assert_eq!(counted(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_does_not_end_in_time_is_dropped_and_named() {
    let (sender, mut receiver) = unbounded_channel::<()>();
    let stage = Scheduler::new().every("quick", SECOND, async |_, _| Ok(())).every(
        "stubborn",
        SECOND,
        async |_, held: UnboundedSender<()>| {
            std::future::pending::<()>().await;
            drop(held);
            Ok(())
        },
    );
    let scheduler =
        Arc::new(stage.start(Start::unhurried().cx, sender.downgrade().upgrade().unwrap()).await.unwrap());
    sleep(SECOND * 3 / 2).await;
    let cx = stop_within(4 * SECOND);
    let deadline = cx.deadline();
    let error = stage.stop(scheduler.clone(), cx).await.unwrap_err();
    assert_eq!(error.to_string(), "jobs that did not end in time and were dropped: stubborn");
    assert!(Instant::now() < deadline);
    assert!(!scheduler.stats()[1].running);
    // The run's own copy is gone: what is left are the test's and the jobs'.
    drop((sender, scheduler));
    assert_eq!(receiver.recv().await, None);
}

#[tokio::test]
async fn a_cron_job_runs_when_the_clock_says_so_and_its_thread_ends_with_the_stop() {
    let (sender, mut ran) = unbounded_channel();
    let stage = Scheduler::new().cron("each-second", "* * * * * *", async |_, ran: UnboundedSender<()>| {
        ran.send(())?;
        Ok(())
    });
    let scheduler = up(&stage, sender).await;
    stage.health(scheduler.clone()).await.unwrap();
    for _ in 0..2 {
        tokio::time::timeout(10 * SECOND, ran.recv()).await.unwrap().unwrap();
    }
    stop(&stage, &scheduler).await.unwrap();
    assert!(stage.health(scheduler.clone()).await.is_err());
    assert!(scheduler.stats()[0].runs >= 2);
}

/// The failures that are told, as `job: error (held back)`.
fn listening() -> (Start, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = heard.clone();
    let start = Start::told_to(move |event| {
        if let Event::JobFailed { stage, job, error, held_back } = event {
            hear.lock().unwrap().push(format!("{stage} {job}: {error} ({held_back})"));
        }
    });
    (start, heard)
}

#[tokio::test(start_paused = true)]
async fn of_failures_that_come_again_and_again_one_is_told_in_thirty_seconds_and_the_rest_at_the_end() {
    let (start, heard) = listening();
    let stage = Scheduler::new().every("broken", SECOND, async |_, count: Arc<AtomicU32>| {
        match count.fetch_add(1, Ordering::Relaxed) {
            0 => panic!("on purpose"),
            nth => Err(StageError::from(format!("failure {nth}"))),
        }
    });
    let scheduler = Arc::new(stage.start(start.cx.clone(), Arc::default()).await.unwrap());
    sleep(SECOND * 3 / 2).await;
    assert_eq!(*heard.lock().unwrap(), ["under-test broken: panicked: on purpose (0)"]);
    sleep(32 * SECOND).await;
    assert_eq!(heard.lock().unwrap()[1..], ["under-test broken: failure 30 (29)"]);
    stop(&stage, &scheduler).await.unwrap();
    assert_eq!(heard.lock().unwrap()[2..], ["under-test broken: failure 32 (1)"]);
    assert_eq!(scheduler.stats()[0].failed, 33);
}

#[tokio::test(start_paused = true)]
async fn each_run_waits_at_random_for_no_longer_than_its_jitter() {
    let stage = Scheduler::new().jitter(SECOND / 2).every(
        "scattered",
        SECOND,
        async |_, began: UnboundedSender<Instant>| {
            began.send(Instant::now())?;
            Ok(())
        },
    );
    let (sender, mut began) = unbounded_channel();
    let start = Instant::now();
    let scheduler = up(&stage, sender).await;
    sleep(SECOND * 201 / 2 + SECOND / 4).await;
    stop(&stage, &scheduler).await.unwrap();
    let mut waits = Vec::new();
    for nth in 1..=100 {
        waits.push(began.recv().await.unwrap().duration_since(start + nth * SECOND));
    }
    // A timer may be a millisecond late.
    assert!(waits.iter().all(|wait| *wait <= SECOND / 2 + Duration::from_millis(2)), "{waits:?}");
    assert!(waits.iter().max().unwrap().abs_diff(*waits.iter().min().unwrap()) > SECOND / 4, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_its_jitter_does_not_begin_when_the_stage_stops_or_the_right_is_lost() {
    for lost in [false, true] {
        let (count, counted) = counting();
        let stage = Scheduler::new().jitter(900 * SECOND).every("later", 1000 * SECOND, count_up);
        let start = Start::unhurried();
        let scheduler = Arc::new(stage.start(start.cx.clone(), count).await.unwrap());
        sleep(1000 * SECOND + Duration::from_millis(1)).await;
        assert!(scheduler.stats()[0].running);
        if lost {
            start.worker.lose("the lock file was replaced");
            sleep(900 * SECOND).await;
        }
        let began = Instant::now();
        stop(&stage, &scheduler).await.unwrap();
        let stats = &scheduler.stats()[0];
        assert_eq!((counted(), stats.runs, stats.skipped, stats.running), (0, 0, u64::from(lost), false));
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn no_run_begins_while_the_service_drains() {
    let (count, counted) = counting();
    let stage = Scheduler::new().every("count", SECOND, count_up);
    let start = Start::unhurried();
    let scheduler = Arc::new(stage.start(start.cx.clone(), count).await.unwrap());
    sleep(SECOND * 3 / 2).await;
    start.cx.board().set_phase(Phase::Draining);
    sleep(10 * SECOND).await;
    assert_eq!((counted(), scheduler.stats()[0].skipped), (1, 0));
    stop(&stage, &scheduler).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_blocks_its_thread_is_named_and_does_not_keep_the_stop() {
    type Released = Arc<Mutex<std::sync::mpsc::Receiver<()>>>;
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (sender, mut began) = unbounded_channel();
    let stage = Scheduler::new().every(
        "blocking",
        Duration::from_millis(5),
        async |_, (began, released): (UnboundedSender<()>, Released)| {
            began.send(())?;
            let _sender_is_gone = released.lock().unwrap().recv();
            Ok(())
        },
    );
    let scheduler = up(&stage, (sender, Arc::new(Mutex::new(released)))).await;
    began.recv().await.unwrap();
    let error = stage.stop(scheduler, stop_within(SECOND / 2)).await.unwrap_err();
    assert_eq!(error.to_string(), "jobs that did not end in time and block their thread: blocking");
    drop(release);
}

#[tokio::test]
async fn a_clock_says_that_it_goes_on_once_it_beats_and_no_more_once_it_is_stopped() {
    let clock = cron::Cron::start(Vec::new()).unwrap();
    clock.goes_on().await.unwrap();
    clock.stop().await;
    assert!(clock.goes_on().await.unwrap_err().to_string().contains("has ended"));
}

#[tokio::test]
async fn a_clock_that_is_stopped_before_it_beats_ends_all_the_same() {
    let clock = cron::Cron::start(Vec::new()).unwrap();
    clock.stop().await;
    assert!(clock.goes_on().await.is_err());
}
