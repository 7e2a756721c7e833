//! What this process runs on, and what an operator types there.
//!
//! Advice has the words of the platform at hand: who runs Podman has no `docker`, and a pod's volume gets its owner
//! from `fsGroup`. What the platform is, is read from the kernel's list of mounts, the control group and the map of
//! user numbers, and from the one variable that the kubelet sets in every container.

use std::{fs, path::Path};

use rustix::process::{getegid, geteuid};

use super::{evidence::quoted, holder::host_name, id_map::IdMap, mounts::Mount};
use crate::settings::paths::names_a_cluster;

/// What starts this process and ends it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Platform {
    /// A shell, or a service manager that is not known.
    Machine,
    /// The service manager of the machine, or of a user.
    Systemd {
        unit: String,
        of_user: bool,
    },
    Docker,
    Podman {
        rootless: bool,
    },
    Kubernetes,
}

/// What the platform is read from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    /// The mounts of this process.
    pub(super) mounts: &'a [Mount],
    /// Whether its root directory is that of the machine's `init`, so that no engine gave it those mounts.
    pub(super) on_machine: bool,
    /// Whether the environment names the API server of a cluster.
    pub(super) cluster: bool,
    /// What is in `/run/.containerenv`, where there is such a file.
    pub(super) containerenv: Option<&'a str>,
    /// `/proc/self/cgroup`
    pub(super) cgroup: &'a str,
    pub(super) ids: &'a IdMap,
}

impl Platform {
    /// The platform of this process, which sees these `mounts`.
    pub(super) fn detect(mounts: &[Mount], on_machine: bool) -> Self {
        let containerenv = fs::read_to_string("/run/.containerenv").ok();
        let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let ids = IdMap::of_this_process();
        let containerenv = containerenv.as_deref();
        let cluster = names_a_cluster();
        Self::from(Evidence { mounts, on_machine, cluster, containerenv, cgroup: &cgroup, ids: &ids })
    }

    /// What the evidence shows, the most certain first. CRI-O writes `.containerenv` into pods, too, so that a pod is
    /// looked for before Podman.
    pub(super) fn from(evidence: Evidence<'_>) -> Self {
        let mounts = if evidence.on_machine { &[] } else { evidence.mounts };
        let at = |point: &str| mounts.iter().rfind(|mount| mount.point == Path::new(point));
        let hosts = at("/etc/hosts");
        // The kubelet's `etc-hosts`, `/dev/termination-log` and tokens are mounted where the variable was cleared.
        let in_pod = evidence.cluster
            || hosts.is_some_and(|mount| mount.root.ends_with("etc-hosts"))
            || at("/dev/termination-log").is_some()
            || mounts.iter().any(|mount| mount.point.ends_with("kubernetes.io/serviceaccount"));
        if in_pod {
            return Self::Kubernetes;
        }
        if let Some(text) = evidence.containerenv.filter(|_| !evidence.on_machine) {
            // Podman writes more than an empty file only for a privileged container.
            let rootless = text.lines().any(|line| line == "rootless=1") || !evidence.ids.is_whole();
            return Self::Podman { rootless };
        }
        if hosts.is_some() {
            return Self::Docker;
        }
        match unit_in(evidence.cgroup) {
            Some((unit, of_user)) => Self::Systemd { unit, of_user },
            None => Self::Machine,
        }
    }

    /// Whether an engine runs this process in a container.
    pub(crate) fn is_container(&self) -> bool {
        !matches!(self, Self::Machine | Self::Systemd { .. })
    }

    /// The program that an operator has for containers; `None` where there is none.
    fn engine(&self) -> Option<&'static str> {
        match self {
            Self::Docker => Some("docker"),
            Self::Podman { .. } => Some("podman"),
            Self::Machine | Self::Systemd { .. } | Self::Kubernetes => None,
        }
    }

    /// The platform that keeps the process `pid`, which this process sees: the control group has its name.
    pub(super) fn of_process(pid: u32) -> Self {
        Self::of_group(&fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default())
    }

    fn of_group(cgroup: &str) -> Self {
        match unit_in(cgroup) {
            _ if cgroup.contains("kubepods") => Self::Kubernetes,
            _ if cgroup.contains("libpod") => Self::Podman { rootless: cgroup.contains("/user@") },
            _ if cgroup.contains("docker") => Self::Docker,
            Some((unit, of_user)) => Self::Systemd { unit, of_user },
            None => Self::Machine,
        }
    }

    /// What shows all who use the data on `mount`; `None` where only the owner of a lock, or `fuser`, does.
    pub(super) fn who_uses(&self, mount: &Mount) -> Option<String> {
        let engine = match self {
            Self::Kubernetes => return Some("kubectl get pods -o wide".to_owned()),
            Self::Machine | Self::Systemd { .. } | Self::Docker | Self::Podman { .. } => self.engine()?,
        };
        // An engine finds a volume by its name, and what else is mounted by where the container has it.
        let at = mount.volume_name().map_or_else(|| quoted(&mount.point), str::to_owned);
        Some(if mount.point == Path::new("/") {
            format!("{engine} ps -a")
        } else {
            format!("{engine} ps -a --filter volume={at}")
        })
    }

    /// Where the variables of this process are written.
    pub(crate) fn settings_place(&self) -> String {
        match self {
            Self::Machine => "in its environment".to_owned(),
            Self::Systemd { unit, .. } => format!("in `Environment=` of {unit}"),
            Self::Docker => "in the `environment:` or `env_file:` of this service".to_owned(),
            Self::Podman { .. } => "in `--env` or `--env-file`".to_owned(),
            Self::Kubernetes => "in `env:` or `envFrom:` of the container".to_owned(),
        }
    }

    /// What shows who asked this process to end.
    pub(crate) fn who_ended_it(&self) -> String {
        match self {
            Self::Machine => "journalctl --since -10min, or the shell that it was started in".to_owned(),
            Self::Systemd { unit, of_user } => {
                format!("journalctl {}-u {unit} --since -10min", user_option(*of_user))
            }
            Self::Docker => "docker events --since 10m --until 0s --filter event=kill".to_owned(),
            Self::Podman { .. } => "podman events --since 10m --stream=false --filter event=kill".to_owned(),
            Self::Kubernetes => "kubectl get events --sort-by=.lastTimestamp".to_owned(),
        }
    }

    /// The setting of the time that a stop may take.
    pub(crate) fn grace(&self) -> String {
        let setting = match self {
            Self::Machine => return "whatever waits for it".to_owned(),
            Self::Systemd { .. } => "TimeoutStopSec=",
            Self::Docker => "stop_grace_period:",
            Self::Podman { .. } => "--stop-timeout",
            Self::Kubernetes => "terminationGracePeriodSeconds:",
        };
        format!("`{setting}`")
    }

    /// What shows the settings that this process was really given.
    pub(crate) fn settings_shown(&self) -> String {
        match self {
            Self::Machine => "env".to_owned(),
            Self::Systemd { unit, of_user } => format!("systemctl {}cat {unit}", user_option(*of_user)),
            Self::Docker => "docker compose config".to_owned(),
            // Both name the host after the container, or the pod.
            Self::Podman { .. } => format!("podman inspect {}", quoted(Path::new(&host_name()))),
            Self::Kubernetes => format!("kubectl get pod {} -o yaml", quoted(Path::new(&host_name()))),
        }
    }

    /// A sentence with the command that gives `path`, which lies on `mount`, to the user of this process. `owned` is
    /// the user and the group that it seems to have.
    pub(super) fn give(&self, path: &Path, mount: &Mount, owned: (u32, u32), ids: &IdMap) -> String {
        let ours = (geteuid().as_raw(), getegid().as_raw());
        let foreign = !ids.is_user(owned.0) || !ids.is_group(owned.1);
        self.give_to(ours, path, mount, foreign, ids)
    }

    /// `foreign`: the owner is none that this user namespace knows, so that nobody in it may change it.
    fn give_to(&self, ours: (u32, u32), path: &Path, mount: &Mount, foreign: bool, ids: &IdMap) -> String {
        let (user, group) = ours;
        let inside = format!("{user}:{group}");
        let outside = ids.outside_user(user).zip(ids.outside_group(group));
        let (outside_user, outside_group) = outside.unwrap_or(ours);
        let outside = format!("{outside_user}:{outside_group}");
        let source = mount.source_of(path).map(|source| quoted(&source));
        match (self, source.filter(|_| mount.volume_name().is_none())) {
            (Self::Kubernetes, _) => format!("Set `fsGroup: {group}` in the `securityContext` of the pod"),
            (Self::Machine | Self::Systemd { .. }, _) if ids.is_whole() => {
                format!("Give it to the user of this process, once: sudo chown -R {inside} {}", quoted(path))
            }
            (Self::Machine | Self::Systemd { .. }, _) => {
                let shown = quoted(path);
                format!(
                    "Give it to the user of this process, outside of its namespace: sudo chown -R {outside} {shown}"
                )
            }
            (Self::Podman { rootless: true }, Some(source)) => {
                let first = if foreign {
                    format!("sudo chown -R \"$(id -u):$(id -g)\" {source} && ")
                } else {
                    String::new()
                };
                let unshared = if ids.is_nested() { outside } else { inside };
                format!(
                    "Give it to the user of this process, once: {first}podman unshare chown -R {unshared} {source}"
                )
            }
            (Self::Docker | Self::Podman { .. }, Some(source)) if foreign => {
                format!(
                    "Give it to the user of this process, on the machine: sudo chown -R {outside} {source}"
                )
            }
            (Self::Docker | Self::Podman { .. }, _) => {
                let change = format!("chown -R {inside} {}", quoted(path));
                match self.in_helper(mount, &change) {
                    Some(change) => format!("Give it to the user of this process, once: {change}"),
                    None => {
                        format!("Give it to the user of this process, in a container that has it: {change}")
                    }
                }
            }
        }
    }

    /// A line that runs `command` in a new container that has the same `mount` at the same place. `None` where an operator
    /// has no program for containers, or cannot name what is mounted.
    pub(super) fn in_helper(&self, mount: &Mount, command: &str) -> Option<String> {
        self.helper(mount, "", command)
    }

    /// A line that copies `dir` out of a container, into the directory where it is typed. `None` as above.
    #[cfg(feature = "database")]
    pub(super) fn copied_out(&self, mount: &Mount, dir: &Path) -> Option<String> {
        self.helper(mount, " -v \"$PWD\":/here", &format!("cp -a {} /here/broken", quoted(dir)))
    }

    fn helper(&self, mount: &Mount, options: &str, command: &str) -> Option<String> {
        let engine = self.engine()?;
        let from = match mount.volume_name() {
            Some(volume) => volume.to_owned(),
            None => quoted(&mount.source_of(&mount.point)?),
        };
        // Podman makes a network for it, which can fail and which nothing here needs.
        let network = if matches!(self, Self::Podman { .. }) { " --network none" } else { "" };
        Some(format!(
            "{engine} run --rm{network} -v {from}:{}{options} busybox {command}",
            quoted(&mount.point)
        ))
    }

    /// Where the data is kept, so that every replica meets the same lock.
    pub(super) fn keep_data(&self, prefix: &str) -> String {
        match self {
            Self::Docker => {
                format!(
                    "Keep the data on a named volume: `volumes: [data:/data]` and {prefix}_DATA_DIR=/data"
                )
            }
            Self::Podman { .. } => {
                format!("Keep the data on a named volume: `-v data:/data` and {prefix}_DATA_DIR=/data")
            }
            Self::Kubernetes => format!(
                "Keep the data on a PersistentVolumeClaim of a local disk, mounted at {prefix}_DATA_DIR"
            ),
            Self::Systemd { unit, .. } => {
                format!("Keep the data on a local disk: `StateDirectory=` of {unit}, and {prefix}_DATA_DIR")
            }
            Self::Machine => format!("Keep the data on a local disk: {prefix}_DATA_DIR"),
        }
    }

    /// What lets an instance with this `name` go on that the platform has frozen, and what ends it.
    pub(super) fn to_go_on(&self, name: &str) -> Option<[String; 2]> {
        match self {
            Self::Docker => Some([format!("docker unpause {name}"), format!("docker kill {name}")]),
            Self::Podman { .. } => Some([format!("podman unpause {name}"), format!("podman kill {name}")]),
            // A pod is not paused; its node may be.
            Self::Kubernetes => {
                Some([format!("kubectl describe pod {name}"), format!("kubectl delete pod {name}")])
            }
            Self::Systemd { unit, of_user } => {
                let user = user_option(*of_user);
                let [thaw, kill] =
                    ["thaw", "kill -s KILL"].map(|verb| format!("systemctl {user}{verb} {unit}"));
                Some([thaw, kill])
            }
            Self::Machine => None,
        }
    }

    /// What to do where more instances than one were asked for.
    pub(super) fn keep_to_one(&self) -> String {
        let words = match self {
            Self::Docker => {
                "Scaled? Remove `--scale` or `deploy.replicas`; `container_name:` makes Compose refuse to scale"
            }
            Self::Kubernetes => "Scaled? Set `replicas: 1`, and `strategy: {type: Recreate}` in a Deployment",
            Self::Podman { .. } => "Started twice? Keep one of the two containers",
            Self::Systemd { unit, .. } => {
                return format!(
                    "One beside {unit}? Keep one of the two, or give each a data directory of its own"
                );
            }
            Self::Machine => "Started twice? Keep one of the two, or give each a data directory of its own",
        };
        words.to_owned()
    }

    /// How an update ends the old instance first.
    pub(super) fn update_in_order(&self) -> &'static str {
        match self {
            Self::Docker => "Use `order: stop-first`",
            Self::Kubernetes => "Use `strategy: {type: Recreate}`",
            Self::Podman { .. } | Self::Systemd { .. } | Self::Machine => "End the old one first",
        }
    }

    /// How it is written that the service runs as another user. `None` where nobody can be that user, because the user
    /// namespace does not know it, and where nothing is written.
    pub(super) fn run_as(&self, (user, group): (u32, u32), ids: &IdMap) -> Option<String> {
        if !ids.is_user(user) || !ids.is_group(group) {
            return None;
        }
        let written = match self {
            Self::Machine => return None,
            Self::Systemd { unit, .. } => format!("`User={user}` and `Group={group}` in {unit}"),
            Self::Docker => format!("`user: \"{user}:{group}\"` in compose.yaml"),
            Self::Podman { .. } => format!("`--user {user}:{group}`"),
            Self::Kubernetes => {
                format!("`runAsUser: {user}`, `runAsGroup: {group}` in the `securityContext`")
            }
        };
        // In a rootless container 0 is the user who started it.
        let less_safe = user == 0 && ids.is_whole();
        Some(if less_safe { format!("{written} (less safe)") } else { written })
    }
}

/// `--user ` for the service manager of a user.
fn user_option(of_user: bool) -> &'static str {
    if of_user { "--user " } else { "" }
}

/// The service unit in a text of the form of `/proc/self/cgroup` (cgroups(7)), and whether a user's manager has it. A
/// login and a terminal are scopes, which are no units that anybody starts again.
pub(super) fn unit_in(cgroup: &str) -> Option<(String, bool)> {
    let path = |line: &str| {
        let (_number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        matches!(controllers, "" | "name=systemd").then(|| path.to_owned())
    };
    cgroup.lines().filter_map(path).find_map(|path| {
        let last = path.rsplit('/').next()?;
        let plain = |each: char| each.is_ascii_alphanumeric() || "_.-@:".contains(each);
        let is_service = last.ends_with(".service") && last.chars().all(plain);
        let of_user = path.contains("/user@");
        // The manager of a user is itself a service of the machine's.
        (is_service && !last.starts_with("user@")).then(|| (last.to_owned(), of_user))
    })
}

#[cfg(test)]
mod tests;
