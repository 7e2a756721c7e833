//! The keys that Compose knows. It refuses others, and so do we, with a guess at what was meant.
//!
//! From the schema of the Compose specification:
//! <https://github.com/compose-spec/compose-spec/blob/main/schema/compose-spec.json>

use strsim::osa_distance;

use super::{fault::Fault, node::Node};

const TOP: &str = "configs include models name networks secrets services version volumes";

const SERVICE: &str = "annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs \
    container_name cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset \
    credential_spec depends_on deploy develop device_cgroup_rules devices dns dns_opt dns_search domainname \
    entrypoint env_file environment expose extends external_links extra_hosts gpus group_add healthcheck hostname \
    image init ipc isolation label_file labels links logging mac_address mem_limit mem_reservation mem_swappiness \
    memswap_limit models network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform ports \
    post_start pre_start pre_stop privileged profiles provider pull_policy pull_refresh_after read_only restart \
    runtime scale secrets security_opt shm_size stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs \
    tty ulimits use_api_socket user userns_mode uts volumes volumes_from working_dir";

const UPDATE: &str = "delay failure_action max_failure_ratio monitor order parallelism";

/// What is below a service, as far as it is judged here.
const PARTS: &[(&[&str], &str)] = &[
    (
        &["deploy"],
        "endpoint_mode labels mode placement replicas resources restart_policy rollback_config update_config",
    ),
    (&["deploy", "update_config"], UPDATE),
    (&["deploy", "rollback_config"], UPDATE),
    (&["deploy", "restart_policy"], "condition delay max_attempts window"),
    (&["healthcheck"], "disable interval retries start_interval start_period test timeout"),
];

const VOLUME: &str = "driver driver_opts external labels name";

/// Every key of the file that Compose does not know, and every section that has not the form of one.
pub(super) fn check(root: &Node) -> Result<Vec<Fault>, Fault> {
    let mut wrong = Vec::new();
    root.must_be_map("a Compose file")?;
    unknown(root, "the file", TOP, &mut wrong);
    for (name, service) in section(root, "services")? {
        let of = format!("service {name}");
        service.must_be_map(name)?;
        unknown(service, &of, SERVICE, &mut wrong);
        for (path, known) in PARTS {
            if let Some(part) = service.find(path) {
                let title = path.join(".");
                part.must_be_map(&title)?;
                unknown(part, &format!("{title} of {of}"), known, &mut wrong);
            }
        }
    }
    for (name, volume) in section(root, "volumes")? {
        volume.must_be_map(name)?;
        unknown(volume, &format!("volume {name}"), VOLUME, &mut wrong);
    }
    Ok(wrong)
}

fn section<'n>(root: &'n Node, name: &str) -> Result<Vec<(&'n str, &'n Node)>, Fault> {
    match root.get(name) {
        Some(section) => {
            section.must_be_map(name)?;
            Ok(section.entries().collect())
        }
        None => Ok(Vec::new()),
    }
}

fn unknown(node: &Node, of: &str, known: &str, into: &mut Vec<Fault>) {
    for (key, value) in node.entries() {
        if key.starts_with("x-") || known.split(' ').any(|each| each == key) {
            continue;
        }
        let shown: String = key.chars().take(60).collect();
        let fault = Fault::new(&value.at, format!("`{shown}` is no key of {of}"));
        into.push(match nearest(key, known.split(' ')) {
            Some(meant) => fault.hint(format!("Did you mean `{meant}`?")),
            None => fault.hint("Remove it, or let its name begin with `x-`"),
        });
    }
}

/// The known name that `name` is probably a misspelling of: one slip for every three characters.
pub(super) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if name.len() > 60 {
        return None;
    }
    let distances = known.map(|each| (osa_distance(name, each), each));
    distances.min().filter(|(distance, _)| *distance <= 1 + name.len() / 4).map(|(_, meant)| meant)
}
