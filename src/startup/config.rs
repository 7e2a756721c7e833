//! What the environment says about a start-up: its limits.

use std::time::Duration;

use super::Startup;
use crate::{engine::Limits, settings::SOME_TIME};

impl Startup {
    pub(crate) fn limits(&mut self) -> Limits {
        let defaults = Limits::default();
        let env = self.env.clone();
        // In no time nothing starts and nothing stops, and every start or stop would be a failure.
        let limit = |name: &str, about: &'static str, example: &'static str, default: Duration| {
            env.var(name).describe(about).example(example).duration().within(SOME_TIME).default(default)
        };
        let limits = Limits {
            startup: limit("STARTUP_TIMEOUT", "How long the whole start may take.", "5m", defaults.startup),
            stage: limit(
                "STAGE_TIMEOUT",
                "How long each stage may take, from when its prerequisites are up.",
                "1m",
                defaults.stage,
            ),
            shutdown: limit(
                "SHUTDOWN_TIMEOUT",
                "How long everything may take to stop. Less than the platform's grace.",
                "25s",
                defaults.shutdown,
            ),
            drain: env
                .var("DRAIN")
                .describe("How long to serve on, no longer ready, before stopping.")
                .example("5s")
                .duration()
                .default(defaults.drain),
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
                .within(SOME_TIME)
                .optional();
            let spec = &mut self.plan.specs[id.index()];
            spec.timeout = own.or(spec.timeout);
        }
        limits
    }
}
