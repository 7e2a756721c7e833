//! What the engine gives the service for its stop and its start, against what the service gives itself.

use std::time::Duration;

use super::environment::Settings;
use crate::{
    codes::COMPOSE_UNSAFE,
    compose::{duration, fault::Finding, node::Node, service::Service},
};

/// What Compose gives a container between SIGTERM and SIGKILL.
/// <https://docs.docker.com/reference/compose-file/services/#stop_grace_period>
const GRACE: Duration = Duration::from_secs(10);
/// For the process to end, and for the engine to see it, once everything is stopped.
const MARGIN: Duration = Duration::from_millis(500);

pub(super) fn check(service: &Service<'_>, settings: &Settings, found: &mut Vec<Finding>) {
    stop(service, settings, found);
    match service.node.get("healthcheck") {
        Some(health) => start(service, health, settings, found),
        None => {
            let text = "there is no `healthcheck`; unless the image brings one, nobody sees a service that is \
                        up but not ready";
            let hint =
                "Add `healthcheck: {test: [\"CMD\", \"/app\", \"healthcheck\"]}` with its `start_period`";
            found.push(service.warning(COMPOSE_UNSAFE, &service.node.at, text.to_owned(), hint));
        }
    }
}

/// The duration at `path`; one that cannot be read is a finding of its own.
fn duration_at<'p>(
    service: &Service<'p>,
    path: &[&str],
    found: &mut Vec<Finding>,
) -> Option<(Duration, &'p crate::compose::fault::Place)> {
    let (text, at) = service.text(path)?;
    let duration = duration::parse(text);
    if duration.is_none() {
        let text = format!("`{}` is not a duration", path.join("."));
        found.push(service.problem(COMPOSE_UNSAFE, at, text, "Write it with its unit, for instance 20s"));
    }
    duration.map(|duration| (duration, at))
}

fn stop(service: &Service<'_>, settings: &Settings, found: &mut Vec<Finding>) {
    let is_set = service.text(&["stop_grace_period"]).is_some();
    let set = duration_at(service, &["stop_grace_period"], found);
    if is_set && set.is_none() {
        return;
    }
    let (grace, at) = set.unwrap_or((GRACE, &service.node.at));
    let needed = settings.limits.shutdown + settings.limits.drain + MARGIN;
    if grace >= needed {
        return;
    }
    let (shown, needs) = (duration::show(grace), duration::show(needed));
    let is = if is_set { "is" } else { "is not set, and so" };
    let text = format!(
        "`stop_grace_period` {is} {shown}, but a stop may take {needs}: {} {} and {} {}, and 0.5s to end; then \
         comes SIGKILL",
        settings.name("SHUTDOWN_TIMEOUT"),
        duration::show(settings.limits.shutdown),
        settings.name("DRAIN"),
        duration::show(settings.limits.drain),
    );
    let hint = format!("Write `stop_grace_period: {}s` or more", needed.as_secs_f64().ceil());
    found.push(service.problem(COMPOSE_UNSAFE, at, text, &hint));
}

fn start(service: &Service<'_>, health: &Node, settings: &Settings, found: &mut Vec<Finding>) {
    let is_none = health
        .get("test")
        .is_some_and(|test| test.items().first().and_then(Node::text).is_some_and(|word| word == "NONE"));
    let disabled = health.get("disable").and_then(Node::text) == Some("true");
    if disabled || is_none {
        let text = "the health check is switched off, so nobody sees a service that is up but not ready";
        let hint = "Write `test: [\"CMD\", \"/app\", \"healthcheck\"]`";
        found.push(service.warning(COMPOSE_UNSAFE, &health.at, text.to_owned(), hint));
        return;
    }
    let startup = settings.limits.startup;
    let variable = settings.name("STARTUP_TIMEOUT");
    let hint = format!("Write `start_period: {}s` or more", startup.as_secs() + 10);
    let path = ["healthcheck", "start_period"];
    if service.text(&path).is_none() {
        let text = format!(
            "`healthcheck` has no `start_period`; unless the image brings one, a start that takes long is called \
             unhealthy before {variable} {} is over",
            duration::show(startup)
        );
        found.push(service.warning(COMPOSE_UNSAFE, &health.at, text, &hint));
    } else if let Some((period, at)) =
        duration_at(service, &path, found).filter(|(period, _)| *period < startup)
    {
        let text = format!(
            "`start_period` is {}, but a start may take {variable} {}: it would be called unhealthy while it starts",
            duration::show(period),
            duration::show(startup)
        );
        found.push(service.problem(COMPOSE_UNSAFE, at, text, &hint));
    }
}
