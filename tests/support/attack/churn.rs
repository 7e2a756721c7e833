//! Eight processes take and give back both locks as fast as they can: no two are ever inside at once.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::getppid;

use crate::{
    Plan,
    arena::{Arena, Tally},
    figures::Dice,
    process::role,
    worker::{Tried, Worker, told},
};

const PROCESSES: u64 = 8;

/// How long somebody who was refused waits at most. A refusal costs about as much as an acquisition: with less,
/// those who wait take the processors from the one who holds.
const BACK_OFF: Duration = Duration::from_millis(30);

pub(crate) fn attack(plan: &Plan) {
    let total = plan.either(1_000_000, 300);
    let (found, took) = churn(plan, total, true);
    assert_eq!(found.overlaps, 0, "two workers at once: {found:?}");
    assert_eq!(found.entries, total, "counts were lost, so two were inside at once: {found:?}");
    assert_eq!(found.out_of_order, 0, "a token did not grow: {found:?}");
    let each = took.as_secs_f64() * 1e3 / total as f64;
    let Tally { handovers, refused, .. } = found;
    plan.found(
        format_args!("{total} acquisitions by {PROCESSES} processes"),
        format_args!(
            "0 overlaps, 0 lost counts, every token higher than the last; {handovers} from one process to \
             another, {refused} refusals between; {each:.2} ms each, {:.0} s in all",
            took.as_secs_f64()
        ),
    );
    // Without the lock the same arena must notice, or it would notice nothing above either.
    let (unlocked, _) = churn(plan, plan.either(200_000, 1_000), false);
    assert!(unlocked.overlaps > 0, "the arena sees no overlap: {unlocked:?}");
    plan.found(
        format_args!("the same {} times without the lock, to try the arena", unlocked.entries),
        format_args!("{} overlaps", unlocked.overlaps),
    );
}

fn churn(plan: &Plan, total: u64, locked: bool) -> (Tally, Duration) {
    let place = plan.place();
    // It stays open for the baton, which would be gone with the last process that has the pipe.
    let arena = Arena::create(place.path());
    let began = Instant::now();
    let children: Vec<_> = (1..=PROCESSES)
        .map(|number| {
            let mut command: Command = role("churner", place.path());
            command.env("NUMBER", number.to_string()).env("SEED", plan.seed.to_string());
            command.env("TOTAL", total.to_string()).env("LOCKED", u8::from(locked).to_string());
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut sum = Tally::default();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "a churner ended with {}", output.status);
        let text = String::from_utf8(output.stdout).unwrap();
        let numbers: Vec<u64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [entries, overlaps, out_of_order, handovers, refused] = *numbers else {
            panic!("it said {text}")
        };
        sum.entries += entries;
        sum.overlaps += overlaps;
        sum.out_of_order += out_of_order;
        sum.handovers += handovers;
        sum.refused += refused;
    }
    assert!(!locked || arena.count() == sum.entries, "{} on the page, {sum:?}", arena.count());
    (sum, began.elapsed())
}

/// A process that takes and gives back until the total is reached.
pub(crate) fn churner() {
    let dir = PathBuf::from(std::env::var_os("ATTACK_DATA_DIR").unwrap());
    let (me, total) = (told("NUMBER"), told("TOTAL"));
    let mut dice = Dice::new(told("SEED"), me);
    let worker = Worker::new(told("LOCKED") == 1);
    let tally = visit_until(&worker, &dir, me, total, &mut dice);
    let Tally { entries, overlaps, out_of_order, handovers, refused } = tally;
    println!("{entries} {overlaps} {out_of_order} {handovers} {refused}");
}

fn visit_until(worker: &Worker, dir: &Path, me: u64, total: u64, dice: &mut Dice) -> Tally {
    let (mut arena, mut tally) = (Arena::open(dir), Tally::default());
    let referee = getppid();
    // Nobody counts any more once the referee is gone.
    while arena.count() < total && getppid() == referee {
        match worker.attempt() {
            Tried::Won(running) => {
                let entered = arena.visit(me, running.worker().token().get(), total, &mut tally);
                worker.release(running);
                if !entered {
                    break;
                }
            }
            Tried::Held => {
                tally.refused += 1;
                thread::sleep(dice.between(Duration::ZERO, BACK_OFF));
            }
        }
    }
    tally
}
