//! What `/proc` says about other processes: evidence for a refusal's text, never a reason for one.
//!
//! Process ids are reused and differ between containers, health checks run the same program, and
//! another user's processes cannot be looked at. So nothing is decided here.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// How often a long list of locks is looked through before an owner counts as not shown.
const LOOKS: usize = 3;

/// The processes other than this one that run the same executable, in ascending order.
pub(super) fn siblings() -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<u32> = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != std::process::id())
        .filter(|&pid| is_same_program(pid))
        // A zombie holds nothing any more; it only waits for its parent.
        .filter(|&pid| state(pid).is_some_and(|state| state != 'Z'))
        .collect();
    found.sort_unstable();
    found
}

/// Whether a process runs the executable of this one.
pub(super) fn is_same_program(pid: u32) -> bool {
    let identity = |exe: PathBuf| fs::metadata(exe).ok().map(|found| (found.dev(), found.ino()));
    let own = identity(PathBuf::from("/proc/self/exe"));
    own.is_some() && identity(Path::new("/proc").join(format!("{pid}/exe"))) == own
}

/// The process that took the `flock` on a file for itself alone, as far as the kernel shows it in this PID namespace
/// (proc_locks(5)).
pub(super) fn lock_owner(device: (u32, u32), inode: u64) -> Option<u32> {
    owner(device, inode, "WRITE")
}

/// A process that shares the `flock` on a file with others.
pub(super) fn lock_sharer(device: (u32, u32), inode: u64) -> Option<u32> {
    owner(device, inode, "READ")
}

fn owner(device: (u32, u32), inode: u64, mode: &str) -> Option<u32> {
    for _ in 0..LOOKS {
        let (locks, whole) = all_locks().ok()?;
        let owner = parse_owner(&locks, device, inode, mode);
        if owner.is_some() || whole {
            return owner;
        }
    }
    None
}

/// The text of `/proc/locks`, and whether it is of one moment. The kernel lists about a page at a time
/// and finds its place again by counting, so a line is missed where others come and go in between.
fn all_locks() -> io::Result<(String, bool)> {
    let mut locks = File::open("/proc/locks")?;
    let (mut text, mut page, mut reads) = (Vec::new(), vec![0; 1 << 16], 0);
    loop {
        match locks.read(&mut page)? {
            0 => return Ok((String::from_utf8_lossy(&text).into_owned(), reads <= 1)),
            length => text.extend_from_slice(&page[..length]),
        }
        reads += 1;
    }
}

fn parse_owner(locks: &str, (major, minor): (u32, u32), inode: u64, mode: &str) -> Option<u32> {
    let place = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        // Waiting processes have an arrow in the second field, and so never match.
        let [_, "FLOCK", _, how, pid, at, ..] = fields.as_slice() else { return None };
        pid.parse().ok().filter(|&pid| *how == mode && *at == place && pid > 0)
    })
}

/// A process's state as one letter, for instance `T` for stopped (proc_pid_stat(5)).
pub(super) fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold blanks and brackets of its own, so the last bracket counts.
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::other_process::OtherProcess;

    #[test]
    fn the_owner_is_found_by_device_and_inode_and_never_among_those_who_wait() {
        let locks = "1: POSIX  ADVISORY  WRITE 100 fe:00:12 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 200 fe:00:12 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 300 fe:00:13 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE -1 fe:01:12 0 EOF\n\
                     5: FLOCK  ADVISORY  READ 350 fe:00:12 0 EOF\n\
                     6: FLOCK  ADVISORY  WRITE 400 fe:00:12 0 EOF\n";
        assert_eq!(parse_owner(locks, (254, 0), 12, "WRITE"), Some(400));
        assert_eq!(parse_owner(locks, (254, 0), 12, "READ"), Some(350));
        assert_eq!(parse_owner(locks, (254, 0), 1, "WRITE"), None);
        assert_eq!(parse_owner(locks, (254, 1), 12, "WRITE"), None);
    }

    #[test]
    fn a_sibling_is_another_living_process_of_the_same_program() {
        assert!(!siblings().contains(&std::process::id()));
        let dir = tempfile::tempdir().unwrap();
        let mut other = OtherProcess::locking(&dir.path().join("lock"));
        let pid = other.pid();
        assert!(siblings().contains(&pid));
        other.kill_without_waiting();
        assert_eq!(state(pid), Some('Z'));
        assert!(!siblings().contains(&pid));
    }
}
