//! What the tests of this folder share.

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    flock,
    mounts::{Mount, mount_of},
    worker_mode::{HeldWorker, Timings, WorkerConfig, acquire},
};
use crate::{
    error::{StageError, StageResult},
    ids::InstanceId,
};

/// Short enough to wait for, long enough for a busy machine to keep.
pub(super) const TTL: Duration = Duration::from_secs(2);

/// A service whose data is in `dir/data`, on whatever file system tests run.
pub(super) fn config(dir: &TempDir) -> WorkerConfig {
    config_at(&dir.path().join("data"))
}

/// A service whose data is in this directory.
pub(super) fn config_at(data: &Path) -> WorkerConfig {
    WorkerConfig {
        instance: InstanceId::mint(),
        service: "shop".to_owned(),
        version: "1.0".to_owned(),
        prefix: "SHOP".to_owned(),
        data_dir: data.to_owned(),
        lock_path: data.join("shop.lock"),
        allow_unshared: mount_of_dir(data.parent().unwrap()).kind,
        worker_variables: Vec::new(),
        lookup: Box::new(|_| None),
        timings: Timings::new(Some(TTL), None).unwrap(),
        wait: None,
        cancelled: Box::new(|| false),
    }
}

pub(super) fn mount_of_dir(dir: &Path) -> Mount {
    mount_of(File::open(dir).unwrap().as_fd(), dir)
}

/// Accepts a lock on whatever it lies.
pub(super) fn anywhere(open: BorrowedFd<'_>) -> StageResult<Mount> {
    Ok(mount_of(open, Path::new("/anywhere")))
}

pub(super) fn code(error: &StageError) -> &'static str {
    error.failure_code().name
}

/// Takes a lock that was just given back; see `other_process::relock`.
pub(super) fn reacquire(config: &WorkerConfig) -> HeldWorker {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match acquire(config) {
            Ok(held) => return held,
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
    }
}

/// This process has the lock, as a program would that knows nothing of us.
pub(super) fn locked_by_somebody(path: &Path) -> File {
    loop {
        let file = flock::open(path, true).unwrap();
        if matches!(flock::try_lock(&file), flock::Attempt::Acquired) {
            return file;
        }
    }
}

/// Everything that an operator is told, one line for each fact and action.
pub(super) fn told(error: &StageError) -> String {
    assert!(error.actions().len() <= 4, "{error:?}");
    let facts = error.facts().iter().map(|fact| {
        assert!(fact.name.len() <= 20, "{error:?}");
        format!("{}: {}", fact.name, fact.value)
    });
    let text = facts.chain(error.actions().iter().cloned()).collect::<Vec<_>>().join("\n");
    assert!(!text.contains("rm "), "{text}");
    text
}
