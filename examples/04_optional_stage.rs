//! 4. Optional stages: the service can do without them, and the type says so.
//!
//! `cargo run --example 04_optional_stage` serves with recommendations.
//!
//! To try
//! - `SHOPFRONT_BROKEN=true cargo run --example 04_optional_stage`: the `READY` line says `DEGRADED`, and the shop serves.
//! - Make the stage `required()`: now the start fails, and the closures that expect an `Option` do not compile.
//! - The health check counts visitors: after the first three the stage is unhealthy, which is told in the log
//!   and by `Status::degraded`; a service stays up for that.

#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use solostart::{ServeContext, StageContext};

#[derive(Default)]
struct Recommendations {
    asked: AtomicU32,
}

impl Recommendations {
    fn next(&self) -> &'static str {
        self.asked.fetch_add(1, Ordering::Relaxed);
        "a teapot"
    }
}

fn main() -> ExitCode {
    solostart::run("shopfront", |startup| {
        startup.allow_unshared_lock("overlay,tmpfs");
        let env = startup.env();
        let broken =
            env.var("BROKEN").describe("Whether there are no recommendations.").boolean().default(false);

        let recommendations = startup
            .stage("recommendations", (), async move |_cx: StageContext, ()| {
                if broken {
                    return Err("the model is missing".into());
                }
                Ok(Recommendations::default())
            })
            .health(async |recommendations| match recommendations.asked.load(Ordering::Relaxed) {
                0..=3 => Ok(()),
                many => Err(format!("asked {many} times").into()),
            })
            .optional();

        // Whoever needs it gets an Option, and has to say what is done without it.
        let window = startup
            .stage("window", recommendations, async |_cx, recommendations: Option<Arc<Recommendations>>| {
                Ok(recommendations.map_or("an empty shelf", |recommendations| recommendations.next()))
            })
            .required();

        startup.serve(window, async |cx: ServeContext, window: Arc<&str>| {
            println!("in the window: {window}");
            cx.shutdown_requested().await;
            Ok(())
        });
        Ok(())
    })
}
