//! What the service's environment says about workers and time limits.

use std::time::Duration;

use crate::{
    codes::ENV_INVALID,
    compose::{fault::Finding, select::Ours},
    engine::Limits,
    instance::declared,
    settings::{Env, SOME_TIME},
};

/// The settings that other parts of the file must agree with.
pub(super) struct Settings {
    env: Env,
    pub(super) limits: Limits,
    /// Whether a failed start stays up for a while before it ends.
    pub(super) holds: bool,
}

impl Settings {
    /// A variable of the service, by its name without the prefix; not an empty one.
    pub(super) fn own(&self, name: &str) -> Option<&str> {
        self.env.raw(&self.name(name))?.to_str().map(str::trim).filter(|value| !value.is_empty())
    }

    /// The full name of a variable.
    pub(super) fn name(&self, name: &str) -> String {
        self.env.full_name(name)
    }
}

/// Reads the settings as the service would, and notes what is wrong with them.
pub(super) fn read(Ours { service, prefix }: &Ours<'_, '_>, found: &mut Vec<Finding>) -> Settings {
    // A path in `…_FILE` is one of the container, and must not be read here.
    let vars = service.environment.iter().filter(|(name, _)| !name.ends_with("_FILE"));
    let env = Env::from_vars(prefix, vars.map(|(name, (_, value))| (name, value)));
    let defaults = Limits::default();
    let duration = |name: &str, default: Duration| env.var(name).duration().default(default);
    let limit = |name: &str, default: Duration| env.var(name).duration().within(SOME_TIME).default(default);
    let limits = Limits {
        startup: limit("STARTUP_TIMEOUT", defaults.startup),
        stage: limit("STAGE_TIMEOUT", defaults.stage),
        shutdown: limit("SHUTDOWN_TIMEOUT", defaults.shutdown),
        drain: duration("DRAIN", defaults.drain),
    };
    let holds = duration("FAILURE_HOLD", Duration::ZERO) > Duration::ZERO;
    for problem in env.check().err().iter().flat_map(|problems| problems.problems()) {
        let text = format!("{}: {}", problem.variable, problem.what);
        found.push(service.problem(ENV_INVALID, service.place_of(&problem.variable), text, &problem.remedy));
    }
    for (variable, (at, value)) in &service.environment {
        // One variable at a time, so that each is told with its line.
        let lookup = |name: &str| (name == variable).then(|| value.into());
        if let Err(error) = declared::check(prefix, &[], &lookup) {
            let what = error.facts().first().map_or("", |fact| &fact.value);
            let hint = error.actions().first().map_or("", String::as_str);
            let text = format!("{variable} {what}");
            found.push(service.problem(error.failure_code(), at, text, hint));
        }
    }
    Settings { env, limits, holds }
}
