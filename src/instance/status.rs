//! What can be said about the locks without taking them.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    thread,
    time::Duration,
};

use serde::Serialize;
use uuid::Uuid;

use super::{
    file_lock, flock,
    freezer::is_frozen,
    holder::{self, Content, Holder},
    joining::Site,
    lease::{protocol::Pulse, record::lock_name, view::LeaseView},
    program::Occupant,
    sharing::{Reach, Surroundings},
    siblings::{lock_owner, state},
    worker_mode::WorkerConfig,
};
use crate::error::StageResult;

/// The state of both locks at one moment. The JSON form is an interface: fields are added, never changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct LockStatus {
    pub(crate) verdict: Verdict,
    /// The lock file.
    pub(crate) file: String,
    pub(crate) file_system: String,
    /// Whether every instance on this machine sees the file and respects its lock.
    pub(crate) shared: bool,
    pub(crate) flock: FlockStatus,
    pub(crate) lock_uuid: Option<String>,
    /// The highest token that the lock file remembers.
    pub(crate) highest_token: u64,
    /// Who the lock file says has it: people may believe it, nobody else should.
    pub(crate) described: Option<Holder>,
    pub(crate) lease: LeaseStatus,
}

/// What all of it comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// An instance runs.
    Running,
    /// An instance has the lock and does not renew its lease.
    Unresponsive,
    /// Another program has the lock file locked; until it has not, nothing starts.
    Busy,
    /// No instance runs; the next one starts at once.
    Free,
    /// The last instance did not give its lease back, and is dead or out of time: the next one takes over at
    /// once.
    Gone,
    /// The next one has to find out, by watching the lease, whether its holder is alive.
    Unclear,
}

/// What the kernel shows of the file lock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub(crate) enum FlockStatus {
    /// Somebody has it.
    Held {
        /// Which process; `null` where it is hidden from this one, as those of other containers are.
        pid: Option<u32>,
        /// Its state (proc_pid_stat(5)).
        process_state: Option<char>,
        /// Whether its cgroup is known to be frozen, as that of a paused container is.
        frozen: bool,
        /// What runs there, where it is no instance of the service as far as can be seen.
        program: Option<String>,
        /// Whether it has the lock together with others, which no instance does.
        together: bool,
    },
    /// Nobody has it.
    Free,
    /// There is no lock file.
    NoFile { error: String },
    /// It cannot be told.
    Unknown { error: String },
}

/// The lock file, as one look shows it.
struct LockView {
    flock: FlockStatus,
    file_system: String,
    shared: bool,
    lock_uuid: Option<String>,
    highest_token: u64,
    described: Option<Holder>,
    /// Whether the holder of the lease would have this very lock if it were alive.
    is_of_the_lease: bool,
}

/// The lease, as one look shows it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub(crate) struct LeaseStatus {
    pub(crate) file: String,
    /// `absent`, `unreadable`, `free`, `fresh`, `stale`, or `foreign` where another clock wrote it.
    pub(crate) state: &'static str,
    pub(crate) token: Option<u64>,
    pub(crate) seq: Option<u64>,
    /// Which start of which process holds it.
    pub(crate) instance: Option<String>,
    pub(crate) holder: Option<Holder>,
    pub(crate) age_ms: Option<u64>,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) error: Option<String>,
}

/// Looks at both locks. Nothing is kept, created or changed.
///
/// # Errors
/// The paths cannot be made absolute.
pub(crate) fn status(config: &WorkerConfig) -> StageResult<LockStatus> {
    let site = Site::of(config)?;
    let lease = LeaseView::look(&site.lease_path, &config.service);
    let lock = look(&site, &lease).unwrap_or_else(|error| LockView::of_none(&error));
    Ok(LockStatus {
        verdict: verdict(&lock, &lease),
        file: site.lock_path.display().to_string(),
        file_system: lock.file_system,
        shared: lock.shared,
        flock: lock.flock,
        lock_uuid: lock.lock_uuid,
        highest_token: lock.highest_token,
        described: lock.described,
        lease: lease_status(&lease, site.lease_path.display().to_string()),
    })
}

fn look(site: &Site<'_>, lease: &LeaseView) -> io::Result<LockView> {
    let file = flock::open_to_read(&site.lock_path)?;
    let found = file.metadata()?;
    let surroundings = Surroundings::default();
    let mount = surroundings.mount_of(file.as_fd(), &site.lock_path);
    let reach = surroundings.reach(&mount);
    // The same conditions as those of a start.
    let trusted = reach != Reach::Elsewhere
        && fs::metadata(&site.lease_path).is_ok_and(|lease| lease.dev() == found.dev());
    // A start that meets another program's lock finds out in the same way, and waits for as long.
    let (mut looks, mut content) = (0, content_of(&file));
    let flock = loop {
        let lock = flock_status(site, (mount.device, found.ino()), content.2.as_ref());
        let is_other = matches!(&lock, FlockStatus::Held { program: Some(_), .. });
        if !is_other || looks == file_lock::LOOKS {
            break lock;
        }
        looks += 1;
        thread::sleep(file_lock::LOOK);
        content = content_of(&file);
    };
    let (lock_uuid, highest_token, described) = content;
    let of_the_lease =
        lock_uuid.is_some_and(|lock_uuid| lease.is_of_lock(&lock_name(lock_uuid, found.ino())));
    Ok(LockView {
        flock,
        file_system: mount.kind,
        shared: reach == Reach::Machine,
        lock_uuid: lock_uuid.map(|lock_uuid| lock_uuid.to_string()),
        highest_token,
        described,
        is_of_the_lease: trusted && of_the_lease,
    })
}

fn content_of(file: &File) -> (Option<Uuid>, u64, Option<Holder>) {
    match holder::read(file) {
        Ok(Content::Lock { lock_uuid, highest_token, holder }) => (lock_uuid, highest_token, holder),
        Ok(Content::Blank | Content::Foreign) | Err(_) => (None, 0, None),
    }
}

/// Tries the lock for an instant, together with others first, because a start that meets it then goes on at once.
fn flock_status(
    site: &Site<'_>,
    (device, inode): ((u32, u32), u64),
    described: Option<&Holder>,
) -> FlockStatus {
    let open = || flock::open_to_read(&site.lock_path);
    let tried = open().and_then(|file| {
        let exclusive = flock::is_held(file)?;
        Ok((exclusive, !exclusive && flock::is_shared(open()?)?))
    });
    let (exclusive, together) = match tried {
        Ok((false, false)) => return FlockStatus::Free,
        Ok(tried) => tried,
        Err(error) => return FlockStatus::Unknown { error: error.to_string() },
    };
    let (pid, program) = match Occupant::find(device, inode, exclusive, described) {
        Occupant::Instance | Occupant::Hidden => (lock_owner(device, inode), None),
        Occupant::Other(Some(program)) => (Some(program.pid()), Some(program.name())),
        Occupant::Other(None) => (None, Some("hidden from here".to_owned())),
    };
    let (process_state, frozen) = (pid.and_then(state), pid.is_some_and(is_frozen));
    FlockStatus::Held { pid, process_state, frozen, program, together }
}

impl LockView {
    /// What an error says that a look ended with.
    fn of_none(error: &io::Error) -> Self {
        let text = error.to_string();
        let flock = if error.kind() == io::ErrorKind::NotFound {
            FlockStatus::NoFile { error: text }
        } else {
            FlockStatus::Unknown { error: text }
        };
        Self {
            flock,
            file_system: String::new(),
            shared: false,
            lock_uuid: None,
            highest_token: 0,
            described: None,
            is_of_the_lease: false,
        }
    }
}

fn verdict(lock: &LockView, lease: &LeaseView) -> Verdict {
    let pulse = match lease {
        LeaseView::Absent => Some(Pulse::Free),
        LeaseView::Row { pulse, .. } => Some(*pulse),
        LeaseView::Unreadable(_) => None,
    };
    match (&lock.flock, pulse) {
        (FlockStatus::Held { program: Some(_), .. }, _) => Verdict::Busy,
        (FlockStatus::Held { .. }, Some(Pulse::Stale)) if lease.is_held_by(lock.described.as_ref()) => {
            Verdict::Unresponsive
        }
        (FlockStatus::Held { .. }, _) | (FlockStatus::Unknown { .. }, Some(Pulse::Fresh)) => Verdict::Running,
        (_, Some(Pulse::Free)) => Verdict::Free,
        (FlockStatus::Free, _) if lock.is_of_the_lease => Verdict::Gone,
        (FlockStatus::Free | FlockStatus::NoFile { .. }, Some(Pulse::Stale)) => Verdict::Gone,
        (FlockStatus::Free | FlockStatus::Unknown { .. } | FlockStatus::NoFile { .. }, _) => Verdict::Unclear,
    }
}

fn lease_status(view: &LeaseView, file: String) -> LeaseStatus {
    match view {
        LeaseView::Absent => LeaseStatus { file, state: "absent", ..LeaseStatus::default() },
        LeaseView::Unreadable(error) => LeaseStatus {
            file,
            state: "unreadable",
            error: Some(error.to_string()),
            ..LeaseStatus::default()
        },
        LeaseView::Row { row, pulse, age } => LeaseStatus {
            file,
            state: match pulse {
                Pulse::Free => "free",
                Pulse::Fresh => "fresh",
                Pulse::Stale => "stale",
                Pulse::Foreign => "foreign",
            },
            token: Some(row.version.token),
            seq: Some(row.version.seq),
            instance: row.holder.clone(),
            holder: row.info.clone(),
            age_ms: age.map(millis),
            ttl_ms: Some(millis(row.ttl)),
            error: None,
        },
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
