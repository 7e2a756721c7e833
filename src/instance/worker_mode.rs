//! Becoming the only worker: the layers in their order, and giving up in the reverse order.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use uuid::Uuid;

use super::{
    data_dir, declared,
    file_lock::{self, FileLock, Outcome},
    heartbeat::{self, Heartbeat},
    held,
    holder::Holder,
    mounts::Mount,
    sharing::{self, Reach, Surroundings},
};
use crate::{
    codes,
    contract::guard::{GuardKeeper, WorkerGuard},
    error::{ErrorKind, StageError, StageResult},
    ids::InstanceId,
};

/// Reads one variable of the environment.
pub(crate) type EnvLookup = Box<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// What the layers need to know.
pub(crate) struct WorkerConfig {
    /// This process start.
    pub(crate) instance: InstanceId,
    /// The application's name and version, for the people who are refused.
    pub(crate) service: String,
    pub(crate) version: String,
    /// The prefix of the application's variables, without its underscore.
    pub(crate) prefix: String,
    /// Where the application's data is. It is created if only its last part is missing.
    pub(crate) data_dir: PathBuf,
    /// Where the lock file is.
    pub(crate) lock_path: PathBuf,
    /// The value of `<P>_ALLOW_UNSHARED_LOCK`: types of file system, separated by commas.
    pub(crate) allow_unshared: String,
    /// Further variables that hold a number of workers.
    pub(crate) worker_variables: Vec<String>,
    /// Reads one variable of the environment.
    pub(crate) lookup: EnvLookup,
}

/// The right to be the only worker, held until it is released or dropped.
pub(crate) struct HeldWorker {
    // Dropped in this order: nobody verifies a lock that is gone, and no guard outlives it.
    heartbeat: Heartbeat,
    lock: FileLock,
    guard: WorkerGuard,
    reach: Reach,
}

/// Where the lock is, for reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LockDescription {
    pub(crate) file: PathBuf,
    /// The type of the file system, for instance `ext4`.
    pub(crate) file_system: String,
    /// The random identity of the lock file, by which a lease knows it.
    pub(crate) lock_uuid: Uuid,
    /// Whether every instance on this machine sees the file and respects its lock. It is `false` only
    /// where the operator allowed the file system by name.
    pub(crate) shared: bool,
}

/// Makes this process the only worker, or says why it may not be.
///
/// It does not wait for a lock, but it reads and writes files: call it where blocking is allowed.
///
/// # Errors
/// `worker.count-configured`, `env.invalid`, `db.dir-missing`, `db.not-writable`, `db.disk-full`,
/// `lock.not-shared`, `lock.unsupported` and `lock.held`. Nothing is held then.
pub(crate) fn acquire(config: &WorkerConfig) -> StageResult<HeldWorker> {
    declared::check(&config.prefix, &config.worker_variables, &config.lookup)?;
    // A relative path would lead elsewhere as soon as the application changes its directory.
    let path = std::path::absolute(&config.lock_path)?;
    data_dir::prepare(&config.data_dir)?;
    data_dir::prepare(path.parent().unwrap_or(Path::new("/")))?;

    let surroundings = Surroundings::read();
    let (prefix, allowed) = (config.prefix.as_str(), config.allow_unshared.as_str());
    let accept = |mount: &Mount| sharing::require(mount, surroundings.reach(mount), &path, prefix, allowed);
    let this = Holder::this_process(config.instance, &config.service, &config.version);
    let lock = match file_lock::acquire(&path, &accept)? {
        Outcome::Acquired(lock) => lock,
        Outcome::Held(contest) => return Err(held::refusal(&contest, &this)),
    };
    lock.describe(&this)?;

    let keeper = Arc::new(GuardKeeper::exclusive());
    let guard = keeper.guard();
    let identity = lock.identity.clone();
    let verify = move || identity.verify();
    let heartbeat = Heartbeat::start(verify, keeper, heartbeat::INTERVAL).map_err(|error| {
        let cause = format!("The thread that verifies the lock cannot be started: {error}");
        StageError::new(codes::STAGE_FAILED, cause).kind(ErrorKind::Temporary)
    })?;
    let reach = surroundings.reach(&lock.mount);
    Ok(HeldWorker { heartbeat, lock, guard, reach })
}

impl HeldWorker {
    /// The proof that stages and applications see.
    pub(crate) fn guard(&self) -> WorkerGuard {
        self.guard.clone()
    }

    /// Where the lock is, for reports.
    pub(crate) fn lock(&self) -> LockDescription {
        LockDescription {
            file: self.lock.identity.path.clone(),
            file_system: self.lock.mount.kind.clone(),
            lock_uuid: self.lock.lock_uuid,
            shared: self.reach == Reach::Machine,
        }
    }

    /// Gives up the right, and leaves the lock file without a holder. Blocks for as long as writing to the
    /// file takes.
    ///
    /// # Errors
    /// The holder's description could not be removed. The lock is given back all the same.
    pub(crate) fn release(self) -> StageResult<()> {
        let Self { heartbeat, lock, .. } = self;
        drop(heartbeat);
        lock.release()
    }
}

impl fmt::Debug for HeldWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldWorker").field("guard", &self.guard).field("lock", &self.lock()).finish()
    }
}

#[cfg(test)]
mod tests;
