//! The mounts of this process, as the kernel lists them, and how far their file locks can be trusted.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::Read,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::ffi::OsStringExt,
    },
    path::{Path, PathBuf},
};

/// File systems on local disks, whose locks are kept by the one kernel that mounts them.
const LOCAL: &[&str] =
    &["ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "nilfs2", "ubifs"];

/// File systems that live in memory or as a layer over an image: each container has its own.
const EPHEMERAL: &[&str] = &["tmpfs", "ramfs", "rootfs", "overlay", "aufs"];

/// One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mount {
    id: u64,
    /// Major and minor number of the file system: the same wherever and however often it is mounted.
    pub(super) device: (u32, u32),
    /// Which directory of the file system is mounted.
    pub(super) root: PathBuf,
    /// Where it is mounted.
    pub(super) point: PathBuf,
    /// The file system's type, for instance `ext4` or `fuse.sshfs`.
    pub(super) kind: String,
    pub(super) read_only: bool,
    /// Whether the file system gave up by itself: nobody mounted it read-only, and it takes no more writes. `ext4` does
    /// so after an error (`errors=remount-ro` in ext4(5)); from Linux 6.15 it says so with an option of its own.
    pub(super) gave_up: bool,
    /// What is mounted: a device, where there is one.
    pub(super) source: String,
}

/// How far a file system's locks can be trusted to be seen by every other instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    Local,
    Ephemeral,
    /// Network file systems, FUSE, the shared folders of virtual machines, and whatever is not known:
    /// some keep two lock domains for one file, some lose locks on a reconnect (flock(2), NOTES;
    /// docker/for-mac#7004, where a self-test passes and the locks fail later).
    Untrusted,
}

impl Mount {
    /// Stands for a mount that is not in the list, or for a list that cannot be read.
    pub(super) fn unknown(point: PathBuf) -> Self {
        let kind = "unknown".to_owned();
        let (root, source) = (PathBuf::new(), String::new());
        Self { id: 0, device: (0, 0), root, point, kind, read_only: false, gave_up: false, source }
    }

    pub(super) fn class(&self) -> Class {
        if LOCAL.contains(&self.kind.as_str()) {
            Class::Local
        } else if EPHEMERAL.contains(&self.kind.as_str()) {
            Class::Ephemeral
        } else {
            Class::Untrusted
        }
    }

    /// For people: `/data on ext4, read-write`.
    pub(super) fn describe(&self) -> String {
        let access = if self.read_only { "read-only" } else { "read-write" };
        format!("{} on {}, {access}", self.point.display(), self.kind)
    }

    /// The name of the container engine's volume, where the mount is one: Docker and Podman keep the
    /// data of a named volume in `volumes/<name>/_data`.
    pub(super) fn volume_name(&self) -> Option<&str> {
        let parts: Vec<&str> = self.root.iter().filter_map(|part| part.to_str()).collect();
        let name = parts.windows(3).find(|three| three[0] == "volumes" && three[2] == "_data")?[1];
        // It is pasted into a shell, so nothing that a shell could understand may be in it.
        let plain = |each: char| each.is_ascii_alphanumeric() || "_.-".contains(each);
        name.chars().all(plain).then_some(name)
    }

    /// Where `path`, which lies on this mount, is in the file system. Where that file system is the machine's
    /// first one this is the path on the machine, outside of the container. `None` where it is mounted whole, as a
    /// volume in memory is: on the machine, `/` is something else, and no command may be given for it.
    pub(super) fn source_of(&self, path: &Path) -> Option<PathBuf> {
        if self.root == Path::new("/") {
            return None;
        }
        Some(match path.strip_prefix(&self.point) {
            Ok(rest) if !rest.as_os_str().is_empty() => self.root.join(rest),
            _ => self.root.clone(),
        })
    }
}

/// The mount that holds an open file or directory.
pub(super) fn mount_of(open: BorrowedFd<'_>, path: &Path) -> Mount {
    mount_among(&own(), open, path)
}

/// The same, among `mounts`, which were listed while the file was there.
///
/// The kernel names the mount of an open file by its number (`mnt_id` in proc_pid_fdinfo(5)), so
/// symbolic links, mounts over mounts and renamed directories need no thought. A mount that cannot be
/// found is of the type `unknown`, which nobody trusts.
pub(super) fn mount_among(mounts: &[Mount], open: BorrowedFd<'_>, path: &Path) -> Mount {
    let number = fs::read_to_string(format!("/proc/self/fdinfo/{}", open.as_raw_fd()))
        .ok()
        .and_then(|text| mount_number(&text));
    let found = number.and_then(|number| mounts.iter().find(|mount| mount.id == number));
    found.cloned().unwrap_or_else(|| Mount::unknown(path.to_owned()))
}

/// The mounts that this process sees.
pub(super) fn own() -> Vec<Mount> {
    read(Path::new("/proc/self/mountinfo"))
}

/// The mounts in a file of the form of `/proc/self/mountinfo`; none where it cannot be read.
pub(super) fn read(list: &Path) -> Vec<Mount> {
    // The kernel does not say how long it is, and makes the list anew for each part that is asked for.
    let mut text = Vec::with_capacity(1 << 14);
    let whole = File::open(list).and_then(|mut list| list.read_to_end(&mut text));
    whole.map(|_| parse(&text)).unwrap_or_default()
}

fn mount_number(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

/// Lines that are not of the documented form are left out: their mounts are then not known.
pub(super) fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    // Six fields, then any number of optional ones up to a lone hyphen, then three more.
    let end_of_optional = fields.iter().skip(6).position(|field| field == b"-")? + 6;
    let &[id, _parent, device, root, point, options, ..] = fields.as_slice() else { return None };
    let &[_hyphen, kind, source, super_options, ..] = fields.get(end_of_optional..)? else { return None };
    let (major, minor) = std::str::from_utf8(device).ok()?.split_once(':')?;
    let has = |options: &[u8], wanted: &[&[u8]]| {
        options.split(|&byte| byte == b',').any(|one| wanted.contains(&one))
    };
    let (of_mount, of_system) = (has(options, &[b"ro"]), has(super_options, &[b"ro"]));
    let kind = unescape(kind).into_string().ok()?;
    let gave_up = has(super_options, &[b"emergency_ro", b"shutdown"])
        || (of_system && !of_mount && LOCAL.contains(&kind.as_str()));
    Some(Mount {
        id: std::str::from_utf8(id).ok()?.parse().ok()?,
        device: (major.parse().ok()?, minor.parse().ok()?),
        root: unescape(root).into(),
        point: unescape(point).into(),
        kind,
        read_only: of_mount || of_system,
        gave_up,
        source: unescape(source).to_string_lossy().into_owned(),
    })
}

/// Undoes the kernel's escapes: a blank, tab, line feed or backslash is written as `\` and three octal
/// digits.
pub(super) fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests;
