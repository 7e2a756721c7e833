//! What becomes of the service when somebody scales it, and when its start fails.

use super::environment::Settings;
use crate::{
    codes::COMPOSE_UNSAFE,
    compose::{fault::Finding, service::Service},
};

pub(super) fn check(service: &Service<'_>, settings: &Settings, found: &mut Vec<Finding>) {
    if service.node.get("container_name").is_none() {
        let text = "there is no `container_name`, with which Compose itself refuses `--scale` above one";
        let hint = format!("Write `container_name: {}`; a swarm ignores it", service.name);
        found.push(service.warning(COMPOSE_UNSAFE, &service.node.at, text.to_owned(), &hint));
    }
    if settings.holds {
        return;
    }
    let restart = service.text(&["restart"]).filter(|(word, _)| matches!(*word, "always" | "unless-stopped"));
    let condition =
        service.text(&["deploy", "restart_policy", "condition"]).filter(|(word, _)| *word == "any");
    for (word, at) in restart.into_iter().chain(condition) {
        let text = format!(
            "the restart policy `{word}` heeds no exit code: a start that fails for good is repeated for ever"
        );
        let hint = format!("Write `restart: on-failure:5`, or set {}=5m", settings.name("FAILURE_HOLD"));
        found.push(service.warning(COMPOSE_UNSAFE, at, text, &hint));
    }
}
