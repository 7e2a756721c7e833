//! The engine under paused time, on plans without a lock.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    Limits,
    plan::Plan,
    running::{Control, Prepared, Running},
};
use crate::contract::{event::Event, outcome::StartupError};

mod defects;
mod edges;
mod failing;
mod hostile;
mod inside;
mod late;
mod random;
mod serve;
mod start;
mod stop;

/// What happened, one short line each, in order: from the engine's events and from hooks.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn say(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn position(&self, line: &str) -> usize {
        let lines = self.lines();
        lines.iter().position(|each| each == line).unwrap_or_else(|| panic!("no `{line}` in {lines:?}"))
    }

    /// An event sink that keeps what tests look at.
    fn sink(&self) -> Arc<dyn Fn(&Event) + Send + Sync> {
        let log = self.clone();
        #[expect(clippy::wildcard_enum_match_arm, reason = "tests look at some events only")]
        Arc::new(move |event| {
            let line = match event {
                Event::StageUp { stage, .. } => format!("up {stage}"),
                Event::StageFailed { stage, .. } => format!("failed {stage}"),
                Event::StageCancelled { stage } => format!("cancelled {stage}"),
                Event::StageRetrying { stage, attempt, .. } => format!("retry {stage} {attempt}"),
                Event::StageStopping { stage } => format!("stopping {stage}"),
                Event::StageStopped { stage, .. } => format!("stopped {stage}"),
                Event::HealthChanged { stage, healthy, .. } => format!("healthy {stage} {healthy}"),
                Event::Leaked { stage, clones } => format!("leaked {stage} {clones}"),
                _ => return,
            };
            log.say(line);
        })
    }
}

fn limits() -> Limits {
    Limits { drain: Duration::ZERO, ..Limits::default() }
}

async fn start(plan: Plan, log: &Log) -> Result<Running, Box<StartupError>> {
    start_with(plan, log, limits()).await
}

async fn start_with(plan: Plan, log: &Log, limits: Limits) -> Result<Running, Box<StartupError>> {
    Prepared::new(plan, limits, Some(log.sink()))?.start().await
}

/// A start whose control is at hand before it begins.
fn prepare(plan: Plan, log: &Log) -> (Prepared, Control) {
    let prepared = Prepared::new(plan, limits(), Some(log.sink())).unwrap();
    let control = prepared.control.clone();
    (prepared, control)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
