//! Many processes try to become the only worker at the same instant: in each round exactly one does, and each
//! winner's token is higher than all before.

use std::{
    io::{BufRead, BufReader, Write, stdin},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Plan,
    figures::Dice,
    process::role,
    worker::{Tried, Worker, monotonic},
};

/// How many processes, and for how many rounds: 10,000 in all, fewer where one takes longer.
const FULL: &[(usize, u64)] = &[(2, 4_000), (8, 4_000), (32, 1_500), (128, 500)];
const QUICK: &[(usize, u64)] = &[(2, 40), (8, 20), (32, 5)];

pub(crate) fn attack(plan: &Plan) {
    let place = plan.place();
    // One lease for all rounds: the tokens grow over all of them.
    let mut last = 0;
    for &(contenders, rounds) in plan.either(FULL, QUICK) {
        let mut dice = Dice::new(plan.seed, contenders as u64);
        let mut all: Vec<Contender> = (0..contenders).map(|_| Contender::spawn(place.path())).collect();
        let began = Instant::now();
        for round in 0..rounds {
            let winner = play(&mut all, &mut dice, &mut last)
                .unwrap_or_else(|broken| panic!("{contenders} processes, round {round}: {broken}"));
            all[winner].wins += 1;
        }
        let wins = all.iter().map(|each| each.wins);
        let (most, least) = (wins.clone().max().unwrap(), wins.min().unwrap());
        let each = began.elapsed().as_secs_f64() * 1e3 / rounds as f64;
        plan.found(
            format_args!("{contenders} processes, {rounds} rounds"),
            format_args!(
                "one winner in each, every token higher than the last; {least} to {most} wins per process; \
                 {each:.1} ms per round"
            ),
        );
    }
}

/// One round: everybody tries, and the winner holds on until everybody has an answer.
fn play(all: &mut [Contender], dice: &mut Dice, last: &mut u64) -> Result<usize, String> {
    // At the very same instant, or spread over a part of what one acquisition takes.
    let spread =
        [Duration::ZERO, Duration::from_micros(200), Duration::from_millis(2)][dice.below(3) as usize];
    let start = monotonic() + Duration::from_micros(500 + 20 * all.len() as u64);
    for each in &mut *all {
        let at = start + dice.between(Duration::ZERO, spread);
        each.tell(&format!("try {}", at.as_nanos()));
    }
    let mut winners = Vec::new();
    for (index, each) in all.iter_mut().enumerate() {
        match each.answer().split_once(' ') {
            Some(("won", token)) => winners.push((index, token.parse::<u64>().unwrap())),
            Some(other) => return Err(format!("a process said {other:?}")),
            None => {}
        }
    }
    let &[(winner, token)] = winners.as_slice() else { return Err(format!("the winners are {winners:?}")) };
    if token <= *last {
        return Err(format!("the token fell from {last} to {token}"));
    }
    *last = token;
    all[winner].tell("release");
    match all[winner].answer().as_str() {
        "released" => Ok(winner),
        other => Err(format!("the winner said {other:?}")),
    }
}

struct Contender {
    child: Child,
    ears: ChildStdin,
    mouth: BufReader<ChildStdout>,
    wins: u64,
}

impl Contender {
    fn spawn(dir: &Path) -> Self {
        let mut child = role("contender", dir).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (ears, mouth) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, ears, mouth, wins: 0 }
    }

    fn tell(&mut self, what: &str) {
        self.ears.write_all(format!("{what}\n").as_bytes()).unwrap();
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.mouth.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "a contender ended");
        line.trim_end().to_owned()
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A process that tries when it is told to.
pub(crate) fn contender() {
    let worker = Worker::new(true);
    let mut held = None;
    for line in stdin().lines() {
        let line = line.unwrap();
        if let Some(at) = line.strip_prefix("try ") {
            wait_until(Duration::from_nanos(at.parse().unwrap()));
            match worker.attempt() {
                Tried::Won(running) => {
                    println!("won {}", running.worker().token());
                    held = Some(running);
                }
                Tried::Held => println!("held"),
            }
        } else {
            worker.release(held.take().unwrap());
            println!("released");
        }
    }
}

/// Sleeps until shortly before, and then looks at the clock: a timer alone comes tens of microseconds late.
fn wait_until(at: Duration) {
    thread::sleep(at.saturating_sub(monotonic() + Duration::from_micros(100)));
    while monotonic() < at {
        std::hint::spin_loop();
    }
}
