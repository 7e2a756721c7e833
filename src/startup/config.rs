//! What the environment says about a start-up: its limits, and how its locks are taken.

use std::{ffi::OsStr, time::Duration};

use tokio_util::sync::CancellationToken;

use super::Startup;
use crate::{
    engine::Limits,
    instance::worker_mode::{Timings, WorkerConfig},
    settings::paths::database_path,
};

impl Startup {
    pub(crate) fn limits(&mut self) -> Limits {
        let defaults = Limits::default();
        let env = self.env.clone();
        let duration = |name: &str, about: &'static str, example: &'static str, default: Duration| {
            env.var(name).describe(about).example(example).duration().default(default)
        };
        let limits = Limits {
            startup: duration(
                "STARTUP_TIMEOUT",
                "How long the whole start may take.",
                "5m",
                defaults.startup,
            ),
            stage: duration(
                "STAGE_TIMEOUT",
                "How long each stage may take, from when its prerequisites are up.",
                "1m",
                defaults.stage,
            ),
            shutdown: duration(
                "SHUTDOWN_TIMEOUT",
                "How long everything may take to stop. Less than the platform's grace.",
                "25s",
                defaults.shutdown,
            ),
            drain: duration(
                "DRAIN",
                "How long to serve on, no longer ready, before stopping.",
                "5s",
                defaults.drain,
            ),
        };
        if !env.sets_any("STAGE_TIMEOUT_") {
            return limits;
        }
        for id in self.plan.graph.ids() {
            let name = self.plan.graph.name(id).to_uppercase().replace('-', "_");
            let own = env
                .var(&format!("STAGE_TIMEOUT_{name}"))
                .describe("How long this one stage may take, in place of the common limit.")
                .example("15m")
                .duration()
                .optional();
            let spec = &mut self.plan.specs[id.index()];
            spec.timeout = own.or(spec.timeout);
        }
        limits
    }

    /// What the locks need to know. `given_up` ends a wait for them.
    pub(crate) fn worker_config(&self, given_up: CancellationToken) -> WorkerConfig {
        let env = self.env.clone();
        let wait = self.lock_wait();
        let data_dir = self.data_dir();
        let database = database_path(&env);
        let lock_path = env
            .var("LOCK_PATH")
            .describe("The lock file. It must be where every instance of the service sees it.")
            .example("/data/app.lock")
            .path()
            .default(database.with_extension("lock"));
        let allow_unshared = env
            .var("ALLOW_UNSHARED_LOCK")
            .describe("File system types on which the lock is accepted although it may exclude nobody.")
            .example("overlay")
            .text()
            .default(self.allow_unshared.clone());
        // What is declared is read and judged by the lock layers; reading it here makes it known.
        let _judged_later = env
            .var("WORKERS")
            .describe("How many workers run. Only 1 is accepted.")
            .example("1")
            .text()
            .optional();
        WorkerConfig {
            instance: self.instance,
            service: self.name.clone(),
            version: self.version.clone().unwrap_or_else(|| "unknown".to_owned()),
            prefix: env.prefix().to_owned(),
            data_dir,
            lock_path,
            allow_unshared,
            worker_variables: self.worker_variables.clone(),
            timings: Timings::from_env(&env),
            wait,
            cancelled: Box::new(move || given_up.is_cancelled()),
            lookup: Box::new(move |name| env.raw(name).map(OsStr::to_owned)),
        }
    }

    /// How long to wait for another instance to go; `None` refuses at once.
    fn lock_wait(&self) -> Option<Duration> {
        let waits = self
            .env
            .var("INSTANCE_MODE")
            .describe("What to do while another instance runs: refuse to start, or wait for it to go.")
            .choice([("refuse", false), ("wait", true)])
            .default(false);
        let wait = self
            .env
            .var("LOCK_WAIT")
            .describe("How long to wait for another instance to go, with INSTANCE_MODE=wait.")
            .example("30s")
            .duration()
            .default(Duration::from_secs(15));
        waits.then_some(wait)
    }

    /// The root's limit must not end a wait that was asked for.
    pub(super) fn give_time_to_wait(&mut self, config: &WorkerConfig, limits: Limits) {
        let longest = config.longest();
        if longest >= limits.startup {
            // To tell a dead holder from one that runs takes as long as its lease lasts.
            let name = if config.wait.is_some() { "LOCK_WAIT" } else { "LEASE_TTL" };
            let above = longest.as_secs() + 1;
            let remedy = format!("set {} to {above}s or more", self.env.full_name("STARTUP_TIMEOUT"));
            let what = "waiting for the lock would take longer than the whole start may";
            self.env.problem(&self.env.full_name(name), what, remedy);
        }
        if let Some(root) = self.plan.specs.first_mut() {
            root.timeout = Some(root.timeout.unwrap_or(limits.stage) + config.longest());
        }
    }
}
