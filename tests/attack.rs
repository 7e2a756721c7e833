//! The quick form of each attack on the promise of one worker. `scripts/attack` makes the long ones.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![cfg(feature = "database")]

use std::process::Command;

use support::example;

#[allow(dead_code, reason = "every test file uses its own part of the support module")]
mod support;

/// The directory is one that the system keeps for temporary files, as in every other test.
fn withstands(attack: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(example("attack"));
    command.args([attack, "--quick", "--dir"]).arg(dir.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.starts_with(&format!("| {attack} |")), "{said}");
}

#[test]
fn of_many_that_try_at_once_exactly_one_wins() {
    withstands("contend");
}

#[test]
fn no_two_are_inside_at_once() {
    withstands("churn");
}

#[test]
fn a_service_that_was_killed_at_any_instant_starts_again() {
    withstands("kill");
}

#[test]
fn a_second_instance_is_refused_while_the_first_runs_on() {
    withstands("refuse");
}

#[test]
fn a_worker_that_was_paused_and_replaced_writes_nothing_and_ends() {
    withstands("pause");
}
