//! What the control groups of this process allow: its own, and each around it that can be seen. Floor 0.
//!
//! Version 2 has one tree for all controllers, version 1 one for each (cgroups(7)).

use std::{fs, path::Path};

/// The text of `/proc/self/cgroup`, and where the groups are mounted.
struct Groups<'a> {
    own: String,
    root: &'a Path,
}

/// How many tasks there are in the group with the least room, and how many there may be. `None` where nothing is limited.
pub(crate) fn tasks() -> Option<(u64, u64)> {
    Groups::of_this_process()?.tasks()
}

/// How many bytes of memory the process may use together with all others in its group. The kernel ends one of them
/// where they use more, and none can say so.
#[cfg(feature = "single-worker")]
pub(crate) fn memory() -> Option<u64> {
    Groups::of_this_process()?.memory()
}

impl Groups<'_> {
    fn of_this_process() -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        Some(Self { own, root: Path::new("/sys/fs/cgroup") })
    }

    fn tasks(&self) -> Option<(u64, u64)> {
        let known = ["pids", ""].into_iter().flat_map(|controller| {
            self.each(controller, |number| Some((number("pids.current")?, number("pids.max")?)))
        });
        known.min_by_key(|(now, most)| most.saturating_sub(*now))
    }

    #[cfg(any(feature = "single-worker", test))]
    fn memory(&self) -> Option<u64> {
        /// Version 1 says "none" in pages that no machine has.
        const NONE: u64 = 1 << 60;
        let of_version_1 = self.each("memory", |number| number("memory.limit_in_bytes"));
        let known = of_version_1.into_iter().chain(self.each("", |number| number("memory.max")));
        known.filter(|most| *most < NONE).min()
    }

    /// Asks each group of a controller, from the own one outwards. The controller of version 2 has no name. In a container the
    /// path may be one of the host's, and its own group what is mounted.
    fn each<T>(&self, controller: &str, ask: impl Fn(&dyn Fn(&str) -> Option<u64>) -> Option<T>) -> Vec<T> {
        let own = self.own.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|each| each == controller).then_some(path)
        });
        let mounted = self.root.join(controller);
        let Some(own) = own else { return Vec::new() };
        let groups = Path::new(own.trim_start_matches('/')).ancestors().map(|group| mounted.join(group));
        groups
            .filter_map(|group| ask(&|name| fs::read_to_string(group.join(name)).ok()?.trim().parse().ok()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_of_all_the_groups_around_is_the_one() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let groups = |own: &str| Groups { own: own.to_owned(), root: root.path() };
        let of_2 = groups("0::/system.slice/shop.service\n");
        assert_eq!((of_2.tasks(), of_2.memory()), (None, None), "nothing is mounted");
        for (group, tasks, memory) in [
            ("", "max", "max"),
            ("system.slice", "40", "max"),
            ("system.slice/shop.service", "4096", "8388608"),
        ] {
            write(&format!("{group}/pids.max"), tasks);
            write(&format!("{group}/pids.current"), "7\n");
            write(&format!("{group}/memory.max"), memory);
        }
        assert_eq!((of_2.tasks(), of_2.memory()), (Some((7, 40)), Some(8 << 20)));
        // A container that sees its own group as the root, and the path of the host.
        write("memory/memory.limit_in_bytes", "4194304\n");
        write("pids/pids.max", "max\n");
        let of_1 = groups("9:memory:/docker/4f\n3:cpu,pids:/docker/4f\n0::/docker/4f\n");
        assert_eq!(of_1.memory(), Some(4 << 20));
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(of_1.memory(), None);
    }
}
