//! What can be said about the path before SQLite is asked: its own answer to a missing directory, a
//! directory in the file's place and a lack of permission is one and the same, "unable to open database
//! file" (<https://sqlite.org/rescode.html#cantopen>).

use std::{
    ffi::OsString,
    fs::{File, Metadata, canonicalize, metadata, symlink_metadata},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use rustix::{
    fs::Access,
    process::{getegid, geteuid},
};

use super::{
    claim::{Claim, Identity},
    errors::advise_recovery,
    header, stamp,
};
use crate::{
    codes::{DB_CORRUPT, DB_DIR_MISSING, DB_SCHEMA_NEWER},
    error::{StageError, StageResult},
    instance::{
        data_dir::prepare,
        evidence::{denied, free_space, quoted},
        missing::dangling,
        other_names::require_one,
        refusal,
    },
    owned,
};

/// The owner alone: who can open the file for reading can lock it. SQLite gives `-wal` and `-shm` the same.
const MODE: u32 = 0o600;

/// Below this nothing is opened: the index of the log alone takes 32 KiB, and the log of a busy service 4 MiB.
const LEAST_FREE: u64 = 1024 * 1024;

/// A file that is there, that this process may write, and that is a database or empty.
pub(super) struct Looked {
    /// Where it is, links followed: SQLite puts its own files beside that.
    pub(super) file: PathBuf,
    pub(super) identity: Identity,
    /// Whether a log lies beside it that was not closed: after a crash.
    pub(super) has_log: bool,
    pub(super) claim: Claim,
    /// Size and beginning, for a refusal of SQLite's.
    seen: Option<(u64, Vec<u8>)>,
}

/// Makes sure that the file is there, and is a database or empty. An existing file is only read.
pub(super) fn check(path: &Path) -> StageResult<Looked> {
    // The directory must be writable too, because the write-ahead log is a file beside the database.
    prepare(parent(path))?;
    if let Err(error) = symlink_metadata(path)
        && error.kind() == ErrorKind::NotFound
    {
        create(path)?;
    }
    let failed = |error: io::Error| {
        if error.kind() == ErrorKind::NotFound {
            leads_nowhere(path)
        } else {
            refusal::system(path, "look at the database", &error)
        }
    };
    let file = canonicalize(path).map_err(failed)?;
    refusal::fits(&file)?;
    if parent(&file) != parent(path) {
        prepare(parent(&file))?;
    }
    let found = metadata(&file).map_err(failed)?;
    regular(&file, found.is_file(), found.is_dir())?;
    require_one(&file)?;
    writable(&file)?;
    let has_log = companions(&file)?;
    if has_log {
        stamp::check(&file, &found)?;
    }
    space(parent(&file))?;
    let identity = Identity::of(&found);
    let (claim, head) = Claim::after(identity, || read(&file));
    let looked = Looked { file, identity, has_log, claim, seen: head.transpose().map_err(failed)? };
    if let Some(newer) = looked.seen.as_ref().and_then(|(_, head)| header::newer(head)) {
        return Err(newer_format(path, newer));
    }
    match looked.fault() {
        None => Ok(looked),
        Some(fault) => {
            let refused =
                StageError::new(DB_CORRUPT, format!("{} is no usable database: {fault}", path.display()))
                    .fact("database", path.display().to_string());
            Err(looked.show(advise_recovery(refused, path)))
        }
    }
}

impl Looked {
    /// Whether all of the database is in the file itself, so that it can be judged without its log.
    pub(super) fn is_whole(&self) -> bool {
        !self.has_log && self.seen.as_ref().is_some_and(|(size, _)| *size > 0)
    }

    fn fault(&self) -> Option<String> {
        self.seen.as_ref().and_then(|(size, head)| header::fault(head, *size, self.has_log))
    }

    /// Adds to a refusal what the file looks like.
    pub(super) fn show(&self, refused: StageError) -> StageError {
        match &self.seen {
            Some((size, head)) if refused.failure_code() == DB_CORRUPT => {
                refused.fact("size", format!("{size} bytes")).fact("header", header::shown(head))
            }
            _ => refused,
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn read(file: &Path) -> io::Result<(u64, Vec<u8>)> {
    let open = File::open(file)?;
    let size = open.metadata()?.len();
    let mut head = Vec::with_capacity(header::LENGTH);
    open.take(header::LENGTH as u64).read_to_end(&mut head)?;
    Ok((size, head))
}

fn regular(path: &Path, is_file: bool, is_dir: bool) -> StageResult<()> {
    if is_file {
        return Ok(());
    }
    let what = if is_dir { "a directory" } else { "not a regular file" };
    Err(StageError::new(DB_CORRUPT, format!("{} is {what}", path.display()))
        .fact("database", path.display().to_string())
        .hint("Docker makes a directory where a mounted file does not exist: mount the directory instead"))
}

fn writable(path: &Path) -> StageResult<()> {
    match denied(path, Access::READ_OK | Access::WRITE_OK) {
        None => Ok(()),
        Some(error) => Err(refusal::not_writable(path, &error.into())),
    }
}

fn newer_format(path: &Path, newer: header::Newer) -> StageError {
    let header::Newer { what, found, known } = newer;
    StageError::new(
        DB_SCHEMA_NEWER,
        format!("{what} in {} is {found}, and this program's SQLite knows {known}", path.display()),
    )
    .fact("database", path.display().to_string())
    .fact("format", format!("{found}; known are 1 to {known}"))
    .fact("SQLite", rusqlite::version())
    .hint("Start the newer version again: it has a newer SQLite")
    .hint(format!(
        "Or let a newer `sqlite3` copy it into an older format: sqlite3 {0} .dump | sqlite3 {0}.old",
        quoted(path)
    ))
}

/// The path of the file that SQLite keeps beside the database under this ending.
pub(super) fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(ending);
    name.into()
}

/// What SQLite keeps beside the database must be ours to write as well: a service that was once run as
/// root and was killed leaves files of root's there. Returns whether they hold something.
fn companions(file: &Path) -> StageResult<bool> {
    let mut has_log = false;
    for ending in ["-wal", "-journal", "-shm"] {
        let path = beside(file, ending);
        let found: Metadata = match symlink_metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(refusal::system(&path, "look at the database's log", &error)),
        };
        // Also a link is refused: SQLite never makes one.
        regular(&path, found.is_file(), found.is_dir())?;
        writable(&path)?;
        has_log |= ending != "-shm" && found.len() > 0;
    }
    Ok(has_log)
}

fn space(dir: &Path) -> StageResult<()> {
    room_for(LEAST_FREE, dir)
}

/// Refuses where fewer than `bytes` can be written beside `file`, and enough to go on after that.
pub(super) fn space_for(bytes: u64, file: &Path) -> StageResult<()> {
    room_for(bytes.saturating_add(LEAST_FREE), parent(file))
}

fn room_for(needed: u64, dir: &Path) -> StageResult<()> {
    match free_space(dir) {
        Ok(free) if free < needed => Err(refusal::too_little_room(dir, free, needed)),
        // A file system that does not tell is given the benefit of the doubt; SQLite will see.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Creates the empty file itself, because SQLite would create it readable for everyone. It never follows
/// a link: `O_EXCL` fails on one, even on one that leads nowhere (open(2)).
fn create(path: &Path) -> StageResult<()> {
    let created = owned::create_new(path, MODE);
    created.map(drop).map_err(|error| refusal::system(path, "create the database", &error))
}

/// A link to a disk that is not mounted, most often: a new database in its place would hide the old one.
fn leads_nowhere(path: &Path) -> StageError {
    let refused = StageError::new(DB_DIR_MISSING, format!("{} is a link that leads nowhere", path.display()))
        .fact("database", path.display().to_string());
    match dangling(path) {
        None => refused,
        Some((_, target)) => {
            let (user, group) = (geteuid(), getegid());
            let mount = format!("Mount what it leads to: {}", target.display());
            let make = format!("install -D -o {user} -g {group} -m 0600 /dev/null {}", quoted(&target));
            refused
                .fact("leads to", target.display().to_string())
                .hint(mount)
                .hint(format!("Or begin with an empty database there: {make}"))
        }
    }
}
