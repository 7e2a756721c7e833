//! A copy of the database from before a migration, made while it is open.
//!
//! There is one for each schema that was migrated from, `<file>.schema-<n>.backup`. A migration that fails at
//! every start thus replaces its own backup with the same content and never pushes out those of other versions.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions, read_dir, remove_file, rename},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};
use tokio_util::sync::CancellationToken;

use super::{
    errors::{MIGRATION_INTERRUPTED, sqlite_failed},
    opening::Plan,
    preflight::{beside, space_for},
};
use crate::{
    codes::{DB_BUSY, DB_DISK_FULL},
    contract::tell::{shown, tell},
    error::{StageError, StageResult},
    instance::{
        evidence::{quoted, size},
        refusal,
    },
};

/// Nobody but the service: a backup is forgotten more easily than the database.
const MODE: u32 = 0o600;

/// How many pages are copied between two looks at whether the start was cancelled: 4 MiB of the usual size.
const PAGES: i32 = 1024;

const ENDING: &str = ".backup";
const UNFINISHED: &str = ".partial";

/// Copies the database as it is before its migration from schema `seen`, and removes the oldest copies.
///
/// The copy gets its name only when it is whole and on the disk. What a crash leaves of one is removed by the next.
pub(super) fn make(
    connection: &Connection,
    plan: &Plan,
    file: &Path,
    seen: usize,
    cut: &CancellationToken,
) -> StageResult<Option<PathBuf>> {
    let keep = plan.settings.backups;
    if keep == 0 {
        return Ok(None);
    }
    let target = beside(file, &format!(".schema-{seen}{ENDING}"));
    (plan.step)("back up".to_owned());
    enough_space(connection, plan, file)?;
    let failed = |error: io::Error| refusal::system(&target, "make the backup", &error);
    let partial = beside(&target, UNFINISHED);
    discard(&partial).map_err(failed)?;
    OpenOptions::new().write(true).create_new(true).mode(MODE).open(&partial).map_err(failed)?;
    let copied = copy(connection, &partial, plan, cut)
        .and_then(|()| rename(&partial, &target).and_then(|()| sync_directory(&target)).map_err(failed));
    if let Err(error) = copied {
        // It only takes up space, and the next attempt removes it as well.
        let _left_behind = discard(&partial);
        return Err(error);
    }
    prune(file, &target, keep);
    Ok(Some(target))
}

fn enough_space(connection: &Connection, plan: &Plan, file: &Path) -> StageResult<()> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let bytes = number("page_count").and_then(|pages| Ok(pages.saturating_mul(number("page_size")?)));
    let bytes = bytes.map_err(|error| sqlite_failed(&error, "measure the database", file))?.unsigned_abs();
    space_for(bytes, file).map_err(|full| {
        let full = full.fact("needed", format!("{} for a backup before the migration", size(bytes)));
        match plan.settings.variable("DATABASE_BACKUPS") {
            Some(variable) if full.failure_code() == DB_DISK_FULL => {
                full.hint(format!("Or migrate without a backup: {variable}=0"))
            }
            _ => full,
        }
    })
}

fn copy(from: &Connection, to: &Path, plan: &Plan, cut: &CancellationToken) -> StageResult<()> {
    let failed = |error: rusqlite::Error| sqlite_failed(&error, "make the backup", to);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(to, flags).map_err(failed)?;
    let backup = Backup::new(from, &mut target).map_err(failed)?;
    let (mut told, mut moved) = (0, Instant::now());
    loop {
        if cut.is_cancelled() {
            return Err(StageError::new(MIGRATION_INTERRUPTED, "stopped while the backup was made"));
        }
        let step = backup.step(PAGES).map_err(failed)?;
        if step == StepResult::Done {
            break;
        }
        // Otherwise another program has the file locked: the same step is tried again.
        if step == StepResult::More {
            moved = Instant::now();
        } else if moved.elapsed() < plan.settings.busy_timeout {
            sleep(Duration::from_millis(5));
        } else {
            return Err(StageError::new(DB_BUSY, "another program keeps the database from being backed up"));
        }
        let progress = backup.progress();
        let percent = (progress.pagecount - progress.remaining) * 10 / progress.pagecount.max(1) * 10;
        if percent > told {
            told = percent;
            (plan.step)(format!("back up {percent}%"));
        }
    }
    drop(backup);
    // SQLite has synchronised it; closing it removes what it kept beside it.
    target.close().map_err(|(_, error)| failed(error))
}

/// A new name is on the disk only when its directory is (fsync(2), NOTES).
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn discard(partial: &Path) -> io::Result<()> {
    for ending in ["", "-journal", "-wal", "-shm"] {
        match remove_file(beside(partial, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// The backups of `file`: the schema and the path of each.
fn all(file: &Path) -> Vec<(usize, PathBuf)> {
    let Some(name) = file.file_name() else { return Vec::new() };
    let mut start = OsString::from(name);
    start.push(".schema-");
    let Some(start) = start.to_str() else { return Vec::new() };
    let entries = file.parent().and_then(|dir| read_dir(dir).ok()).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let schema = name.to_str()?.strip_prefix(start)?.strip_suffix(ENDING)?.parse().ok()?;
            Some((schema, entry.path()))
        })
        .collect()
}

/// The backup of the highest schema that a version with `known` migrations can use.
pub(super) fn newest(file: &Path, known: usize) -> Option<PathBuf> {
    all(file).into_iter().filter(|(schema, _)| *schema <= known).max().map(|(_, path)| path)
}

/// Removes the oldest backups but `keep`; `made` stays in any case.
fn prune(file: &Path, made: &Path, keep: usize) {
    let mut others: Vec<(SystemTime, PathBuf)> = all(file)
        .into_iter()
        .filter(|(_, path)| path != made)
        .map(|(_, path)| {
            let written = path.symlink_metadata().and_then(|found| found.modified());
            (written.unwrap_or(SystemTime::UNIX_EPOCH), path)
        })
        .collect();
    others.sort();
    let surplus = (others.len() + 1).saturating_sub(keep);
    for (_, path) in others.into_iter().take(surplus) {
        if let Err(error) = remove_file(&path) {
            // The migration does not depend on it.
            tell!(
                warn,
                "an old backup cannot be removed",
                error = shown(error),
                backup = shown(path.display())
            );
        }
    }
}

/// How to put a backup in the database's place, with each command on a line of its own.
pub(super) fn how_to_restore(backup: &Path, file: &Path) -> String {
    let name = |path: &Path| path.file_name().map_or_else(String::new, |name| quoted(Path::new(name)));
    let [log, index] = ["-wal", "-shm"].map(|ending| name(&beside(file, ending)));
    let (directory, backup, file) = (quoted(file.parent().unwrap_or(file)), name(backup), name(file));
    format!(
        "Or go back, losing what was written since, by restoring the backup:\n\
         cd {directory}\nrm -f {log} {index}\ncp -a {backup} {file}"
    )
}
