//! The clocks. Floor 0: imports nothing of ours.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// Time since this machine booted, including the time it spent suspended.
///
/// `std::time::Instant` is `CLOCK_MONOTONIC` on Linux, which stands still while the machine is
/// suspended: a right that is measured with it would seem fresh after an hour of sleep
/// (clock_gettime(2), `CLOCK_BOOTTIME`).
#[must_use]
pub(crate) fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    // The kernel never returns a negative boot time, nor nanoseconds of a second or more.
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Begins to count for how long this machine is suspended from now on. What waits by a timer asks it: timers and
/// `std::time::Instant` stand still meanwhile.
#[cfg(feature = "scheduler")]
pub(crate) fn suspension() -> impl Fn() -> Duration + Send + 'static {
    // Both are read at not quite the same moment, which is no suspension. A real one takes longer.
    const SHORTEST: Duration = Duration::from_secs(1);
    let (boot, awake) = (boot_time(), std::time::Instant::now());
    move || {
        let suspended = boot_time().saturating_sub(boot).saturating_sub(awake.elapsed());
        if suspended < SHORTEST { Duration::ZERO } else { suspended }
    }
}

/// The wall clock. It can be stepped, so nothing is decided by it but what belongs to people: the hour of a cron
/// job, and how long a saved cache lay on the disk.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads it")]
pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::now()
}
/// Which start of which machine this is; the same in all its containers. Empty where the kernel does not say.
#[cfg(feature = "single-worker")]
pub(crate) fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}
