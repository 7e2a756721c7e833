//! 11. A runtime of your own: `Startup::start` in place of `run`.
//!
//! `cargo run --example 11_own_runtime` starts a service inside a program, uses it, and stops it.
//!
//! To try
//! - Let the stage fail: `start` returns a `StartupError` with the cause, what was rolled back, and the times.
//! - Keep the `Arc` of the stage's output over the shutdown: the report says that it is leaked.
//! - Use `running.wait()`: it returns when `serve` does, or when the lock is lost. There are no signal handlers, no
//!   watchdog thread and no printed report here: `run` has them, so prefer it where it fits.

#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::sync::Arc;

use solostart::{Env, Startup, StartupError, WorkerMode};

#[tokio::main]
async fn main() -> Result<(), Box<StartupError>> {
    // Whether several workers may run has no default: to start without a decision does not compile.
    let mode = WorkerMode::Many { reason: "it only adds numbers".to_owned() };
    let mut startup = Startup::new("calculator", Env::from_process("CALCULATOR"), mode);
    startup.on_event(|event| println!("event: {event:?}"));

    let numbers = startup.stage("numbers", (), async |_cx, ()| Ok(vec![1, 2, 3])).required();
    let sum = startup
        .stage("sum", numbers, async |_cx, numbers: Arc<Vec<u32>>| Ok(numbers.iter().sum::<u32>()))
        .stop(async |_sum, cx| {
            println!("stopped because {}", cx.reason());
            Ok(())
        })
        .required();

    let running = startup.start().await?;
    if let Some(sum) = running.get(sum) {
        println!("the sum is {sum}");
    }
    let report = running.shutdown("the sum is known").await;
    println!("clean: {}", report.is_clean());
    Ok(())
}
