//! Whether the lock lies where every container of the service meets it, and the data where it stays.

use super::environment::Settings;
use crate::{
    codes::{COMPOSE_INVALID, COMPOSE_UNSAFE, FailureCode, LOCK_HELD, LOCK_NOT_SHARED},
    compose::{
        fault::{Finding, Place},
        mounts::{Mount, Source, clean_path},
        node::Node,
        project::Project,
        select::Ours,
        service::Service,
    },
};

const NAMED: &str =
    "Keep the data on a named volume: `volumes: [data:/data]`, with `data:` under the top `volumes:`";
/// File systems on which one lock can be granted to two.
const REMOTE: &[&str] = &["nfs", "nfs4", "cifs", "smb3", "9p", "glusterfs", "ceph"];

pub(super) fn check(service: &Service<'_>, settings: &Settings, project: &Project, found: &mut Vec<Finding>) {
    undefined_volumes(service, project, found);
    let paths = paths(service, settings);
    if paths.is_empty() {
        // The image may say where the data is. Then some volume must be there for it.
        let is_kept = |mount: &Mount| matches!(mount.source, Source::Named(_) | Source::Bind | Source::Other);
        if !service.mounts.iter().any(|mount| is_kept(mount) && !mount.read_only) {
            let at = service.mounts.first().map_or(&service.node.at, |mount| &mount.at);
            let text = "no volume is mounted that outlives the container, so each container has a lock and data of \
                        its own";
            found.push(service.problem(LOCK_NOT_SHARED, at, text.to_owned(), NAMED));
        }
        return;
    }
    for (variable, path) in paths {
        let allowed = |kind: &str| {
            let list = settings.own("ALLOW_UNSHARED_LOCK").unwrap_or_default();
            list.split(',').any(|each| each.trim() == kind)
        };
        if let Some((code, at, text)) = misplaced(service, &variable, &path, project, &allowed) {
            found.push(service.problem(code, &at, text, NAMED));
        }
    }
}

/// The variables that say where lock and data are, with their paths; not those that the image may complete.
fn paths(service: &Service<'_>, settings: &Settings) -> Vec<(String, String)> {
    let base = service.node.get("working_dir").and_then(Node::text).unwrap_or_default();
    let path = |name: &str| {
        let value = settings.own(name)?;
        let whole = if value.starts_with('/') { value.to_owned() } else { format!("{base}/{value}") };
        whole.starts_with('/').then(|| (settings.name(name), clean_path(&whole)))
    };
    // The lock lies beside the database, and the database in the data directory, unless they say otherwise.
    let data = path("DATABASE_PATH").or_else(|| path("DATA_DIR"));
    path("LOCK_PATH").into_iter().chain(data).collect()
}

/// What is wrong with where `path` lies.
fn misplaced(
    service: &Service<'_>,
    variable: &str,
    path: &str,
    project: &Project,
    allowed: &dyn Fn(&str) -> bool,
) -> Option<(FailureCode, Place, String)> {
    let refused =
        |at: &Place, what: String| Some((LOCK_NOT_SHARED, at.clone(), format!("{variable}={path} {what}")));
    let Some(mount) = mount_of(service, path) else {
        let text = "is on no volume: each container has its own, and loses it when it goes".to_owned();
        return if allowed("overlay") { None } else { refused(service.place_of(variable), text) };
    };
    if mount.read_only {
        let text = format!("{variable}={path} is on a volume that is mounted read-only");
        return Some((COMPOSE_UNSAFE, mount.at.clone(), text));
    }
    let kind = match &mount.source {
        Source::Anonymous => {
            return refused(
                &mount.at,
                "is on a volume without a name, of which each container has its own".to_owned(),
            );
        }
        Source::Tmpfs => "tmpfs",
        Source::Named(name) => file_system(name, project)?,
        Source::Bind | Source::Other => return None,
    };
    if allowed(kind) {
        return None;
    }
    let text = if kind == "tmpfs" {
        "is on tmpfs: each container has its own, and loses it when it goes".to_owned()
    } else {
        format!("is on {kind}, where one lock can be granted to two machines")
    };
    refused(&mount.at, text)
}

/// The deepest mount that `path` lies on.
fn mount_of<'s>(service: &'s Service<'_>, path: &str) -> Option<&'s Mount> {
    let covering = service.mounts.iter().filter_map(|mount| Some((mount.covers(path)?, mount)));
    covering.max_by_key(|(depth, _)| *depth).map(|(_, mount)| mount)
}

/// The type of file system that a volume asks its driver for, where it is one that keeps no lock.
fn file_system<'p>(volume: &str, project: &'p Project) -> Option<&'p str> {
    let kind = project.root.find(&["volumes", volume, "driver_opts", "type"])?.text()?;
    (kind == "tmpfs" || REMOTE.contains(&kind)).then_some(kind)
}

fn undefined_volumes(service: &Service<'_>, project: &Project, found: &mut Vec<Finding>) {
    for mount in &service.mounts {
        let Source::Named(name) = &mount.source else { continue };
        if project.section("volumes").all(|(known, _)| known != name) {
            let text = format!("the volume {name} is not among the `volumes:` at the top of the files");
            let hint = format!("Add `volumes: {{{name}: }}` at the top level");
            found.push(service.problem(COMPOSE_INVALID, &mount.at, text, &hint));
        }
    }
}

/// The name that the engine knows a volume by: two entries may mean the same one.
fn engine_name<'p>(volume: &'p str, project: &'p Project) -> &'p str {
    project.root.find(&["volumes", volume, "name"]).and_then(Node::text).unwrap_or(volume)
}

/// Other services that use a volume of ours.
pub(super) fn shared(
    ours: &[Ours<'_, '_>],
    services: &[Service<'_>],
    project: &Project,
    found: &mut Vec<Finding>,
) {
    let named = |service: &Service<'_>| -> Vec<(String, Place)> {
        let writable = service.mounts.iter().filter(|mount| !mount.read_only);
        let named = writable.filter_map(|mount| match &mount.source {
            Source::Named(name) => Some((engine_name(name, project).to_owned(), mount.at.clone())),
            Source::Anonymous | Source::Bind | Source::Tmpfs | Source::Other => None,
        });
        named.collect()
    };
    for (index, each) in ours.iter().enumerate() {
        for (volume, at) in named(each.service) {
            for other in services.iter().filter(|other| other.name != each.service.name) {
                let Some((_, there)) = named(other).into_iter().find(|(name, _)| *name == volume) else {
                    continue;
                };
                match ours.iter().position(|ours| ours.service.name == other.name) {
                    // Told once, at the later of the two.
                    Some(position) if position > index => {}
                    Some(_) => {
                        let text = format!(
                            "the volume {volume} is that of the service {}, too ({there}): the second to start \
                             would be refused",
                            other.name
                        );
                        let hint = "Give each service a volume of its own, or keep one of them";
                        found.push(each.service.problem(LOCK_HELD, &at, text, hint));
                    }
                    None => {
                        let text = format!(
                            "the service {} can write to the volume {volume}, too ({there})",
                            other.name
                        );
                        let hint = "Mount it there with `:ro`, unless it knows how to share the database";
                        found.push(each.service.warning(COMPOSE_UNSAFE, &at, text, hint));
                    }
                }
            }
        }
    }
}
