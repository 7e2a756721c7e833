//! The one row of a lease, as every store keeps it.

use std::{
    fs,
    time::{Duration, UNIX_EPOCH},
};

use uuid::Uuid;

use super::{
    protocol::{Protocol, Pulse, Row, Version},
    timings::{TTL_MAX, TTL_MIN},
};
use crate::{
    clock::{boot_time, wall_clock},
    instance::holder::{self, Holder},
};

/// The longest holder description that is read: four times what one writes.
pub(super) const INFO_MAX: usize = 4096;

/// The longest text of any other column that is accepted.
const TEXT_MAX: usize = 128;

/// One row of a lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LeaseRecord {
    /// What the lease is for: the service's name.
    pub(crate) name: String,
    /// Raised by every change.
    pub(crate) version: Version,
    /// Which start of which process holds it; nobody after a release.
    pub(crate) holder: Option<String>,
    /// The holder, for people; missing where its description is damaged.
    pub(crate) info: Option<Holder>,
    /// By which clock `expires` was written: [`clock_name`].
    pub(crate) boot_id: String,
    /// Which lock file the holder has locked: [`lock_name`].
    pub(crate) lock: String,
    /// How long the holder may be silent.
    pub(crate) ttl: Duration,
    /// When the holder counts as gone, since the boot of its machine.
    pub(crate) expires: Duration,
    /// When the row was last changed, in milliseconds since 1970, by the holder's wall clock: for people.
    pub(crate) changed_unix_ms: i64,
}

/// One moment, by both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Now {
    /// Since boot: decides.
    pub(crate) boot: Duration,
    /// Microseconds since 1970: makes tokens grow, and is shown to people.
    pub(crate) unix_us: u64,
}

impl Now {
    /// The clocks of this machine.
    pub(crate) fn read() -> Self {
        let since = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { boot: boot_time(), unix_us: u64::try_from(since.as_micros()).unwrap_or(0) }
    }

    pub(crate) fn unix_ms(self) -> i64 {
        i64::try_from(self.unix_us / 1000).unwrap_or(i64::MAX)
    }
}

impl LeaseRecord {
    pub(super) fn row(&self) -> Row<'_> {
        Row {
            version: self.version,
            holder: self.holder.as_deref(),
            clock: &self.boot_id,
            lock: &self.lock,
            ttl: self.ttl,
            expires: self.expires,
        }
    }

    /// The same row with nobody holding it.
    pub(crate) fn vacated(mut self, token: u64) -> Self {
        self.version = Version { token, seq: self.version.seq.saturating_add(1) };
        (self.holder, self.info, self.expires) = (None, None, Duration::ZERO);
        self
    }

    /// What this one look tells, by the clock of this machine.
    pub(crate) fn pulse(&self, now: Now) -> Pulse {
        Protocol::WHOLE.pulse(&clock_name(), now.boot, &self.row())
    }

    /// How long ago the row was changed. On the machine of the holder the wall clock is not asked.
    pub(crate) fn age(&self, now: Now) -> Option<Duration> {
        if self.holder.is_some() && self.boot_id == clock_name() {
            return now.boot.checked_sub(self.expires.checked_sub(self.ttl)?);
        }
        let elapsed = now.unix_ms().checked_sub(self.changed_unix_ms)?;
        u64::try_from(elapsed).ok().map(Duration::from_millis)
    }

    /// Says what no holder would have written before `now`.
    pub(super) fn validate(&self, now: Now) -> Result<(), String> {
        let bad = |text: &str| {
            text.is_empty() || text.len() > TEXT_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        match () {
            () if !Protocol::WHOLE.credible(self.version.token, now.unix_us) => {
                Err(format!("its token is {}, which no instance was given", self.version.token))
            }
            () if !(TTL_MIN..=TTL_MAX).contains(&self.ttl) => {
                Err(format!("its time to live is {:?}", self.ttl))
            }
            () if self.holder.as_deref().is_some_and(bad) => Err("its holder is not an identity".to_owned()),
            () => Ok(()),
        }
    }
}

/// The clock of this machine since it booted: times under the same name can be compared. Empty where the
/// kernel does not say which clock it is.
///
/// A container with a time namespace of its own shares the boot identity and has another clock
/// (time_namespaces(7)), so the offset belongs to the name.
pub(crate) fn clock_name() -> String {
    let boot_id = holder::boot_id();
    let offsets = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    match boot_time_offset(&offsets) {
        Some(offset) if !boot_id.is_empty() => format!("{boot_id}{offset}"),
        Some(_) | None => boot_id,
    }
}

fn boot_time_offset(offsets: &str) -> Option<String> {
    let mut fields = offsets.lines().find_map(|line| line.strip_prefix("boottime"))?.split_ascii_whitespace();
    let (seconds, nanoseconds) = (fields.next()?, fields.next()?);
    ((seconds, nanoseconds) != ("0", "0")).then(|| format!("+{seconds}.{nanoseconds}"))
}

/// What a row calls a lock file: the identity that it carries, and its inode. A copy of the file has the
/// same identity and another inode, so the lock on it proves nothing about who has locked the original.
pub(crate) fn lock_name(lock_uuid: Uuid, inode: u64) -> String {
    format!("{lock_uuid}@{inode}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_with_an_offset_of_its_own_has_another_name() {
        assert_eq!(
            boot_time_offset("monotonic           0         0\nboottime            0         0\n"),
            None
        );
        assert_eq!(boot_time_offset("monotonic 0 0\nboottime 86400 5\n").as_deref(), Some("+86400.5"));
        assert_eq!(boot_time_offset(""), None);
        assert_eq!(clock_name(), clock_name());
    }
}
