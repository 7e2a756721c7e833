//! The thread outside the runtime: it sees hooks that keep their thread to themselves, and ends the
//! process when nothing else can (invariant 11).

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use signal_hook::low_level;

use super::signals::StopRequest;
use crate::{
    contract::{
        board::Board,
        state::{Phase, StageState},
    },
    engine::{BLOCKING_TICKS, Limits, running::Control},
    ids::StageId,
    report::{Stalled, StalledStage},
};

/// One beat while stages start or stop. A poll that spans [`BLOCKING_TICKS`] of them counts as blocking.
const BEAT: Duration = Duration::from_millis(250);

/// One beat while the service runs, when only a signal matters and that wakes the thread.
const IDLE_BEAT: Duration = Duration::from_secs(1);

/// What the engine gets beyond its own budget to say how the stop went.
const MARGIN: Duration = Duration::from_millis(300);

/// How long the last words may take of a process that somebody else may already have replaced. A full pipe and
/// a slow disk are no reason to go on beside him.
const LAST_WORDS: Duration = Duration::from_millis(30);

/// How long they may take otherwise: with [`MARGIN`] it is less than half a second beyond the budget, which is when
/// whoever waits for the process expects its end.
const REPORT: Duration = Duration::from_millis(150);

/// Tells what keeps the process from stopping, in no more than this time.
type Tell = Box<dyn Fn(Stalled, Duration) + Send>;

pub(super) struct Watchdog {
    board: Arc<Board>,
    control: Control,
    limits: Limits,
    request: StopRequest,
    over: Arc<AtomicBool>,
    /// Tells the operator when the process must end without the engine.
    report: Tell,
    began: Instant,
}

/// Ends the thread when dropped.
pub(super) struct Watching {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(super) fn new(
        board: Arc<Board>,
        control: Control,
        limits: Limits,
        request: StopRequest,
        report: Tell,
    ) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        Self { board, control, limits, request, over, report, began: Instant::now() }
    }

    pub(super) fn watch(self) -> io::Result<Watching> {
        let (over, request, control) = (self.over.clone(), self.request.clone(), self.control.clone());
        let thread =
            thread::Builder::new().name("solostart-watchdog".to_owned()).spawn(move || self.beat())?;
        request.pass_to(control, thread.thread().clone());
        Ok(Watching { over, thread: Some(thread) })
    }

    fn beat(&self) {
        let (mut lost, mut end) = (None, None);
        while !self.over.load(Ordering::Acquire) {
            let before = Instant::now();
            thread::park_timeout(self.until_next(end));
            self.board.tick();
            let blocking: Vec<StageId> = self.board.blocking_for(BLOCKING_TICKS).collect();
            for &stage in &blocking {
                self.control.blocking(stage);
            }
            // It was lost at some time since the last beat; an engine that reacts has said so by now.
            lost = lost.or_else(|| self.is_lost().then_some(before));
            end = self.end(&blocking, lost);
            let is_over_time = end.is_some_and(|end| Instant::now() >= end);
            if is_over_time && !self.over.load(Ordering::Acquire) {
                let stalled = self.stalled(&blocking);
                let exit = stalled.kind().exit_code();
                (self.report)(stalled, self.patience());
                // Exit handlers and destructors are just what may hang; the kernel closes the lock file.
                low_level::exit(i32::from(exit));
            }
        }
    }

    /// How long to sleep: a beat, but not past the time at which the process must end.
    fn until_next(&self, end: Option<Instant>) -> Duration {
        let idle = self.board.phase() == Phase::Ready && self.request.since().is_none();
        // Nobody wakes the thread when the service stops by itself, so it must wake within the budget.
        let beat = if idle { self.limits.shutdown.clamp(BEAT, IDLE_BEAT) } else { BEAT };
        end.map_or(beat, |end| beat.min(end.saturating_duration_since(Instant::now())))
    }

    /// How long it may take to tell: not past the time at which somebody else may be the only worker.
    fn patience(&self) -> Duration {
        let left = self.board.published_worker().and_then(|guard| guard.until_hard_limit());
        left.map_or(REPORT, |left| left.clamp(LAST_WORDS, REPORT))
    }

    /// Whether the right to be the only worker is lost. The engine hears of it too, unless hooks keep every
    /// thread of the runtime; then nobody else would end this process beside the next holder.
    fn is_lost(&self) -> bool {
        self.board.published_worker().is_some_and(|guard| guard.check().is_err())
    }

    /// When the engine has had all the time it may have, as far as that is known now.
    fn end(&self, blocking: &[StageId], lost: Option<Instant>) -> Option<Instant> {
        // Past this, somebody else may soon be the only worker, whatever is still to be stopped here.
        let hard_limit = self.board.published_worker().and_then(|guard| guard.until_hard_limit());
        let hard_limit = hard_limit.map(|left| Instant::now() + left);
        if let Some(deadline) = self.board.stop_deadline() {
            return hard_limit.into_iter().chain([deadline.into_std() + MARGIN]).min();
        }
        let to_stop = self.limits.shutdown + MARGIN;
        let asked = self.request.since().map(|at| at + self.limits.drain + to_stop);
        let lost = lost.map(|at| at + to_stop);
        let is_starting = self.board.phase() == Phase::Starting;
        let limit = is_starting.then(|| self.began + self.limits.startup + to_stop);
        // A blocked hook may keep the only thread there is, so that the engine cannot even begin to stop.
        let blocked = blocking.iter().filter(|_| is_starting).map(|&id| {
            let cell = self.board.cell(id);
            let launched = cell.launched_after().unwrap_or_default();
            self.board.began.into_std() + launched + cell.timeout + to_stop
        });
        blocked.chain(asked).chain(lost).chain(limit).chain(hard_limit).min()
    }

    fn stalled(&self, blocking: &[StageId]) -> Stalled {
        let board = &self.board;
        let mut stages: Vec<_> = board
            .graph
            .ids()
            .filter(|&id| {
                matches!(
                    board.cell(id).state(),
                    StageState::Starting
                        | StageState::Interrupting
                        | StageState::Stopping
                        | StageState::Stuck
                )
            })
            .map(|id| StalledStage {
                name: board.graph.name(id).to_string(),
                state: board.cell(id).state(),
                step: board.cell(id).current_step(),
                blocks: blocking.contains(&id),
            })
            .collect();
        stages.sort_by_key(|stage| !stage.blocks);
        let limit = match board.phase() {
            Phase::Starting => self.began.elapsed(),
            Phase::Ready | Phase::Draining | Phase::Stopping | Phase::Stopped => self.limits.shutdown,
        };
        let lost = board.published_worker().and_then(|guard| guard.taken_away());
        Stalled { phase: board.phase(), limit, stages, lost }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It only beats; a panic in it would be a defect, and the process is ending anyway.
            let _panicked = thread.join();
        }
    }
}
