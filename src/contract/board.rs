//! What everyone may read while the engine works: one cell for each stage.
//!
//! The engine's task alone decides states (invariant 12) and writes them here; contexts, health
//! endpoints and the watchdog thread read. Times are nanoseconds since the beginning of the start, on
//! tokio's clock, so that paused time in tests holds for them too.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::SetOnce, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    event::{Event, EventSink},
    guard::{GuardKeeper, LockLost, WorkerGuard},
    panic::contain,
    state::{Phase, StageState},
};
use crate::{
    error::StageError,
    graph::{Graph, critical_path::Span},
    ids::StageId,
};

/// A time that was not reached yet.
const NEVER: u64 = u64::MAX;

/// How many steps of a stage are remembered. A stage that loops over many must not grow without bound;
/// the last ones are what a report needs.
const STEPS_KEPT: usize = 16;

pub(crate) struct Board {
    pub(crate) graph: Graph,
    /// An order in which each stage stands after its prerequisites.
    pub(crate) order: Vec<StageId>,
    pub(crate) began: Instant,
    cells: Vec<Cell>,
    phase: AtomicU8,
    ready_at: AtomicU64,
    /// When everything must have stopped; known once stopping has begun.
    stop_deadline: OnceLock<Instant>,
    /// Counted up by the watchdog thread; see [`Cell::poll_began`].
    ticks: AtomicU64,
    /// Cancelled when nothing more shall start.
    pub(crate) cancel: CancellationToken,
    worker: SetOnce<WorkerGuard>,
    /// Which stage said, while it was up, that the service cannot go on, and why.
    failure: Mutex<Option<(StageId, StageError)>>,
    /// Cancelled when that was said.
    failed: CancellationToken,
    sink: Option<EventSink>,
}

/// What is known of one stage.
pub(crate) struct Cell {
    state: AtomicU8,
    pub(crate) optional: bool,
    /// How long the start may take, from when the prerequisites are up.
    pub(crate) timeout: Duration,
    healthy: AtomicBool,
    /// Whether its failure was told: what it acquires after that is released again.
    given_up: AtomicBool,
    told_blocking: AtomicBool,
    launched_at: AtomicU64,
    settled_at: AtomicU64,
    /// The watchdog's tick during which the running poll of this stage's hook began, plus one; zero
    /// while no poll runs. A tick is stored instead of a time because it costs nothing to read.
    polling_since: AtomicU64,
    /// Made when there is something to keep: most stages of a large graph say nothing.
    said: OnceLock<Box<Said>>,
}

/// What a stage's hooks say while they run.
#[derive(Default)]
struct Said {
    steps: Mutex<Vec<(Instant, String)>>,
    /// What the stage does without, since it said so while it started.
    degraded: Mutex<Option<String>>,
    /// What the line that says the service is ready should add.
    note: Mutex<Option<String>>,
    /// The innermost span of the hook that runs: what the stage says belongs there, whichever thread says it.
    span: Mutex<Option<tracing::Span>>,
}

impl Board {
    pub(crate) fn new(
        graph: Graph,
        order: Vec<StageId>,
        cells: Vec<Cell>,
        sink: Option<EventSink>,
    ) -> Arc<Self> {
        Arc::new(Self {
            graph,
            order,
            began: Instant::now(),
            cells,
            phase: AtomicU8::new(Phase::Starting as u8),
            ready_at: AtomicU64::new(NEVER),
            stop_deadline: OnceLock::new(),
            ticks: AtomicU64::new(0),
            cancel: CancellationToken::new(),
            worker: SetOnce::new(),
            failure: Mutex::new(None),
            failed: CancellationToken::new(),
            sink,
        })
    }

    pub(crate) fn cell(&self, id: StageId) -> &Cell {
        &self.cells[id.index()]
    }

    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_nanos()).unwrap_or(NEVER)
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

    /// Writes the state that the engine decided, with the time where it is one that reports show.
    pub(crate) fn set_state(&self, id: StageId, state: StageState, at: Instant) {
        let cell = self.cell(id);
        match state {
            StageState::Starting => cell.launched_at.store(self.nanos(at), Ordering::Release),
            StageState::Up | StageState::Failed | StageState::Cancelled => {
                cell.settled_at.store(self.nanos(at), Ordering::Release);
            }
            StageState::Pending
            | StageState::Interrupting
            | StageState::Stopping
            | StageState::Stopped
            | StageState::StopFailed
            | StageState::Stuck
            | StageState::Skipped => {}
        }
        cell.state.store(state as u8, Ordering::Release);
    }

    /// When each stage began and ended its start. A stage that has not ended counts until now.
    pub(crate) fn spans(&self) -> Vec<Option<Span>> {
        let now = self.now();
        self.cells
            .iter()
            .map(|cell| {
                let began = reached(&cell.launched_at)?;
                Some(Span { began, ended: reached(&cell.settled_at).unwrap_or(now) })
            })
            .collect()
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
            keeper.lose("worker-mode is not up");
            keeper.guard()
        })
    }

    /// A stage that is up says that the service cannot go on. Who says so first is heard. The service can do
    /// without an optional stage, whatever that says.
    pub(crate) fn fail(&self, id: StageId, error: StageError) {
        if self.cell(id).optional {
            return;
        }
        held(&self.failure).get_or_insert((id, error));
        self.failed.cancel();
    }

    /// Waits until a stage has said so. It is heard once.
    pub(crate) async fn failed(&self) -> (StageId, StageError) {
        self.failed.cancelled().await;
        let said = held(&self.failure).take();
        match said {
            Some(said) => said,
            None => std::future::pending().await,
        }
    }

    pub(crate) fn emit(&self, event: &Event) {
        event.trace();
        if let Some(sink) = &self.sink {
            // The application's code: its panic must not end the engine, which would roll nothing back.
            let _unheard = contain(|| sink(event));
        }
    }

    /// Tells of an event inside the span of the stage that it happened to.
    pub(crate) fn emit_of(&self, id: StageId, event: &Event) {
        self.cell(id).span().in_scope(|| self.emit(event));
    }

    /// One beat of the watchdog thread.
    pub(crate) fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The stages whose running poll began at least `ticks` beats ago.
    pub(crate) fn blocking_for(&self, ticks: u64) -> impl Iterator<Item = StageId> + '_ {
        let now = self.ticks.load(Ordering::Relaxed) + 1;
        self.graph.ids().filter(move |&id| {
            let since = self.cell(id).polling_since.load(Ordering::Relaxed);
            since != 0 && since + ticks <= now
        })
    }
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("stages", &self.cells.len()).field("phase", &self.phase()).finish()
    }
}

impl Cell {
    pub(crate) fn new(optional: bool, timeout: Duration) -> Self {
        Self {
            state: AtomicU8::new(StageState::Pending as u8),
            optional,
            timeout,
            healthy: AtomicBool::new(true),
            given_up: AtomicBool::new(false),
            told_blocking: AtomicBool::new(false),
            launched_at: AtomicU64::new(NEVER),
            settled_at: AtomicU64::new(NEVER),
            polling_since: AtomicU64::new(0),
            said: OnceLock::new(),
        }
    }

    pub(crate) fn state(&self) -> StageState {
        let stored = self.state.load(Ordering::Acquire);
        StageState::ALL.get(usize::from(stored)).copied().unwrap_or(StageState::Stuck)
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    /// Stores what the health hook found; returns whether that is a change.
    pub(crate) fn set_healthy(&self, healthy: bool) -> bool {
        self.healthy.swap(healthy, Ordering::AcqRel) != healthy
    }

    fn said(&self) -> &Said {
        self.said.get_or_init(Box::default)
    }

    /// Stores what the stage does without; `None` where another attempt begins.
    pub(crate) fn set_degraded(&self, why: Option<String>) {
        *held(&self.said().degraded) = why;
    }

    pub(crate) fn degraded(&self) -> Option<String> {
        held(&self.said.get()?.degraded).clone()
    }

    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    /// Whether this is the first time that the stage is said to block.
    pub(crate) fn tell_blocking(&self) -> bool {
        !self.told_blocking.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn set_step(&self, step: String) {
        let mut steps = held(&self.said().steps);
        if steps.len() == STEPS_KEPT {
            steps.remove(0);
        }
        steps.push((Instant::now(), step));
    }

    pub(crate) fn set_note(&self, note: String) {
        *held(&self.said().note) = Some(note);
    }

    pub(crate) fn note(&self) -> Option<String> {
        held(&self.said.get()?.note).clone()
    }

    /// Says which span is the innermost now. One that no subscriber wants counts as not there.
    pub(crate) fn set_span(&self, span: tracing::Span) {
        if span.is_disabled() && self.said.get().is_none() {
            return;
        }
        let left = held(&self.said().span).replace(span);
        // Outside the lock: a subscriber may look back at the stage when a span closes.
        drop(left);
    }

    pub(crate) fn span(&self) -> tracing::Span {
        let kept = self.said.get().and_then(|said| held(&said.span).clone());
        kept.unwrap_or_else(tracing::Span::none)
    }

    pub(crate) fn current_step(&self) -> Option<String> {
        held(&self.said.get()?.steps).last().map(|(_, step)| step.clone())
    }

    /// The last steps with how long each took, the running one until now.
    pub(crate) fn step_times(&self) -> Vec<(String, Duration)> {
        let Some(said) = self.said.get() else { return Vec::new() };
        let steps = held(&said.steps);
        let ends = steps.iter().skip(1).map(|(at, _)| *at).chain([Instant::now()]);
        steps.iter().zip(ends).map(|((at, step), end)| (step.clone(), end.duration_since(*at))).collect()
    }

    /// When the stage's start began, counted from the beginning of the whole.
    pub(crate) fn launched_after(&self) -> Option<Duration> {
        reached(&self.launched_at)
    }

    /// How long the stage's start took, once it has settled.
    pub(crate) fn took(&self) -> Duration {
        let began = reached(&self.launched_at).unwrap_or_default();
        reached(&self.settled_at).map_or(Duration::ZERO, |ended| ended.saturating_sub(began))
    }

    /// Notes that a poll of the stage's hook begins, and returns the watchdog's beat.
    pub(crate) fn poll_began(&self, board: &Board) -> u64 {
        let tick = board.ticks.load(Ordering::Relaxed) + 1;
        self.polling_since.store(tick, Ordering::Relaxed);
        tick
    }

    /// Notes that the poll has ended, and returns the watchdog's beat.
    pub(crate) fn poll_ended(&self, board: &Board) -> u64 {
        self.polling_since.store(0, Ordering::Relaxed);
        board.ticks.load(Ordering::Relaxed) + 1
    }
}

/// What a lock guards, whether or not somebody panicked while holding it: every write is whole.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reached(at: &AtomicU64) -> Option<Duration> {
    match at.load(Ordering::Acquire) {
        NEVER => None,
        nanos => Some(Duration::from_nanos(nanos)),
    }
}
