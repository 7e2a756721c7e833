//! Whether a control group keeps a process from running, as that of a paused container does (`docker pause`):
//! evidence for people, never a reason for anything. Nothing of it shows in the state of the process.

use std::{
    fs,
    path::{Component, Path},
};

use super::mounts::{self, Mount};

/// Whether a process is known to be frozen. Where its group cannot be looked at it is not known to be.
pub(super) fn is_frozen(pid: u32) -> bool {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    is_one_frozen(&groups, &mounts::own())
}

/// The same for the text of `/proc/PID/cgroup`: a hierarchy's number, its controllers and the group in each line
/// (cgroups(7)).
fn is_one_frozen(groups: &str, mounts: &[Mount]) -> bool {
    groups.lines().any(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { return false };
        mounts.iter().any(|mount| is_group_frozen(mount, controllers, Path::new(group)))
    })
}

fn is_group_frozen(mount: &Mount, controllers: &str, group: &Path) -> bool {
    let (file, frozen) = match (mount.kind.as_str(), controllers) {
        ("cgroup2", "") => ("cgroup.events", "frozen 1"),
        ("cgroup", "freezer") if mount.point.ends_with("freezer") => ("freezer.state", "FROZEN"),
        _ => return false,
    };
    // A group that is not below what is mounted here has dots in its path, or another beginning.
    let Ok(below) = group.strip_prefix(&mount.root) else { return false };
    if below.components().any(|part| !matches!(part, Component::Normal(_))) {
        return false;
    }
    fs::read_to_string(mount.point.join(below).join(file))
        .is_ok_and(|text| text.lines().any(|line| line.trim() == frozen))
}

#[cfg(test)]
mod tests {
    use std::{
        path::PathBuf,
        thread,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::instance::other_process::OtherProcess;

    /// A group of either version, in which everything is frozen until it is dropped.
    struct Freezer {
        group: PathBuf,
        file: &'static str,
        thaw: &'static str,
    }

    impl Freezer {
        /// Freezes a process in every version that this machine has and lets us use.
        fn all(pid: u32) -> Vec<Self> {
            let find = |kind: &str, end: &str| {
                mounts::own().into_iter().find(|mount| mount.kind == kind && mount.point.ends_with(end))
            };
            let first = find("cgroup", "freezer").map(|mount| (mount, "freezer.state", "FROZEN", "THAWED"));
            let second = find("cgroup2", "").map(|mount| (mount, "cgroup.freeze", "1", "0"));
            let freeze = |(mount, file, freeze, thaw): (Mount, _, _, _)| {
                let group = mount.point.join(format!("solostart-test-{pid}"));
                fs::create_dir(&group).ok()?;
                let freezer = Self { group, file, thaw };
                fs::write(freezer.group.join("cgroup.procs"), pid.to_string()).ok()?;
                fs::write(freezer.group.join(freezer.file), freeze).ok()?;
                Some(freezer)
            };
            first.into_iter().chain(second).filter_map(freeze).collect()
        }
    }

    impl Drop for Freezer {
        fn drop(&mut self) {
            let parent = self.group.parent().unwrap().join("cgroup.procs");
            let _thawed = fs::write(self.group.join(self.file), self.thaw);
            let processes = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
            processes.lines().for_each(|pid| drop(fs::write(&parent, pid)));
            let _removed = fs::remove_dir(&self.group);
        }
    }

    #[test]
    fn a_process_is_frozen_exactly_while_its_group_is() {
        let dir = tempfile::tempdir().unwrap();
        let other = OtherProcess::locking(&dir.path().join("lock"));
        assert!(!is_frozen(other.pid()));
        let freezers = Freezer::all(other.pid());
        let deadline = Instant::now() + Duration::from_secs(30);
        // Freezing takes a moment. Where no group can be made, as in most containers, nobody is frozen either.
        while is_frozen(other.pid()) == freezers.is_empty() {
            assert!(Instant::now() < deadline, "it does not freeze");
            thread::yield_now();
        }
        drop(freezers);
        while is_frozen(other.pid()) {
            assert!(Instant::now() < deadline, "it does not thaw");
            thread::yield_now();
        }
    }

    #[test]
    fn the_group_is_found_below_what_is_mounted_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str, file: &str, text: &str| {
            let group = dir.path().join(name);
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join(file), text).unwrap();
        };
        place("two/app", "cgroup.events", "populated 1\nfrozen 1\n");
        place("two/other", "cgroup.events", "populated 1\nfrozen 0\n");
        place("freezer/app", "freezer.state", "FROZEN\n");
        place("app", "cgroup.events", "frozen 1\n");
        let point = dir.path().display();
        let two = format!("1 0 0:5 / {point}/two rw - cgroup2 c rw");
        let below = format!("1 0 0:5 /docker {point}/two rw - cgroup2 c rw");
        let one = format!("1 0 0:6 / {point}/freezer rw - cgroup c rw,freezer");
        for (mount, groups, expected) in [
            (&two, "0::/app\n", true),
            (&two, "1:cpu:/\n0::/app\n", true),
            (&two, "0::/other\n", false),
            (&two, "0::/\n", false),
            (&two, "0::/../app\n", false),
            (&two, "6:freezer:/app\n", false),
            (&below, "0::/docker/app\n", true),
            (&below, "0::/app\n", false),
            (&one, "6:freezer:/app\n", true),
            (&one, "0::/app\n", false),
            (&one, "nonsense", false),
        ] {
            assert_eq!(is_one_frozen(groups, &mounts::parse(mount.as_bytes())), expected, "{groups} {mount}");
        }
    }
}
