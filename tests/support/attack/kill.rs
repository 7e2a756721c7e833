//! `kill -9` at random instants of the start, the run and the stop of `banboard`: every next start succeeds, and
//! soon.

use std::{
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use solostart::stages::database::rusqlite::Connection;

use crate::{
    Plan,
    figures::{Dice, Spread},
    process::{BOTH_HELD, Process, banboard, role},
    roles::HELD,
};

/// During which phase of the service it is killed.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Starting,
    Running,
    Stopping,
}

const PHASES: [Phase; 3] = [Phase::Starting, Phase::Running, Phase::Stopping];

pub(crate) fn attack(plan: &Plan) {
    let kills = plan.either(360, 9);
    let place = plan.place();
    let (board, bare, plain) =
        (place.path().join("board"), place.path().join("bare"), place.path().join("plain"));
    for dir in [&bare, &plain] {
        std::fs::create_dir(dir).unwrap();
    }
    let mut dice = Dice::new(plan.seed, 0);
    let (start, stop) = usual_times(&board);
    let mut next = Spread::default();
    let (mut restarts, mut flocks) = (Spread::default(), Spread::default());
    let (mut waiting, mut queued) = (Spread::default(), Spread::default());
    for number in 0..kills {
        let phase = PHASES[number % PHASES.len()];
        next.add(kill_and_start(&board, phase, start, stop, &mut dice));
        // In turn, so that what else the machine does meets all alike.
        restarts.add(restart(|| role("holder", &bare)));
        flocks.add(restart(|| role("flock", &plain)));
        waiting.add(inherit(|| waiter("holder", &bare), &mut dice));
        queued.add(inherit(|| waiter("flock", &plain), &mut dice));
    }
    let kept: String = Connection::open(board.join("banboard.db"))
        .and_then(|db| db.query_row("PRAGMA integrity_check", [], |row| row.get(0)))
        .unwrap();
    assert_eq!(kept, "ok");
    plan.found(
        format_args!("`kill -9` of banboard at {kills} random instants of start, run and stop"),
        "every next start reached READY, and stopped clean with the database intact",
    );
    plan.found("from `kill -9` to the next banboard holding both locks", next.text());
    plan.found("the same with a program without stages", restarts.text());
    plan.found("the same with a plain `flock`", flocks.text());
    plan.found("from `kill -9` to one that waited (`INSTANCE_MODE=wait`) holding both", waiting.text());
    plan.found("the same with a plain `flock` that blocks", queued.text());
}

/// How long banboard takes to start and to stop here.
fn usual_times(dir: &Path) -> (Duration, Duration) {
    let (mut starts, mut stops) = (Spread::default(), Spread::default());
    for _ in 0..5 {
        let began = Instant::now();
        let mut service = Process::spawn(banboard(dir));
        starts.add(service.must_say("READY") - began);
        let asked = Instant::now();
        service.stop();
        stops.add(asked.elapsed());
    }
    (starts.at(0.5), stops.at(0.5))
}

/// Kills one banboard in this phase; the next one must come up by itself, and stop clean.
fn kill_and_start(dir: &Path, phase: Phase, start: Duration, stop: Duration, dice: &mut Dice) -> Duration {
    let killed = loop {
        let mut victim = Process::spawn(banboard(dir));
        let instant = match phase {
            Phase::Starting => dice.between(Duration::ZERO, start),
            Phase::Running => {
                victim.must_say("READY");
                dice.between(Duration::ZERO, Duration::from_millis(50))
            }
            Phase::Stopping => {
                victim.must_say("READY");
                victim.signal(Signal::TERM);
                dice.between(Duration::ZERO, stop)
            }
        };
        thread::sleep(instant);
        let killed = Instant::now();
        victim.signal(Signal::KILL);
        // One that had stopped by itself is no victim, and another instant is drawn.
        if victim.wait().0.code().is_none() {
            break killed;
        }
    };
    let mut next = Process::spawn(banboard(dir));
    let held = next.must_say(BOTH_HELD);
    next.must_say("READY");
    next.stop();
    held - killed
}

/// From the kill of a holder to another one, started when it is gone.
fn restart(program: impl Fn() -> Command) -> Duration {
    let mut first = Process::spawn(program());
    first.must_say(HELD);
    let killed = Instant::now();
    first.signal(Signal::KILL);
    first.wait();
    Process::spawn(program()).must_say(HELD) - killed
}

/// A program that waits for its turn.
fn waiter(name: &str, dir: &Path) -> Command {
    let mut command = role(name, dir);
    command.env("WAIT", "1").env("ATTACK_INSTANCE_MODE", "wait").env("ATTACK_LOCK_WAIT", "30s");
    command
}

/// From the kill of a holder to another one that waited for it.
fn inherit(program: impl Fn() -> Command, dice: &mut Dice) -> Duration {
    let mut holder = Process::spawn(program());
    holder.must_say(HELD);
    let mut successor = Process::spawn(program());
    // Nothing outside shows that somebody waits. One that is not there yet only makes the figure worse.
    thread::sleep(dice.between(Duration::from_millis(60), Duration::from_millis(100)));
    let killed = Instant::now();
    holder.signal(Signal::KILL);
    let held = successor.must_say(HELD);
    holder.wait();
    held - killed
}
