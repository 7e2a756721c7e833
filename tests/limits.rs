//! Whatever limit of the operating system is reached first, a start ends by itself, with a report that names the limit and
//! says what raises it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{iter, path::Path, process::Command};

use rustix::process::geteuid;
use solostart::testing::Process;
use tempfile::TempDir;

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

/// A user who has no other process: the limit on threads counts all of a user's.
const NOBODY_ELSE: u32 = 42_424;

/// A process, and the directory that goes when it does.
struct Limited {
    process: Process,
    _data: TempDir,
}

/// One start of banboard under a limit, told as `prlimit` understands it; by the user of its own where `alone`.
fn limited(limit: &str, alone: bool) -> Limited {
    let data = tempfile::tempdir().unwrap();
    let program = support::example("banboard");
    let mut words = vec!["prlimit".to_owned(), limit.to_owned()];
    if alone {
        let user = NOBODY_ELSE.to_string();
        let become_root = ["sudo", "-n", "--preserve-env"];
        let root = if geteuid().is_root() { &[][..] } else { &become_root[..] };
        own(data.path(), root, &user);
        // That user need not be able to reach the checkout.
        let switch = format!(
            "exec 9<\"$0\"; exec setpriv --reuid {user} --regid {user} --clear-groups prlimit {limit} /proc/self/fd/9"
        );
        words = root.iter().copied().chain(["sh", "-c", &switch]).map(str::to_owned).collect();
    }
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(program).env_clear();
    let vars = [("BANBOARD_LISTEN", "127.0.0.1:0"), ("BANBOARD_ALLOW_UNSHARED_LOCK", "overlay,tmpfs")];
    command.envs(vars).env("BANBOARD_DATA_DIR", data.path()).env("PATH", std::env::var_os("PATH").unwrap());
    Limited { process: Process::start(&mut command), _data: data }
}

fn own(data: &Path, root: &[&str], user: &str) {
    let owner = format!("{user}:{user}");
    let words: Vec<&str> = root.iter().copied().chain(["chown", &owner]).collect();
    let done = Command::new(words[0]).args(&words[1..]).arg(data).status().unwrap();
    assert!(
        done.success(),
        "this test needs root, or `sudo -n`, to start a program as a user without other processes"
    );
}

/// A start that is ready, or that says which limit keeps it from it. Whether it is ready.
fn is_ready_or_names(mut limited: Limited, limit: &str, raise: &[&str]) -> bool {
    // Who has ended does not hear the signal.
    limited.process.wait_for_any(&["READY", "banboard explain"]).terminate();
    let ended = limited.process.wait();
    // One that is ready may need one more to serve.
    if ended.stderr.contains("READY") && ended.code() == 0 {
        return true;
    }
    assert_eq!(ended.code(), 71, "{limit}: {}", ended.stderr);
    ended.assert_failed(71, "process.limit");
    for words in raise {
        assert!(ended.stderr.contains(words), "{limit}: no `{words}` in\n{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("PANIC"), "{limit}: {}", ended.stderr);
    false
}

#[test]
fn whatever_number_of_threads_there_may_be_it_starts_or_names_the_limit() {
    let ready = (1..=24).map(|most| {
        let process = limited(&format!("--nproc={most}:{most}"), true);
        let raise = ["--nproc=", "pids_limit:", "TasksMax="];
        is_ready_or_names(process, &format!("{most} threads"), &raise)
    });
    let ready: Vec<bool> = ready.collect();
    assert!(!ready[0] && ready[23], "{ready:?}");
}

#[test]
fn whatever_number_of_descriptors_there_may_be_it_starts_or_names_the_limit() {
    let ready = (6..=40).chain(iter::once(80)).map(|most| {
        let process = limited(&format!("--nofile={most}:{most}"), false);
        is_ready_or_names(process, &format!("{most} descriptors"), &["nofile", "LimitNOFILE="])
    });
    let ready: Vec<bool> = ready.collect();
    assert!(!ready[0] && *ready.last().unwrap(), "{ready:?}");
}

#[test]
fn a_limit_on_the_size_of_files_is_named_and_no_signal_ends_it_without_a_word() {
    for most in [0, 4096, 40_960] {
        let process = limited(&format!("--fsize={most}:{most}"), false);
        assert!(!is_ready_or_names(process, &format!("{most} bytes"), &["fsize", "LimitFSIZE="]));
    }
}
