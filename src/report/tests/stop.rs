use super::*;
use crate::{
    codes,
    contract::{guard::LockLost, outcome::StopReport, state::StopReason},
    report::{Report, failure::stop_failure},
};

fn stop_report(reason: StopReason, failure: Option<StageFailure>, summary: StopSummary) -> String {
    let timeline = Timeline { stages: Vec::new(), total: ms(740) };
    let identity = identity();
    let report = StopReport { reason, failure, also: Vec::new(), summary, timeline };
    comparable(&stop_failure(&report, 70, &identity), &identity)
}

fn while_serving(stage: &'static str, at: Duration, error: StageError) -> Option<StageFailure> {
    Some(StageFailure { phase: FailurePhase::Serve, at, elapsed: at, ..failure(stage, error) })
}

#[test]
fn a_lost_lock_is_told_with_its_reason_and_the_order_of_the_stop() {
    let lost = LockLost::taken("the lock file /data/app.lock was replaced");
    let failure =
        while_serving("worker-mode", Duration::from_secs(7500), StageError::new(codes::LOCK_LOST, lost));
    let order = ["tasks", "scheduler", "cache", "http-session", "database", "worker-mode"];
    shows(
        &stop_report(StopReason::LockLost, failure, rolled_back(ms(310), &order)),
        r#"
================================================================================
SERVICE FAILED  worker-mode  [lock.lost]                      exit 70 (SOFTWARE)
================================================================================
The right to be the only worker is lost: the lock file /data/app.lock was
replaced.

Do this
  1. Find out what took it: a clean-up job or a restored backup that replaced
     the lock file, a second deployment.
  2. Make sure that no second one runs before you start it again:
     banboard lock status

Restarting will NOT help: whatever took the lock away can do it again. Find it
first.
Stopped in 0.31 s: tasks, scheduler, cache, http-session, database, worker-mode.
Nothing is running.
Failed 2 h 05 min after the start began. More: banboard explain lock.lost
banboard 1.4.2  instance 7f3c19d2  host 4be1c0ffee12  2026-11-20T09:27:52Z
================================================================================
"#,
    );
}

#[test]
fn a_service_that_fails_is_not_called_a_failed_start() {
    let error = StageError::from(std::io::Error::from_raw_os_error(98)).fact("address", "0.0.0.0:8080");
    let failure = while_serving("serve", ms(750), error);
    shows(
        &stop_report(StopReason::Failed, failure, rolled_back(ms(31), &["tasks", "worker-mode"])),
        r#"
================================================================================
SERVICE FAILED  serve  [stage.failed]                         exit 70 (SOFTWARE)
================================================================================
The service failed while it was running: Address already in use (os error 98).

Found
  address  0.0.0.0:8080

Do this
  1. Send this report, and the log lines before it, to the developers:
     banboard report --json

Restarting will NOT help: nothing shows that this cause goes away by itself.
Stopped in 31 ms: tasks, worker-mode. Nothing is running.
Failed 0.75 s after the start began. More: banboard explain stage.failed
banboard 1.4.2  instance 7f3c19d2  host 4be1c0ffee12  2026-11-20T09:27:52Z
================================================================================
"#,
    );
}

#[test]
fn a_stop_that_left_something_names_it_and_says_that_a_start_is_possible() {
    let error =
        StageError::from("did not finish within its slice of 4.00s").fact("entries not written", "412");
    let summary = StopSummary {
        problems: vec![problem("cache", StopHook::Stop, error)],
        stuck: vec![("database".into(), Some("checkpoint".to_owned()))],
        left_up: vec![("worker-mode".into(), "database".into())],
        ..rolled_back(ms(8000), &["tasks", "scheduler"])
    };
    shows(
        &stop_report(StopReason::Signal("SIGTERM"), None, summary),
        r#"
================================================================================
STOP INCOMPLETE  cache  [rollback.incomplete]                 exit 70 (SOFTWARE)
================================================================================
The service was asked to stop (SIGTERM), but not everything could be stopped.

STOP INCOMPLETE after 8.00 s. The end of this process ends what is left.
Stopped: tasks, scheduler.
  cache        STOP FAILED: did not finish within its slice of 4.00s; entries
               not written: 412
  database     STILL RUNS, at `checkpoint`
  worker-mode  LEFT UP, because database still needs it

Do this
  1. Only slow? Allow more time, and set `stop_grace_period:` above it:
     BANBOARD_SHUTDOWN_TIMEOUT=16s
  2. Send this report, and the log lines before it, to the developers:
     banboard report --json

The service can start again once this process has ended.
More: banboard explain rollback.incomplete
banboard 1.4.2  instance 7f3c19d2  host 4be1c0ffee12  2026-11-20T09:27:52Z
================================================================================
"#,
    );
}

#[test]
fn a_service_that_failed_in_several_places_lists_them_all() {
    let error = |text: &str| StageError::new(codes::TASK_FAILED, text.to_owned());
    let mut report = StopReport {
        reason: StopReason::Failed,
        failure: while_serving("tasks", ms(740), error("no such table")),
        also: while_serving("feed", ms(741), error("the feed ended")).into_iter().collect(),
        summary: rolled_back(ms(31), &["tasks", "worker-mode"]),
        timeline: Timeline { stages: Vec::new(), total: ms(740) },
    };
    let identity = identity();
    let text = stop_failure(&report, 70, &identity);
    assert!(
        text.contains("Also failed, independently\n  feed  [task.failed] after 0.74 s: the feed ended\n"),
        "{text}"
    );
    let json = Report::stop_failed(&report, crate::ErrorKind::Software, &identity).json();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["also"][0]["stage"], "feed");
    assert_eq!(json["also"][0]["cause"][0], "the feed ended");
    report.also.clear();
    assert!(!stop_failure(&report, 70, &identity).contains("Also failed"));
}
