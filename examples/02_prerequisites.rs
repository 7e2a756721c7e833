//! 2. Prerequisites: a stage starts when what it needs is up, and stops before it.
//!
//! `cargo run --example 02_prerequisites` heats water and grinds beans at the same time, and then brews.
//!
//! To try
//! - See the times: the whole takes as long as its longest chain, not as long as the sum.
//! - Press Ctrl-C: the coffee stops before what it was made of.
//! - In `coffee`, ask for the output of `table` too. It does not compile until `table` is among the needs.
//! - Move the stage `coffee` above `beans`. It does not compile: a handle exists only after its stage was added,
//!   so no cycle and no misspelt name can be written down.

#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{process::ExitCode, sync::Arc, time::Duration};

use solostart::{ServeContext, StageContext};
use tokio::time::sleep;

struct Water {
    degrees: u32,
}

struct Beans {
    grams: u32,
}

fn main() -> ExitCode {
    solostart::run("kitchen", |startup| {
        startup.allow_unshared_lock("overlay,tmpfs");

        let water = startup
            .stage("water", (), async |_cx, ()| {
                sleep(Duration::from_millis(300)).await;
                Ok(Water { degrees: 94 })
            })
            .required();
        let beans = startup
            .stage("beans", (), async |_cx, ()| {
                sleep(Duration::from_millis(200)).await;
                Ok(Beans { grams: 18 })
            })
            .required();
        let table = startup.stage("table", (), async |_cx, ()| Ok(())).required();

        // What it needs arrives in the same shape as it was asked for: here a pair. `after` is order alone.
        let coffee = startup
            .stage(
                "coffee",
                (water, beans),
                async |_cx: StageContext, (water, beans): (Arc<Water>, Arc<Beans>)| {
                    Ok(format!("{} g at {} degrees", beans.grams, water.degrees))
                },
            )
            .after(table)
            .required();

        startup.serve(coffee, async |cx: ServeContext, coffee: Arc<String>| {
            println!("coffee: {coffee}");
            for stage in cx.status().timeline().stages {
                let began = stage.began.unwrap_or_default().as_millis();
                println!("{:>12} began after {began} ms, critical: {}", stage.name, stage.critical);
            }
            cx.shutdown_requested().await;
            Ok(())
        });
        Ok(())
    })
}
