//! What becomes of the service when one of its stages fails: the library's test kit on the whole graph, with
//! real files, a real lock and a real port.

#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicUsize, Ordering};

use solostart::{
    StopHook,
    testing::{
        Ended, EventSpy, Fault, FaultPlan, SingleFault, for_each_single_fault_in_real_time, single_faults,
    },
};

use crate::tests::Host;

const LISTEN: &str = "127.0.0.1:0";

/// A start takes a small part of a second; what hangs on purpose is waited for this long.
const SHORT: [(&str, &str); 2] = [("BANBOARD_STAGE_TIMEOUT", "5s"), ("BANBOARD_SHUTDOWN_TIMEOUT", "4s")];

/// The proof that nothing was kept: lock, lease, database and log can be had again, by a service that
/// stops without any complaint.
async fn assert_starts_again(host: &Host, after: &str) {
    let (startup, _) = host.startup(LISTEN, &[]);
    let running = startup.start().await.unwrap_or_else(|error| panic!("after {after}: {error:?}"));
    let report = running.shutdown("the test is over").await;
    assert!(report.is_clean(), "after {after}: {report:?}");
}

/// No stage is optional. So a fault of a start hook or of a check ends the start, and is the one cause; a
/// fault of a stop hook is named, and the others stop.
fn assert_named(played: &SingleFault) {
    match (&played.ended, played.fault) {
        (Ended::Stopped(report), Fault::StopError | Fault::StopPanic | Fault::StopHang) => {
            let problems: Vec<_> =
                report.summary.problems.iter().map(|each| (&*each.stage, each.hook)).collect();
            assert_eq!(problems, [(&*played.stage, StopHook::Stop)], "{played}");
            assert!(report.summary.leaked.is_empty(), "{played}: {:?}", report.summary.leaked);
        }
        (Ended::Failed(error), _) => {
            assert_eq!(error.primary.stage, played.stage, "{played}: {error:?}");
            assert!(error.also.is_empty(), "{played}: {:?}", error.also);
            assert!(error.rollback.is_complete(), "{played}: {:?}", error.rollback);
        }
        (Ended::Stopped(report), _) => panic!("{played} went unnoticed: {report:?}"),
    }
}

#[test]
fn after_any_fault_in_any_stage_all_is_released_and_the_service_starts_again() {
    let seen = AtomicUsize::new(0);
    let build = || {
        let host = Host::new();
        (host.startup(LISTEN, &SHORT).0, host)
    };
    for_each_single_fault_in_real_time(build, |played, host| {
        seen.fetch_add(1, Ordering::Relaxed);
        assert_named(played);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(assert_starts_again(&host, &played.to_string()));
    });
    let stages = single_faults(&build().0).len() / Fault::ALL.len();
    assert_eq!(seen.into_inner(), stages * Fault::ALL.len());
    assert!(stages >= 7, "worker-mode and everything that the service holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_fails_over_a_follower_that_cannot_stop_rolls_all_else_back_in_order() {
    let host = Host::new();
    let (mut startup, _) = host.startup(LISTEN, &SHORT);
    let spy = EventSpy::attach(&mut startup);
    startup.inject(&FaultPlan::new().with("listener", Fault::ErrorAtEnd).with("tasks", Fault::StopPanic));
    let error = startup.start().await.unwrap_err();
    assert_eq!((&*error.primary.stage, error.also.len()), ("listener", 0));
    assert_eq!(error.rollback.problems[0].stage, "tasks", "told beside the cause, not in its place");
    spy.assert_sequence(&[
        "up worker-mode",
        "up database",
        "up cache",
        "up scheduler",
        "up tasks",
        "failed listener",
        "rolling-back",
        "stop-failed tasks",
        "stopped scheduler",
        "stopped cache",
        "stopped database",
        "stopped worker-mode",
        "end",
    ]);
    spy.assert_released();
    assert_starts_again(&host, "a rollback").await;
}
