//! What a lease that cannot be used means for the operator.

use std::{io, path::Path};

use rustix::{
    fs::{Access, AtFlags, CWD},
    io::Errno,
};

use super::{
    store::StoreError,
    taking::{Unclear, describe},
    view::in_words,
};
use crate::{
    codes,
    error::StageError,
    instance::data_dir::{disk_full, not_writable, path_facts, quoted},
};

/// The failure of using the lease at `path`. Every doubt about it means "not held" (invariant 7).
pub(crate) fn failure(error: &StoreError, path: &Path) -> StageError {
    let cause = format!("The lease {} {error}", path.display());
    match error {
        StoreError::Damaged(_) => damaged(cause, path),
        StoreError::Busy => StageError::new(codes::DB_BUSY, cause)
            .fact("lease", path.display().to_string())
            .hint(format!("End the program that keeps it to itself: fuser -v {}", quoted(path))),
        StoreError::Full(_) => disk_full(path, &io::Error::from(Errno::NOSPC)),
        StoreError::NotWritable(_) => {
            let (place, errno) = unwritable(path);
            not_writable(place, &errno.into())
        }
        StoreError::Unsupported(_) => StageError::new(codes::LOCK_UNSUPPORTED, cause)
            .fact("lease", path.display().to_string())
            .hint(format!("See what it is: ls -lid {}", quoted(path)))
            .hint(format!("Move it away once no instance runs: mv {0} {0}.old", quoted(path))),
        StoreError::Changed(_) => StageError::new(codes::LOCK_REPLACED, cause)
            .fact("lease", path.display().to_string())
            .hint("Find out who replaces files in that directory, such as a backup that is being restored"),
        StoreError::Failed(_) => {
            let failed = StageError::new(codes::DB_IO, cause).fact("lease", path.display().to_string());
            let about = path_facts(path.parent().unwrap_or(path));
            about
                .into_iter()
                .fold(failed, |failed, fact| failed.fact(fact.name, fact.value))
                .hint("Look for errors of the disk: dmesg | tail")
                .hint("Look for limits on the size of files: ulimit -f")
        }
    }
}

/// The refusal where it could not be told in time whether the holder of a lease lives.
pub(crate) fn unclear(found: &Unclear, path: &Path) -> StageError {
    let Unclear { row, unchanged, left } = found;
    let cause = format!(
        "The lease {} is that of an instance that is silent, but not for so long that it counts as gone: its \
         lease lasts for {} after each heartbeat, which is longer than this start may wait. Taking over now could \
         let two workers run, so this instance refuses.",
        path.display(),
        in_words(row.ttl)
    );
    StageError::new(codes::LOCK_HOLDER_UNRESPONSIVE, cause)
        .fact("lease", path.display().to_string())
        .fact("holder", describe(row))
        .fact("silent for", format!("{}, as observed; every start goes on with that", in_words(*unchanged)))
        .fact("takes over", format!("the first start in {} or later, if it stays silent", in_words(*left)))
        .hint("Wait: a restart policy tries again, and takes over at that time")
        .hint(format!("Is that instance gone for sure? Then move its lease away: {}", move_away(path)))
}

/// The command that makes the next start begin with a new lease.
fn move_away(path: &Path) -> String {
    let name = quoted(path);
    format!("for f in {name} {name}-wal {name}-shm; do mv \"$f\" \"$f.broken\"; done")
}

fn damaged(cause: String, path: &Path) -> StageError {
    StageError::new(codes::DB_CORRUPT, cause)
        .fact("lease", path.display().to_string())
        .fact("holds", "who the only worker is; none of the application's data")
        .fact("without it", "tokens still grow: by the clock, the lock file and the database")
        .hint("Make sure that no instance runs; one that does would stop, because its lease is gone")
        .hint(format!("Move it away: {}", move_away(path)))
        .hint("Start again: a new lease is made")
}

/// Which of the file and its directory cannot be written, and why. `SQLite` says neither.
fn unwritable(path: &Path) -> (&Path, Errno) {
    let refused = |place: &Path| {
        let asked = rustix::fs::accessat(CWD, place, Access::WRITE_OK, AtFlags::EACCESS);
        asked.err().filter(|&error| error != Errno::NOENT)
    };
    let parent = path.parent().unwrap_or(path);
    match (refused(path), refused(parent)) {
        (Some(error), _) => (path, error),
        (None, Some(error)) => (parent, error),
        (None, None) => (path, Errno::ACCESS),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::instance::other_process::unprivileged;

    #[test]
    fn every_failure_has_its_code_and_something_to_do_and_nothing_is_removed() {
        let path = Path::new("/data/my shop.lease.db");
        let text = || "text".to_owned();
        for (error, code, exit) in [
            (StoreError::Damaged(text()), "db.corrupt", 65),
            (StoreError::Changed(text()), "lock.replaced", 75),
            (StoreError::Busy, "db.busy", 75),
            (StoreError::Full(text()), "db.disk-full", 74),
            (StoreError::NotWritable(text()), "db.not-writable", 77),
            (StoreError::Unsupported(text()), "lock.unsupported", 78),
            (StoreError::Failed(text()), "db.io", 74),
        ] {
            let failed = failure(&error, path);
            assert_eq!(
                (failed.failure_code().name, failed.error_kind().exit_code()),
                (code, exit),
                "{error:?}"
            );
            assert!(!failed.actions().is_empty() && failed.actions().len() <= 4, "{failed:?}");
            assert!(!format!("{failed:?}").contains("rm "), "{failed:?}");
        }
    }

    #[test]
    fn a_damaged_lease_says_that_moving_it_away_is_safe() {
        let failed =
            failure(&StoreError::Damaged("is damaged: no".to_owned()), Path::new("/data/a b.lease.db"));
        assert_eq!(failed.to_string(), "The lease /data/a b.lease.db is damaged: no");
        assert!(failed.facts().iter().any(|fact| fact.value.contains("tokens still grow")));
        assert!(
            failed.actions()[1].contains("in '/data/a b.lease.db' '/data/a b.lease.db'-wal "),
            "{failed:?}"
        );
    }

    #[test]
    fn the_place_that_cannot_be_written_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.lease.db");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
        let (place, _) = unprivileged(|| unwritable(&path));
        assert_eq!(place, dir.path());
        fs::write(&path, "").unwrap();
        let (place, errno) = unprivileged(|| unwritable(&path));
        assert_eq!((place, errno), (path.as_path(), Errno::ACCESS));
    }
}
