//! Variables that nobody reads: misspelt ones, and those that Kubernetes adds by itself.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use strsim::osa_distance;

use super::{
    file::{plain, twin},
    problems::EnvWarning,
    var::VariableInfo,
};

/// How many unknown variables are named one by one.
const NAMED_LIMIT: usize = 20;

/// A name longer than this is no misspelling of ours, and comparing it would take time.
const COMPARED_LENGTH: usize = 100;

/// Whether Kubernetes set the variable because of a Service whose name begins like the prefix.
///
/// A Service `banboard` gives every pod of its namespace `BANBOARD_SERVICE_HOST`, `BANBOARD_PORT` and more
/// (Kubernetes documentation, "Accessing the Service", environment variables).
pub(super) fn is_service_link(name: &str, value: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || has_numbered_port(name)
        || is_link_value(name, value)
}

/// Whether `value` is the URL-like one of a service link. Only these tell themselves apart in a variable
/// that the application reads: a bare address or number could as well be meant.
pub(super) fn is_link_value(name: &str, value: &str) -> bool {
    (name.ends_with("_PORT") || has_numbered_port(name))
        && ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme))
}

/// `*_PORT_<n>_*`, as in `BANBOARD_PORT_8080_TCP_ADDR`.
fn has_numbered_port(name: &str) -> bool {
    name.split("_PORT_").skip(1).any(|after| {
        after
            .split_once('_')
            .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|each| each.is_ascii_digit()))
    })
}

/// One warning for each of `set`, the set variables under the prefix, that was never read.
pub(super) fn warnings<'v>(
    prefix: &str,
    known: &BTreeMap<String, VariableInfo>,
    set: impl Iterator<Item = (Cow<'v, str>, Cow<'v, str>)>,
) -> Vec<EnvWarning> {
    let takes_file = |name: &str| known.get(name).is_some_and(|each| each.takes_file);
    let is_known = |name: &str| known.contains_key(name) || plain(name).is_some_and(takes_file);
    let unknown: Vec<Cow<'v, str>> = set
        .filter(|(name, value)| !is_known(name) && !is_service_link(name, value))
        .map(|(name, _)| name)
        .collect();
    if unknown.is_empty() {
        return Vec::new();
    }
    let twins = known.values().filter(|each| each.takes_file).map(|each| twin(&each.name));
    let names: BTreeSet<String> = known.keys().cloned().chain(twins).collect();
    let named = unknown.iter().take(NAMED_LIMIT).map(|name| {
        let text = match nearest(name, prefix, &names) {
            Some(meant) => format!("unknown; did you mean {meant}?"),
            None => "unknown, and not used".to_owned(),
        };
        EnvWarning::new(name, text)
    });
    let more = unknown.len().saturating_sub(NAMED_LIMIT);
    let summary =
        (more > 0).then(|| EnvWarning::new(&format!("{prefix}_*"), format!("{more} more are unknown")));
    named.chain(summary).collect()
}

/// The known name that `name` is probably a misspelling of: one slip, and one more for every five characters
/// after the prefix, which all of them share.
fn nearest<'n>(name: &str, prefix: &str, names: &'n BTreeSet<String>) -> Option<&'n str> {
    if name.len() > COMPARED_LENGTH {
        return None;
    }
    let slips = 1 + name.len().saturating_sub(prefix.len() + 1) / 5;
    let distances = names.iter().map(|each| (osa_distance(name, each), each.as_str()));
    distances.min().filter(|(distance, _)| *distance <= slips).map(|(_, meant)| meant)
}

#[cfg(test)]
mod tests;
