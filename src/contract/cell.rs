//! What is known of one stage: written by the engine and by the stage's own hooks, read by everyone.

use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{board::Board, context::Undo, state::StageState};
use crate::graph::critical_path::Span as Times;

/// A time that was not reached yet.
pub(super) const NEVER: u64 = u64::MAX;

/// How many steps of a stage are remembered. A stage that loops over many must not grow without bound;
/// the last ones are what a report needs.
const STEPS_KEPT: usize = 16;

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
    /// Which attempt of the start runs, from 1.
    attempt: AtomicU32,
    /// Whether the start is over: an undo that somebody registers after that would never run, so it is not kept.
    over: AtomicBool,
    /// Made when there is something to keep: most stages of a large graph neither wait nor say anything.
    kept: OnceLock<Box<Kept>>,
}

/// What only some stages need while they start.
#[derive(Default)]
struct Kept {
    /// Cancelled with every other stage's start, or because this one's time is up.
    cancel: OnceLock<CancellationToken>,
    /// Kept outside the hook's future, so that they survive its error, time-out, abort and panic.
    undo: Mutex<Vec<Undo>>,
    steps: Mutex<Vec<(Instant, String)>>,
    /// What the stage does without, since it said so while it started.
    degraded: Mutex<Option<String>>,
    /// What the line that says the service is ready should add.
    note: Mutex<Option<String>>,
    /// The innermost span of the hook that runs: what the stage says belongs there, whichever thread says it.
    span: Mutex<Option<tracing::Span>>,
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
            attempt: AtomicU32::new(1),
            over: AtomicBool::new(false),
            kept: OnceLock::new(),
        }
    }

    pub(crate) fn state(&self) -> StageState {
        let stored = self.state.load(Ordering::Acquire);
        StageState::ALL.get(usize::from(stored)).copied().unwrap_or(StageState::Stuck)
    }

    /// Writes the state that the engine decided, with the time where it is one that reports show.
    pub(super) fn set_state(&self, state: StageState, at: u64) {
        match state {
            StageState::Starting => self.launched_at.store(at, Ordering::Release),
            StageState::Up | StageState::Failed | StageState::Cancelled => {
                self.settled_at.store(at, Ordering::Release);
            }
            StageState::Pending
            | StageState::Interrupting
            | StageState::Stopping
            | StageState::Stopped
            | StageState::StopFailed
            | StageState::Stuck
            | StageState::Skipped => {}
        }
        self.state.store(state as u8, Ordering::Release);
    }

    /// When the start began and ended; one that has not ended counts until `now`.
    pub(super) fn times(&self, now: Duration) -> Option<Times> {
        Some(Times { began: reached(&self.launched_at)?, ended: reached(&self.settled_at).unwrap_or(now) })
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    /// Stores what the health hook found; returns whether that is a change.
    pub(crate) fn set_healthy(&self, healthy: bool) -> bool {
        self.healthy.swap(healthy, Ordering::AcqRel) != healthy
    }

    fn kept(&self) -> &Kept {
        self.kept.get_or_init(Box::default)
    }

    pub(super) fn own_cancel_token(&self) -> Option<&CancellationToken> {
        self.kept.get()?.cancel.get()
    }

    /// What ends the start of this stage alone, or with all others, which is what `all` does.
    pub(super) fn cancel_token(&self, all: &CancellationToken) -> &CancellationToken {
        self.kept().cancel.get_or_init(|| all.child_token())
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.attempt.load(Ordering::Relaxed)
    }

    /// Another attempt begins: what the last one said does not count.
    pub(crate) fn next_attempt(&self) {
        *held(&self.kept().degraded) = None;
        self.attempt.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn push_undo(&self, undo: Undo) {
        let mut undos = held(&self.kept().undo);
        // Read by writing, so that either this comes before `discard_undos`, which then sees the list, or after; and
        // while the list is locked, so that nothing comes into it once that has emptied it.
        if self.over.fetch_or(false, Ordering::AcqRel) {
            // Outside the lock, because dropping what it holds may run any code.
            drop(undos);
            drop(undo);
        } else {
            undos.push(undo);
        }
    }

    /// Takes the undo that was registered last.
    pub(crate) fn pop_undo(&self) -> Option<Undo> {
        held(&self.kept.get()?.undo).pop()
    }

    /// How many undos are waiting.
    pub(crate) fn undo_count(&self) -> u32 {
        self.kept.get().map_or(0, |kept| u32::try_from(held(&kept.undo).len()).unwrap_or(u32::MAX))
    }

    /// The start is over, and its undos are forgotten. They are dropped outside the lock, because dropping what
    /// they hold may run any code.
    pub(crate) fn discard_undos(&self) {
        self.over.fetch_or(true, Ordering::AcqRel);
        let discarded = self.kept.get().map(|kept| std::mem::take(&mut *held(&kept.undo)));
        drop(discarded);
    }

    /// Stores what the stage does without.
    pub(crate) fn set_degraded(&self, why: String) {
        *held(&self.kept().degraded) = Some(why);
    }

    pub(crate) fn degraded(&self) -> Option<String> {
        held(&self.kept.get()?.degraded).clone()
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
        let mut steps = held(&self.kept().steps);
        if steps.len() == STEPS_KEPT {
            steps.remove(0);
        }
        steps.push((Instant::now(), step));
    }

    pub(crate) fn set_note(&self, note: String) {
        *held(&self.kept().note) = Some(note);
    }

    pub(crate) fn note(&self) -> Option<String> {
        held(&self.kept.get()?.note).clone()
    }

    /// Says which span is the innermost now. One that no subscriber wants counts as not there.
    pub(crate) fn set_span(&self, span: tracing::Span) {
        if span.is_disabled() && self.kept.get().is_none() {
            return;
        }
        let left = held(&self.kept().span).replace(span);
        // Outside the lock: a subscriber may look back at the stage when a span closes.
        drop(left);
    }

    pub(crate) fn span(&self) -> tracing::Span {
        let kept = self.kept.get().and_then(|kept| held(&kept.span).clone());
        kept.unwrap_or_else(tracing::Span::none)
    }

    pub(crate) fn current_step(&self) -> Option<String> {
        held(&self.kept.get()?.steps).last().map(|(_, step)| step.clone())
    }

    /// The last steps with how long each took, the running one until now.
    pub(crate) fn step_times(&self) -> Vec<(String, Duration)> {
        let Some(kept) = self.kept.get() else { return Vec::new() };
        let steps = held(&kept.steps);
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
        let tick = board.ticks();
        self.polling_since.store(tick, Ordering::Relaxed);
        tick
    }

    /// Notes that the poll has ended, and returns the watchdog's beat.
    pub(crate) fn poll_ended(&self, board: &Board) -> u64 {
        self.polling_since.store(0, Ordering::Relaxed);
        board.ticks()
    }

    /// The watchdog's beat during which the running poll began.
    pub(super) fn polling_since(&self) -> Option<u64> {
        Some(self.polling_since.load(Ordering::Relaxed)).filter(|&since| since != 0)
    }
}

/// What a lock guards, whether or not somebody panicked while holding it: every write is whole.
pub(super) fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn reached(at: &AtomicU64) -> Option<Duration> {
    match at.load(Ordering::Acquire) {
        NEVER => None,
        nanos => Some(Duration::from_nanos(nanos)),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    fn undo(held: &Arc<()>) -> Undo {
        let held = Arc::clone(held);
        Undo {
            step: None,
            run: Box::new(move || {
                Box::pin(async move {
                    drop(held);
                    Ok(())
                })
            }),
        }
    }

    #[test]
    fn an_undo_that_is_registered_while_its_stage_ends_is_dropped_and_not_kept() {
        const ROUNDS: usize = 20_000;
        let cells: Vec<_> = (0..ROUNDS).map(|_| Cell::new(false, Duration::ZERO)).collect();
        let (held, arrived) = (Arc::new(()), AtomicU64::new(0));
        // Both come to each cell at the same time.
        let meet = |round: usize| {
            arrived.fetch_add(1, Ordering::AcqRel);
            for spins in 1.. {
                if arrived.load(Ordering::Acquire) >= 2 * (round as u64 + 1) {
                    return;
                }
                // The other one may need this processor to come.
                if spins % 100 == 0 { thread::yield_now() } else { std::hint::spin_loop() }
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                for (round, cell) in cells.iter().enumerate() {
                    // Made before, so that nothing but the lock and the mark is between the two.
                    let undo = undo(&held);
                    let _kept = cell.kept();
                    meet(round);
                    cell.push_undo(undo);
                }
            });
            scope.spawn(|| {
                for (round, cell) in cells.iter().enumerate() {
                    meet(round);
                    cell.discard_undos();
                }
            });
        });
        assert_eq!(Arc::strong_count(&held), 1, "undos are kept that nobody will ever run or drop");
    }
}
