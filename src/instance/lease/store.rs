//! Where the row of a lease is kept.

use std::{io, path::Path, time::Duration};

use super::{
    protocol::{Version, Window},
    record::{LeaseRecord, Now},
};

/// A place for the row of a lease, which several processes reach.
///
/// Every call blocks, and returns within the time that the store was opened with, unless the operating
/// system itself hangs. Each of the writing calls is one atomic step, and its answer says whether the row
/// was as the caller believed. After an error it is not known whether the step was done.
pub(crate) trait LeaseStore: Send {
    /// The row, if there is one.
    fn read(&mut self, name: &str) -> Result<Option<LeaseRecord>, StoreError>;

    /// Replaces the row, if it still is in the state `seen`; makes it, if there was none and still is none.
    /// What was written survives a power failure.
    fn swap(&mut self, seen: Option<Version>, next: &LeaseRecord) -> Result<bool, StoreError>;

    /// Sets the row's sequence to the upper end of the window, and its times, if the row belongs to the claim
    /// and shows a sequence in the window and below that end.
    fn renew(&mut self, claim: &Claim, now: Now) -> Result<bool, StoreError>;

    /// Raises the token of the row, if it belongs to the claim and shows a sequence in its window.
    fn raise(&mut self, claim: &Claim, token: u64) -> Result<bool, StoreError>;

    /// Removes the holder, on the same condition. The row and its token stay.
    fn release(&mut self, claim: &Claim, now: Now) -> Result<bool, StoreError>;

    /// Checks that what was written is where others will look for it.
    fn verify(&mut self) -> Result<(), StoreError>;

    /// Which file it is, for people.
    fn place(&self) -> &Path;
}

/// One acquisition, as its holder knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Claim {
    pub(crate) name: String,
    pub(crate) holder: String,
    pub(crate) token: u64,
    /// Which sequences the row may show. A renewal writes the upper one.
    pub(crate) window: Window,
    pub(crate) ttl: Duration,
}

/// Why a store did not do what it was asked. The texts are for people, and follow "the lease".
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The content is damaged, or not a lease.
    #[error("{0}")]
    Damaged(String),
    /// Others will no longer find here what was written: what happened to the file.
    #[error("{0}")]
    Changed(String),
    /// Somebody else keeps the store to himself.
    #[error("is locked by another program")]
    Busy,
    /// No space left.
    #[error("cannot be written: {0}")]
    Full(Said),
    /// No permission, or read-only.
    #[error("cannot be written: {0}")]
    NotWritable(Said),
    /// What stands there cannot carry a lease.
    #[error("{0}")]
    Unsupported(String),
    /// Anything else.
    #[error("cannot be used: {0}")]
    Failed(Said),
}

/// What the operating system or `SQLite` said, with its number.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Said {
    pub(super) text: String,
    /// The extended result code of `SQLite` (<https://sqlite.org/rescode.html>).
    pub(super) sqlite: Option<i32>,
    /// The number of the operating system's error.
    pub(super) errno: Option<i32>,
}

impl From<&io::Error> for Said {
    fn from(error: &io::Error) -> Self {
        Self { text: error.to_string(), sqlite: None, errno: error.raw_os_error() }
    }
}

impl From<String> for Said {
    fn from(text: String) -> Self {
        Self { text, sqlite: None, errno: None }
    }
}
