//! A worker that something happens to, and another one that waits for its turn.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use solostart::testing::{Exit, Process};
use tempfile::TempDir;

use crate::support;

/// How long a lease is where nobody waits for its end. It is renewed, and looked after, each second.
pub(crate) const TTL: &str = "5s";

/// A place where one of them may work: the data, and beside it the witness, which nothing happens to.
pub(crate) struct Place(TempDir);

/// What comes of whoever is next.
#[derive(Clone, Copy)]
pub(crate) enum Next<'a> {
    /// It starts.
    Starts,
    /// It fails with this exit code and failure code, and starts when that was mended.
    Fails(i32, &'static str, &'a dyn Fn(&Path)),
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.data()).unwrap();
        place
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Somewhere else in the same directory.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The test's application on this place, started through another program, where one is named.
    pub(crate) fn command(&self, through: &[&str], vars: &[(&str, &str)]) -> Command {
        let plain = support::command("test-app", &self.data(), vars);
        let mut words = through.iter().copied();
        let mut command = match words.next() {
            Some(program) => {
                let mut command = Command::new(program);
                command.args(words).arg(plain.get_program());
                command
            }
            None => Command::new(plain.get_program()),
        };
        let vars = plain.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.env_clear().env("TESTAPP_LEASE_TTL", TTL).env("TESTAPP_WITNESS", self.beside("witness"));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(vars);
        command
    }

    /// One that waits until it may work.
    pub(crate) fn waiting(&self, through: &[&str], vars: &[(&str, &str)]) -> Command {
        let mut command = self.command(through, vars);
        command.env("TESTAPP_INSTANCE_MODE", "wait").env("TESTAPP_LOCK_WAIT", "60s");
        command
    }

    pub(crate) fn start(&self) -> Process {
        Process::start(&mut self.command(&[], &[]))
    }

    pub(crate) fn refused(&self, exit: i32, code: &str) -> Exit {
        let ended = self.start().wait();
        ended.assert_failed(exit, code);
        alone(&ended);
        ended
    }

    /// The token of the lease, as an operator sees it from where `through` leads.
    pub(crate) fn token(&self, through: &[&str]) -> u64 {
        let mut status = self.command(through, &[]);
        let answer = status.args(["lock", "status", "--json"]).output().unwrap();
        let status: Value = serde_json::from_slice(&answer.stdout).unwrap();
        status["lease"]["token"].as_u64().unwrap_or_else(|| panic!("no token: {status}"))
    }

    /// Does the harm to a worker while another one waits for its turn. The worker must notice and stop for the
    /// reason that is given, the other one must not work before, and its token must be higher.
    pub(crate) fn damage(&self, harm: impl FnOnce(&Path), says: &str, next: Next<'_>) {
        let (mut first, mut second) = (self.command(&[], &[]), self.waiting(&[], &[]));
        self.damage_to(&mut first, &mut second, &[], |_| harm(&self.data()), (TAKEN, says), next);
    }

    /// The same for two who see different things. `through` leads to where others see the data.
    pub(crate) fn damage_to(
        &self,
        first: &mut Command,
        second: &mut Command,
        through: &[&str],
        harm: impl FnOnce(&Process),
        (code, says): (&str, &str),
        next: Next<'_>,
    ) {
        let mut first = Process::start(first);
        first.wait_for("READY");
        let token = self.token(through);
        harm(&first);
        let mut second = Process::start(second);
        let ended = first.wait();
        let exit = if code == RAN_OUT { 75 } else { 70 };
        ended.assert_failed(exit, code).assert_says(says).assert_says("base stopped");
        alone(&ended);
        if let Next::Fails(exit, code, mend) = next {
            let ended = second.wait();
            ended.assert_failed(exit, code);
            alone(&ended);
            mend(&self.data());
            second = Process::start(&mut self.command(through, &[]));
        }
        second.wait_for("READY");
        let newer = self.token(through);
        assert!(newer > token, "{says}: {newer} after {token}");
        alone(&second.kill());
    }
}

/// What somebody did to the locks ends the right in one way, a disk that does not take the lease in the other.
pub(crate) const TAKEN: &str = "lock.lost";
pub(crate) const RAN_OUT: &str = "lock.expired";

/// Nobody else worked while this one did.
#[track_caller]
pub(crate) fn alone(ended: &Exit) {
    assert!(!ended.stderr.contains("TWO WORKERS"), "{}", ended.stderr);
}
