//! A lease in memory, for tests: several contenders of one process share it, and it fails on demand.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use super::{
    protocol::{Protocol, Version},
    record::{LeaseRecord, Now},
    store::{Claim, LeaseStore, StoreError},
};

/// A store of which every clone is the same one.
#[derive(Clone, Default, Debug)]
pub(crate) struct MemoryStore(Arc<Mutex<State>>);

#[derive(Default, Debug)]
pub(crate) struct State {
    pub(crate) row: Option<LeaseRecord>,
    /// What every call answers, if anything.
    pub(crate) failing: Option<StoreError>,
    /// Whether a change is done before the failure is answered.
    pub(crate) answers_are_lost: bool,
    /// How many calls there were.
    pub(crate) calls: usize,
}

impl MemoryStore {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Option<LeaseRecord>) -> bool) -> Result<bool, StoreError> {
        let mut state = self.state();
        state.calls += 1;
        match state.failing.clone() {
            Some(error) if !state.answers_are_lost => Err(error),
            failing => {
                let changed = change(&mut state.row);
                failing.map_or(Ok(changed), Err)
            }
        }
    }
}

impl LeaseStore for MemoryStore {
    fn read(&mut self, name: &str) -> Result<Option<LeaseRecord>, StoreError> {
        let mut state = self.state();
        state.calls += 1;
        let found = state.row.clone().filter(|row| row.name == name);
        state.failing.clone().map_or(Ok(found), Err)
    }

    fn swap(&mut self, seen: Option<Version>, next: &LeaseRecord) -> Result<bool, StoreError> {
        self.change(|row| {
            let swaps = Protocol::WHOLE.may_swap(row.as_ref().map(|row| row.version), seen);
            if swaps {
                *row = Some(next.clone());
            }
            swaps
        })
    }

    fn renew(&mut self, claim: &Claim, now: Now) -> Result<bool, StoreError> {
        self.change(|row| {
            let Some(row) = row else { return false };
            let renews = Protocol::WHOLE.may_renew(&row.row(), &claim.holder, claim.token, claim.window);
            if renews {
                row.version.seq = claim.window.attempted;
                row.expires = now.boot + claim.ttl;
                row.changed_unix_ms = now.unix_ms();
            }
            renews
        })
    }

    fn raise(&mut self, claim: &Claim, token: u64) -> Result<bool, StoreError> {
        self.change(|row| {
            let ours = row.as_mut().filter(|row| is_ours(row, claim) && row.version.token < token);
            ours.map(|row| row.version.token = token).is_some()
        })
    }

    fn release(&mut self, claim: &Claim, now: Now) -> Result<bool, StoreError> {
        self.change(|row| {
            let Some(ours) = row.take_if(|row| is_ours(row, claim)) else { return false };
            let token = ours.version.token;
            *row = Some(LeaseRecord { changed_unix_ms: now.unix_ms(), ..ours.vacated(token) });
            true
        })
    }

    fn verify(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn place(&self) -> &Path {
        Path::new("/tmp/shop.lease.db")
    }
}

fn is_ours(row: &LeaseRecord, claim: &Claim) -> bool {
    row.holder.as_deref() == Some(claim.holder.as_str())
        && row.version.token == claim.token
        && (claim.window.acknowledged..=claim.window.attempted).contains(&row.version.seq)
}
