//! The beat under a wall clock of its own, which is set back while it runs. `faketime` shows one to a single process, so
//! this program starts itself again.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread::spawn,
};

use tempfile::TempDir;

use super::*;

const CHILD: &str = "SOLOSTART_TEST_CLOCK_IS_SET";

/// What a child is killed with, whatever becomes of the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn set(steps: &Path, seconds: i64) {
    let written = steps.with_extension("written");
    fs::write(&written, format!("{seconds:+}\n")).unwrap();
    fs::rename(written, steps).unwrap();
}

/// The same test in a process whose clock follows the file, and the lines that it prints.
fn under_a_clock(steps: &Path) -> (Running, Receiver<String>) {
    let found = Command::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]).output().unwrap();
    let name = "stages::scheduler::tests::set_back::a_clock_that_is_set_back_while_it_beats_goes_on";
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .env("LD_PRELOAD", String::from_utf8(found.stdout).unwrap().trim())
        .env("FAKETIME_TIMESTAMP_FILE", steps)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, receiver) = channel();
    spawn(move || lines.map_while(Result::ok).all(|line| sender.send(line).is_ok()));
    (Running(child), receiver)
}

/// Waits until a run began by a clock that shows `hours` more than ours.
fn until_it_runs(lines: &Receiver<String>, hours: i64) {
    loop {
        let line = lines.recv_timeout(60 * SECOND).expect("the job stands still");
        let ahead =
            line.strip_prefix("ran at ").map(|at| at.parse::<i64>().unwrap() - cron::now().timestamp());
        if ahead.is_some_and(|ahead| (ahead - hours * 3600).abs() < 1800) {
            return;
        }
    }
}

#[test]
fn a_clock_that_is_set_back_while_it_beats_goes_on() {
    if env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(async {
            let stage = Scheduler::new().cron("each-second", "* * * * * *", async |_, ()| {
                println!("ran at {}", cron::now().timestamp());
                Ok(())
            });
            let _scheduler = up(&stage, ()).await;
            // Until it is killed.
            sleep(600 * SECOND).await;
        });
    }
    let dir = TempDir::new().unwrap();
    let steps = dir.path().join("steps");
    set(&steps, 0);
    let (_child, lines) = under_a_clock(&steps);
    for hours in [0, -5, 3, 0] {
        set(&steps, hours * 3600);
        until_it_runs(&lines, hours);
    }
}
