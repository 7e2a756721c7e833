//! Every fault in every stage, one at a time.

use std::fmt;

use tokio::runtime::Builder;

use super::{EventSpy, Fault, FaultPlan};
use crate::{
    contract::{
        outcome::{StartupError, StopReport},
        status::Timeline,
    },
    startup::Startup,
};

/// How a service with a fault ended.
#[derive(Debug)]
pub enum Ended {
    /// It could not start, and was rolled back.
    Failed(Box<StartupError>),
    /// It started, and was then asked to stop.
    Stopped(Box<StopReport>),
}

impl Ended {
    /// How far each stage came.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        match self {
            Self::Failed(error) => &error.timeline,
            Self::Stopped(report) => &report.timeline,
        }
    }
}

/// One fault in one stage, and what came of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct SingleFault {
    /// The stage that it was in.
    pub stage: String,
    /// What went wrong there.
    pub fault: Fault,
    /// How the service ended.
    pub ended: Ended,
    /// What happened, in order.
    pub spy: EventSpy,
}

impl fmt::Display for SingleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in `{}`", self.fault, self.stage)
    }
}

/// Every fault in every stage of a start-up, `worker-mode` included: for those who play them themselves, for
/// instance on real time.
#[must_use]
pub fn single_faults(startup: &Startup) -> Vec<(String, Fault)> {
    let graph = &startup.plan.graph;
    let stages = graph.ids().map(|id| graph.name(id).to_string());
    stages.flat_map(|stage| Fault::ALL.map(|fault| (stage.clone(), fault))).collect()
}

/// Builds the application once for each fault in each stage, plays the fault, and stops what came up. Checks
/// that every stage that came up was stopped once and in order, and then calls `check`.
///
/// Each time on a runtime of its own with one thread and a paused clock: time limits cost nothing. That
/// needs stages which wait for nothing but tokio's own timers, tasks and `spawn_blocking`. A stage that
/// waits for a socket or a thread of its own would see its time run out while it waits; play such a graph
/// with [`single_faults`], [`Startup::inject`] and short limits on a real clock.
///
/// # Panics
/// When `check` does, or a stage was not released, or not in order.
pub fn for_each_single_fault(build: impl Fn() -> Startup, check: impl Fn(&SingleFault)) {
    for (stage, fault) in single_faults(&build()) {
        let played = play(&build, stage, fault);
        check(&played);
    }
}

fn play(build: impl Fn() -> Startup, stage: String, fault: Fault) -> SingleFault {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
    let (ended, spy) = runtime.block_on(async {
        let mut startup = build();
        let spy = EventSpy::attach(&mut startup);
        startup.inject(&FaultPlan::new().with(&*stage, fault));
        let ended = match startup.start().await {
            Err(error) => Ended::Failed(error),
            Ok(running) => Ended::Stopped(Box::new(running.shutdown("the fault was played").await)),
        };
        (ended, spy)
    });
    // A blocking call of the application's that never returns must not keep the test.
    runtime.shutdown_background();
    let played = SingleFault { stage, fault, ended, spy };
    let (lines, timeline) = (played.spy.lines(), played.ended.timeline());
    assert!(lines.last().is_some_and(|line| line == "end"), "{played} did not end: {lines:#?}");
    played.spy.assert_released();
    played.spy.assert_ordered(timeline);
    played
}
