//! Files and directories that decide who works are for the service's own user: who can open a file for reading can lock
//! it (flock(2); with fcntl(2) also a part of it), and by that end the worker, or keep it from starting (invariant 14).

use std::{
    fs::{self, Metadata, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use rustix::process::geteuid;

use super::evidence::quoted;

use crate::contract::tell::{shown, tell};

/// The mode of a new file.
pub(super) const PRIVATE: u32 = 0o600;

/// What nobody else must have.
const OTHERS: u32 = 0o077;

/// Takes from others what they may do with a file. One that another user owns stays as it is: whether it can be used at
/// all shows when it is used.
pub(super) fn keep_private(file: &Path) {
    let Ok(found) = fs::symlink_metadata(file) else { return };
    if !found.is_file() || !is_wide_and_ours(&found) {
        return;
    }
    let mode = found.mode() & 0o7777 & !OTHERS;
    let shown_file = file.display();
    match fs::set_permissions(file, Permissions::from_mode(mode)) {
        Ok(()) => {
            tell!(
                info,
                format!("made private (mode {mode:04o}): who can read it could lock it"),
                file = shown(shown_file)
            );
        }
        Err(error) => {
            let mend = format!("others can lock this file: chmod go-rwx {}", quoted(file));
            tell!(warn, mend, file = shown(shown_file), error = shown(error));
        }
    }
}

/// Warns of a directory that others can reach into, with the command that keeps them out. One that belongs to another
/// user, as a volume of Kubernetes does, is not ours to change.
pub(super) fn warn_of_wide(dir: &Path) {
    if let Ok(found) = fs::metadata(dir)
        && is_wide_and_ours(&found)
    {
        let mode = found.mode() & 0o7777;
        tell!(
            warn,
            format!("others can reach into the directory of data and lock: chmod 0700 {}", quoted(dir)),
            directory = shown(dir.display()),
            mode = format!("{mode:04o}")
        );
    }
}

fn is_wide_and_ours(found: &Metadata) -> bool {
    found.mode() & OTHERS != 0 && found.uid() == geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_of_ours_becomes_private_and_keeps_what_its_owner_may() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        for (before, after) in
            [(0o666, 0o600), (0o640, 0o600), (0o600, 0o600), (0o444, 0o400), (0o755, 0o700)]
        {
            let file = dir.path().join(format!("{before:o}"));
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, Permissions::from_mode(before)).unwrap();
            keep_private(&file);
            assert_eq!(mode(&file), after, "{before:o}");
        }
    }

    #[test]
    fn neither_a_link_nor_a_directory_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, link) = (dir.path().join("victim"), dir.path().join("link"));
        fs::write(&victim, "").unwrap();
        fs::set_permissions(&victim, Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        symlink(&victim, &link).unwrap();
        keep_private(&link);
        keep_private(dir.path());
        keep_private(&dir.path().join("missing"));
        assert_eq!(fs::metadata(&victim).unwrap().mode() & 0o777, 0o644);
        assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o777, 0o755);
    }
}
