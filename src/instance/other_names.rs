//! Whether a database has one name: `SQLite` finds the log of a database by its name, so a file with two names has two
//! logs, and each of them undoes what the other holds (<https://sqlite.org/howtocorrupt.html>, 2.5 and 2.6).

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx},
    io::Errno,
};

use super::{
    evidence::{mount_at, quoted, type_name, with_ending},
    mounts, refusal,
    sharing::typed,
};
use crate::{
    codes,
    error::{StageError, StageResult},
};

/// What `SQLite` keeps beside a database (<https://sqlite.org/tempfiles.html>).
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The database and what `SQLite` keeps beside it, whether it is there or not.
pub(super) fn with_companions(database: &Path) -> impl Iterator<Item = PathBuf> {
    [""].into_iter().chain(COMPANIONS).map(move |ending| with_ending(database, ending))
}

/// Refuses a database that has another name, or that is mounted without its directory. `path` has no links in it.
///
/// # Errors
/// `lock.unsupported`; and what the system says.
pub(crate) fn require_one(path: &Path) -> StageResult<Metadata> {
    let failed = |error: io::Error| refusal::system(path, "look at", &error);
    let found = fs::symlink_metadata(path).map_err(failed)?;
    if !found.is_file() {
        let cause = format!("The data file {} is a {}.", path.display(), type_name(&found));
        return Err(StageError::new(codes::LOCK_UNSUPPORTED, cause)
            .fact("data file", path.display().to_string())
            .hint(format!("See what it is: {}", typed(&format!("ls -lid {}", quoted(path)), path))));
    }
    if found.nlink() > 1 {
        return Err(linked(path, &found));
    }
    for file in with_companions(path) {
        if is_mounted(&file).map_err(|error| failed(error.into()))? {
            return Err(mounted_alone(path, &file));
        }
    }
    Ok(found)
}

/// Whether something is mounted at just this path.
pub(super) fn is_mounted(path: &Path) -> Result<bool, Errno> {
    match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty()) {
        Ok(found) if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
        }
        Err(Errno::NOENT) => Ok(false),
        // Kernels before 5.8 do not say (statx(2)), and filters of container engines that are older than the call
        // answer EPERM (docker/for-linux#208); the list of mounts does.
        Ok(_) | Err(Errno::NOSYS | Errno::PERM) => Ok(mounts::own().iter().any(|mount| mount.point == path)),
        Err(error) => Err(error),
    }
}

fn linked(path: &Path, found: &Metadata) -> StageError {
    let shown = path.display();
    let cause = format!(
        "The database {shown} has {} names (hard links). SQLite keeps a log for each name, so what one of them \
         stores is lost by another.",
        found.nlink()
    );
    let point = mount_at(path).point;
    StageError::new(codes::LOCK_UNSUPPORTED, cause)
        .fact("database", format!("{shown}, inode {}, {} names", found.ino(), found.nlink()))
        .hint(format!("Find its names: find {} -xdev -samefile {}", quoted(&point), quoted(path)))
        .hint("Keep the name that the service uses, and remove the other one once nothing uses it")
        .hint("A copy for a backup? Make it with `sqlite3 FILE \".backup COPY\"`, not with a link")
}

fn mounted_alone(path: &Path, file: &Path) -> StageError {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let cause = format!(
        "The file {} is mounted without its directory. SQLite keeps logs beside a database, and these would be \
         another's or nobody's.",
        file.display()
    );
    StageError::new(codes::LOCK_UNSUPPORTED, cause)
        .fact("database", path.display().to_string())
        .fact("mount", mount_at(file).describe())
        .hint(format!("Mount the whole directory: `volumes: [data:{}]`", directory.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::instance::testing::{code, told};

    #[test]
    fn a_database_with_a_second_name_is_refused_and_both_can_be_found() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("shop.db"), dir.path().join("copy of shop.db"));
        fs::write(&path, "").unwrap();
        assert!(require_one(&path).is_ok());
        fs::hard_link(&path, &other).unwrap();
        let refused = require_one(&path).unwrap_err();
        assert_eq!(code(&refused), "lock.unsupported");
        assert!(refused.to_string().contains("2 names (hard links)"), "{refused}");
        assert!(told(&refused).contains("-samefile"), "{refused:?}");
        fs::remove_file(&other).unwrap();
        assert!(require_one(&path).is_ok());
    }

    #[test]
    fn only_a_regular_file_is_a_database() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink("/nowhere", &link).unwrap();
        for path in [&link, &dir.path().to_owned()] {
            assert_eq!(code(&require_one(path).unwrap_err()), "lock.unsupported");
        }
        assert_eq!(code(&require_one(&dir.path().join("missing")).unwrap_err()), "db.dir-missing");
    }
}
