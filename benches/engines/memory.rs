//! The bytes that a graph holds at most, per stage, from its declaration until all stages are up: ours with its
//! timeline read, the floor and the peers. `cargo bench --bench memory` prints the table, on the runtime of two threads.
//!
//! Each engine runs each graph once in a process of its own, whose allocator counts: nothing is left of earlier rounds,
//! and nothing is counted where times are measured. What the process held before the round does not count, nor does what
//! the system's allocator adds to each block.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints its table, and may fail")]

mod alone;
#[allow(dead_code, reason = "the times that a round tells are not looked at here")]
mod engine;
mod floor;
#[allow(dead_code, reason = "what is stopped and timed there is not looked at here")]
mod ours;
mod peers;

use std::{alloc::System, hint::black_box, sync::OnceLock, time::Instant};

use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAlloc, PeakMemAllocTrait};
use solostart::Running;
use solostart_benches::{
    samples::whole,
    shapes::{Needs, SHAPES},
};
use tokio::runtime::Runtime;

use crate::{
    alone::Task,
    engine::{Body, Engine, FLOOR, Round, SIZES, Threads, idle},
};

#[global_allocator]
static ALLOCATOR: &PeakMemAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What was in use at most when all stages were up, where a stop follows that does not count.
static WHEN_UP: OnceLock<usize> = OnceLock::new();

/// Everything that an application can ask for, at once.
const WITH_TIMELINE: Engine = Engine { name: "ours with its timeline", round: with_timeline };
const WITHOUT_TIMELINE: Engine = Engine { name: "ours", round: without_timeline };

fn with_timeline(runtime: &Runtime, needs: &Needs, body: Body) -> Round {
    up(runtime, needs, body, |running| drop(black_box(running.status().timeline())))
}

fn without_timeline(runtime: &Runtime, needs: &Needs, body: Body) -> Round {
    up(runtime, needs, body, |_| ())
}

fn up(runtime: &Runtime, needs: &Needs, body: Body, look: fn(&Running)) -> Round {
    let names = ours::names(needs);
    runtime.block_on(async {
        let began = Instant::now();
        let running = ours::started(needs, &names, &[], body).await;
        let started = began.elapsed();
        look(&running);
        WHEN_UP.get_or_init(|| ALLOCATOR.get_peak_memory());
        running.shutdown("over").await;
        Round { started, stopped: None }
    })
}

fn engines() -> Vec<Engine> {
    [WITH_TIMELINE, WITHOUT_TIMELINE, FLOOR].into_iter().chain(peers::ALL).collect()
}

fn main() {
    let engines = engines();
    if let Some(task) = Task::from_args(&engines) {
        let needs = (task.shape.of_size)(task.size);
        let runtime = task.threads.runtime();
        // The threads are there, and what a runtime allocates once.
        runtime.block_on(async { tokio::task::yield_now().await });
        ALLOCATOR.reset_peak_memory();
        (task.engine.round)(&runtime, &needs, idle);
        println!("{}", WHEN_UP.get().copied().unwrap_or_else(|| ALLOCATOR.get_peak_memory()));
        return;
    }
    println!(
        "\n### Stages that do nothing, {} of the runtime: bytes per stage at most\n",
        Threads::Two.title()
    );
    let names: Vec<_> = engines.iter().map(|engine| engine.name).collect();
    println!("| shape | stages | {} |", names.join(" | "));
    println!("|---|---|{}", "---|".repeat(engines.len()));
    let mut why: Vec<String> = Vec::new();
    for shape in SHAPES {
        let mut failed = vec![false; engines.len()];
        for size in SIZES {
            let mut cells = Vec::new();
            for (&engine, failed) in engines.iter().zip(&mut failed) {
                cells.push("-".to_owned());
                if *failed {
                    continue;
                }
                match (Task { engine, shape, size, threads: Threads::Two }).figure() {
                    Ok(bytes) => *cells.last_mut().expect("it was pushed") = whole(bytes / size as f64),
                    Err(reason) => {
                        *failed = true;
                        why.push(format!(
                            "{} at {} {}: {reason}",
                            engine.name,
                            shape.name,
                            whole(size as f64)
                        ));
                    }
                }
            }
            println!("| {} | {} | {} |", shape.name, whole(size as f64), cells.join(" | "));
        }
    }
    println!("\nA dash: {}.", why.join("; "));
}
