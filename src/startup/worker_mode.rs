//! The `worker-mode` stage: the root of every graph, which joins the locks to the engine.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::{
    contract::{
        context::StageContext,
        guard::{GuardKeeper, WorkerGuard},
        needs::Handle,
    },
    engine::plan::Plan,
    error::StageResult,
    instance::worker_mode::{HeldWorker, WorkerConfig, acquire},
};

/// Whether several workers of the application may run. There is no default: to run without a decision
/// does not compile.
///
/// ```compile_fail,E0061
/// # use solostart::{Env, Startup};
/// let startup = Startup::new("shop", Env::from_process("SHOP"));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WorkerMode {
    /// Exactly one worker may run; a second one is refused.
    Single,
    /// Any number may run. The reason stands in the line that says the service is ready.
    Many {
        /// Why that is safe, for people.
        reason: String,
    },
}

/// How the `worker-mode` stage takes its lock; known only when everything was declared.
pub(super) enum Acquire {
    /// With what ends a wait for the lock.
    Lock(Arc<WorkerConfig>, CancellationToken),
    Nothing,
}

/// The output of the `worker-mode` stage: the locks, until they are released.
#[derive(Debug)]
pub struct WorkerLock {
    guard: WorkerGuard,
    held: Mutex<Option<HeldWorker>>,
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
        let lock = held.as_ref()?.lock();
        (!lock.shared).then(|| {
            format!("the lock is on {}: instances in other containers are not excluded", lock.file_system)
        })
    }
}

/// Adds the root of every graph. What it does is decided later, when everything was declared.
pub(super) fn add(plan: &mut Plan, acquire_how: Arc<OnceLock<Acquire>>) -> Handle<WorkerLock> {
    plan.builder("worker-mode", (), async move |cx: StageContext, ()| {
        let held = match acquire_how.get() {
            Some(Acquire::Nothing) => None,
            Some(Acquire::Lock(_, given_up)) => {
                let (given_up, how) = (given_up.clone(), acquire_how.clone());
                let mut taking = tokio::task::spawn_blocking(move || take(&how));
                let taken = tokio::select! {
                    taken = &mut taking => taken,
                    () = cx.cancelled() => {
                        given_up.cancel();
                        taking.await
                    }
                };
                Some(taken??)
            }
            None => return Err("the start-up was not prepared".into()),
        };
        let guard = held.as_ref().map_or_else(|| GuardKeeper::unrestricted().guard(), HeldWorker::guard);
        cx.publish_worker(guard.clone());
        Ok(WorkerLock { guard, held: Mutex::new(held) })
    })
    .stop(async |lock: Arc<WorkerLock>, _cx| {
        let held = lock.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        match held {
            Some(held) => tokio::task::spawn_blocking(move || held.release()).await?,
            None => Ok(()),
        }
    })
    .required()
}

fn take(how: &OnceLock<Acquire>) -> StageResult<HeldWorker> {
    match how.get() {
        Some(Acquire::Lock(config, _)) => acquire(config),
        Some(Acquire::Nothing) | None => Err("no lock is configured".into()),
    }
}
