//! The numbers of users and groups that this process's user namespace knows (user_namespaces(7)).

use std::fs;

/// What the kernel shows for a user or group without a number in this namespace, where `/proc` does not say.
const OVERFLOW: u32 = 65_534;

/// Which numbers inside stand for which outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct IdMap {
    users: Vec<Range>,
    groups: Vec<Range>,
    overflow_user: u32,
    overflow_group: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Range {
    inside: u32,
    outside: u32,
    length: u32,
}

impl IdMap {
    /// The map of this process's namespace. Kernels without user namespaces have no such files: all are known.
    pub(crate) fn of_this_process() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok();
        let overflow = |path: &str| read(path).and_then(|text| text.trim().parse().ok()).unwrap_or(OVERFLOW);
        let whole = format!("0 0 {}", u32::MAX);
        let map = |path: &str| parse(read(path).as_deref().unwrap_or(&whole));
        Self {
            users: map("/proc/self/uid_map"),
            groups: map("/proc/self/gid_map"),
            overflow_user: overflow("/proc/sys/fs/overflowuid"),
            overflow_group: overflow("/proc/sys/fs/overflowgid"),
        }
    }

    /// Whether the namespace knows all numbers as they are: that of the machine does.
    pub(crate) fn is_whole(&self) -> bool {
        let whole = [Range { inside: 0, outside: 0, length: u32::MAX }];
        self.users == whole && self.groups == whole
    }

    /// Whether the numbers outside are those of another namespace, in which the user who made it is 0. Podman's
    /// `--userns=keep-id` nests one so; then `podman unshare` has the numbers outside, and otherwise those inside.
    pub(super) fn is_nested(&self) -> bool {
        !self.is_whole() && self.users.iter().any(|range| range.outside == 0)
    }

    /// Whether a file's owner is a user of this namespace. The overflow number stands for all who are not.
    pub(crate) fn is_user(&self, user: u32) -> bool {
        is_known(&self.users, self.overflow_user, user)
    }

    /// The same for a group.
    pub(crate) fn is_group(&self, group: u32) -> bool {
        is_known(&self.groups, self.overflow_group, group)
    }

    /// The number outside of this namespace for a user in it.
    pub(crate) fn outside_user(&self, user: u32) -> Option<u32> {
        outside(&self.users, user)
    }

    /// The same for a group.
    pub(crate) fn outside_group(&self, group: u32) -> Option<u32> {
        outside(&self.groups, group)
    }

    #[cfg(test)]
    pub(super) fn with(map: &str) -> Self {
        Self { users: parse(map), groups: parse(map), overflow_user: OVERFLOW, overflow_group: OVERFLOW }
    }
}

fn is_known(ranges: &[Range], overflow: u32, id: u32) -> bool {
    // Where every number is known, the owner with the overflow's number is `nobody`.
    let whole = ranges.iter().any(|range| range.inside == 0 && range.length == u32::MAX);
    whole || (id != overflow && outside(ranges, id).is_some())
}

fn outside(ranges: &[Range], id: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = id.checked_sub(range.inside).filter(|&offset| offset < range.length)?;
        range.outside.checked_add(offset)
    })
}

fn parse(text: &str) -> Vec<Range> {
    let range = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Range { inside: next()?, outside: next()?, length: next()? })
    };
    text.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_of_the_machine_knows_everybody() {
        let whole = IdMap::with("         0          0 4294967295");
        assert!(whole.is_whole() && !whole.is_nested());
        assert!(whole.is_user(0) && whole.is_user(1000) && whole.is_user(65_534));
        assert_eq!(whole.outside_user(1000), Some(1000));
    }

    #[test]
    fn the_overflow_number_is_nobodys_where_some_are_not_known() {
        // Docker's `userns-remap`, and rootless Podman.
        for map in ["0 200000 65536", "0 1000 1\n1 100000 65536"] {
            let ids = IdMap::with(map);
            assert!(!ids.is_whole() && !ids.is_nested(), "{map}");
            assert!(ids.is_user(0) && ids.is_group(65_532) && !ids.is_user(65_534), "{map}");
            assert!(!ids.is_user(70_000), "{map}");
        }
    }

    #[test]
    fn a_number_has_another_one_outside() {
        let remapped = IdMap::with("0 200000 65536");
        assert_eq!(remapped.outside_user(65_532), Some(265_532));
        let rootless = IdMap::with("0 1000 1\n1 100000 65536");
        assert_eq!(
            [0, 1, 65_532].map(|id| rootless.outside_group(id)),
            [Some(1000), Some(100_000), Some(165_531)]
        );
        assert_eq!(IdMap::with("0 1000 1").outside_user(1), None);
        assert_eq!(IdMap::with("0 4294967290 10").outside_user(9), None, "no number at all");
    }

    #[test]
    fn a_map_that_keeps_the_users_own_number_is_nested() {
        assert!(IdMap::with("0 1 1000\n1000 0 1\n1001 1001 64536").is_nested());
    }
}
