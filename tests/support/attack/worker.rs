//! Becoming the only worker again and again in one process: a start-up without stages, and its stop.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

use solostart::{Env, Running, Startup, WorkerMode, codes};
use tokio::runtime::{Builder, Runtime};

/// Tries to become the only worker.
pub(crate) struct Worker {
    runtime: Runtime,
    mode: WorkerMode,
}

/// What came of one try.
pub(crate) enum Tried {
    Won(Running),
    Held,
}

impl Worker {
    /// `locked` is `false` only to show what happens without the lock.
    pub(crate) fn new(locked: bool) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let many = WorkerMode::Many { reason: "to show what happens without the lock".to_owned() };
        Self { runtime, mode: if locked { WorkerMode::Single } else { many } }
    }

    /// Takes both locks, or is refused because somebody else holds one.
    pub(crate) fn attempt(&self) -> Tried {
        let mut startup = Startup::new("attack", Env::from_process("ATTACK"), self.mode.clone());
        startup.allow_unshared_lock("overlay,tmpfs");
        match self.runtime.block_on(startup.start()) {
            Ok(running) => Tried::Won(running),
            Err(error) if error.primary.error.failure_code() == codes::LOCK_HELD => Tried::Held,
            Err(error) => panic!("neither won nor held: {error:?}"),
        }
    }

    /// Gives both locks back.
    pub(crate) fn release(&self, running: Running) {
        let report = self.runtime.block_on(running.shutdown("the round is over"));
        assert!(report.is_clean(), "{report:?}");
    }
}

/// A clock that all processes of this machine share.
pub(crate) fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
}

/// A number that the referee put into the environment.
pub(crate) fn told(name: &str) -> u64 {
    std::env::var(name).unwrap().parse().unwrap()
}
