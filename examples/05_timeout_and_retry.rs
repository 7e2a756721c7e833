//! 5. Time limits and attempts: a dependency that is not there yet, and one that never answers.
//!
//! `cargo run --example 05_timeout_and_retry` reaches its upstream at the third attempt.
//!
//! To try
//! - `PATIENT_FAILURES=9 cargo run --example 05_timeout_and_retry`: five attempts are not enough; the report says how
//!   many were made, and exit code 75 says that a restart helps.
//! - `PATIENT_SILENT=true PATIENT_STAGE_TIMEOUT_UPSTREAM=1s cargo run --example 05_timeout_and_retry`: the operator's limit goes
//!   before the one in the code; the report names the stage, its step, and the variable that allows more time.
//! - Give the error `.fatal()`: it is not tried again.

#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{process::ExitCode, sync::Arc, time::Duration};

use solostart::{ErrorKind, Hint, ServeContext, StageContext, StageError, StageResult};

struct Upstream {
    attempts: u32,
}

/// Fails a few times, or never answers at all.
async fn connect(cx: &StageContext, failures: u32, silent: bool) -> StageResult<Upstream> {
    cx.step(format!("connect, attempt {}", cx.attempt()));
    if silent {
        std::future::pending::<()>().await;
    }
    if cx.attempt() <= failures {
        // The kind decides the exit code, and with it whether a supervisor should try again.
        return Err(StageError::from("connection refused").kind(ErrorKind::Temporary));
    }
    Ok(Upstream { attempts: cx.attempt() })
}

fn main() -> ExitCode {
    solostart::run("patient", |startup| {
        startup.allow_unshared_lock("overlay,tmpfs");
        let env = startup.env();
        let failures = env.var("FAILURES").describe("How many attempts fail.").integer(0..=99).default(2);
        let silent = env.var("SILENT").describe("Whether nobody answers.").boolean().default(false);

        let upstream = startup
            .stage("upstream", (), async move |cx: StageContext, ()| {
                connect(&cx, failures, silent)
                    .await
                    .hint("Is the upstream running? docker compose ps upstream")
            })
            // With pauses of 100 ms to 5 s between them. What a failed attempt half did is undone first.
            .retry(5)
            // For all attempts together, counted from when the prerequisites are up.
            .timeout(Duration::from_secs(10))
            .required();

        startup.serve(upstream, async |cx: ServeContext, upstream: Arc<Upstream>| {
            println!("connected at attempt {}", upstream.attempts);
            cx.shutdown_requested().await;
            Ok(())
        });
        Ok(())
    })
}
