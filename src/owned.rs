//! New files and directories that belong to the owner of the directory around them. Floor 0: imports nothing
//! of ours.
//!
//! A service that ran once as root (`docker exec`, an image that became non-root later) must not leave files behind
//! that its own user cannot open. `SQLite` does the same for its logs (`robustFchown` in os_unix.c).

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown},
    path::Path,
};

use rustix::{fs::OFlags, process::geteuid};

/// Creates a file that was not there, open for reading and writing. It is never a link's target (`O_EXCL`, open(2)),
/// and no program that this process starts inherits it.
///
/// # Errors
/// Why it could not be created; `AlreadyExists` where something has that name.
pub(crate) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)?;
    give(&file, path);
    Ok(file)
}

/// Creates a directory that was not there.
///
/// # Errors
/// Why it could not be created; `AlreadyExists` where something has that name.
pub(crate) fn create_dir(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)?;
    if geteuid().is_root() {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let made = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
        // Another directory that was renamed to this place has something to lose.
        if rustix::fs::Dir::read_from(&made)?.all(|entry| entry.is_ok_and(|entry| is_dots(entry.file_name())))
        {
            give(&made, path);
        }
    }
    Ok(())
}

fn is_dots(name: &std::ffi::CStr) -> bool {
    [c".", c".."].contains(&name)
}

/// Gives what was just made at `path` to the owner of the directory around it.
fn give(made: &File, path: &Path) {
    if !geteuid().is_root() {
        return;
    }
    let around = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(owner) = fs::metadata(around) else { return };
    if owner.uid() != 0 {
        // Root without that right, or an owner whom this user namespace does not have: the file is usable by this
        // process all the same, and a process that cannot use it later reports that.
        let _stays_ours = fchown(made, Some(owner.uid()), Some(owner.gid()));
    }
}

/// [`create_new`], or whether it is there already.
///
/// # Errors
/// Why it could not be created.
pub(crate) fn create_if_missing(path: &Path, mode: u32) -> io::Result<Option<File>> {
    match create_new(path, mode) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    /// Whoever may not give files away owns what he makes.
    fn expected(other: u32) -> u32 {
        let me = geteuid();
        if me.is_root() { other } else { me.as_raw() }
    }

    #[test]
    fn what_root_makes_belongs_to_the_owner_of_the_directory_around_it() {
        let dir = tempfile::tempdir().unwrap();
        let other = expected(1234);
        if geteuid().is_root() {
            chown(dir.path(), Some(other), Some(other)).unwrap();
        }
        let (file, made) = (dir.path().join("file"), dir.path().join("made"));
        create_new(&file, 0o600).unwrap();
        create_dir(&made, 0o700).unwrap();
        create_new(&made.join("file"), 0o600).unwrap();
        for (path, mode) in [(file, 0o600), (made.clone(), 0o700), (made.join("file"), 0o600)] {
            let found = fs::metadata(&path).unwrap();
            assert_eq!((found.uid(), found.mode() & 0o7777), (other, mode), "{}", path.display());
        }
    }

    #[test]
    fn what_is_there_already_is_neither_opened_nor_given_away() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, link) = (dir.path().join("victim"), dir.path().join("link"));
        symlink(&victim, &link).unwrap();
        assert_eq!(create_new(&link, 0o600).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(!victim.exists(), "a link was followed");
        fs::write(&victim, "precious").unwrap();
        assert!(create_if_missing(&victim, 0o600).unwrap().is_none());
        assert_eq!(create_dir(&victim, 0o700).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }
}
