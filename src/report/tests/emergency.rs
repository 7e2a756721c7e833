use super::*;
use crate::{
    contract::{guard::LockLost, state::Phase},
    report::{Stalled, StalledStage, emergency::emergency},
};

fn text(phase: Phase, stages: Vec<StalledStage>) -> String {
    let identity = identity();
    comparable(&emergency(&Stalled { phase, limit: ms(8000), stages, lost: None }, 70, &identity), &identity)
}

fn stalled(name: &str, state: StageState, step: Option<&str>, blocks: bool) -> StalledStage {
    StalledStage { name: name.to_owned(), state, step: step.map(str::to_owned), blocks }
}

#[test]
fn a_start_that_is_blocked_names_the_stage_that_blocks_it_first() {
    let stages = vec![
        stalled("database", StageState::Interrupting, None, false),
        stalled("tasks", StageState::Starting, Some("load the jobs"), true),
    ];
    shows(
        &text(Phase::Starting, stages),
        r#"
================================================================================
STARTUP FAILED  tasks  [stage.blocked-executor]               exit 70 (SOFTWARE)
================================================================================
The start neither finished nor could be rolled back in time. The process does
not react any more, so it is ended at once.

Not finished
  tasks     starting, at `load the jobs`; BLOCKS a thread that others need
  database  asked to end

Do this
  1. Send this report, and the log lines before it, to the developers:
     banboard report --json
  2. For them: move the blocking call into `tokio::task::spawn_blocking` or a
     thread of its own.

NOT EVERYTHING WAS STOPPED. The end of this process ends what is left.
Restarting will NOT help: nothing shows that this cause goes away by itself.
More: banboard explain stage.blocked-executor
banboard 1.4.2  instance 7f3c19d2  host 4be1c0ffee12  2026-11-20T09:27:52Z
================================================================================
"#,
    );
}

#[test]
fn a_stop_that_never_ends_names_what_is_still_running() {
    let stages = vec![stalled("database", StageState::Stopping, Some("checkpoint"), false)];
    shows(
        &text(Phase::Stopping, stages),
        r#"
================================================================================
STOP INCOMPLETE  database  [rollback.incomplete]              exit 70 (SOFTWARE)
================================================================================
The service could not be stopped in time. The process does not react any more,
so it is ended at once.

Not finished
  database  stopping, at `checkpoint`

Do this
  1. Only slow? Allow more time, and set `stop_grace_period:` above it:
     BANBOARD_SHUTDOWN_TIMEOUT=16s
  2. Send this report, and the log lines before it, to the developers:
     banboard report --json

NOT EVERYTHING WAS STOPPED. The end of this process ends what is left.
The service can start again once this process has ended.
More: banboard explain rollback.incomplete
banboard 1.4.2  instance 7f3c19d2  host 4be1c0ffee12  2026-11-20T09:27:52Z
================================================================================
"#,
    );
}

#[test]
fn nothing_known_is_still_a_report() {
    let text = text(Phase::Draining, Vec::new());
    assert!(text.contains("STOP INCOMPLETE  startup  [rollback.incomplete]"), "{text}");
}

/// The report of a process that cannot stop for a right that is gone.
fn too_slow_for(lost: LockLost) -> (String, u8) {
    let identity = identity();
    let stages = vec![stalled("tasks", StageState::Stopping, None, true)];
    let stalled = Stalled { phase: Phase::Ready, limit: ms(8000), stages, lost: Some(lost) };
    let exit = stalled.kind().exit_code();
    (comparable(&emergency(&stalled, exit, &identity), &identity), exit)
}

#[test]
fn a_right_that_somebody_took_is_the_cause_whatever_keeps_the_process_from_stopping_for_it() {
    let (text, exit) = too_slow_for(LockLost::taken("the lease was taken over: it is gone"));
    assert_eq!(exit, 70);
    shows(
        &text,
        r#"
================================================================================
SERVICE FAILED  worker-mode  [lock.lost]                      exit 70 (SOFTWARE)
================================================================================
The right to be the only worker is lost: the lease was taken over: it is gone.
The service could not be stopped in time. Another instance may work from now on,
so this process is ended at once.

Not finished
  tasks  stopping; BLOCKS a thread that others need

Do this
  1. Find out what took it: a clean-up job or a restored backup that replaced
     the lock file, a second deployment.
  2. Make sure that no second one runs before you start it again:
     banboard lock status

NOT EVERYTHING WAS STOPPED. The end of this process ends what is left.
Restarting will NOT help: whatever took the lock away can do it again. Find it
first.
More: banboard explain lock.lost
banboard 1.4.2  instance 7f3c19d2  host 4be1c0ffee12  2026-11-20T09:27:52Z
================================================================================
"#,
    );
}

#[test]
fn a_right_that_ran_out_has_the_exit_code_of_a_failure_that_a_restart_mends_also_where_the_stop_hangs() {
    let look = "See what the kernel says of the disk: dmesg | tail -n 30".to_owned();
    let reason = "it was not renewed in time: the lease cannot be used: disk I/O error";
    let (text, exit) = too_slow_for(LockLost::expired(reason, vec![look]));
    assert_eq!(exit, 75);
    shows(
        &text,
        r#"
================================================================================
SERVICE FAILED  worker-mode  [lock.expired]                   exit 75 (TEMPFAIL)
================================================================================
The right to be the only worker ran out: it was not renewed in time: the lease
cannot be used: disk I/O error. The service could not be stopped in time.
Another instance may work from now on, so this process is ended at once.

Not finished
  tasks  stopping; BLOCKS a thread that others need

Do this
  1. See what the kernel says of the disk: dmesg | tail -n 30

NOT EVERYTHING WAS STOPPED. The end of this process ends what is left.
Restarting MAY help: nobody took the right, and the next start takes it again.
More: banboard explain lock.expired
banboard 1.4.2  instance 7f3c19d2  host 4be1c0ffee12  2026-11-20T09:27:52Z
================================================================================
"#,
    );
}
