//! Breaking a lease by hand, for a holder that is gone where nobody can prove it.
//!
//! A start takes over by itself from every holder that is dead, after 1.2 of its time to live at the latest. This is
//! for those who know more than the files say and cannot wait; it asks for the exact token, so that nobody
//! breaks a lease other than the one that was looked at.

use std::{thread, time::Duration};

use super::{
    file_lock::{self, FileLock, Outcome},
    held::{self, Rival},
    joining::{Site, give_back},
    lease::{
        failures::failure,
        protocol::Protocol,
        record::{LeaseRecord, Now},
        sqlite::SqliteStore,
        store::{LeaseStore, StoreError},
        taking::{LOOK, describe},
        view::LeaseView,
    },
    mounts::mount_of,
    worker_mode::{WorkerConfig, interrupted},
};
use crate::{
    clock::boot_time,
    codes,
    error::{StageError, StageResult},
};

/// A lease that was broken.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub(crate) struct Broken {
    /// Who held it, in words.
    pub(crate) holder: String,
    /// The token that it had.
    pub(crate) token_before: u64,
    /// The token that it has now: whoever held it finds out at its next renewal.
    pub(crate) token: u64,
}

/// Frees the lease if its token is `token`, nobody has the file lock, and nobody renews the lease for as long
/// as the right of its holder can last. It has the file lock itself meanwhile.
///
/// # Errors
/// `lock.held` and `lock.holder-unresponsive` while somebody has the file lock or renews the lease; `lock.held` as a
/// usage error (64) where nobody holds a lease of that token; `startup.interrupted`; and what using the files says.
pub(crate) fn break_lease(config: &WorkerConfig, token: u64) -> StageResult<Broken> {
    let site = Site::of(config)?;
    // Nothing is created for the sake of breaking it.
    let view = LeaseView::look(&site.lease_path, &config.service);
    match &view {
        LeaseView::Row { row, .. } if is_the_one(row, token) => {}
        LeaseView::Unreadable(error) => return Err(failure(error, &site.lease_path)),
        LeaseView::Row { .. } | LeaseView::Absent => return Err(another(&site, &view, token)),
    }
    let lock = match file_lock::acquire(&site.lock_path, &|open| Ok(mount_of(open, &site.lock_path)))? {
        Outcome::Acquired(lock) => lock,
        Outcome::Held(contest) => {
            let rival = Rival::with_lock(contest, site.lease_path.clone(), view);
            return Err(held::refusal(&rival, &site.this, None));
        }
    };
    let broken = observe_and_break(config, &site, &lock, token);
    give_back(lock);
    broken
}

fn observe_and_break(
    config: &WorkerConfig,
    site: &Site<'_>,
    lock: &FileLock,
    token: u64,
) -> StageResult<Broken> {
    let failed = |error: StoreError| failure(&error, &site.lease_path);
    let mut store = SqliteStore::open(&site.lease_path, config.timings.attempt).map_err(failed)?;
    let mut look = || match store.read(&config.service).map_err(failed)? {
        Some(row) if is_the_one(&row, token) => Ok(row),
        Some(row) => Err(another(site, &LeaseView::of(row, Now::read()), token)),
        None => Err(another(site, &LeaseView::Absent, token)),
    };
    let seen = look()?;
    let until = boot_time() + longest_right(&seen);
    while boot_time() < until {
        if (config.cancelled)() {
            return Err(interrupted());
        }
        thread::sleep(LOOK);
        let row = look()?;
        if row.version != seen.version {
            return Err(held::refusal(&site.rival_with_lease(lock, row), &site.this, None));
        }
    }
    let now = Now::read();
    let next = Protocol::WHOLE.next_token(token, lock.highest_token, now.unix_us);
    let next = next.ok_or_else(|| failed(StoreError::Damaged("has no higher token to give".to_owned())))?;
    let holder = describe(&seen);
    let vacated = LeaseRecord { changed_unix_ms: now.unix_ms(), ..seen.clone().vacated(next) };
    if !store.swap(Some(seen.version), &vacated).map_err(failed)? {
        let row = store.read(&config.service).map_err(failed)?.unwrap_or(seen);
        return Err(held::refusal(&site.rival_with_lease(lock, row), &site.this, None));
    }
    lock.remember(next)?;
    Ok(Broken { holder, token_before: token, token: next })
}

fn is_the_one(row: &LeaseRecord, token: u64) -> bool {
    row.version.token == token && row.holder.is_some()
}

/// How long after its last renewal a holder may believe that it holds, and its process may live: the bound on
/// `hard` in `timings`, by the holder's own times, which may be others than ours.
fn longest_right(row: &LeaseRecord) -> Duration {
    row.ttl * 4 / 5
}

fn another(site: &Site<'_>, view: &LeaseView, token: u64) -> StageError {
    let shown = site.lease_path.display();
    let cause = match view {
        LeaseView::Row { row, .. } if row.version.token == token => {
            format!("Nobody holds the lease {shown}, so there is nothing to break.")
        }
        LeaseView::Row { .. } | LeaseView::Absent | LeaseView::Unreadable(_) => {
            format!("The lease {shown} does not have the token {token}.")
        }
    };
    StageError::new(codes::COMMAND_REFUSED, cause)
        .fact("lease", view.describe(&site.lease_path))
        .fact("heartbeat", view.heartbeat())
        .hint("Look again who holds it, and with which token, by `lock status`")
}

#[cfg(test)]
mod tests;
