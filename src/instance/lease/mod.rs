//! The lease: a row that says who the only worker is, under which number, and until when.
//!
//! The file lock excludes those who see the same file on the same machine. The lease has to say who holds
//! where that is not enough, when a holder has frozen, and under which ever growing number it writes.
//!
//! - `protocol` decides, from values alone; `record` is the row, `timings` its times;
//! - `store` is where the row is kept: in a file (`sqlite`, with `file` for what the operating system
//!   knows of it);
//! - `taking` acquires, and `Lease` is what was acquired;
//! - `keeper` renews it on a thread of its own, and `limit` ends the right on time when that thread hangs;
//! - `trouble` says what can be done where it cannot be renewed;
//! - `view` is what others see of it, and `failures` what they are told when it cannot be used.

pub(crate) mod failures;
mod file;
mod keeper;
mod limit;
#[cfg(test)]
mod memory;
pub(crate) mod protocol;
pub(crate) mod record;
pub(crate) mod sqlite;
pub(crate) mod store;
pub(crate) mod taking;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod timings;
mod trouble;
pub(crate) mod view;

pub(super) use file::inspect;
pub(super) use keeper::LeaseKeeper;

use std::path::Path;

use protocol::Protocol;
use record::Now;
use store::{Claim, LeaseStore, StoreError};

use crate::contract::guard::FencingToken;

/// An acquired lease. It is given back when it is dropped, as well as that can be done.
pub(super) struct Lease {
    store: Box<dyn LeaseStore>,
    claim: Claim,
    /// Whether the row may still be ours, so that there is something to give back.
    held: bool,
}

impl Lease {
    /// Where it is kept.
    fn place(&self) -> &Path {
        self.store.place()
    }

    pub(super) fn token(&self) -> FencingToken {
        FencingToken::new(self.claim.token)
    }

    /// Renews the lease, which has not happened before `now`. Whether the row was still ours is the answer.
    ///
    /// # Errors
    /// It cannot be told whether it was renewed, or others would not see that it was.
    pub(super) fn renew(&mut self, now: Now) -> Result<bool, StoreError> {
        self.verify()?;
        // Before it is tried, because an answer can be lost on its way.
        self.claim.window.attempted += 1;
        self.held = self.store.renew(&self.claim, now)?;
        if self.held {
            self.claim.window.acknowledged = self.claim.window.attempted;
            self.verify()?;
        }
        Ok(self.held)
    }

    /// Checks that others look where this lease is written.
    ///
    /// It is asked before each write as well as after it: a write can hide the damage, because it makes a file
    /// long again that was cut short. After the first damage nothing is written any more: nobody would look
    /// there, and the kernel ends a process that touches what is gone of a file that it has mapped (mmap(2),
    /// SIGBUS), without a report.
    fn verify(&mut self) -> Result<(), StoreError> {
        let verified = self.store.verify();
        self.held &= !matches!(verified, Err(StoreError::Changed(_)));
        verified
    }

    /// Raises the token above another one. Whether the row was still ours is the answer.
    pub(super) fn raise(&mut self, above: FencingToken, now: Now) -> Result<bool, StoreError> {
        let token = Protocol::WHOLE.next_token(self.claim.token, above.get(), now.unix_us);
        let token = token.ok_or_else(|| StoreError::Damaged("has no higher token to give".to_owned()))?;
        self.verify()?;
        self.held = self.store.raise(&self.claim, token)?;
        if self.held {
            self.claim.token = token;
        }
        Ok(self.held)
    }

    /// Who holds the lease now, in words.
    pub(super) fn describe_holder(&mut self) -> String {
        match self.store.read(&self.claim.name) {
            Ok(Some(row)) if row.holder.is_some() => format!("{} has it", taking::describe(&row)),
            Ok(Some(row)) => format!("nobody has it (token {})", row.version.token),
            Ok(None) => "it is gone".to_owned(),
            Err(error) => format!("the lease {error}"),
        }
    }

    /// Gives the lease back, if it still is ours. The row keeps its token.
    ///
    /// # Errors
    /// It cannot be told whether it was given back; it can be tried again.
    pub(super) fn release(&mut self) -> Result<(), StoreError> {
        if !std::mem::take(&mut self.held) {
            return Ok(());
        }
        match self.store.verify() {
            // There is nothing that anybody could be given.
            Err(StoreError::Changed(_)) => Ok(()),
            Ok(()) | Err(_) => {
                let released = self.store.release(&self.claim, Now::read());
                // It may still be ours. To give back twice what was given back once does nothing.
                self.held = released.is_err();
                released.map(drop)
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Whoever drops it has no way to hear of a failure, and the next holder finds out by itself.
        let _stays_until_it_expires = self.release();
    }
}
