//! What can be said about the locks without taking them.

use std::{fs::File, os::unix::fs::MetadataExt, time::Duration};

use serde::Serialize;

use super::{
    flock,
    holder::{self, Content, Holder},
    joining::Site,
    lease::{protocol::Pulse, view::LeaseView},
    mounts::{Mount, mount_of},
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
    /// No instance runs; the next one starts at once.
    Free,
    /// The next one has to find out, by watching the lease, whether its holder is alive.
    Unclear,
}

/// What the kernel shows of the file lock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub(crate) enum FlockStatus {
    /// This process has it, in this state (proc_pid_stat(5)).
    Held { pid: u32, process_state: Option<char> },
    /// Nobody on this machine has it.
    Free,
    /// Nobody whom this process can see has it; the processes of other containers are hidden.
    Unseen,
    /// There is no lock file, or it cannot be read.
    NoFile { error: String },
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

/// Looks at both locks. Nothing is taken, created or changed.
///
/// # Errors
/// The paths cannot be made absolute.
pub(crate) fn status(config: &WorkerConfig) -> StageResult<LockStatus> {
    let site = Site::of(config)?;
    let file = site.lock_path.display().to_string();
    let view = LeaseView::look(&site.lease_path, &config.service);
    let lease = lease_status(&view, site.lease_path.display().to_string());
    let opened = flock::open_to_read(&site.lock_path).and_then(|file| Ok((file.metadata()?, file)));
    let (found, lock) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let flock = FlockStatus::NoFile { error: error.to_string() };
            let verdict = verdict(&flock, None, &view);
            let (file_system, lock_uuid, described) = (String::new(), None, None);
            return Ok(LockStatus {
                verdict,
                file,
                file_system,
                shared: false,
                flock,
                lock_uuid,
                highest_token: 0,
                described,
                lease,
            });
        }
    };
    let mount = mount_of(std::os::fd::AsFd::as_fd(&lock), &site.lock_path);
    let flock = flock_status(&mount, found.ino(), &site.surroundings);
    let (lock_uuid, highest_token, described) = read(&lock);
    Ok(LockStatus {
        verdict: verdict(&flock, described.as_ref(), &view),
        file,
        shared: site.surroundings.reach(&mount) == Reach::Machine,
        file_system: mount.kind,
        flock,
        lock_uuid,
        highest_token,
        described,
        lease,
    })
}

fn read(lock: &File) -> (Option<String>, u64, Option<Holder>) {
    match holder::read(lock) {
        Ok(Content::Lock { lock_uuid, highest_token, holder }) => {
            (lock_uuid.map(|lock_uuid| lock_uuid.to_string()), highest_token, holder)
        }
        Ok(Content::Blank | Content::Foreign) | Err(_) => (None, 0, None),
    }
}

fn flock_status(mount: &Mount, inode: u64, surroundings: &Surroundings) -> FlockStatus {
    match lock_owner(mount.device, inode) {
        Some(pid) => FlockStatus::Held { pid, process_state: state(pid) },
        None if surroundings.sees_every_process() && surroundings.reach(mount) != Reach::Elsewhere => {
            FlockStatus::Free
        }
        None => FlockStatus::Unseen,
    }
}

fn verdict(flock: &FlockStatus, described: Option<&Holder>, lease: &LeaseView) -> Verdict {
    let pulse = match lease {
        LeaseView::Absent => Some(Pulse::Free),
        LeaseView::Row { pulse, .. } => Some(*pulse),
        LeaseView::Unreadable(_) => None,
    };
    match (flock, pulse) {
        (FlockStatus::Held { .. }, Some(Pulse::Stale)) if lease.is_held_by(described) => {
            Verdict::Unresponsive
        }
        (FlockStatus::Held { .. }, _) => Verdict::Running,
        (_, Some(Pulse::Free)) => Verdict::Free,
        (FlockStatus::Unseen, Some(Pulse::Fresh)) => Verdict::Running,
        (FlockStatus::Free, Some(Pulse::Stale)) => Verdict::Free,
        (FlockStatus::Free | FlockStatus::Unseen | FlockStatus::NoFile { .. }, _) => Verdict::Unclear,
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
