//! What the engine costs: nanoseconds per stage beside a hand-written floor, and the start-up time over the
//! critical path. `cargo bench --bench overhead` prints both tables; the method is in `docs/performance.md`.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints its table, and may fail")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use solostart::{AnyHandle, Env, Handle, StageContext, Startup, WorkerMode};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};

/// For each stage, what it needs: the same shapes for every engine.
type Shape = Vec<Vec<usize>>;

fn chain(size: usize) -> Shape {
    (0..size).map(|index| index.checked_sub(1).into_iter().collect()).collect()
}

fn fan(size: usize) -> Shape {
    (0..size).map(|index| if index == 0 { vec![] } else { vec![0] }).collect()
}

fn layers(size: usize) -> Shape {
    let width = 8;
    (0..size)
        .map(|index| {
            let layer = index / width;
            if layer == 0 { vec![] } else { ((layer - 1) * width..layer * width).step_by(3).collect() }
        })
        .collect()
}

/// Two earlier stages each, by a fixed generator, so that every run sees the same graph.
fn random(size: usize) -> Shape {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap_or(0)
    };
    (0..size).map(|index| if index == 0 { vec![] } else { vec![next(index), next(index)] }).collect()
}

fn startup() -> Startup {
    let none: [(&str, &str); 0] = [];
    let many = WorkerMode::Many { reason: "a bench".to_owned() };
    Startup::new("bench", Env::from_vars("BENCH", none), many)
}

/// Ours: build, start until ready. The stop is timed apart.
async fn ours(shape: &Shape, sleeps: &[Duration]) -> (Duration, Duration) {
    let began = Instant::now();
    let mut startup = startup();
    let mut handles: Vec<Handle<usize>> = Vec::with_capacity(shape.len());
    for (index, needs) in shape.iter().enumerate() {
        let sleep = sleeps.get(index).copied();
        let mut stage = startup.stage(format!("s{index}"), (), async move |_cx: StageContext, ()| {
            if let Some(sleep) = sleep {
                tokio::time::sleep(sleep).await;
            }
            Ok(index)
        });
        for &need in needs {
            stage = stage.after(any(&handles, need));
        }
        handles.push(stage.required());
    }
    let running = startup.start().await.expect("no stage fails");
    let started = began.elapsed();
    let began = Instant::now();
    black_box(running.shutdown("over").await);
    (started, began.elapsed())
}

fn any(handles: &[Handle<usize>], index: usize) -> impl AnyHandle + use<> {
    handles[index]
}

/// The floor for an engine that isolates its stages: a spawned task that owns a `JoinSet` and counters.
async fn floor(shape: &Shape, sleeps: &[Duration]) -> Duration {
    let (shape, sleeps) = (shape.clone(), sleeps.to_vec());
    let began = Instant::now();
    let mut owner = JoinSet::new();
    owner.spawn(async move {
        let mut waiting: Vec<usize> = shape.iter().map(Vec::len).collect();
        let mut dependants = vec![Vec::new(); shape.len()];
        for (index, needs) in shape.iter().enumerate() {
            for &need in needs {
                dependants[need].push(index);
            }
        }
        let mut tasks = JoinSet::new();
        let launch = |tasks: &mut JoinSet<usize>, index: usize| {
            let sleep = sleeps.get(index).copied();
            let stage: std::pin::Pin<Box<dyn Future<Output = usize> + Send>> = Box::pin(async move {
                if let Some(sleep) = sleep {
                    tokio::time::sleep(sleep).await;
                }
                index
            });
            tasks.spawn(stage);
        };
        for (index, needs) in shape.iter().enumerate() {
            if needs.is_empty() {
                launch(&mut tasks, index);
            }
        }
        while let Some(done) = tasks.join_next().await {
            for &dependant in &dependants[done.expect("no stage fails")] {
                waiting[dependant] -= 1;
                if waiting[dependant] == 0 {
                    launch(&mut tasks, dependant);
                }
            }
        }
    });
    owner.join_next().await;
    began.elapsed()
}

#[derive(Default)]
struct Samples(Vec<f64>);

impl Samples {
    fn add(&mut self, took: Duration, stages: usize) {
        self.0.push(took.as_secs_f64() * 1e9 / stages as f64);
    }

    /// Minimum, median, maximum.
    fn spread(&mut self) -> (f64, f64, f64) {
        self.0.sort_by(f64::total_cmp);
        (self.0[0], self.0[self.0.len() / 2], self.0[self.0.len() - 1])
    }
}

fn overhead(runtime: &Runtime, threads: &str) {
    println!("\n{threads}: ns per stage, build + start (min / median / max), stop, floor, ratio of medians");
    for (name, make) in
        [("chain", chain as fn(usize) -> Shape), ("fan", fan), ("layers", layers), ("random", random)]
    {
        for size in [10, 100, 1_000, 10_000, 100_000] {
            let shape = make(size);
            let rounds = (400_000 / size).clamp(5, 2_000);
            let (mut up, mut down, mut bare) = (Samples::default(), Samples::default(), Samples::default());
            // In turn, so that what else the machine does meets both alike.
            for _ in 0..rounds {
                let (started, stopped) = runtime.block_on(ours(&shape, &[]));
                up.add(started, size);
                down.add(stopped, size);
                bare.add(runtime.block_on(floor(&shape, &[])), size);
            }
            let (up, down, bare) = (up.spread(), down.spread(), bare.spread());
            println!(
                "{name:8} {size:>7}  {:>7.0} / {:>7.0} / {:>8.0}   {:>7.0}   {:>6.0}   {:>5.2}",
                up.0,
                up.1,
                up.2,
                down.1,
                bare.1,
                up.1 / bare.1
            );
        }
    }
}

/// The stages of the longest path, by the time that they sleep.
fn critical_path(shape: &Shape, sleeps: &[Duration]) -> Vec<Duration> {
    let mut ends = vec![Duration::ZERO; shape.len()];
    for index in 0..shape.len() {
        let begin = shape[index].iter().map(|&need| ends[need]).max().unwrap_or_default();
        ends[index] = begin + sleeps[index];
    }
    let mut path = Vec::new();
    let mut at = (0..shape.len()).max_by_key(|&index| ends[index]);
    while let Some(index) = at {
        path.push(sleeps[index]);
        at = shape[index].iter().copied().max_by_key(|&need| ends[need]);
    }
    path.reverse();
    path
}

fn start_over_critical_path(runtime: &Runtime) {
    println!("\nstart-up time over the critical path slept alone (5 rounds each, in turn)");
    for size in [50, 500] {
        let shape = layers(size);
        let sleeps: Vec<_> =
            (0..size).map(|index| Duration::from_millis(1 + (index as u64 * 7) % 20)).collect();
        let path = critical_path(&shape, &sleeps);
        let mut ratios = Samples::default();
        for _ in 0..5 {
            let alone = runtime.block_on(async {
                let mut tasks = JoinSet::new();
                let path = path.clone();
                tasks.spawn(async move {
                    let began = Instant::now();
                    for sleep in path {
                        tokio::time::sleep(sleep).await;
                    }
                    began.elapsed()
                });
                tasks.join_next().await.expect("it was spawned").expect("it does not panic")
            });
            let (started, _) = runtime.block_on(ours(&shape, &sleeps));
            ratios.0.push(started.as_secs_f64() / alone.as_secs_f64());
        }
        let (low, median, high) = ratios.spread();
        println!("{size:>4} stages: {low:.4} / {median:.4} / {high:.4}");
    }
}

fn main() {
    let two = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let one = Builder::new_current_thread().enable_all().build().expect("a runtime");
    overhead(&two, "two threads");
    overhead(&one, "one thread");
    start_over_critical_path(&two);
}
