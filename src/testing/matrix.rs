//! Every fault in every stage, one at a time.

use std::{
    fmt,
    panic::resume_unwind,
    sync::{Mutex, PoisonError},
    thread,
};

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
/// waits for a socket or a thread of its own would see its time run out while it waits: for those there is
/// [`for_each_single_fault_in_real_time`].
///
/// # Panics
/// When `check` does, or a stage was not released, or not in order.
pub fn for_each_single_fault(build: impl Fn() -> Startup, check: impl Fn(&SingleFault)) {
    for (stage, fault) in single_faults(&build()) {
        let mut runtime = Builder::new_current_thread();
        let (played, ()) = play(runtime.start_paused(true), || (build(), ()), stage, fault);
        check(&played);
    }
}

/// How many faults are played at a time on a real clock. Nearly all of their time is spent waiting for limits.
const AT_A_TIME: usize = 8;

/// The same on a real clock, for stages that wait for sockets, files or threads of their own.
///
/// Hooks that hang are waited for until their limits: keep those short (`<P>_STAGE_TIMEOUT=5s`,
/// `<P>_SHUTDOWN_TIMEOUT=4s`), but not so short that a busy machine misses them. (The last stop hook is dropped a
/// sixteenth of the budget before its end; a machine that notices both at once reports the stage as stuck.)
/// Eight faults are played at a time. So what belongs to one start, its directory for instance, is made with
/// it; it outlives the service and is handed to `check`.
///
/// ```
/// use solostart::{Env, Startup, WorkerMode, testing::for_each_single_fault_in_real_time};
///
/// let build = || {
///     let data = tempfile::tempdir().unwrap();
///     let vars = [("SHOP_STAGE_TIMEOUT", "2s"), ("SHOP_SHUTDOWN_TIMEOUT", "4s")];
///     let mode = WorkerMode::Many { reason: "no lock in this test".to_owned() };
///     let mut startup = Startup::new("shop", Env::from_vars("SHOP", vars), mode);
///     let file = data.path().join("orders");
///     startup.stage("orders", (), async move |_cx, ()| Ok(tokio::fs::File::create(file).await?)).required();
///     (startup, data)
/// };
/// for_each_single_fault_in_real_time(build, |played, data| {
///     data.close().unwrap_or_else(|error| panic!("{played}: {error}"));
/// });
/// ```
///
/// # Panics
/// As [`for_each_single_fault`], after all were played.
pub fn for_each_single_fault_in_real_time<T>(
    build: impl Fn() -> (Startup, T) + Sync,
    check: impl Fn(&SingleFault, T) + Sync,
) {
    let faults = Mutex::new(single_faults(&build().0).into_iter());
    let next = || faults.lock().unwrap_or_else(PoisonError::into_inner).next();
    let play_all = || {
        while let Some((stage, fault)) = next() {
            let mut runtime = Builder::new_multi_thread();
            let (played, kept) = play(runtime.worker_threads(2), &build, stage, fault);
            check(&played, kept);
        }
    };
    thread::scope(|scope| {
        let players: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(play_all)).collect();
        if let Some(panic) = players.into_iter().find_map(|player| player.join().err()) {
            resume_unwind(panic);
        }
    });
}

fn play<T>(
    runtime: &mut Builder,
    build: impl Fn() -> (Startup, T),
    stage: String,
    fault: Fault,
) -> (SingleFault, T) {
    let runtime = runtime.enable_all().build().unwrap_or_else(|error| panic!("no runtime: {error}"));
    let (ended, spy, kept) = runtime.block_on(async {
        let (mut startup, kept) = build();
        let spy = EventSpy::attach(&mut startup);
        startup.inject(&FaultPlan::new().with(&*stage, fault));
        let ended = match startup.start().await {
            Err(error) => Ended::Failed(error),
            Ok(running) => Ended::Stopped(Box::new(running.shutdown("the fault was played").await)),
        };
        (ended, spy, kept)
    });
    // A blocking call of the application's that never returns must not keep the test.
    runtime.shutdown_background();
    let played = SingleFault { stage, fault, ended, spy };
    let (lines, timeline) = (played.spy.lines(), played.ended.timeline());
    assert!(lines.last().is_some_and(|line| line == "end"), "{played} did not end: {lines:#?}");
    played.spy.assert_released();
    played.spy.assert_ordered(timeline);
    (played, kept)
}
