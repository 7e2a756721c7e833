//! What those see of a lease who do not hold it.

use std::{path::Path, time::Duration};

use super::{
    protocol::Pulse,
    record::{LeaseRecord, Now},
    sqlite::SqliteStore,
    store::StoreError,
};
use crate::instance::holder::Holder;

/// How long a look may wait for somebody who has the file to himself.
const PATIENCE: Duration = Duration::from_millis(200);

/// One look at a lease, taken without any lock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum LeaseView {
    /// There is no file, or no row in it.
    Absent,
    /// It cannot be read.
    Unreadable(StoreError),
    Row {
        row: Box<LeaseRecord>,
        pulse: Pulse,
        /// How long ago it was changed, where that can be told.
        age: Option<Duration>,
    },
}

impl LeaseView {
    /// Looks at the lease of this name in the file at `path`.
    pub(crate) fn look(path: &Path, name: &str) -> Self {
        let row = SqliteStore::look(path, name, PATIENCE);
        let now = Now::read();
        match row {
            Ok(None) => Self::Absent,
            Ok(Some(row)) => Self::of(row, now),
            Err(error) => Self::Unreadable(error),
        }
    }

    /// What a row shows at this moment.
    pub(crate) fn of(row: LeaseRecord, now: Now) -> Self {
        Self::Row { pulse: row.pulse(now), age: row.age(now), row: Box::new(row) }
    }

    /// The row, if somebody holds it.
    pub(crate) fn held(&self) -> Option<(&LeaseRecord, Pulse)> {
        match self {
            Self::Row { row, pulse, .. } if row.holder.is_some() => Some((row, *pulse)),
            Self::Row { .. } | Self::Absent | Self::Unreadable(_) => None,
        }
    }

    /// Whether the holder is the one whom the lock file describes. One that it does not describe may be.
    pub(crate) fn is_held_by(&self, described: Option<&Holder>) -> bool {
        self.held().is_some_and(|(row, _)| {
            described.is_none_or(|described| row.holder.as_deref() == Some(described.instance.as_str()))
        })
    }

    /// Whether the holder has, or had, the lock of this name: `record::lock_name`.
    pub(crate) fn is_of_lock(&self, name: &str) -> bool {
        self.held().is_some_and(|(row, _)| row.lock == name)
    }

    /// The heartbeat in words: how long ago, and what that means.
    pub(crate) fn heartbeat(&self) -> String {
        let Self::Row { row, pulse, age } = self else {
            return "none: the lease cannot be read, or nobody has taken it yet".to_owned();
        };
        let age = age.map_or_else(|| "at an unknown time".to_owned(), |age| format!("{} ago", in_words(age)));
        let limit = in_words(row.ttl);
        match pulse {
            Pulse::Free => format!("none: it was given back {age}"),
            Pulse::Fresh => format!("{age} (lost after {limit}): looks alive"),
            Pulse::Stale => format!("{age} (lost after {limit}): looks dead"),
            Pulse::Foreign => format!("{age} by another machine's clock, or before a reboot"),
        }
    }

    /// The lease itself in words.
    pub(crate) fn describe(&self, path: &Path) -> String {
        let path = path.display();
        match self {
            Self::Absent => format!("{path}: not there"),
            Self::Unreadable(error) => format!("{path} {error}"),
            Self::Row { row, .. } => format!("{path}: token {}", row.version.token),
        }
    }
}

/// A length of time in the two units that matter.
pub(crate) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} m {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} m", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::lease::{
        record::clock_name,
        testing::{row, secs},
    };

    #[test]
    fn a_heartbeat_says_when_and_what_that_means() {
        let now = Now { boot: secs(1000), unix_us: 1_700_000_252_000_000 };
        let here = |boot| LeaseRecord { boot_id: clock_name(), ..row(7, 3, boot) };
        let heartbeat = |row: LeaseRecord| LeaseView::of(row, now).heartbeat();
        assert_eq!(heartbeat(here(secs(999))), "1 s ago (lost after 15 s): looks alive");
        assert_eq!(heartbeat(here(secs(748))), "4 m 12 s ago (lost after 15 s): looks dead");
        assert_eq!(
            heartbeat(row(7, 3, secs(0))),
            "4 m 12 s ago by another machine's clock, or before a reboot"
        );
        let free = LeaseRecord { holder: None, ..here(secs(999)) };
        assert_eq!(heartbeat(free), "none: it was given back 4 m 12 s ago");
        let ahead = Now { unix_us: 0, ..now };
        assert!(LeaseView::of(row(7, 3, secs(0)), ahead).heartbeat().starts_with("at an unknown time"));
    }

    #[test]
    fn a_length_of_time_is_told_in_the_two_units_that_matter() {
        for (time, expected) in [
            (Duration::from_millis(900), "900 ms"),
            (secs(59), "59 s"),
            (secs(125), "2 m 5 s"),
            (secs(3 * 3600 + 25 * 60), "3 h 25 m"),
            (secs(50 * 3600), "2 d 2 h"),
        ] {
            assert_eq!(in_words(time), expected);
        }
    }
}
