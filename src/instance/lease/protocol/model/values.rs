//! The names, times and numbers of a small world.

use std::time::Duration;

use super::super::{Bounds, Version};

/// A time, in ticks after the present one.
pub(super) type Ticks = i8;

/// A number that stands for a name, of which the protocol asks only whether it is the same.
pub(super) type Name = u8;

const NAMES: [&str; 16] =
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"];

/// The text of a name.
pub(super) fn name(number: Name) -> &'static str {
    NAMES[usize::from(number)]
}

/// How long the times of the lease are, in ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Times {
    pub(super) ttl: Ticks,
    pub(super) soft: Ticks,
    pub(super) hard: Ticks,
}

/// The numbers of a small world, in the proportions of the real ones.
pub(super) const BOUNDS: Bounds = Bounds { calendar_max: 8, horizon: 16, last: 40 };

/// Token and sequence.
pub(super) type Stamp = (u8, u8);

pub(super) fn version((token, seq): Stamp) -> Version {
    Version { token: token.into(), seq: seq.into() }
}

/// The name of a machine's clock, and what it shows at present. The second machine runs for longer than
/// the first, and a restart begins at zero.
pub(super) fn clock_name(machine: usize, boots: u8) -> Name {
    u8::try_from(machine).unwrap() * 4 + boots
}

/// A time as the clock of this name shows it.
pub(super) fn instant(clock: Name, ticks: Ticks) -> Duration {
    let (machine, boots) = (i64::from(clock / 4), i64::from(clock % 4));
    let present = 200 + 50 * machine - 100 * boots;
    Duration::from_secs(u64::try_from(present + i64::from(ticks)).unwrap())
}

pub(super) fn duration(ticks: Ticks) -> Duration {
    Duration::from_secs(u64::try_from(ticks).unwrap())
}

impl Times {
    /// The number of ticks after which a row that did not change counts as silent.
    pub(super) fn patience(self) -> Ticks {
        self.ttl + (self.ttl + 4) / 5
    }
}
