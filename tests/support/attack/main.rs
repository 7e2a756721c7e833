//! Attacks on the promise that exactly one worker runs: `scripts/attack` builds this program and runs it, and
//! `tests/attack.rs` runs the quick form of each attack. What came of the long ones stands in
//! `docs/performance.md`.
//!
//! The program is the referee, and with a role in its environment each of the processes that it starts. It sees
//! the library as an application does: nothing here reaches further than the public interface.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a broken promise is a panic, and what was found is printed"
)]

use std::{
    env,
    fmt::Display,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
};

mod arena;
mod churn;
mod contend;
mod figures;
mod kill;
mod pause;
mod process;
mod refuse;
mod roles;
mod worker;

/// The variable that makes a process of this program one of the attacked.
const ROLE: &str = "SOLOSTART_ATTACK_ROLE";

const USAGE: &str =
    "usage: attack [contend] [churn] [kill] [refuse] [pause] [--quick] [--seed N] [--dir DIR]";

/// Prints what it found, and panics where a promise is broken.
type Attack = fn(&Plan);

const ATTACKS: &[(&str, Attack)] = &[
    ("contend", contend::attack),
    ("churn", churn::attack),
    ("kill", kill::attack),
    ("refuse", refuse::attack),
    ("pause", pause::attack),
];

/// How an attack is to be made.
#[derive(Clone, Debug)]
struct Plan {
    /// The attack's name.
    name: &'static str,
    /// Where the locks are. It is on the file system that is to be tested.
    dir: PathBuf,
    /// Every random instant and length comes from it.
    seed: u64,
    /// Seconds instead of minutes.
    quick: bool,
}

impl Plan {
    fn either<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Prints one row of the table.
    fn found(&self, what: impl Display, found: impl Display) {
        println!("| {} | {what} | {found} | {} |", self.name, self.seed);
    }

    /// An empty directory that is removed when it is dropped.
    fn place(&self) -> tempfile::TempDir {
        tempfile::Builder::new().prefix("attack-").tempdir_in(&self.dir).unwrap()
    }
}

fn main() -> ExitCode {
    match env::var(ROLE).as_deref() {
        Ok("contender") => contend::contender(),
        Ok("churner") => churn::churner(),
        Ok("flock") => return roles::plain_flock(),
        Ok("bystander") => return roles::bystander(),
        Ok("holder") => return roles::holder(),
        Ok("writer") => return pause::writer(),
        Ok("stubborn") => return pause::stubborn(),
        Ok(other) => panic!("no role {other}"),
        Err(_) => return referee(),
    }
    ExitCode::SUCCESS
}

fn referee() -> ExitCode {
    let Some((plan, names)) = asked(env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    let mut broken = false;
    for &(name, attack) in ATTACKS {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        let plan = Plan { name, ..plan.clone() };
        let told = plan.clone();
        // On a thread of its own, so that a panic ends one attack and not those that follow.
        if thread::spawn(move || attack(&plan)).join().is_err() {
            broken = true;
            told.found("**BROKEN**", format_args!("replay: scripts/attack {name} --seed {}", told.seed));
        }
    }
    ExitCode::from(u8::from(broken))
}

fn asked(mut arguments: impl Iterator<Item = String>) -> Option<(Plan, Vec<String>)> {
    let beside = env::current_exe().unwrap();
    let dir = beside.parent().and_then(Path::parent).unwrap().to_owned();
    let mut plan = Plan { name: "", dir, seed: figures::fresh_seed(), quick: false };
    let mut names = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => plan.quick = true,
            "--seed" => plan.seed = arguments.next()?.parse().ok()?,
            "--dir" => plan.dir = arguments.next()?.into(),
            name if ATTACKS.iter().any(|(known, _)| *known == name) => names.push(argument),
            _ => return None,
        }
    }
    Some((plan, names))
}
