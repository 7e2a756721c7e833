//! What everyone may read while the engine works: one cell for each stage.
//!
//! The engine's task alone decides states (invariant 12) and writes them here. A stage's context adds what its
//! hooks say; health endpoints and the watchdog thread read. Times are nanoseconds since the beginning of the start, on
//! tokio's clock, so that paused time in tests holds for them too.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::SetOnce, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    cell::{Cell, NEVER, held, reached},
    event::{Event, EventSink},
    guard::{GuardKeeper, LockLost, Loss, WorkerGuard},
    state::{Phase, StageState},
};
use crate::{
    contain::contain,
    error::StageError,
    graph::{Sound, critical_path::Span},
    ids::StageId,
};

/// Longer than anything waits: the longest time that a setting can have.
const ENDLESS: Duration = Duration::from_secs(366 * 24 * 60 * 60);

pub(crate) struct Board {
    pub(crate) graph: Sound,
    pub(crate) began: Instant,
    cells: Vec<Cell>,
    phase: AtomicU8,
    ready_at: AtomicU64,
    /// When the whole start must be over.
    start_deadline: OnceLock<Instant>,
    /// When everything must have stopped; known once stopping has begun.
    stop_deadline: OnceLock<Instant>,
    /// Counted up by the watchdog thread; see [`Cell::poll_began`].
    ticks: AtomicU64,
    /// Cancelled when nothing more shall start, which is when the phase says that everything stops.
    cancel: CancellationToken,
    worker: SetOnce<WorkerGuard>,
    /// Which stages said, while they were up, that the service cannot go on, and why.
    failures: Mutex<Vec<GaveUp>>,
    /// Cancelled when one has said so.
    failed: CancellationToken,
    sink: Option<EventSink>,
    /// Whether a report tells of failures, so that they are no errors in the log as well.
    reported: bool,
}

impl Board {
    pub(crate) fn new(graph: Sound, cells: Vec<Cell>, sink: Option<EventSink>, reported: bool) -> Arc<Self> {
        Arc::new(Self {
            graph,
            began: Instant::now(),
            cells,
            phase: AtomicU8::new(Phase::Starting as u8),
            ready_at: AtomicU64::new(NEVER),
            start_deadline: OnceLock::new(),
            stop_deadline: OnceLock::new(),
            ticks: AtomicU64::new(0),
            cancel: CancellationToken::new(),
            worker: SetOnce::new(),
            failures: Mutex::default(),
            failed: CancellationToken::new(),
            sink,
            reported,
        })
    }

    pub(crate) fn cell(&self, id: StageId) -> &Cell {
        &self.cells[id.index()]
    }

    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn nanos(&self, at: Instant) -> u64 {
        let after = at.saturating_duration_since(self.began);
        // In 64 bits this runs over after 584 years.
        after.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(after.subsec_nanos()))
    }

    pub(crate) fn phase(&self) -> Phase {
        let stored = self.phase.load(Ordering::Acquire);
        Phase::ALL.get(usize::from(stored)).copied().unwrap_or(Phase::Stopped)
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        if phase == Phase::Ready {
            self.ready_at.store(self.nanos(Instant::now()), Ordering::Release);
        }
        self.phase.store(phase as u8, Ordering::Release);
        if phase == Phase::Stopping {
            self.cancel.cancel();
        }
    }

    /// How long the start took, once it is over.
    pub(crate) fn ready_after(&self) -> Option<Duration> {
        reached(&self.ready_at)
    }

    /// Says when everything must have stopped. Stopping begins once: what was said first holds, and is
    /// returned, so that nothing can extend the budget.
    pub(crate) fn set_stop_deadline(&self, deadline: Instant) -> Instant {
        *self.stop_deadline.get_or_init(|| deadline)
    }

    pub(crate) fn stop_deadline(&self) -> Option<Instant> {
        self.stop_deadline.get().copied()
    }

    /// What ends the start of this stage alone, or with all others. It is made when it is first asked for.
    pub(crate) fn cancel_token(&self, id: StageId) -> &CancellationToken {
        self.cell(id).cancel_token(&self.cancel)
    }

    /// Whether the start of this stage is to end.
    pub(crate) fn is_cancelled(&self, id: StageId) -> bool {
        match self.cell(id).own_cancel_token() {
            Some(own) => own.is_cancelled(),
            // Read instead of the token that goes with it, which takes a lock to look.
            None => matches!(self.phase(), Phase::Stopping | Phase::Stopped),
        }
    }

    /// When the own time of a stage that was launched is up, over all its attempts.
    pub(crate) fn own_deadline(&self, id: StageId) -> Instant {
        let cell = self.cell(id);
        after(self.began + cell.launched_after().unwrap_or_default(), cell.timeout)
    }

    /// When a stage that was launched must be up: its own time, or that of the whole start, is over.
    pub(crate) fn deadline(&self, id: StageId) -> Instant {
        let own = self.own_deadline(id);
        self.start_deadline.get().map_or(own, |whole| own.min(*whole))
    }

    /// Says how long the whole start may take. What was said first holds, and when that is over is returned.
    pub(crate) fn limit_start(&self, limit: Duration) -> Instant {
        *self.start_deadline.get_or_init(|| after(self.began, limit))
    }

    /// Writes the state that the engine decided, with the time where it is one that reports show.
    pub(crate) fn set_state(&self, id: StageId, state: StageState, at: Instant) {
        self.cell(id).set_state(state, self.nanos(at));
    }

    /// When each stage began and ended its start. A stage that has not ended counts until now.
    pub(crate) fn spans(&self) -> Vec<Option<Span>> {
        let now = self.now();
        self.cells.iter().map(|cell| cell.times(now)).collect()
    }

    pub(crate) fn publish_worker(&self, guard: WorkerGuard) {
        // Only the worker-mode stage publishes, and it starts once; a retry would bring the same right.
        let _already_known = self.worker.set(guard);
    }

    /// The guard, once worker-mode is up.
    pub(crate) fn published_worker(&self) -> Option<WorkerGuard> {
        self.worker.get().cloned()
    }

    /// Resolves when the right to be the only worker is lost, and never where there is none to lose.
    pub(crate) async fn lost(&self) -> LockLost {
        self.worker.wait().await.lost().await
    }

    /// The guard, or one that is lost where worker-mode is not up: doubt means "not held" (invariant 7).
    pub(crate) fn worker(&self) -> WorkerGuard {
        self.worker.get().cloned().unwrap_or_else(|| {
            let keeper = GuardKeeper::exclusive();
            keeper.end(LockLost::new(Loss::NotHeld, "worker-mode is not up"));
            keeper.guard()
        })
    }

    /// A stage that is up says that the service cannot go on. What it says first is heard. The service can do
    /// without an optional stage, whatever that says.
    pub(crate) fn fail(&self, id: StageId, error: StageError) {
        if self.cell(id).optional {
            return;
        }
        {
            let at = self.now();
            let mut failures = held(&self.failures);
            if failures.iter().all(|said| said.stage != id) {
                failures.push(GaveUp { stage: id, error, at });
            }
        }
        self.failed.cancel();
    }

    /// Waits until a stage has said so; see [`gave_up`](Self::gave_up).
    pub(crate) async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// What stages have said so far, in order. It is told once.
    pub(crate) fn gave_up(&self) -> Vec<GaveUp> {
        std::mem::take(&mut *held(&self.failures))
    }

    pub(crate) fn emit(&self, event: &Event) {
        event.tell(self.reported);
        if let Some(sink) = &self.sink {
            // The application's code: its panic must not end the engine, which would roll nothing back.
            let _unheard = contain(|| sink(event));
        }
    }

    /// Tells of an event inside the span of the stage that it happened to.
    pub(crate) fn emit_of(&self, id: StageId, event: &Event) {
        let span = self.cell(id).span();
        let _inside = span.enter();
        self.emit(event);
    }

    /// The running beat of the watchdog thread, from 1.
    pub(super) fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed) + 1
    }

    /// One beat of the watchdog thread.
    pub(crate) fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The stages whose running poll began at least `ticks` beats ago.
    pub(crate) fn blocking_for(&self, ticks: u64) -> impl Iterator<Item = StageId> + '_ {
        let now = self.ticks();
        self.graph
            .ids()
            .filter(move |&id| self.cell(id).polling_since().is_some_and(|since| since + ticks <= now))
    }
}

/// A limit that the clock cannot express is none.
fn after(began: Instant, limit: Duration) -> Instant {
    began.checked_add(limit).unwrap_or_else(|| began + ENDLESS)
}

/// A stage said that the service cannot go on.
pub(crate) struct GaveUp {
    pub(crate) stage: StageId,
    pub(crate) error: StageError,
    /// When, counted from the beginning.
    pub(crate) at: Duration,
}

/// What the sink holds is the application's, and who lets go of the board last is anybody.
impl Drop for Board {
    fn drop(&mut self) {
        let sink = self.sink.take();
        let _unheard = contain(move || drop(sink));
    }
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("stages", &self.cells.len()).field("phase", &self.phase()).finish()
    }
}
