//! How long a graph of sleeping stages takes to start, over its critical path slept alone, and where the rest goes.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use solostart::Timeline;
use solostart_benches::{
    samples::Samples,
    shapes::{Needs, layers},
};
use tokio::{runtime::Runtime, task::JoinSet};

use crate::ours;

const ROUNDS: usize = 15;

/// The stages of the longest path, by the time that they sleep.
fn critical_path(needs: &Needs, sleeps: &[Duration]) -> Vec<Duration> {
    let mut ends = vec![Duration::ZERO; needs.len()];
    for index in 0..needs.len() {
        let begin = needs[index].iter().map(|&need| ends[need]).max().unwrap_or_default();
        ends[index] = begin + sleeps[index];
    }
    let mut path = Vec::new();
    let mut at = (0..needs.len()).max_by_key(|&index| ends[index]);
    while let Some(index) = at {
        path.push(sleeps[index]);
        at = needs[index].iter().copied().max_by_key(|&need| ends[need]);
    }
    path.reverse();
    path
}

/// The floor: the sleeps of the path one after another in one task.
fn slept_alone(runtime: &Runtime, path: &[Duration]) -> Duration {
    let path = path.to_vec();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let began = Instant::now();
            for sleep in path {
                tokio::time::sleep(sleep).await;
            }
            began.elapsed()
        });
        tasks.join_next().await.expect("it was spawned").expect("it does not panic")
    })
}

/// Where the time of one start went, along the chain of stages that decided how long it took.
struct Spent {
    /// How many stages the chain has.
    stages: usize,
    /// From the beginning until its first stage began.
    before: Duration,
    /// Between the end of the last prerequisite of each stage and its own beginning.
    hand_over: Duration,
    /// Within its stages, beyond what they were told to sleep.
    oversleep: Duration,
    /// From the end of its last stage until the engine said that all are up.
    after: Duration,
    /// From then until the caller had it, and the declaration of the graph before the start.
    outside: Duration,
}

impl Spent {
    /// `sleep_of` knows the stages by their names; the library's own root is not among them.
    fn of(timeline: &Timeline, took: Duration, sleep_of: impl Fn(&str) -> Option<Duration>) -> Self {
        let ends: HashMap<&str, Duration> = timeline
            .stages
            .iter()
            .filter_map(|stage| Some((&*stage.name, stage.began? + stage.took?)))
            .collect();
        let mut spent = Self {
            stages: 0,
            before: Duration::ZERO,
            hand_over: Duration::ZERO,
            oversleep: Duration::ZERO,
            after: timeline.total.saturating_sub(ends.values().copied().max().unwrap_or_default()),
            outside: took.saturating_sub(timeline.total),
        };
        for stage in timeline.critical_path() {
            let (Some(began), Some(own), Some(sleep)) = (stage.began, stage.took, sleep_of(&stage.name))
            else {
                continue;
            };
            let ready = stage.needs.iter().filter(|need| sleep_of(need).is_some());
            match ready.filter_map(|need| ends.get(&**need)).max() {
                Some(&ready) => spent.hand_over += began.saturating_sub(ready),
                None => spent.before = began,
            }
            spent.oversleep += own.saturating_sub(sleep);
            spent.stages += 1;
        }
        spent
    }
}

pub fn print(runtime: &Runtime) {
    println!("\n### Sleeping stages: start-up time over the critical path slept alone, two threads\n");
    println!(
        "Medians (quartiles) of {ROUNDS} rounds, in turn. The rest is given along the chain that decided the start:"
    );
    println!(
        "before its first stage, between its stages, beyond the nominal sleep within them (tokio's timer rounds up),"
    );
    println!("after its last stage, and outside the engine (declaring the graph, and the last wake-up).\n");
    println!(
        "| stages | on the path | start / path alone | path alone / nominal | before | hand-overs in all | each | oversleep per stage, ours | alone | after | outside |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for size in [50, 500] {
        print_row(runtime, size);
    }
}

fn print_row(runtime: &Runtime, size: usize) {
    let needs = layers(size);
    let sleeps: Vec<_> = (0..size).map(|index| Duration::from_millis(1 + (index as u64 * 7) % 20)).collect();
    let sleep_of = |name: &str| sleeps.get(name.strip_prefix('s')?.parse::<usize>().ok()?).copied();
    let path = critical_path(&needs, &sleeps);
    let nominal: Duration = path.iter().sum();
    let mut columns: [Samples; 9] = Default::default();
    let mut stages = 0;
    for _ in 0..ROUNDS {
        let alone = slept_alone(runtime, &path);
        let (took, timeline) = ours::timeline(runtime, &needs, &sleeps);
        let spent = Spent::of(&timeline, took, sleep_of);
        stages = spent.stages;
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        let figures = [
            took.as_secs_f64() / alone.as_secs_f64(),
            alone.as_secs_f64() / nominal.as_secs_f64(),
            micros(spent.before),
            micros(spent.hand_over),
            micros(spent.hand_over) / stages as f64,
            micros(spent.oversleep) / stages as f64,
            micros(alone.saturating_sub(nominal)) / path.len() as f64,
            micros(spent.after),
            micros(spent.outside),
        ];
        for (column, figure) in columns.iter_mut().zip(figures) {
            column.add(figure);
        }
    }
    let cells = columns.iter().enumerate().map(|(index, column)| {
        let [low, median, high] = [0.25, 0.5, 0.75].map(|part| column.quantile(part).unwrap_or_default());
        match index {
            0 => format!("{median:.4} ({low:.4}..{high:.4})"),
            1 => format!("{median:.4}"),
            _ => format!("{median:.1} us"),
        }
    });
    println!("| {size} | {stages} | {} |", cells.collect::<Vec<_>>().join(" | "));
}
