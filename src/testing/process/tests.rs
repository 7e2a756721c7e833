use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

fn shell(script: &str) -> Process {
    Process::start(Command::new("sh").args(["-c", script]))
}

fn panics(body: impl FnOnce()) -> String {
    let panicked = catch_unwind(AssertUnwindSafe(body)).expect_err("it did not panic");
    panicked.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn a_process_is_waited_for_with_its_code_and_all_that_it_said() {
    let mut process = shell("echo one >&2; echo two >&2; exit 7");
    process.wait_for("one").wait_for("two").wait_for("one");
    let ended = process.wait();
    assert_eq!((ended.code(), ended.stderr.as_str()), (7, "one\ntwo\n"));
}

#[test]
fn a_text_that_never_comes_is_missed_as_soon_as_the_process_has_ended() {
    let text = panics(|| _ = shell("echo one >&2").wait_for("two"));
    assert!(text.contains("ended without `two`:\none"), "{text}");
}

#[test]
fn one_that_is_killed_has_no_exit_code_and_says_by_what_it_ended() {
    let ended = shell("exec sleep 600").kill();
    assert!(panics(|| _ = ended.code()).contains("signal: 9"));
}

#[test]
fn one_that_is_paused_stands_still_until_it_may_go_on() {
    let mut process = shell("trap 'echo heard >&2; exit 3' TERM; echo up >&2; while :; do sleep 0.01; done");
    process.wait_for("up").pause().terminate();
    assert!(process.is_running() && process.lines.recv_timeout(Duration::from_millis(100)).is_err());
    process.go_on();
    let ended = process.wait();
    assert_eq!(ended.code(), 3);
    ended.assert_says("heard");
    let mut ended = shell("exit 0");
    while ended.is_running() {
        thread::yield_now();
    }
    assert!(panics(|| _ = ended.pause()).contains("it did not stop"));
}

#[test]
fn a_child_that_keeps_stderr_open_does_not_keep_anybody_waiting() {
    let mut process = shell("sleep 600 & echo $! >&2; exit 4");
    process.wait_for("\n");
    let child = Pid::from_raw(process.seen.trim().parse().unwrap()).unwrap();
    let ended = process.wait();
    kill_process(child, Signal::KILL).unwrap();
    assert_eq!(ended.code(), 4);
}

#[test]
fn one_that_is_dropped_is_killed() {
    let process = shell("exec sleep 600");
    let id = Pid::from_child(&process.child);
    drop(process);
    assert!(rustix::process::test_kill_process(id).is_err());
}

#[test]
fn a_report_counts_only_with_both_codes_and_line_breaks_do_not() {
    let exit = |text: &str| shell(&format!("echo '{text}' >&2; exit 78")).wait();
    exit("FAILED  [lock.held]  exit 78 (CONFIG)").assert_failed(78, "lock.held");
    exit("the other\n  one").assert_says("the other one");
    for (text, code, name) in [
        ("[lock.held] exit 78 (CONFIG)", 75, "lock.held"),
        ("[lock.lost] exit 78 (CONFIG)", 78, "lock.held"),
        ("[lock.held] exit 70 (CONFIG)", 78, "lock.held"),
    ] {
        panics(|| _ = exit(text).assert_failed(code, name));
    }
}

#[test]
fn applications_that_let_two_work_are_found_out() {
    // It is up whatever else runs, and refuses nobody.
    let careless = || {
        let mut careless = Command::new("sh");
        careless.args(["-c", "echo READY >&2"]);
        careless
    };
    let text = panics(|| assert_one_worker(careless));
    assert!(text.contains("left: 0") && text.contains("right: 78"), "{text}");
}
