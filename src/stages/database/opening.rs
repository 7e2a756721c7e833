//! From a path to open connections: each step in its order, on the writer's thread.

use std::{
    fs::{self, Metadata},
    path::PathBuf,
    sync::Arc,
};

use rusqlite::Connection;

use super::{
    SqliteDatabase, backup,
    claim::{Claim, Identity},
    errors::sqlite_failed,
    fence, integrity, migrate, open, origin, preflight,
    stamp::{self, Stamp},
    temporary,
    threads::{Readers, Shared},
};
use crate::{contract::guard::WorkerGuard, error::StageResult, instance::refusal::system};

/// What the threads need to know to begin.
pub(super) struct Plan {
    pub(super) settings: SqliteDatabase,
    /// Absolute.
    pub(super) path: PathBuf,
    /// Whose token the database is fenced for.
    pub(super) worker: WorkerGuard,
    /// Told of every step of the opening.
    pub(super) step: Box<dyn Fn(String) + Send>,
}

/// A database that is open. The order of the fields is the order in which they are to be dropped.
pub(super) struct Opened {
    pub(super) readers: Readers,
    pub(super) connection: Connection,
    pub(super) claim: Claim,
    pub(super) place: Place,
}

/// Which file is open.
#[derive(Clone)]
pub(super) struct Place {
    /// The path with links followed.
    pub(super) file: PathBuf,
    pub(super) identity: Identity,
    /// `None` where several workers may write it.
    pub(super) stamp: Option<Arc<Stamp>>,
}

impl Place {
    /// What is at the path, as long as that is the file that is open.
    pub(super) fn look(&self) -> Option<Metadata> {
        fs::metadata(&self.file).ok().filter(|found| Identity::of(found) == self.identity)
    }
}

/// Until the file is known to be sound and ours, nothing is written to it.
pub(super) fn open_all(shared: &Arc<Shared>, plan: &Plan) -> StageResult<Opened> {
    let (settings, path) = (&plan.settings, &plan.path);
    (plan.step)("look at the file".to_owned());
    let looked = preflight::check(path)?;
    plan.worker.protect_blocking(&looked.file)?;
    (plan.step)("open".to_owned());
    let mut connection =
        open::to_look(&looked.file, looked.has_log).map_err(|refused| looked.show(refused))?;
    shared.watch(&connection);
    temporary::keep_beside(&connection, &looked.file)
        .map_err(|error| sqlite_failed(&error, "choose a directory for temporary files", path))?;
    // After the connection, because what is declared last is dropped first.
    let mut readers = Readers::start(shared, settings, &looked.file)?;
    let origin = origin::judge(&connection, settings, path)?;
    if !origin.empty {
        (plan.step)("check for damage".to_owned());
        integrity::check(&mut connection, settings.integrity, settings.integrity_limit, &shared.cut, path)
            .map_err(|refused| looked.show(refused))?;
    }
    stamp::forget(&looked.file).map_err(|error| system(path, "remove the stamp of", &error))?;
    open::to_write(&mut connection, path)?;
    // While it is fenced and migrated, of which a connection that reads sees what is committed.
    readers.open();
    (plan.step)("raise the fence".to_owned());
    fence::raise(&mut connection, &plan.worker, path)?;
    origin.mark(&mut connection, &plan.worker, path)?;
    if origin.seen < settings.migrations.len() {
        let kept = if origin.empty {
            None
        } else {
            backup::make(&connection, plan, &looked.file, origin.seen, &shared.cut)?
        };
        migrate::run(&mut connection, plan, origin.seen, kept.as_deref(), &shared.cut)?;
    }
    (plan.step)("open for reading".to_owned());
    readers.ready()?;
    let stamp = if plan.worker.is_exclusive() {
        let stamp = Stamp::begin(&connection, &looked.file);
        Some(Arc::new(stamp.map_err(|error| system(path, "stamp", &error))?))
    } else {
        None
    };
    let place = Place { file: looked.file, identity: looked.identity, stamp };
    Ok(Opened { readers, connection, claim: looked.claim, place })
}
