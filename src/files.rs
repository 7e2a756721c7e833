//! Small files that others may read at any time: written whole or not at all. Floor 0: imports nothing of
//! ours.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::owned;

/// The mode of the files that we create: their owner's, readable by the group. Nothing is decided by them.
const MODE: u32 = 0o640;

/// Replaces the file, so that a reader sees the old content or the new, and a full disk leaves the old.
///
/// The name beside it that the content is written to first is ours alone (`O_EXCL`), and `rename` replaces a
/// symbolic link instead of following it.
///
/// # Errors
/// Why it could not be written.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = beside(path)?;
    let written = write(&beside, content).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _was_never_made = fs::remove_file(&beside);
    }
    written
}

/// The content of a regular file of at most `limit` bytes. A symbolic link is not followed, and a pipe in its
/// place is not waited for.
///
/// # Errors
/// Why it could not be read; `InvalidData` where it is no regular file, or larger.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let refused = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    if !file.metadata()?.is_file() {
        return Err(refused("not a regular file"));
    }
    let mut content = Vec::new();
    File::take(file, limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit { Err(refused("larger than expected")) } else { Ok(content) }
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = owned::create_new(path, MODE)?;
    file.write_all(content)?;
    // Without it, a power loss soon after may leave the new name with no content (`rename(2)` orders nothing).
    file.sync_data()
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", uuid::Uuid::new_v4().simple()));
    Ok(path.with_file_name(hidden))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_a_link_in_its_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("state"), dir.path().join("victim"));
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &path).unwrap();
        assert!(read(&path, 10).is_err());
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(read(&path, 3).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777 & !MODE, 0);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "nothing is left beside them");
    }

    #[test]
    fn what_is_too_large_or_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 4).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(read(dir.path(), 4).is_err());
        assert!(replace(&dir.path().join("gone").join("state"), b"x").is_err());
    }
}
