//! Remembers failed starts across processes, so that the hundredth report of a crash loop is not as long as
//! the first: in a crash loop every start is a new process that knows nothing of the one before.
//!
//! It is a courtesy. A ledger that cannot be read or written changes nothing but the length of reports.

use std::{io, path::PathBuf, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::document::Attempt;
use crate::files;

/// A repeated failure is told in full again after this long.
const FULL_AGAIN: Duration = Duration::from_secs(10 * 60);
const SIZE_LIMIT: u64 = 16 * 1024;
const SCHEMA: &str = "startup-ledger/1";

/// The file that counts.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
}

/// What the ledger says of a failure that was just counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Counted {
    pub(crate) attempt: Attempt,
    /// Whether the operator should see the whole report.
    pub(crate) in_full: bool,
}

/// The failures that a start ended which succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Recovered {
    /// How many starts had failed in a row.
    pub(crate) attempts: u64,
    /// How the last one failed.
    pub(crate) code: String,
    /// When the first of them was.
    pub(crate) since: Timestamp,
}

/// What a start should know of the failures before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Before {
    /// What it ends if it succeeds.
    pub(crate) failures: Recovered,
    /// What the last one waited for in vain although no restart could help, as it was counted. Waiting as long
    /// again would be in vain again.
    pub(crate) waited: Option<String>,
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Entry {
    schema: String,
    code: String,
    fingerprint: String,
    attempts: u64,
    same_failure: u64,
    since: Timestamp,
    first_at: Timestamp,
    last_at: Timestamp,
    last_full_at: Timestamp,
    /// What the failure waited for in vain, where a shorter wait would do; see [`Before::waited`].
    waited: Option<String>,
}

impl Ledger {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Counts a failure of `now`. The count begins anew where the file says nothing that can be used.
    ///
    /// # Errors
    /// The failure was not written down; what is returned beside it holds for this start.
    pub(crate) fn count(
        &self,
        code: &str,
        fingerprint: &str,
        waited: Option<&str>,
        now: Timestamp,
    ) -> (Counted, io::Result<()>) {
        let last = self.last();
        let same = last.as_ref().filter(|last| last.fingerprint == fingerprint);
        // A clock that was set back must not make the silence last for ever, so the distance counts.
        let long_ago = |at: Timestamp| now.duration_since(at).unsigned_abs() >= FULL_AGAIN;
        let same_failure = same.map_or(1, |same| same.same_failure.saturating_add(1));
        let in_full = is_power_of_ten(same_failure) || same.is_none_or(|same| long_ago(same.last_full_at));
        let entry = Entry {
            schema: SCHEMA.to_owned(),
            code: code.to_owned(),
            fingerprint: fingerprint.to_owned(),
            attempts: last.as_ref().map_or(1, |last| last.attempts.saturating_add(1)),
            same_failure,
            since: last.as_ref().map_or(now, |last| last.since),
            first_at: same.map_or(now, |same| same.first_at),
            last_at: now,
            last_full_at: if in_full { now } else { same.map_or(now, |same| same.last_full_at) },
            waited: waited.map(str::to_owned),
        };
        let attempt = Attempt {
            n: entry.attempts,
            same_failure,
            first_at: entry.first_at,
            fingerprint: entry.fingerprint.clone(),
        };
        let written = serde_json::to_vec(&entry)
            .map_err(io::Error::from)
            .and_then(|content| files::replace(&self.path, &content));
        (Counted { attempt, in_full }, written)
    }

    /// What the failures before this start say to it.
    pub(crate) fn before(&self) -> Option<Before> {
        let Entry { attempts, code, since, waited, .. } = self.last()?;
        Some(Before { failures: Recovered { attempts, code, since }, waited })
    }

    /// A start succeeded: the failures before it count no more. Whether that could be written down.
    pub(crate) fn clear(&self) -> bool {
        std::fs::remove_file(&self.path).is_ok()
    }

    fn last(&self) -> Option<Entry> {
        let content = files::read(&self.path, SIZE_LIMIT).ok()?;
        let entry: Entry = serde_json::from_slice(&content).ok()?;
        (entry.schema == SCHEMA).then_some(entry)
    }
}

fn is_power_of_ten(count: u64) -> bool {
    count.checked_ilog10().is_some_and(|digits| 10_u64.checked_pow(digits) == Some(count))
}

#[cfg(test)]
mod tests;
