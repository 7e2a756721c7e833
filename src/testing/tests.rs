//! The kit on a small graph: what each fault does, and that the assertions can fail.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use super::*;
use crate::{Env, Event, FailurePhase, StageContext, StageState, Startup, StopHook, WorkerMode, codes};

fn empty() -> Startup {
    with_limits("5s", "8s")
}

fn with_limits(stage: &str, shutdown: &str) -> Startup {
    let mode = WorkerMode::Many { reason: "no lock in this test".to_owned() };
    let vars = [("SHOP_STAGE_TIMEOUT", stage), ("SHOP_SHUTDOWN_TIMEOUT", shutdown)];
    Startup::new("shop", Env::from_vars("SHOP", vars), mode)
}

/// `database -> cache (optional) -> pages`, and a count of the databases that are open.
fn shop(open: &Arc<AtomicU32>) -> Startup {
    let mut startup = empty();
    let (opened, closed) = (open.clone(), open.clone());
    let database = startup
        .stage("database", (), async move |cx: StageContext, ()| {
            opened.fetch_add(1, Ordering::Relaxed);
            cx.on_rollback(async move || {
                opened.fetch_sub(1, Ordering::Relaxed);
                Ok(())
            });
            Ok("rows")
        })
        .stop(async move |_database, _cx| {
            closed.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        })
        .required();
    let cache = startup
        .stage("cache", database, async |_cx: StageContext, rows: Arc<&str>| Ok(rows.len()))
        .optional();
    startup
        .stage("pages", (database, cache), async |_cx: StageContext, _: (Arc<&str>, Option<Arc<usize>>)| {
            Ok(())
        })
        .required();
    startup
}

#[test]
fn every_fault_in_every_stage_releases_everything_and_is_named() {
    let open = Arc::new(AtomicU32::new(0));
    let seen = AtomicU32::new(0);
    for_each_single_fault(
        || shop(&open),
        |played| {
            seen.fetch_add(1, Ordering::Relaxed);
            assert_eq!(open.load(Ordering::Relaxed), 0, "{played}: the database is still open");
            match (&played.ended, played.fault) {
                (Ended::Stopped(report), Fault::StopError | Fault::StopPanic | Fault::StopHang) => {
                    let problem = &report.summary.problems[0];
                    assert_eq!((&*problem.stage, problem.hook), (&*played.stage, StopHook::Stop), "{played}");
                }
                (Ended::Stopped(report), _) => {
                    assert_eq!(played.stage, "cache", "{played}: nothing can do without it");
                    assert!(report.is_clean(), "{played}: {report:?}");
                }
                (Ended::Failed(error), fault) => {
                    assert_eq!(error.primary.stage, played.stage, "{played}");
                    let ill = error.primary.phase == FailurePhase::ReadyCheck;
                    assert_eq!(ill, fault == Fault::Unhealthy, "{played}");
                    assert!(error.rollback.is_complete(), "{played}: {:?}", error.rollback);
                }
            }
        },
    );
    assert_eq!(seen.into_inner(), 4 * u32::try_from(Fault::ALL.len()).unwrap(), "worker-mode included");
}

/// A stage that waits for a thread of its own: on a paused clock its time would be up before the thread runs.
fn threaded() -> (Startup, Arc<AtomicU32>) {
    let (mut startup, released) = (with_limits("2s", "4s"), Arc::new(AtomicU32::new(0)));
    let (opening, closing) = (released.clone(), released.clone());
    startup
        .stage("reader", (), async move |cx: StageContext, ()| {
            cx.on_rollback(async move || {
                opening.fetch_add(1, Ordering::Relaxed);
                Ok(())
            });
            let (answer, answered) = tokio::sync::oneshot::channel();
            std::thread::spawn(move || answer.send("open"));
            Ok(answered.await?)
        })
        .stop(async move |_reader, _cx| {
            closing.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .required();
    (startup, released)
}

#[test]
fn in_real_time_each_fault_is_played_once_with_what_belongs_to_its_start() {
    let seen = Mutex::new(Vec::new());
    for_each_single_fault_in_real_time(threaded, |played, released| {
        let began = played.spy.lines().contains(&"starting reader".to_owned());
        let replaced = matches!(played.fault, Fault::Error | Fault::ErrorFirst | Fault::Panic | Fault::Hang);
        let opened = began && !(replaced && played.stage == "reader");
        assert_eq!(released.load(Ordering::Relaxed), u32::from(opened), "{played}");
        seen.lock().unwrap().push((played.stage.clone(), played.fault));
    });
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.len(), 2 * Fault::ALL.len());
    assert!(single_faults(&threaded().0).iter().all(|each| seen.contains(each)));
}

#[test]
#[should_panic(expected = "Unhealthy in `reader` displeases")]
fn in_real_time_a_check_that_fails_fails_the_whole() {
    for_each_single_fault_in_real_time(threaded, |played, _released| {
        assert!(played.fault != Fault::Unhealthy || played.stage != "reader", "{played} displeases");
    });
}

#[tokio::test(start_paused = true)]
async fn each_fault_of_a_start_hook_is_what_its_name_says() {
    let codes = [
        (Fault::Error, codes::STAGE_FAILED),
        (Fault::ErrorAtEnd, codes::STAGE_FAILED),
        (Fault::Panic, codes::STAGE_PANICKED),
        (Fault::Hang, codes::STAGE_TIMEOUT),
        (Fault::LateSuccess, codes::STAGE_TIMEOUT),
    ];
    for (fault, code) in codes {
        let open = Arc::new(AtomicU32::new(0));
        let mut startup = shop(&open);
        let spy = EventSpy::attach(&mut startup);
        startup.inject(&FaultPlan::new().with("database", fault));
        let error = startup.start().await.unwrap_err();
        assert_eq!(error.primary.error.failure_code(), code, "{fault:?}");
        let up = spy.lines().contains(&"up database".to_owned());
        assert_eq!(up, fault == Fault::LateSuccess, "{fault:?}");
        assert_eq!(open.load(Ordering::Relaxed), 0, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn faults_in_several_stages_are_all_played() {
    let open = Arc::new(AtomicU32::new(0));
    let mut startup = shop(&open);
    let spy = EventSpy::attach(&mut startup);
    startup.inject(
        &FaultPlan::new()
            .with("pages", Fault::Error)
            .with("cache", Fault::StopPanic)
            .with("database", Fault::StopHang)
            .with("database", Fault::StopError),
    );
    let error = startup.start().await.unwrap_err();
    let problems: Vec<_> = error.rollback.problems.iter().map(|each| each.stage.as_ref()).collect();
    assert_eq!((error.primary.stage.as_ref(), problems), ("pages", vec!["cache", "database"]));
    assert_eq!(error.timeline.stages[1].state, StageState::Up, "as it was when the start ended");
    spy.assert_sequence(&[
        "failed pages",
        "rolling-back",
        "stop-failed cache",
        "stop-failed database",
        "end",
    ]);
}

#[tokio::test]
async fn a_spy_leaves_the_applications_own_listener_in_place() {
    let told = Arc::new(AtomicU32::new(0));
    let (mut startup, telling) = (empty(), told.clone());
    startup.on_event(move |_| {
        telling.fetch_add(1, Ordering::Relaxed);
    });
    let spy = EventSpy::attach(&mut startup);
    startup.start().await.unwrap().shutdown("enough").await;
    assert_eq!(usize::try_from(told.load(Ordering::Relaxed)).unwrap(), spy.events().len());
    assert!(matches!(spy.events().last(), Some(Event::Stopped { .. })));
}

#[tokio::test]
async fn the_assertions_fail_where_they_should() {
    let mut startup = shop(&Arc::default());
    let spy = EventSpy::attach(&mut startup);
    let running = startup.start().await.unwrap();
    let fails = |check: &dyn Fn()| catch_unwind(AssertUnwindSafe(check)).is_err();
    assert!(fails(&|| spy.assert_released()), "nothing is stopped yet");
    let report = running.shutdown("enough").await;
    spy.assert_released();
    spy.assert_ordered(&report.timeline);
    assert!(fails(&|| spy.assert_sequence(&["up cache", "up database"])), "the other way round");
    let mut reversed = report.timeline;
    reversed.stages[1].needs = vec!["pages".into()];
    assert!(fails(&|| spy.assert_ordered(&reversed)), "the database began and stopped first");
}

#[test]
#[should_panic(expected = "no stage is named `databse`; there are worker-mode, database, cache, pages")]
fn a_fault_in_a_stage_that_does_not_exist_is_refused() {
    shop(&Arc::default()).inject(&FaultPlan::new().with("databse", Fault::Error));
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_passes_fails_the_first_attempt_alone() {
    for attempts in [1, 2] {
        let mut startup = empty();
        startup
            .stage("database", (), async |cx: StageContext, ()| Ok(cx.attempt()))
            .retry(attempts)
            .required();
        let spy = EventSpy::attach(&mut startup);
        startup.inject(&FaultPlan::new().with("database", Fault::ErrorFirst));
        match startup.start().await {
            Ok(running) => {
                assert_eq!(attempts, 2);
                spy.assert_sequence(&["retrying database", "up database", "ready"]);
                assert!(running.shutdown("enough").await.is_clean());
            }
            Err(error) => {
                assert_eq!(attempts, 1);
                assert_eq!(error.primary.error.to_string(), "injected fault: ErrorFirst");
            }
        }
    }
}
