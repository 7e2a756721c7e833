//! Which services are judged: a file names databases and proxies beside the one that may run only once.

use super::{
    fault::{Fault, Place},
    keys::nearest,
    node::{Node, Value},
    service::Service,
};
use crate::settings::Env;

/// Variables that no other software is likely to read. `_DATA_DIR` and the like are not among them.
const TELLING: &[&str] = &[
    "_STARTUP_TIMEOUT",
    "_STAGE_TIMEOUT",
    "_SHUTDOWN_TIMEOUT",
    "_FAILURE_HOLD",
    "_LOCK_PATH",
    "_LOCK_WAIT",
    "_LEASE_TTL",
    "_LEASE_RENEW",
    "_INSTANCE_MODE",
    "_ALLOW_UNSHARED_LOCK",
];

/// What the operator said about it.
#[derive(Clone, Default, Debug)]
pub(super) struct Choice {
    pub(super) services: Vec<String>,
    pub(super) prefix: Option<String>,
}

/// A service to be judged, and the prefix of its variables.
pub(super) struct Ours<'s, 'p> {
    pub(super) service: &'s Service<'p>,
    pub(super) prefix: String,
}

/// The services that the operator named; or else those of the prefix that the operator named; or else those that
/// show by themselves that they are made with this library. `at` is the first file.
///
/// # Errors
/// If a named service does not exist, if none is found, or if the prefix cannot be told.
pub(super) fn select<'s, 'p>(
    services: &'s [Service<'p>],
    choice: &Choice,
    at: &Place,
) -> Result<Vec<Ours<'s, 'p>>, Fault> {
    let names = || services.iter().map(|service| service.name);
    let list = || names().take(10).collect::<Vec<_>>().join(", ");
    if choice.services.is_empty() {
        let ours: Vec<Ours<'_, '_>> =
            services.iter().filter_map(|service| recognised(service, choice)).collect();
        if !ours.is_empty() {
            return Ok(ours);
        }
        let by =
            choice.prefix.as_ref().map_or_else(String::new, |prefix| format!(" with the prefix {prefix}"));
        let text = format!("none of the services ({}) shows that it is one of ours{by}", list());
        return Err(Fault::new(at, text).hint("Name it: --service NAME --prefix PREFIX"));
    }
    let named = |name: &String| {
        let service = services.iter().find(|service| service.name == name).ok_or_else(|| {
            let meant =
                nearest(name, names()).map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
            Fault::new(at, format!("there is no service {name}{meant}"))
                .hint(format!("There are: {}", list()))
        })?;
        let prefix = choice.prefix.clone().or_else(|| prefix_of(service)).ok_or_else(|| {
            let text = format!("the service {name} does not show what its variables begin with");
            Fault::new(&service.node.at, text).hint("Say it, for instance: --prefix BANBOARD")
        })?;
        Ok(Ours { service, prefix })
    };
    choice.services.iter().map(named).collect()
}

fn recognised<'s, 'p>(service: &'s Service<'p>, choice: &Choice) -> Option<Ours<'s, 'p>> {
    let prefix = match &choice.prefix {
        None => prefix_of(service)?,
        Some(prefix) => {
            let start = format!("{prefix}_");
            let sets = service.environment.keys().any(|name| name.starts_with(&start));
            let is_image = image_of(service).as_ref() == Some(prefix);
            (sets || is_image || asked_by(service).as_ref() == Some(prefix)).then(|| prefix.clone())?
        }
    };
    Some(Ours { service, prefix })
}

/// What the service's variables begin with, as far as the file shows it.
fn prefix_of(service: &Service<'_>) -> Option<String> {
    let telling = |name: &String| {
        TELLING
            .iter()
            .find_map(|ending| name.strip_suffix(ending))
            .filter(|start| !start.is_empty())
            .map(str::to_owned)
    };
    asked_by(service).or_else(|| service.environment.keys().find_map(telling))
}

/// The program of a health check of the form `["CMD", "/banboard", "healthcheck"]`.
fn asked_by(service: &Service<'_>) -> Option<String> {
    let Value::List(words) = &service.node.find(&["healthcheck", "test"])?.value else { return None };
    let words: Vec<&str> = words.iter().filter_map(Node::text).collect();
    match words.as_slice() {
        ["CMD", program, "healthcheck", ..] => program.rsplit('/').next().map(Env::prefix_of),
        _ => None,
    }
}

/// `BANBOARD` for `registry:5000/team/banboard:0.1.0@sha256:…`.
fn image_of(service: &Service<'_>) -> Option<String> {
    let image = service.node.get("image")?.text()?;
    let name = image.split('@').next()?.rsplit('/').next()?.split(':').next()?;
    Some(Env::prefix_of(name))
}
