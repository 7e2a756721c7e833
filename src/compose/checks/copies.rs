//! How many containers of the service there can be at one time.

use crate::{
    codes::COMPOSE_UNSAFE,
    compose::{fault::Finding, service::Service},
};

const ONE: &str = "Run one copy of this service, and remove this; one is the default";

pub(super) fn check(service: &Service<'_>, found: &mut Vec<Finding>) {
    for path in [&["deploy", "replicas"][..], &["scale"]] {
        let Some((text, at)) = service.text(path) else { continue };
        let key = path.join(".");
        let text = match text.parse::<u64>() {
            Ok(0 | 1) => continue,
            Ok(many) => format!("`{key}` is {many}, but only one may run: the others would exit with 78"),
            Err(_) => format!("`{key}` is not a whole number"),
        };
        found.push(service.problem(COMPOSE_UNSAFE, at, text, ONE));
    }
    if let Some(("global" | "global-job", at)) = service.text(&["deploy", "mode"]) {
        let text = "`deploy.mode` puts a copy on each node of the swarm, but only one may run".to_owned();
        found.push(service.problem(COMPOSE_UNSAFE, at, text, ONE));
    }
    for config in ["update_config", "rollback_config"] {
        if let Some(("start-first", at)) = service.text(&["deploy", config, "order"]) {
            let text = format!(
                "`deploy.{config}.order: start-first` starts the new container while the old one has the lock, \
                 and ends the old one once the new one is healthy: neither ever happens"
            );
            found.push(service.problem(COMPOSE_UNSAFE, at, text, "Write `order: stop-first`, the default"));
        }
    }
}
