//! What a lease that cannot be used means for the operator.

use std::{io, path::Path};

use super::{
    store::{Said, StoreError},
    taking::{Unclear, describe},
    view::in_words,
};
use crate::{
    codes::{self, FailureCode},
    error::StageError,
    instance::{
        evidence::quoted,
        refusal::{of_sqlite, system},
        sharing::typed,
    },
};

/// The failure of using the lease at `path`. Every doubt about it means "not held" (invariant 7).
pub(crate) fn failure(error: &StoreError, path: &Path) -> StageError {
    let cause = format!("The lease {} {error}", path.display());
    match error {
        StoreError::Damaged(_) => damaged(cause, path),
        StoreError::Busy => StageError::new(codes::DB_BUSY, cause)
            .fact("lease", path.display().to_string())
            .hint(format!("End the program that keeps it to itself: fuser -v {}", quoted(path))),
        StoreError::Full(said) => asked(said, codes::DB_DISK_FULL, &cause, path),
        StoreError::NotWritable(said) | StoreError::Failed(said) => asked(said, codes::DB_IO, &cause, path),
        StoreError::Unsupported(_) => StageError::new(codes::LOCK_UNSUPPORTED, cause)
            .fact("lease", path.display().to_string())
            .hint(format!("See what it is: {}", typed(&format!("ls -lid {}", quoted(path)), path)))
            .hint(format!(
                "Move it away once no instance runs: {}",
                typed(&format!("mv {0} {0}.old", quoted(path)), path)
            )),
        StoreError::Changed(_) => StageError::new(codes::LOCK_REPLACED, cause)
            .fact("lease", path.display().to_string())
            .hint("Find out who replaces files in that directory, such as a backup that is being restored"),
    }
}

/// What the operating system said, or says when it is asked because `SQLite` kept it to itself. Where neither tells,
/// the failure is `unknown`.
fn asked(said: &Said, unknown: FailureCode, cause: &str, path: &Path) -> StageError {
    let asked = match said.errno {
        Some(errno) => system(path, "use the lease", &io::Error::from_raw_os_error(errno)),
        None => of_sqlite(path, unknown, cause, said.sqlite.unwrap_or_default()),
    };
    let asked = asked.fact("lease", path.display().to_string());
    match said.sqlite {
        Some(_) => asked.fact("SQLite", said.text.clone()),
        None => asked,
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

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use rustix::io::Errno;

    use super::*;
    use crate::instance::other_process::unprivileged;

    #[test]
    fn every_failure_has_its_code_and_something_to_do_and_nothing_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = &dir.path().join("my shop.lease.db");
        let text = || "text".to_owned();
        for (error, code, exit) in [
            (StoreError::Damaged(text()), "db.corrupt", 65),
            (StoreError::Changed(text()), "lock.replaced", 75),
            (StoreError::Busy, "db.busy", 75),
            (StoreError::Full(text().into()), "db.disk-full", 74),
            (StoreError::NotWritable((&io::Error::from(Errno::ACCESS)).into()), "db.not-writable", 77),
            (StoreError::Failed((&io::Error::from(Errno::MFILE)).into()), "process.limit", 71),
            (StoreError::Unsupported(text()), "lock.unsupported", 78),
            (StoreError::Failed((&io::Error::from(Errno::IO)).into()), "db.io", 74),
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
    fn the_place_that_cannot_be_written_is_found_out_and_what_sqlite_said_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.lease.db");
        let said = || {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
            StoreError::from(rusqlite::Error::SqliteFailure(code, Some("unable to open".to_owned())))
        };
        let facts = |failed: &StageError| format!("{:?}", failed.facts());
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
        let failed = unprivileged(|| failure(&said(), &path));
        assert_eq!(failed.failure_code(), codes::DB_NOT_WRITABLE);
        assert!(facts(&failed).contains(&format!("{}, owner", dir.path().display())), "{failed:?}");
        assert!(facts(&failed).contains("unable to open (SQLite's code 14)"), "{failed:?}");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(&path, "").unwrap();
        let log = dir.path().join("shop.lease.db-shm");
        fs::write(&log, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        fs::set_permissions(&log, fs::Permissions::from_mode(0o444)).unwrap();
        let failed = unprivileged(|| failure(&said(), &path));
        assert!(facts(&failed).contains(&format!("{}, owner", log.display())), "{failed:?}");
        fs::set_permissions(&log, fs::Permissions::from_mode(0o666)).unwrap();
        let failed = unprivileged(|| failure(&said(), &path));
        assert_eq!(failed.failure_code(), codes::DB_IO, "nothing is in its way: {failed:?}");
        assert!(failed.to_string().contains("unable to open (SQLite's code 14)"), "{failed}");
    }
}
