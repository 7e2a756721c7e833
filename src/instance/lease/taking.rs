//! Acquiring a lease: looking at the row, and taking it when the protocol allows.

use std::{thread, time::Duration};

use super::{
    Lease,
    protocol::{Contender, Decision, Earlier, Protocol, Reason, Row, Version, Watch, Window},
    record::{LeaseRecord, Now},
    store::{Claim, LeaseStore, StoreError},
};
use crate::instance::holder::{Holder, Observed};

/// How often a row is looked at while it is observed. One look takes two microseconds.
pub(crate) const LOOK: Duration = Duration::from_millis(20);

/// Reads the clocks. Tests have clocks that jump.
pub(crate) type Clock<'a> = &'a dyn Fn() -> Now;

/// Who wants a lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Applicant {
    /// What the lease is for.
    pub(crate) name: String,
    /// This process, for people. Its instance is what the row knows it by.
    pub(crate) info: Holder,
    /// The name of this machine's clock; see `record::clock_name`.
    pub(crate) clock: String,
    /// The name of the lock file that this process has locked; see `record::lock_name`.
    pub(crate) lock: String,
    /// Whether nobody else can have locked the same file.
    pub(crate) lock_is_trusted: bool,
    /// A token that an earlier holder had, from another memory than the row.
    pub(crate) remembered: u64,
    pub(crate) ttl: Duration,
    /// What an earlier start observed that had the same lock.
    pub(crate) observed: Option<Observed>,
    /// Until when this start may observe. It may in any case for as long as a holder with its own times could be
    /// silent.
    pub(crate) until: Duration,
}

/// What came of it.
pub(crate) enum Taken {
    Lease {
        lease: Lease,
        /// When it was asked for: its times count from here.
        sent: Now,
        /// The row that was replaced, and why it could be.
        before: Option<LeaseRecord>,
        reason: Reason,
    },
    /// Somebody has it.
    Alive(LeaseRecord),
    /// Whether somebody has it could not be told in the time that this start has.
    Unclear(Unclear),
    /// The caller did not want to wait any longer.
    Cancelled,
}

/// A row that is silent, but not for long enough.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unclear {
    pub(crate) row: LeaseRecord,
    /// For how long it has been seen not to change.
    pub(crate) unchanged: Duration,
    /// After how much more of that its holder counts as gone.
    pub(crate) left: Duration,
}

/// Takes the lease, or finds out who has it. A row whose holder may be dead is watched for as long as that
/// takes, and `note` hears of it when that begins; `cancelled` ends it early.
///
/// # Errors
/// What the store says. It is not known then whether the lease was taken; if so, it expires.
pub(crate) fn take(
    mut store: Box<dyn LeaseStore>,
    applicant: &Applicant,
    clock: Clock<'_>,
    cancelled: &dyn Fn() -> bool,
    note: &dyn Fn(&Observed),
) -> Result<Taken, StoreError> {
    let mut watch: Option<Watch> = None;
    // When this start has observed for long enough.
    let mut until: Option<Duration> = None;
    loop {
        let now = clock();
        let before = store.read(&applicant.name)?;
        let row = before.as_ref().map(LeaseRecord::row);
        watch = watch.or_else(|| row.and_then(|row| applicant.go_on(&row, now.boot)));
        match Protocol::WHOLE.decide(&applicant.contender(), now.boot, row.as_ref(), watch.as_ref()) {
            Decision::Take(reason) => {
                let sent = clock();
                let next = applicant.record(row.as_ref(), sent)?;
                if store.swap(row.as_ref().map(|row| row.version), &next)? {
                    let mut lease = Lease { store, claim: applicant.claim(&next), held: true };
                    // The file may have been replaced since it was opened.
                    lease.store.verify()?;
                    return Ok(Taken::Lease { lease, sent, before, reason });
                }
                // Somebody else was quicker, and is watched from the beginning.
                watch = None;
            }
            Decision::Alive => {
                if let Some(row) = before {
                    return Ok(Taken::Alive(row));
                }
            }
            Decision::Observe(_) if cancelled() => return Ok(Taken::Cancelled),
            Decision::Observe(silent) => {
                if let Some(row) = &before {
                    let goes_on = watch.is_some();
                    let watch = *watch.get_or_insert_with(|| applicant.begin(row, clock().boot, note));
                    let from = if goes_on { now.boot } else { watch.since };
                    if now.boot >= *until.get_or_insert_with(|| applicant.until_at_least(from)) {
                        let unchanged = now.boot.saturating_sub(watch.since);
                        let left = silent.saturating_sub(now.boot);
                        return Ok(Taken::Unclear(Unclear { row: row.clone(), unchanged, left }));
                    }
                }
                thread::sleep(LOOK);
            }
        }
    }
}

impl Applicant {
    fn contender(&self) -> Contender<'_> {
        Contender { clock: &self.clock, lock: &self.lock, lock_is_trusted: self.lock_is_trusted }
    }

    /// Until when a start may observe that begins to at this time.
    fn until_at_least(&self, from: Duration) -> Duration {
        self.until.max(from.saturating_add(Protocol::patience(self.ttl)))
    }

    /// The observation of an earlier start, if it is of this row. Who may write the lock file can forge it; and can
    /// write the row as well.
    fn go_on(&self, row: &Row<'_>, now: Duration) -> Option<Watch> {
        let Observed { lock, clock, holder, token, seq, since_ns } = self.observed.as_ref()?;
        let version = Version { token: *token, seq: *seq };
        let watch = Watch { version, since: Duration::from_nanos(*since_ns) };
        Protocol::WHOLE.go_on(&self.contender(), now, row, &Earlier { clock, lock, holder, watch })
    }

    /// Begins to observe a row that was looked at before `since`.
    fn begin(&self, row: &LeaseRecord, since: Duration, note: &dyn Fn(&Observed)) -> Watch {
        let Version { token, seq } = row.version;
        note(&Observed {
            lock: self.lock.clone(),
            clock: self.clock.clone(),
            holder: row.holder.clone().unwrap_or_default(),
            token,
            seq,
            since_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
        });
        Watch { version: row.version, since }
    }

    /// The row that says that this process holds the lease.
    fn record(&self, before: Option<&Row<'_>>, now: Now) -> Result<LeaseRecord, StoreError> {
        let previous = before.map_or(0, |row| row.version.token);
        let token = Protocol::WHOLE.next_token(previous, self.remembered, now.unix_us);
        Ok(LeaseRecord {
            name: self.name.clone(),
            version: Version {
                token: token.ok_or_else(|| StoreError::Damaged("has no higher token to give".to_owned()))?,
                seq: 0,
            },
            holder: Some(self.info.instance.clone()),
            info: Some(self.info.clone()),
            boot_id: self.clock.clone(),
            lock: self.lock.clone(),
            ttl: self.ttl,
            expires: now.boot.saturating_add(self.ttl),
            changed_unix_ms: now.unix_ms(),
        })
    }

    fn claim(&self, taken: &LeaseRecord) -> Claim {
        let Version { token, seq } = taken.version;
        Claim {
            name: self.name.clone(),
            holder: self.info.instance.clone(),
            token,
            window: Window { acknowledged: seq, attempted: seq },
            ttl: self.ttl,
        }
    }
}

/// The holder of a row, in one line.
pub(crate) fn describe(row: &LeaseRecord) -> String {
    let token = row.version.token;
    match (&row.info, &row.holder) {
        (Some(info), _) => {
            format!("{} (version {}, host {}, token {token})", info.short(), info.version, info.host)
        }
        (None, Some(holder)) => format!("{} (token {token})", holder.get(..8).unwrap_or(holder)),
        (None, None) => format!("nobody (token {token})"),
    }
}

#[cfg(test)]
mod tests;
