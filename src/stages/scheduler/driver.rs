//! What says when a job is due: the service itself, somebody outside, or nobody.

use crate::settings::{Env, Secret};

/// The fewest characters of a secret: 16 of them cannot be guessed over a network.
const SECRET_MIN: usize = 16;

/// What `<P>_SCHEDULER` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Internal,
    External,
    Off,
}

/// What says when a job is due.
#[derive(Clone, Debug)]
pub(super) struct Driver {
    pub(super) mode: Mode,
    /// What whoever calls `POST /tick/<job>` must know.
    secret: Option<Secret>,
    /// The variable that it comes from.
    variable: String,
}

impl Driver {
    /// The service itself, whatever the environment says.
    pub(super) fn internal() -> Self {
        Self { mode: Mode::Internal, secret: None, variable: String::new() }
    }

    pub(super) fn from_env(env: &Env) -> Self {
        let mode = env
            .var("SCHEDULER")
            .describe(
                "What starts the scheduled jobs: the service, whoever calls POST /tick/<job>, or nothing.",
            )
            .example("external")
            .choice([("internal", Mode::Internal), ("external", Mode::External), ("off", Mode::Off)])
            .default(Mode::Internal);
        let secret = env
            .var("TICK_SECRET")
            .describe("What whoever calls POST /tick/<job> must know. Without it nobody can.")
            .secret()
            .optional();
        let variable = env.full_name("TICK_SECRET");
        if secret.as_ref().is_some_and(|secret| !is_usable(secret.expose())) {
            let remedy = format!("write at least {SECRET_MIN}, for instance those of: openssl rand -hex 32");
            env.problem(&variable, "is too short, or has characters that no HTTP header can carry", remedy);
        }
        Self { mode, secret, variable }
    }

    /// The secret, where somebody outside says when a job is due and can prove who they are.
    pub(super) fn secret(&self) -> Option<&Secret> {
        self.secret.as_ref().filter(|_| self.mode == Mode::External)
    }

    /// What the line that says the service is ready says of it.
    pub(super) fn note(&self) -> String {
        match (self.mode, &self.secret) {
            (Mode::Internal, _) => "internal".to_owned(),
            (Mode::External, Some(_)) => "external".to_owned(),
            (Mode::External, None) => format!("external, but without {} no job runs", self.variable),
            (Mode::Off, _) => "off: no job runs".to_owned(),
        }
    }
}

/// Whether a header can carry it unchanged, and nobody guesses it.
fn is_usable(secret: &str) -> bool {
    secret.len() >= SECRET_MIN && secret.bytes().all(|each| each.is_ascii_graphic())
}
