//! Becoming the only worker: the layers in their order, and giving up in the reverse order.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use uuid::Uuid;

#[cfg(feature = "database")]
pub(crate) use super::lease::record::Now;
pub(crate) use super::lease::{protocol::Protocol, timings::Timings};
pub(crate) use super::{
    breaking::break_lease,
    status::{FlockStatus, LockStatus, Verdict, status},
};
use super::{
    data_dir,
    data_files::DataFiles,
    declared, evidence,
    file_lock::{self, FileLock},
    heartbeat::Heartbeat,
    held::{self, Waited},
    joining::{Attempt, Site},
    lease::{self, LeaseKeeper, failures::failure, sqlite::path_beside},
    private, refusal,
    sharing::{self, Reach, Surroundings},
};
use crate::{
    clock::boot_time,
    codes,
    contract::guard::{FencingToken, WorkerGuard},
    error::{StageError, StageResult},
    ids::InstanceId,
};

/// How often somebody who waits for the lock looks again.
const POLL: Duration = Duration::from_millis(20);

/// Reads one variable of the environment.
pub(crate) type EnvLookup = Box<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// Says whether the wait is to end early.
pub(crate) type Cancelled = Box<dyn Fn() -> bool + Send + Sync>;

/// What the layers need to know.
pub(crate) struct WorkerConfig {
    /// This process start.
    pub(crate) instance: InstanceId,
    /// The application's name and version, for the people who are refused. The name is the lease's, too.
    pub(crate) service: String,
    pub(crate) version: String,
    /// The prefix of the application's variables, without its underscore.
    pub(crate) prefix: String,
    /// Where the application's data is. It is created if only its last part is missing.
    pub(crate) data_dir: PathBuf,
    /// Where the lock file is. The lease is beside it.
    pub(crate) lock_path: PathBuf,
    /// The value of `<P>_ALLOW_UNSHARED_LOCK`: types of file system, separated by commas.
    pub(crate) allow_unshared: String,
    /// Further variables that hold a number of workers.
    pub(crate) worker_variables: Vec<String>,
    /// Reads one variable of the environment.
    pub(crate) lookup: EnvLookup,
    /// The times of the lease.
    pub(crate) timings: Timings,
    /// How long to wait for another instance to go; `None` refuses at once.
    pub(crate) wait: Option<Duration>,
    /// Is asked while something is waited for.
    pub(crate) cancelled: Cancelled,
}

impl WorkerConfig {
    /// How long [`acquire`] may take by rule: the wait that is configured, and the observation of a lease
    /// whose holder may be dead. The limit of the stage must be longer.
    pub(crate) fn longest(&self) -> Duration {
        self.wait.unwrap_or_default() + Protocol::patience(self.timings.ttl)
    }
}

/// The right to be the only worker, held until it is released or dropped.
pub(crate) struct HeldWorker {
    // Dropped in this order: nobody verifies a lock that is gone, and the lease ends before the lock, so
    // that whoever finds the lock free knows that the holder of the lease is gone.
    pub(super) heartbeat: Heartbeat,
    pub(super) lease: LeaseKeeper,
    pub(super) data: DataFiles,
    pub(super) lock: FileLock,
    pub(super) guard: WorkerGuard,
    pub(super) reach: Reach,
    pub(super) lease_path: PathBuf,
    pub(super) took_over: Option<String>,
}

/// Where the lock is, for reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LockDescription {
    pub(crate) file: PathBuf,
    /// The file of the lease.
    pub(crate) lease: PathBuf,
    /// The type of the file system, for instance `ext4`.
    pub(crate) file_system: String,
    /// The random identity of the lock file, by which a lease knows it.
    pub(crate) lock_uuid: Uuid,
    /// Whether every instance on this machine sees the file and respects its lock. It is `false` only
    /// where the operator allowed the file system by name.
    pub(crate) shared: bool,
    /// The number of this acquisition.
    pub(crate) token: FencingToken,
    /// From which dead instance the right was taken over, and why, in words.
    pub(crate) took_over: Option<String>,
}

/// Makes this process the only worker, or says why it may not be.
///
/// It reads and writes files, and waits where that is configured or where it has to be found out whether
/// the holder of the lease is alive: call it where blocking is allowed.
///
/// # Errors
/// `worker.count-configured`, `env.invalid`, `db.dir-missing`, `db.not-writable`, `db.disk-full`,
/// `db.io`, `db.corrupt` and `db.busy` for the lease, `lock.not-shared`, `lock.unsupported`, `lock.held`,
/// `lock.holder-unresponsive`, and `startup.interrupted` where the wait was ended. Nothing is held then.
pub(crate) fn acquire(config: &WorkerConfig) -> StageResult<HeldWorker> {
    declared::check(&config.prefix, &config.worker_variables, &config.lookup)?;
    let site = Site::of(config)?;
    data_dir::prepare(&config.data_dir)?;
    let lock_dir = site.lock_path.parent().unwrap_or(Path::new("/"));
    data_dir::prepare(lock_dir)?;
    refusal::fits(&site.lease_path)?;
    private::warn_of_wide(&config.data_dir);
    if lock_dir != config.data_dir {
        private::warn_of_wide(lock_dir);
    }

    let began = boot_time();
    loop {
        let rival = match site.attempt()? {
            Attempt::Held(held) => return Ok(*held),
            Attempt::Rival(rival) => rival,
        };
        let time = boot_time().saturating_sub(began);
        let waited = config.wait.map(|limit| Waited { time, limit, prefix: &config.prefix });
        let left = config.wait.and_then(|limit| limit.checked_sub(time)).unwrap_or_default();
        if left.is_zero() {
            return Err(held::refusal(&rival, &site.this, waited));
        }
        if (config.cancelled)() {
            return Err(interrupted());
        }
        thread::sleep(left.min(POLL));
    }
}

/// Everything that would keep [`acquire`] from succeeding whoever holds the lock, without taking or writing
/// anything.
pub(crate) fn check(config: &WorkerConfig) -> Vec<StageError> {
    let declared = declared::check(&config.prefix, &config.worker_variables, &config.lookup);
    let lock_dir = config.lock_path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let lock_dir = lock_dir.unwrap_or(Path::new("."));
    let fits = refusal::fits(&path_beside(&config.lock_path));
    let mut found = vec![declared, data_dir::inspect(&config.data_dir), fits];
    if lock_dir != config.data_dir {
        found.push(data_dir::inspect(lock_dir));
    }
    if lock_dir.is_dir() {
        let path = path_beside(&config.lock_path);
        found.push(file_lock::inspect(&config.lock_path));
        found.push(lease::inspect(&path).map_err(|error| failure(&error, &path)));
    }
    let mount = evidence::mount_at(lock_dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new(".")));
    let reach = Surroundings::default().reach(&mount);
    found.push(sharing::require(&mount, reach, &config.lock_path, &config.prefix, &config.allow_unshared));
    found.into_iter().filter_map(Result::err).collect()
}

/// What somebody who was told to stop waiting answers.
pub(super) fn interrupted() -> StageError {
    StageError::new(codes::STARTUP_INTERRUPTED, "The wait for the lock was ended before it was free.")
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
            lease: self.lease_path.clone(),
            file_system: self.lock.mount.kind.clone(),
            lock_uuid: self.lock.lock_uuid,
            shared: self.reach == Reach::Machine,
            token: self.guard.token(),
            took_over: self.took_over.clone(),
        }
    }

    /// Gives up the right: ends the guards, frees the lease, whose row keeps its token, then the lock, whose
    /// file stays without a holder. Blocks for as long as writing to the files takes, and where the lease cannot be
    /// freed, tries again until `until`.
    ///
    /// # Errors
    /// The lease could not be freed, or the holder's description not be removed. The lock is given back all
    /// the same, and with it the next instance on this machine takes the lease.
    pub(crate) fn release(self, until: Instant) -> StageResult<()> {
        let Self { heartbeat, lease, data, lock, lease_path, .. } = self;
        drop(heartbeat);
        let lease = lease.release(until).map_err(|error| failure(&error, &lease_path));
        drop(data);
        lock.release().and(lease)
    }
}

impl fmt::Debug for HeldWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldWorker").field("guard", &self.guard).field("lock", &self.lock()).finish()
    }
}

#[cfg(test)]
mod tests;
