//! What the engine would hand to a stage, for tests that call a stage's hooks themselves.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    contract::{
        board::Board,
        cell::Cell,
        context::{StageContext, StopContext},
        event::{Event, EventSink},
        guard::GuardKeeper,
        state::{StageState, StopReason},
    },
    error::StageResult,
    graph::Graph,
    ids::InstanceId,
};

/// The right of this test process, which is the same in all of its starts.
fn this_process() -> GuardKeeper {
    static THIS: LazyLock<InstanceId> = LazyLock::new(InstanceId::mint);
    GuardKeeper::held_by(*THIS)
}

/// One start of one stage, with the ends that the engine would hold.
pub(super) struct Start {
    pub(super) cx: StageContext,
    pub(super) cancel: CancellationToken,
    pub(super) worker: Arc<GuardKeeper>,
}

impl Start {
    /// A start of this process, whose time is up after `limit`.
    pub(super) fn within(limit: Duration) -> Self {
        Self::by(this_process(), limit)
    }

    /// A start of whoever has this right.
    pub(super) fn by(worker: GuardKeeper, limit: Duration) -> Self {
        Self::new(worker, limit, None)
    }

    /// A start with more time than any test takes, of which `sink` is told.
    pub(super) fn told_to(sink: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self::new(this_process(), Duration::from_secs(60), Some(Arc::new(sink)))
    }

    fn new(worker: GuardKeeper, limit: Duration, sink: Option<EventSink>) -> Self {
        let mut graph = Graph::default();
        let id = graph.add("under-test".into());
        let board = Board::new(graph.sound().unwrap(), vec![Cell::new(false, limit)], sink, false);
        let cancel = board.cancel_token(id).clone();
        board.set_state(id, StageState::Starting, Instant::now());
        let cx = StageContext::new(board, id);
        cx.publish_worker(worker.guard());
        Self { cx, cancel, worker: Arc::new(worker) }
    }

    /// A start with more time than any test takes.
    pub(super) fn unhurried() -> Self {
        Self::within(Duration::from_secs(60))
    }

    /// What the stage adds to the line that says the service is ready.
    #[cfg(feature = "scheduler")]
    pub(super) fn note(&self) -> Option<String> {
        self.cx.board().cell(self.cx.id()).note()
    }

    /// The steps that the stage told so far.
    pub(super) fn steps(&self) -> Vec<String> {
        self.cx.board().cell(self.cx.id()).step_times().into_iter().map(|(step, _)| step).collect()
    }

    /// Runs the undos, last in, first out, as the engine does after a start that failed.
    pub(super) async fn roll_back(&self) -> StageResult<()> {
        while let Some(undo) = self.cx.cell().pop_undo() {
            (undo.run)().await?;
        }
        Ok(())
    }
}

/// What a stop hook gets that has `limit` for its work.
pub(super) fn stop_within(limit: Duration) -> StopContext {
    StopContext { reason: StopReason::Finished.into(), deadline: Instant::now() + limit }
}

/// What can be copied a number of times, and panics then.
#[derive(Debug)]
pub(super) struct Copies(pub(super) Arc<AtomicU32>);

impl Clone for Copies {
    fn clone(&self) -> Self {
        let left = self.0.load(Ordering::Relaxed);
        assert!(left > 0, "no copies left");
        self.0.store(left - 1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}
