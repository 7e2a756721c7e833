//! What the operator sees while the service starts: a line for each stage that is slow; on a terminal a line for
//! each stage that runs, drawn again and again. A thread of its own, so that it is told when every thread of the
//! runtime is blocked, and that a terminal that nobody reads keeps nothing but that thread.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use super::{deliver::PATIENCE, stderr};
use crate::{
    contract::{
        board::Board,
        state::{Phase, StageState},
        status::{Status, Timeline},
    },
    engine::BLOCKING_TICKS,
    ids::StageId,
    report::Slow,
};

#[cfg_attr(not(feature = "live"), path = "progress/no_live.rs")]
mod live;

/// After which time a stage is slow. It is told again each time that this has doubled.
const SLOW: Duration = Duration::from_secs(10);

/// How often it is looked whether a stage is slow, and how often the lines of a terminal are drawn.
const LOOK: Duration = Duration::from_millis(500);
const DRAW: Duration = Duration::from_millis(100);

/// The stages that are starting, and when each is told of next.
pub(super) struct Progress {
    board: Arc<Board>,
    /// What was told, and when the next line is due.
    next: Vec<(StageId, Duration)>,
}

impl Progress {
    pub(super) fn new(board: Arc<Board>) -> Self {
        Self { board, next: Vec::new() }
    }

    /// The stages whose start runs now, with how long it has.
    pub(super) fn running(&self) -> Vec<(StageId, Slow)> {
        let board = &self.board;
        if board.phase() != Phase::Starting {
            return Vec::new();
        }
        let (now, blocking) = (board.now(), board.blocking_for(BLOCKING_TICKS).collect::<Vec<_>>());
        let slow = |id| {
            let cell = board.cell(id);
            let began = cell.launched_after().filter(|_| cell.state() == StageState::Starting)?;
            let slow = Slow {
                stage: board.graph.name(id).clone(),
                running: now.saturating_sub(began),
                step: cell.current_step(),
                blocks: blocking.contains(&id),
            };
            Some((id, slow))
        };
        board.graph.ids().filter_map(slow).collect()
    }

    /// The stages of which it is time to tell.
    pub(super) fn due(&mut self) -> Vec<Slow> {
        let mut running = self.running();
        running.retain(|(id, slow)| {
            let at = self.next.iter().position(|(each, _)| each == id);
            let due = at.map_or(SLOW, |at| self.next[at].1);
            if slow.running < due {
                return false;
            }
            // Whoever could not look for long is told once.
            let next = std::iter::successors(Some(due), |due| Some(due.saturating_mul(2)));
            let next = next.into_iter().find(|next| *next > slow.running).unwrap_or(Duration::MAX);
            match at {
                Some(at) => self.next[at].1 = next,
                None => self.next.push((*id, next)),
            }
            true
        });
        for (id, slow) in &running {
            self.board.cell(*id).span().in_scope(|| {
                let (stage, running_s, what) = (&*slow.stage, slow.running.as_secs(), slow.what());
                tracing::info!(target: "solostart", stage, running_s, what, "stage is still starting");
            });
        }
        running.into_iter().map(|(_, slow)| slow).collect()
    }

    fn timeline(&self) -> Timeline {
        Status(self.board.clone()).timeline()
    }

    /// Shows what there is until it is `over`.
    fn play(mut self, over: &Receiver<()>, live: bool, tell: impl Fn(&Slow, &Timeline)) {
        let mut live = live.then(live::Live::new).flatten();
        let beat = if live.is_some() { DRAW } else { LOOK };
        while over.recv_timeout(beat) == Err(RecvTimeoutError::Timeout) {
            let due = self.due();
            match &mut live {
                Some(live) => live.draw(&self.running()),
                None => due.iter().for_each(|slow| tell(slow, &self.timeline())),
            }
        }
        // Dropping the live lines clears them.
    }
}

/// Ends what is shown. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Curtain(Arc<Mutex<Option<Shown>>>);

struct Shown {
    over: Sender<()>,
    /// Says nothing; it is closed when nothing is shown any more.
    gone: Receiver<()>,
}

impl Curtain {
    /// Begins to show. Where no thread can be had nothing is shown: the service does not need it.
    pub(super) fn show(
        &self,
        progress: Progress,
        live: bool,
        tell: impl Fn(&Slow, &Timeline) + Send + 'static,
    ) {
        let (over, is_over) = mpsc::channel();
        let (showing, gone) = mpsc::channel::<()>();
        let play = move || {
            progress.play(&is_over, live, tell);
            drop(showing);
        };
        let thread = thread::Builder::new().name("solostart-progress".to_owned()).spawn(play);
        *self.shown() = thread.is_ok().then_some(Shown { over, gone });
    }

    /// Returns when nothing is shown any more, and nothing will be: what is written now stands alone.
    pub(super) fn close(&self) {
        // Held, so that whoever comes second waits, too.
        let mut shown = self.shown();
        let Some(Shown { over, gone }) = shown.take() else { return };
        drop(over);
        if gone.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            stderr::give_up();
        }
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, Option<Shown>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
