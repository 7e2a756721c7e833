//! What the tests of the lease share.

use std::{sync::Mutex, time::Duration};

use super::{
    Lease,
    protocol::Version,
    record::{LeaseRecord, Now},
    store::{Claim, LeaseStore},
    taking::{Applicant, Taken, take},
};
use crate::{ids::InstanceId, instance::holder::Holder};

pub(crate) const NAME: &str = "shop";
pub(crate) const TTL: Duration = Duration::from_secs(15);

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn at(boot: Duration) -> Now {
    Now { boot, unix_us: 1_800_000_000_000_000 }
}

/// A process on this machine that has another lock file than everybody else.
pub(crate) fn applicant(lock: &str) -> Applicant {
    Applicant {
        name: NAME.to_owned(),
        info: Holder::this_process(InstanceId::mint(), NAME, "1.0"),
        clock: "this-boot".to_owned(),
        lock: lock.to_owned(),
        lock_is_trusted: true,
        remembered: 0,
        ttl: TTL,
        observed: None,
        until: Duration::ZERO,
    }
}

/// A row that was renewed at `boot`, by a holder that has another lock.
pub(crate) fn row(token: u64, seq: u64, boot: Duration) -> LeaseRecord {
    LeaseRecord {
        name: NAME.to_owned(),
        version: Version { token, seq },
        holder: Some("somebody".to_owned()),
        info: None,
        boot_id: "this-boot".to_owned(),
        lock: "another-lock".to_owned(),
        ttl: TTL,
        expires: boot + TTL,
        changed_unix_ms: 1_700_000_000_000,
    }
}

/// A clock that steps forward each time it is read.
pub(crate) struct Stepping {
    now: Mutex<Now>,
    step: Duration,
}

impl Stepping {
    pub(crate) fn from(start: Now, step: Duration) -> Self {
        Self { now: Mutex::new(start), step }
    }

    pub(crate) fn read(&self) -> Now {
        let mut now = self.now.lock().unwrap();
        now.boot += self.step;
        *now
    }
}

pub(crate) fn lease_of(taken: Taken) -> Lease {
    match taken {
        Taken::Lease { lease, .. } => lease,
        Taken::Alive(row) => panic!("alive: {row:?}"),
        Taken::Unclear(found) => panic!("unclear: {found:?}"),
        Taken::Cancelled => panic!("cancelled"),
    }
}

/// Takes the lease where that needs no waiting.
pub(crate) fn take_now(store: impl LeaseStore + 'static, applicant: &Applicant, now: Now) -> Lease {
    lease_of(take(Box::new(store), applicant, &|| now, &|| true, &|_| ()).unwrap())
}

/// The claim of a row's holder.
pub(crate) fn claim_of(row: &LeaseRecord) -> Claim {
    let Version { token, seq } = row.version;
    let window = super::protocol::Window { acknowledged: seq, attempted: seq };
    Claim { name: row.name.clone(), holder: row.holder.clone().unwrap(), token, window, ttl: row.ttl }
}
