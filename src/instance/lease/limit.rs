//! The thread that ends the right on time, whatever hangs.
//!
//! The thread that renews may be stuck in a system call on a disk that does not answer. This one
//! touches nothing but a timer of the kernel's, which runs by `CLOCK_BOOTTIME`: after a suspension or a stop
//! signal it fires at once, and while the lease is renewed it wakes the process up once in nine seconds.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::{
    fd::OwnedFd,
    io::Errno,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

use crate::contract::guard::{GuardKeeper, LockLost};

/// Watches the time until it is dropped.
#[derive(Debug)]
pub(super) struct Limit {
    timer: Arc<OwnedFd>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Limit {
    /// Starts the thread, which makes the guards of `keeper` notice that their right has ended.
    ///
    /// # Errors
    /// The system has no thread or no timer to give.
    pub(super) fn watch(keeper: Arc<GuardKeeper>) -> io::Result<Self> {
        let timer = Arc::new(timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?);
        let over = Arc::new(AtomicBool::new(false));
        let (clock, ended) = (Arc::clone(&timer), Arc::clone(&over));
        let thread = thread::Builder::new().name("solostart-limit".to_owned()).spawn(move || {
            let guard = keeper.guard();
            while !ended.load(Ordering::Acquire) && guard.check().is_ok() {
                // One nanosecond later than the last instant at which the right still holds.
                let wake = keeper.valid_until() + Duration::from_nanos(1);
                if let Err(error) = sleep_until(&clock, wake, &ended) {
                    let reason = format!("the timer that limits it failed: {error}");
                    return keeper.end(LockLost::expired(reason, Vec::new()));
                }
            }
        })?;
        Ok(Self { timer, over, thread: Some(thread) })
    }
}

fn sleep_until(timer: &OwnedFd, wake: Duration, ended: &AtomicBool) -> Result<(), Errno> {
    set(timer, wake)?;
    // Whoever ends the thread sets the flag first and the timer second, so one of the two is seen here.
    if ended.load(Ordering::Acquire) {
        return Ok(());
    }
    match rustix::io::read(timer, &mut [0_u8; 8]) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}

fn set(timer: &OwnedFd, at: Duration) -> Result<(), Errno> {
    let at = Timespec {
        tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: at.subsec_nanos().into(),
    };
    let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
    timerfd_settime(timer, TimerfdTimerFlags::ABSTIME, &once).map(drop)
}

impl Drop for Limit {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // A time that has passed wakes the thread now. Zero would switch the timer off (timerfd_create(2)).
        let woken = set(&self.timer, Duration::from_nanos(1)).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            // It only reads a clock; a panic in it would be a defect, and the right has ended anyway.
            let _panicked = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::clock::boot_time;

    #[test]
    fn the_right_ends_on_time_although_nobody_asks() {
        let keeper = Arc::new(GuardKeeper::exclusive());
        let start = boot_time();
        let wanted = Duration::from_millis(30);
        keeper.limit(start + wanted, start + wanted);
        let _limit = Limit::watch(Arc::clone(&keeper)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let lost = runtime.block_on(keeper.guard().lost());
        let took = boot_time() - start;
        assert_eq!(lost.reason, "it was not renewed in time");
        assert!(took > wanted && took < Duration::from_secs(5), "{took:?}");
    }

    #[test]
    fn a_right_that_is_extended_lasts_and_the_thread_ends_at_once_when_it_is_dropped() {
        let keeper = Arc::new(GuardKeeper::exclusive());
        let minute = boot_time() + Duration::from_secs(60);
        keeper.limit(boot_time() + Duration::from_millis(50), minute);
        let limit = Limit::watch(Arc::clone(&keeper)).unwrap();
        keeper.limit(minute, minute);
        thread::sleep(Duration::from_millis(100));
        assert_eq!(keeper.guard().check(), Ok(()));
        let start = Instant::now();
        drop(limit);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
