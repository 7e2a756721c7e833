//! How long a second instance takes to say no.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    Plan,
    figures::Spread,
    process::{Process, banboard, role},
    roles::HELD,
};

pub(crate) fn attack(plan: &Plan) {
    let times = plan.either(500, 10);
    let place = plan.place();
    let (board, bare) = (place.path().join("board"), place.path().join("bare"));
    std::fs::create_dir(&bare).unwrap();
    let mut first = Process::spawn(banboard(&board));
    first.must_say("READY");
    let mut holder = Process::spawn(role("holder", &bare));
    holder.must_say(HELD);
    let mut flock = Process::spawn(role("flock", &bare));
    flock.must_say(HELD);

    let (mut service, mut library, mut plain) = (Spread::default(), Spread::default(), Spread::default());
    for _ in 0..times {
        service.add(refused(banboard(&board), 78, "[lock.held]"));
        library.add(refused(role("holder", &bare), 78, "[lock.held]"));
        plain.add(refused(role("flock", &bare), 75, ""));
    }
    // Whoever was there first was not disturbed.
    first.stop();
    holder.stop();
    plan.found("refusal of a second banboard, spawn to exit 78", service.text());
    plan.found("the same with a program without stages", library.text());
    plan.found("the same with a plain `flock`", plain.text());
}

fn refused(command: Command, code: i32, says: &str) -> Duration {
    let began = Instant::now();
    let mut second = Process::spawn(command);
    let (status, ended) = second.wait();
    assert_eq!(status.code(), Some(code), "{}", second.seen);
    assert!(second.seen.contains(says), "no {says}:\n{}", second.seen);
    ended - began
}
