//! The `worker-mode` stage: the root of every graph, which joins the locks to the engine.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::lock::{self, Held, Lock};
use crate::{
    contract::{
        context::{StageContext, StopContext},
        guard::{GuardKeeper, WorkerGuard},
        needs::Handle,
    },
    engine::plan::Plan,
    ids::InstanceId,
};

/// Whether several workers of the application may run. There is no default: to run without a decision
/// does not compile.
///
/// ```compile_fail,E0061
/// # use solostart::{Env, Startup};
/// let startup = Startup::new("shop", Env::from_process("SHOP"));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WorkerMode {
    /// Exactly one worker may run; a second one is refused. Without the feature `single-worker` there is no lock
    /// that could refuse it, and this does not exist.
    #[cfg(feature = "single-worker")]
    Single,
    /// Any number may run. The reason stands in the line that says the service is ready.
    Many {
        /// Why that is safe, for people.
        reason: String,
    },
}

/// The lock that the `worker-mode` stage takes; known only when everything was declared. `None` where several
/// workers are allowed.
pub(super) type Taking = Arc<OnceLock<Option<Arc<Lock>>>>;

/// The output of the `worker-mode` stage: the locks, until they are released.
#[derive(Debug)]
pub struct WorkerLock {
    guard: WorkerGuard,
    held: Mutex<Option<Held>>,
}

impl WorkerLock {
    /// The proof that this process is the only worker.
    #[must_use]
    pub fn guard(&self) -> WorkerGuard {
        self.guard.clone()
    }

    /// What whoever reads that the service is ready should know of the lock.
    pub(crate) fn note(&self) -> Option<String> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        lock::note(held.as_ref()?)
    }
}

/// Adds the root of every graph. What it does is decided later, when everything was declared.
pub(super) fn add(plan: &mut Plan, taking: Taking, process: InstanceId) -> Handle<WorkerLock> {
    plan.builder("worker-mode", (), async move |cx: StageContext, ()| {
        let held = match taking.get() {
            Some(Some(lock)) => Some(lock.clone().take(&cx).await?),
            Some(None) => None,
            None => return Err("the start-up was not prepared".into()),
        };
        let guard = held.as_ref().map_or_else(|| GuardKeeper::unrestricted(process).guard(), Held::guard);
        cx.publish_worker(guard.clone());
        Ok(WorkerLock { guard, held: Mutex::new(held) })
    })
    .stop(async |lock: Arc<WorkerLock>, cx: StopContext| {
        let held = lock.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        match held {
            Some(held) => tokio::task::spawn_blocking(move || held.release(cx.deadline().into_std())).await?,
            None => Ok(()),
        }
    })
    .required()
}
