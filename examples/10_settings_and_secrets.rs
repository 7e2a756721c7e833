//! 10. Settings and secrets: typed, and every problem in one report.
//!
//! `POSTBOX_PASSWORD=correct-horse cargo run --example 10_settings_and_secrets` prints its settings, the secret redacted.
//!
//! To try
//! - Without the password: the start is refused before anything else happens, exit code 78.
//! - `POSTBOX_LISTEN=here POSTBOX_PATIENCE=30 POSTBOX_RETRIES=many cargo run --example 10_settings_and_secrets`: all of them are told at
//!   once, each with what to write.
//! - `POSTBOX_PASSWORD_FILE=/run/secrets/postbox`: text and secrets can come from a file, as containers mount them.
//! - `POSTBOX_PATIENSE=1m`: did you mean `POSTBOX_PATIENCE`?

#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use solostart::{Env, Secret, ServeContext, StageContext};

/// Read once, in one place. A secret prints as `[redacted]`, so it can stand among the rest.
#[derive(Debug)]
struct Settings {
    listen: SocketAddr,
    patience: Duration,
    retries: u32,
    password: Secret,
}

impl Settings {
    /// Reading never fails here: problems are collected, and `run` refuses the start with all of them.
    fn from_env(env: &Env) -> Self {
        let settings = Self {
            listen: env
                .var("LISTEN")
                .describe("Where the postbox listens.")
                .socket_address()
                .default(SocketAddr::from(([127, 0, 0, 1], 2525))),
            patience: env
                .var("PATIENCE")
                .describe("How long a delivery may take.")
                .duration()
                .within(Duration::from_millis(100)..=Duration::from_secs(600))
                .default(Duration::from_secs(30)),
            retries: env
                .var("RETRIES")
                .describe("How often a delivery is tried again.")
                .integer(0..=20)
                .default(3),
            password: env.var("PASSWORD").describe("What the postbox logs in with.").secret().required(),
        };
        // What the form of one value does not show.
        if settings.retries > 0 && settings.patience < Duration::from_secs(1) {
            env.problem(&env.full_name("PATIENCE"), "is too short to try again", "write at least 1s");
        }
        settings
    }
}

fn main() -> ExitCode {
    solostart::run("postbox", |startup| {
        startup.allow_unshared_lock("overlay,tmpfs");
        let settings = Settings::from_env(&startup.env());
        let settings =
            startup.stage("settings", (), async move |_cx: StageContext, ()| Ok(settings)).required();
        startup.serve(settings, async |cx: ServeContext, settings: Arc<Settings>| {
            println!("{settings:?}");
            let length = settings.password.expose().len();
            println!("on {}, with a password of {length} characters", settings.listen);
            cx.shutdown_requested().await;
            Ok(())
        });
        Ok(())
    })
}
