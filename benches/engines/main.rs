//! What an engine costs: nanoseconds per stage that does nothing, from the declaration of the graph until every stage
//! is up, ours beside a hand-written floor and beside published crates, and the start-up time over the critical path
//! of stages that sleep.
//!
//! `cargo bench --bench engines` in this folder prints everything as Markdown. Words after `--` choose, in any order:
//! `ours` leaves the peers out, and `chain`, `1000`, `two`, `sleeping` or the name of a peer each restrict it. For
//! instance `cargo bench --bench engines -- ours 100 10000`. Both runtimes are measured with the same rounds.
//!
//! This is not a criterion bench: the engines take turns within each round, so that whatever else the machine does
//! meets all of them alike, and criterion measures one function to its end before the next begins.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints its table, and may fail")]

mod alone;
mod engine;
mod floor;
mod order;
mod ours;
mod peers;
mod sleeping;
mod table;
mod wanted;

use alone::Task;
use engine::Threads;
use wanted::Wanted;

fn main() -> Result<(), String> {
    if let Some(task) = Task::from_args(&peers::ALL) {
        return alone(task);
    }
    let wanted = Wanted::from_args(&peers::ALL)?;
    if wanted.no_ops {
        for &threads in &wanted.threads {
            table::print(&wanted, threads);
        }
    }
    if wanted.sleeping {
        sleeping::print(&Threads::Two.runtime());
    }
    Ok(())
}

/// In a process of its own: whether the engine comes to an end, and keeps the order.
fn alone(task: Task) -> Result<(), String> {
    let needs = (task.shape.of_size)(task.size);
    let took = (task.engine.round)(&task.threads.runtime(), &needs, order::note).started;
    println!("{}", took.as_nanos());
    order::fault(&needs).map_or(Ok(()), Err)
}
