//! What the operator sees while the service starts: a line for each stage that is slow; on a terminal a line for
//! each stage that runs, drawn again and again. The thread of `voice` looks, so that it is told when every thread
//! of the runtime is blocked.

use std::{sync::Arc, time::Duration};

use crate::{
    contract::{
        board::Board,
        state::{Phase, StageState},
        status::{Status, Timeline},
        tell::tell,
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
                let (stage, running_s, what) = (slow.stage.to_string(), slow.running.as_secs(), slow.what());
                tell!(info, "stage is still starting", stage = stage, running_s = running_s, what = what);
            });
        }
        running.into_iter().map(|(_, slow)| slow).collect()
    }

    fn timeline(&self) -> Timeline {
        Status(self.board.clone()).timeline()
    }
}

/// Makes the text of a stage that is slow.
pub(super) type Tell = Box<dyn Fn(&Slow, &Timeline) -> String + Send>;

/// What the thread of `voice` looks at. Dropping it clears what a terminal shows.
pub(super) struct Show {
    progress: Progress,
    live: Option<live::Live>,
    tell: Tell,
}

impl Show {
    pub(super) fn new(progress: Progress, live: bool, tell: Tell) -> Self {
        Self { progress, live: live.then(live::Live::new).flatten(), tell }
    }

    /// How often to look.
    pub(super) fn beat(&self) -> Duration {
        if self.live.is_some() { DRAW } else { LOOK }
    }

    /// Writes something where no line is drawn.
    pub(super) fn beside(&self, write: impl FnOnce()) {
        match &self.live {
            Some(live) => live.beside(write),
            None => write(),
        }
    }

    /// Draws, or returns what is to be written.
    pub(super) fn look(&mut self) -> Option<String> {
        let due = self.progress.due();
        if let Some(live) = &mut self.live {
            live.draw(&self.progress.running());
            return None;
        }
        let timeline = (!due.is_empty()).then(|| self.progress.timeline())?;
        Some(due.iter().map(|slow| (self.tell)(slow, &timeline)).collect())
    }
}

#[cfg(test)]
mod tests;
