//! 1. The smallest service: one stage, and something to serve.
//!
//! `cargo run --example 01_hello_stages` prints `READY in …`; Ctrl-C stops it in order.
//!
//! To try
//! - Start it a second time while it runs: the second is refused, and the report says who has the lock.
//! - `HELLO_WORKERS=2 cargo run --example 01_hello_stages`: refused before anything starts.
//! - `HELLO_STARTUP_TIMEOUT=5 HELLO_WORKRES=1 cargo run --example 01_hello_stages`: a duration needs a unit, and a
//!   name that looks like a mistake is told.
//! - `cargo run --example 01_hello_stages -- lock status`: a subcommand that every application has.
//! - `echo $?` after each: the exit code says whether a restart helps.

#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{process::ExitCode, sync::Arc};

use solostart::{ServeContext, StageContext};

fn main() -> ExitCode {
    // `run` owns the runtime, the signals, the report and the exit code. The name is also the prefix of the
    // environment variables: HELLO_DATA_DIR, HELLO_SHUTDOWN_TIMEOUT and so on.
    solostart::run("hello", |startup| {
        // Only for the examples: they may be run in a container's own file system, where the lock would not
        // keep a second container out. A real service keeps its data on a volume, and leaves this line out.
        startup.allow_unshared_lock("overlay,tmpfs");

        let greeting = startup
            .stage("greeting", (), async |cx: StageContext, ()| {
                cx.step("choose words");
                Ok("hello".to_owned())
            })
            .stop(async |_greeting, _cx| {
                println!("greeting is stopped");
                Ok(())
            })
            .required();

        // It begins when every required stage is up, and the service stops when it returns.
        startup.serve(greeting, async |cx: ServeContext, greeting: Arc<String>| {
            println!("{greeting}, press Ctrl-C");
            cx.shutdown_requested().await;
            Ok(())
        });
        Ok(())
    })
}
