//! What happened, for assertions about order.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    contract::{event::Event, status::Timeline},
    startup::Startup,
};

/// Records every event of a start-up. Clones share one record.
///
/// Each event also has a short line: what happened, and to which stage if to any.
///
/// ```
/// use solostart::{Env, Startup, WorkerMode, testing::EventSpy};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<solostart::StartupError>> {
/// let mode = WorkerMode::Many { reason: "no lock in this test".to_owned() };
/// let mut startup = Startup::new("shop", Env::from_vars("SHOP", [("SHOP_STAGE_TIMEOUT", "5s")]), mode);
/// startup.stage("database", (), async |_cx, ()| Ok(())).required();
/// let spy = EventSpy::attach(&mut startup);
/// startup.start().await?.shutdown("the test is over").await;
/// spy.assert_sequence(&["up worker-mode", "up database", "ready", "stopped database", "end"]);
/// spy.assert_released();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct EventSpy(Arc<Mutex<Vec<Event>>>);

impl EventSpy {
    /// Records from now on. Listeners that were set with [`Startup::on_event`] are told as well.
    pub fn attach(startup: &mut Startup) -> Self {
        let spy = Self::default();
        let record = spy.clone();
        startup.on_event(move |event| {
            record.0.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
        });
        spy
    }

    /// Everything that happened until now, in order.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything that happened until now, as short lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.events().iter().map(line).collect()
    }

    /// These lines came, in this order; others may have come between them.
    ///
    /// # Panics
    /// When one is missing, or comes too early.
    #[track_caller]
    pub fn assert_sequence(&self, expected: &[&str]) {
        let lines = self.lines();
        let mut rest = lines.iter();
        for (nth, wanted) in expected.iter().enumerate() {
            let found = rest.any(|line| line == wanted);
            assert!(found, "no `{wanted}` after {:?} in {lines:#?}", &expected[..nth]);
        }
    }

    /// Every stage that began has settled, and every one that came up was stopped exactly once. A stop hook
    /// that failed counts: it was called, and its failure is in the report.
    ///
    /// # Panics
    /// When a stage was not.
    #[track_caller]
    pub fn assert_released(&self) {
        let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
        for event in self.events() {
            let Some(stage) = event.stage() else { continue };
            counts.entry(stage.to_owned()).or_default().add(&event);
        }
        for (stage, counts) in counts {
            let Counts { started, settled, up, stopping, stopped } = counts;
            assert!(settled == started, "`{stage}` never settled: {:#?}", self.lines());
            let released = up == stopping && stopping == stopped;
            assert!(released, "`{stage}` came up {up} times, stopped {stopped} times: {:#?}", self.lines());
        }
    }

    /// Every stage began after what it needs, and stopped before it. The timeline, of either outcome, says
    /// who needs whom.
    ///
    /// # Panics
    /// When one did not.
    #[track_caller]
    pub fn assert_ordered(&self, timeline: &Timeline) {
        let lines = self.lines();
        let place =
            |what: &str, stage: &str| lines.iter().position(|line| *line == format!("{what} {stage}"));
        let settled =
            |stage: &str| ["up", "failed", "cancelled"].iter().filter_map(|what| place(what, stage)).min();
        for stage in &timeline.stages {
            for need in &stage.needs {
                if let Some(began) = place("starting", &stage.name) {
                    let before = settled(need).is_some_and(|settled| settled < began);
                    assert!(before, "`{}` began before `{need}` had settled: {lines:#?}", stage.name);
                }
                // An optional stage that came up too late is stopped before its dependants begin.
                let began = place("starting", &stage.name).unwrap_or(usize::MAX);
                let stopping = place("stopping", need).filter(|&stopping| began < stopping);
                if let Some(stopping) = stopping {
                    let over = lines.iter().rposition(|line| line.ends_with(&format!(" {}", stage.name)));
                    let over = over.filter(|_| place("up", &stage.name).is_some()).unwrap_or(0);
                    assert!(over < stopping, "`{need}` stopped under `{}`: {lines:#?}", stage.name);
                }
            }
        }
    }
}

impl fmt::Debug for EventSpy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lines()).finish()
    }
}

#[derive(Default)]
struct Counts {
    started: u32,
    settled: u32,
    up: u32,
    stopping: u32,
    stopped: u32,
}

impl Counts {
    fn add(&mut self, event: &Event) {
        match event {
            Event::StageStarting { .. } => self.started += 1,
            Event::StageUp { .. } => {
                self.up += 1;
                // One that came up too late was told to have failed before.
                self.settled = 1;
            }
            Event::StageFailed { .. } | Event::StageCancelled { .. } => self.settled = 1,
            Event::StageStopping { .. } => self.stopping += 1,
            Event::StageStopped { .. } => self.stopped += 1,
            // Undo hooks fail before the stage is up, or without its ever coming up.
            Event::StopFailed { .. } if self.stopping > self.stopped => self.stopped += 1,
            Event::StopFailed { .. }
            | Event::StageRetrying { .. }
            | Event::StageBlocking { .. }
            | Event::HealthChanged { .. }
            | Event::JobFailed { .. }
            | Event::TaskEnded { .. }
            | Event::Ready { .. }
            | Event::RollingBack { .. }
            | Event::Draining { .. }
            | Event::Leaked { .. }
            | Event::Stopped { .. } => {}
        }
    }
}

fn line(event: &Event) -> String {
    let what = match event {
        Event::StageStarting { .. } => "starting",
        Event::StageRetrying { .. } => "retrying",
        Event::StageUp { .. } => "up",
        Event::StageFailed { .. } => "failed",
        Event::StageCancelled { .. } => "cancelled",
        Event::StageBlocking { .. } => "blocking",
        Event::HealthChanged { healthy: true, .. } => "healthy",
        Event::HealthChanged { healthy: false, .. } => "unhealthy",
        Event::JobFailed { .. } => "job-failed",
        Event::TaskEnded { .. } => "task-ended",
        Event::Ready { .. } => "ready",
        Event::RollingBack { .. } => "rolling-back",
        Event::Draining { .. } => "draining",
        Event::StageStopping { .. } => "stopping",
        Event::StageStopped { .. } => "stopped",
        Event::StopFailed { .. } => "stop-failed",
        Event::Leaked { .. } => "leaked",
        Event::Stopped { .. } => "end",
    };
    event.stage().map_or_else(|| what.to_owned(), |stage| format!("{what} {stage}"))
}
