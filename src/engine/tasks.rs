//! The tasks that run hooks: at most one for each stage at a time, and one channel by which all of them report,
//! so that the engine hears everything in the order in which it happened. A task whose work has ended may do that of
//! another stage next.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{budget::Heights, down, up};
use crate::{
    contain::contain,
    contract::outcome::{StageFailure, StopProblem},
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

/// How many tasks stay for another job when theirs has ended, until the start or the stop is over.
///
/// To hand a job over costs less than to begin and to end a task (docs/performance.md). Few graphs are wider, and one
/// that is, such as a fan of 100,000, shall not keep as many tasks as it has stages.
const STAYING: usize = 64;

type Job = BoxFuture<'static, ()>;

/// Where a task that stays finds what it is to do next.
#[derive(Default)]
struct Desk(Mutex<Next>);

#[derive(Default)]
struct Next {
    job: Option<Job>,
    /// The task's, which is the same for as long as it lives.
    waker: Option<Waker>,
}

impl Desk {
    fn put(&self, job: Job) {
        let waker = {
            let mut next = self.next();
            next.job = Some(job);
            next.waker.clone()
        };
        // Outside, or the task could wait for the lock on another thread.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What was put down. From now on `waker` is woken when something is.
    fn take(&self, waker: &Waker) -> Option<Job> {
        let mut next = self.next();
        match &mut next.waker {
            Some(known) => known.clone_from(waker),
            unknown => *unknown = Some(waker.clone()),
        }
        next.job.take()
    }

    fn next(&self) -> MutexGuard<'_, Next> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that does one job after another, until it is aborted. It gives way to others after each.
struct Stays {
    desk: Arc<Desk>,
    job: Option<Job>,
}

impl Future for Stays {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.job.is_none() {
            self.job = self.desk.take(cx.waker());
        }
        if let Some(job) = &mut self.job
            && job.as_mut().poll(cx).is_ready()
        {
            self.job = None;
        }
        Poll::Pending
    }
}

/// A task that runs, or waits for another job.
struct HookTask {
    task: JoinHandle<()>,
    /// Of a task that stays, which is its owner: whatever ends it drops the job with it that it did not come to take, and
    /// the engine hears that this is lost.
    desk: Option<Weak<Desk>>,
}

/// The tasks that run.
pub(super) struct HookTasks {
    common: Arc<Common>,
    told: mpsc::UnboundedReceiver<Told>,
    running: Vec<Option<HookTask>>,
    /// How many of them run.
    count: usize,
    /// Those that stay and have nothing to do.
    idle: Vec<HookTask>,
    /// How many there are that stay, idle or not.
    staying: usize,
}

impl HookTasks {
    pub(super) fn new(heights: Heights, shutdown: Duration, stages: usize) -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let common = Arc::new(Common { told: sender, shutdown, heights });
        let running = std::iter::repeat_with(|| None).take(stages).collect();
        Self { common, told, running, count: 0, idle: Vec::new(), staying: 0 }
    }

    pub(super) fn heights(&self) -> &Heights {
        &self.common.heights
    }

    /// Runs a stage's work, of which there is at most one at a time. Its last word is [`ToEngine::end`].
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        id: StageId,
        work: impl FnOnce(ToEngine) -> F,
    ) {
        let to_engine = ToEngine { id, common: self.common.clone(), ended: false };
        let work = work(to_engine);
        let task = match self.idle.pop() {
            Some(idle) => {
                let desk = idle.desk.as_ref().and_then(Weak::upgrade);
                // Where the runtime has ended that task, the job is dropped in here, and a destructor may panic.
                let _lost = contain(move || desk.map(|desk| desk.put(Box::pin(work))));
                idle
            }
            None if self.staying < STAYING => {
                self.staying += 1;
                let desk = Arc::<Desk>::default();
                desk.put(Box::pin(work));
                HookTask { desk: Some(Arc::downgrade(&desk)), task: spawn(Stays { desk, job: None }) }
            }
            None => HookTask { desk: None, task: spawn(work) },
        };
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
            Told::Start { id, .. } | Told::Stop { id, .. } => {
                let task = self.running[id.index()].take();
                self.idle.extend(task.filter(|task| task.desk.is_some()));
                self.count -= 1;
            }
            Told::Lost(id) => {
                // Nothing is known of a task that told nothing: it gets no other job.
                if let Some(HookTask { task, desk }) = self.running[id.index()].take() {
                    task.abort();
                    self.staying -= usize::from(desk.is_some());
                }
                self.count -= 1;
            }
        }
        Some(told)
    }

    /// Ends the tasks that have nothing to do.
    pub(super) fn end_idle(&mut self) {
        for idle in self.idle.drain(..) {
            idle.task.abort();
            self.staying -= 1;
        }
    }

    /// Drops whatever still runs, as far as it comes to a point where it waits.
    pub(super) fn abort_all(&mut self) {
        self.end_idle();
        for running in self.running.iter().flatten() {
            running.task.abort();
        }
    }
}

/// A `JoinSet` would do the same and cost more: it makes a waker for each task, and what a task tells before its end
/// would come by another way.
#[expect(clippy::disallowed_methods, reason = "kept in `HookTasks`, and aborted with it")]
fn spawn(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(work)
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
mod tests;
