//! Both locks together: first the file, then the lease, and neither without the other.

use std::{cell::Cell, os::fd::BorrowedFd, path::PathBuf, sync::Arc, time::Duration};

use super::{
    data_files::DataFiles,
    evidence::size,
    file_lock::{self, FileLock, Outcome},
    heartbeat::{self, Heartbeat},
    held::{Layer, Rival},
    holder::{Holder, Observed},
    lease::{
        LeaseKeeper,
        failures::{failure, unclear},
        protocol::{Protocol, Reason},
        record::{LeaseRecord, Now, clock_name},
        sqlite::{SqliteStore, path_beside},
        taking::{Applicant, Taken, describe, take},
        view::{LeaseView, in_words},
    },
    refusal,
    sharing::{self, Reach, Surroundings},
    worker_mode::{HeldWorker, WorkerConfig, interrupted},
};
use crate::{
    clock::boot_time,
    contract::guard::{GuardKeeper, WorkerGuard},
    contract::tell::{shown, tell},
    control_group,
    error::StageResult,
    limits::no_thread,
};

/// Where one instance tries to become the only worker.
pub(super) struct Site<'a> {
    config: &'a WorkerConfig,
    /// Absolute: a relative path would lead elsewhere as soon as the application changes its directory.
    pub(super) lock_path: PathBuf,
    pub(super) lease_path: PathBuf,
    pub(super) this: Holder,
    /// When it began to try.
    began: Duration,
}

/// What came of one attempt.
pub(super) enum Attempt {
    Held(Box<HeldWorker>),
    /// Somebody else is the only worker. Nothing is held.
    Rival(Box<Rival>),
}

/// What came of taking the lease while the lock is held.
enum Joined {
    Held {
        heartbeat: Heartbeat,
        lease: LeaseKeeper,
        data: DataFiles,
        guard: WorkerGuard,
        took_over: Option<String>,
    },
    Alive(LeaseRecord),
}

impl<'a> Site<'a> {
    pub(super) fn of(config: &'a WorkerConfig) -> StageResult<Self> {
        let lock_path = std::path::absolute(&config.lock_path)?;
        let lease_path = path_beside(&lock_path);
        let this = Holder::this_process(config.instance, &config.service, &config.version);
        Ok(Self { config, lock_path, lease_path, this, began: boot_time() })
    }

    /// Tries once to take both, without waiting for anybody who is known to be alive.
    pub(super) fn attempt(&self) -> StageResult<Attempt> {
        let (prefix, allowed) = (self.config.prefix.as_str(), self.config.allow_unshared.as_str());
        let reach = Cell::new(Reach::Elsewhere);
        let accept = |open: BorrowedFd<'_>| {
            // As it is now: something may have been mounted since the last try.
            let surroundings = Surroundings::default();
            let mount = surroundings.mount_of(open, &self.lock_path);
            if mount.kind == "unknown" {
                refusal::descriptors_left("It cannot be seen which file system the lock file is on")?;
            }
            reach.set(surroundings.reach(&mount));
            sharing::require(&mount, reach.get(), &self.lock_path, prefix, allowed)?;
            Ok(mount)
        };
        let lock = match file_lock::acquire(&self.lock_path, &accept)? {
            Outcome::Acquired(lock) => lock,
            Outcome::Held(contest) => {
                let lease = LeaseView::look(&self.lease_path, &self.config.service);
                let rival = Rival::with_lock(contest, self.lease_path.clone(), lease);
                return Ok(Attempt::Rival(Box::new(rival)));
            }
        };
        let reach = reach.get();
        match self.join(&lock, reach) {
            Ok(Joined::Held { heartbeat, lease, data, guard, took_over }) => {
                let lease_path = self.lease_path.clone();
                let held = HeldWorker { heartbeat, lease, data, lock, guard, reach, lease_path, took_over };
                Ok(Attempt::Held(Box::new(held)))
            }
            Ok(Joined::Alive(row)) => {
                let rival = self.rival_with_lease(&lock, row);
                give_back(lock);
                Ok(Attempt::Rival(Box::new(rival)))
            }
            Err(error) => {
                give_back(lock);
                Err(error)
            }
        }
    }

    /// Takes the lease with the lock in hand. Whatever was acquired here is given back on failure.
    fn join(&self, lock: &FileLock, reach: Reach) -> StageResult<Joined> {
        // Described before the lease is taken, so that whoever is refused meanwhile does not hold the
        // predecessor's expired lease against us.
        lock.describe(&self.this)?;
        let times = self.config.timings;
        let failed = |error| failure(&error, &self.lease_path);
        let store = SqliteStore::open(&self.lease_path, times.attempt).map_err(failed)?;
        // The lock proves who is dead only if whoever can reach the lease can reach this lock, too: not
        // where one of the two files was mounted from elsewhere, nor where locks cannot be trusted.
        let same_place = store.device() == lock.identity.device;
        let trusted = reach != Reach::Elsewhere;
        let applicant = Applicant {
            name: self.config.service.clone(),
            info: self.this.clone(),
            clock: clock_name(),
            lock: lock.name(),
            lock_is_trusted: same_place && trusted,
            remembered: credible_memory(lock),
            ttl: times.ttl,
            observed: lock.observed()?,
            until: self.began + self.config.longest(),
        };
        let note = |observed: &Observed| {
            // Without the note the next start observes from the beginning.
            if let Err(error) = lock.observe(observed) {
                tell!(warn, "the next start cannot go on with this observation", error = shown(error));
            }
        };
        let cancelled = &*self.config.cancelled;
        let taken = take(Box::new(store), &applicant, &Now::read, cancelled, &note).map_err(failed)?;
        let (lease, sent, before, reason) = match taken {
            Taken::Lease { lease, sent, before, reason } => (lease, sent, before, reason),
            Taken::Alive(row) => return Ok(Joined::Alive(row)),
            Taken::Unclear(found) => return Err(unclear(&found, &self.lease_path)),
            Taken::Cancelled => return Err(interrupted()),
        };
        let token = lease.token();
        lock.remember(token.get())?;
        warn_of_lost_memory(before.as_ref(), applicant.remembered);
        let took_over = before.filter(|row| row.holder.is_some()).map(|row| epitaph(&row, reason, sent));
        if let Some(took_over) = &took_over {
            let told = format!("took over from a dead instance: {took_over}{}", of_memory(reason));
            tell!(warn, told, token = token.get());
        }
        let keeper = Arc::new(GuardKeeper::held_by(self.config.instance));
        let guard = keeper.guard();
        let lease = LeaseKeeper::start(lease, sent.boot, times, Arc::clone(&keeper))
            .map_err(|error| no_thread(&error, "the locks"))?;
        let data = DataFiles::default();
        keeper.protect_with(data.protector());
        let (identity, watched) = (lock.identity.clone(), data.clone());
        let verify = move || identity.verify().and_then(|()| watched.verify());
        let heartbeat = Heartbeat::start(verify, keeper, heartbeat::INTERVAL)
            .map_err(|error| no_thread(&error, "the locks"))?;
        Ok(Joined::Held { heartbeat, lease, data, guard, took_over })
    }

    /// The rival who was seen to renew the lease while we had the lock.
    pub(super) fn rival_with_lease(&self, lock: &FileLock, row: LeaseRecord) -> Rival {
        Rival {
            by: Layer::Lease,
            lock_path: self.lock_path.clone(),
            lease_path: self.lease_path.clone(),
            mount: lock.mount.clone(),
            holder: row.info.clone(),
            lease: LeaseView::of(row, Now::read()),
        }
    }
}

pub(super) fn give_back(lock: FileLock) {
    // There is a failure to report already, and the lock is free either way.
    let _description_stays = lock.release();
}

/// Who was replaced, and how we know that he is dead.
fn epitaph(row: &LeaseRecord, reason: Reason, now: Now) -> String {
    let why = match reason {
        Reason::Free => "it had given up",
        Reason::ProvenDead => "its file lock is free",
        Reason::Expired => "its time was up",
        Reason::Silent => "it did not renew while we watched",
    };
    let age = row.age(now).map_or_else(String::new, |age| format!(", last heartbeat {} ago", in_words(age)));
    format!("{}{age}; {why}", describe(row))
}

/// The memory limit of this control group, where the holder before died: the kernel kills without a word who exceeds it.
fn of_memory(reason: Reason) -> String {
    let most = if reason == Reason::ProvenDead { control_group::memory() } else { None };
    most.map_or_else(String::new, |most| {
        format!(
            "; if it was killed for its memory: this control group may use {} (`mem_limit` in compose.yaml, `MemoryMax=` in a unit)",
            size(most)
        )
    })
}

/// What the lock file remembers, unless that is no token. Then the other memories suffice, and the file's own
/// line is written anew once the lease is taken.
fn credible_memory(lock: &FileLock) -> u64 {
    let found = lock.highest_token;
    if found == 0 || Protocol::WHOLE.credible(found, Now::read().unix_us) {
        return found;
    }
    let file = lock.identity.path.display();
    tell!(
        warn,
        "the lock file remembers a token that no instance was given; it is not used",
        file = shown(file)
    );
    0
}

/// Says that the lease knows less than the lock file: its own memory is older, or gone.
fn warn_of_lost_memory(before: Option<&LeaseRecord>, remembered: u64) {
    let known = before.map_or(0, |row| row.version.token);
    if known < remembered {
        tell!(
            warn,
            "the lease was lost or an older copy restored; tokens go on growing",
            known = known,
            remembered = remembered
        );
    }
}
