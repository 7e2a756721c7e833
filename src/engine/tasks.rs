//! The tasks that run hooks: at most one for each stage at a time, and one channel by which all of them report,
//! so that the engine hears everything in the order in which it happened.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinHandle};

use super::{budget::Heights, down, up};
use crate::{
    contract::{
        outcome::{StageFailure, StopProblem},
        panic::contain,
    },
    ids::StageId,
};

/// What a task tells the engine.
pub(super) enum Told {
    /// A failure that is told before its stage has settled, so that the others need not wait for its undo.
    Failure(StageId, Box<StageFailure>),
    /// A start has come to its end.
    Start { id: StageId, outcome: up::Outcome, problems: Vec<StopProblem> },
    /// A stop has come to its end.
    Stop { id: StageId, outcome: down::Outcome },
    /// The task ended without a word: a panic of the engine's own, because every hook's is contained.
    Lost(StageId),
}

/// What the tasks of all stages have in common.
pub(super) struct Common {
    told: mpsc::UnboundedSender<Told>,
    pub(super) shutdown: Duration,
    pub(super) heights: Heights,
}

/// A task's way to the engine. Whatever becomes of the task, the engine hears of its end once.
pub(super) struct ToEngine {
    id: StageId,
    pub(super) common: Arc<Common>,
    ended: bool,
}

impl ToEngine {
    pub(super) fn failure(&self, failure: StageFailure) {
        self.tell(Told::Failure(self.id, Box::new(failure)));
    }

    /// The task's last word.
    pub(super) fn end(mut self, told: Told) {
        self.ended = true;
        self.tell(told);
    }

    fn tell(&self, told: Told) {
        // Once its budget is spent the engine is gone, and nobody waits for what still runs.
        let _engine_gone = self.common.told.send(told);
    }
}

impl Drop for ToEngine {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(Told::Lost(self.id));
        }
    }
}

/// The tasks that run.
pub(super) struct HookTasks {
    common: Arc<Common>,
    told: mpsc::UnboundedReceiver<Told>,
    running: Vec<Option<JoinHandle<()>>>,
    count: usize,
}

impl HookTasks {
    pub(super) fn new(heights: Heights, shutdown: Duration, stages: usize) -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let common = Arc::new(Common { told: sender, shutdown, heights });
        Self { common, told, running: std::iter::repeat_with(|| None).take(stages).collect(), count: 0 }
    }

    pub(super) fn heights(&self) -> &Heights {
        &self.common.heights
    }

    /// Runs the one task of a stage. Its last word is [`ToEngine::end`].
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        id: StageId,
        work: impl FnOnce(ToEngine) -> F,
    ) {
        let to_engine = ToEngine { id, common: self.common.clone(), ended: false };
        // A `JoinSet` would do the same and cost more: it makes a waker for each task, and what a task tells before
        // its end would come by another way.
        #[expect(clippy::disallowed_methods, reason = "kept in `running`, and aborted with it")]
        let task = tokio::spawn(work(to_engine));
        self.running[id.index()] = Some(task);
        self.count += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What a task has told. It never is `None`, because `self` holds a sender, too.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost.
    pub(super) async fn told(&mut self) -> Option<Told> {
        let told = self.told.recv().await?;
        match &told {
            Told::Failure(..) => {}
            Told::Start { id, .. } | Told::Stop { id, .. } | Told::Lost(id) => {
                self.running[id.index()] = None;
                self.count -= 1;
            }
        }
        Some(told)
    }

    /// Drops whatever still runs, as far as it comes to a point where it waits.
    pub(super) fn abort_all(&self) {
        for task in self.running.iter().flatten() {
            task.abort();
        }
    }
}

impl Drop for HookTasks {
    fn drop(&mut self) {
        self.abort_all();
        // A start that came too late to be stopped left its resource here, and its destructor may panic.
        self.told.close();
        while let Ok(told) = self.told.try_recv() {
            let _unheard = contain(|| drop(told));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGE: StageId = StageId(0);

    fn tasks() -> HookTasks {
        let graph = crate::graph::Graph::default().sound().unwrap();
        let board = crate::contract::board::Board::new(graph, Vec::new(), None);
        HookTasks::new(Heights::new(&board), Duration::from_secs(1), 1)
    }

    #[tokio::test]
    async fn a_task_that_panics_or_is_aborted_is_heard_of_once() {
        let mut tasks = tasks();
        tasks.spawn(STAGE, |to_engine| async move {
            let _held = to_engine;
            panic!("a defect of the engine");
        });
        assert!(matches!(tasks.told().await, Some(Told::Lost(STAGE))));
        assert!(tasks.is_empty());

        tasks.spawn(STAGE, |to_engine| async move {
            let _held = to_engine;
            std::future::pending::<()>().await;
        });
        assert!(!tasks.is_empty());
        tasks.abort_all();
        assert!(matches!(tasks.told().await, Some(Told::Lost(STAGE))));
        assert!(tasks.is_empty());
    }

    #[tokio::test]
    async fn what_still_runs_ends_with_the_tasks() {
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        let mut tasks = tasks();
        tasks.spawn(STAGE, |to_engine| async move {
            let _held = (alive, to_engine);
            std::future::pending::<()>().await;
        });
        drop(tasks);
        assert!(ended.await.is_err(), "its sender was dropped");
    }

    #[tokio::test]
    async fn a_resource_that_came_too_late_is_dropped_with_the_tasks_and_its_panic_goes_nowhere() {
        struct PanicsWhenDropped;

        impl Drop for PanicsWhenDropped {
            fn drop(&mut self) {
                panic!("in drop");
            }
        }

        let mut tasks = tasks();
        tasks.spawn(STAGE, |to_engine| async move {
            let outcome = up::Outcome::Acquired(Arc::new(PanicsWhenDropped), tokio::time::Instant::now());
            to_engine.end(Told::Start { id: STAGE, outcome, problems: Vec::new() });
        });
        // The one thread of this runtime plays the task here, and nobody hears what it tells.
        tokio::task::yield_now().await;
        assert_eq!(tasks.told.len(), 1);
        drop(tasks);
    }
}
