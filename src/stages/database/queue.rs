//! Closures on their way to the threads that own the connections.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::errors::DatabaseError;
use crate::contain::contain;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A queue that any number of threads serve. It is as long as there are callers waiting, so it needs no
/// other limit.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    open: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { jobs: VecDeque::new(), open: true }), changed: Condvar::new() }
    }

    /// Has `work` done with a connection by one of the serving threads, and waits for its result.
    ///
    /// A caller that went away before its turn is skipped; one that goes away later changes nothing.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, DatabaseError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.push(Box::new(move |connection| {
            if reply.is_closed() {
                return;
            }
            let result = contain(|| work(connection))
                .unwrap_or_else(|panicked| Err(DatabaseError::Panicked(panicked.to_string())));
            // Nobody waits any more if this fails, and the work is done either way.
            let _unheard = reply.send(result);
        }))?;
        // Without an answer, the job was dropped unseen.
        answer.await.unwrap_or(Err(DatabaseError::Stopped))
    }

    fn push(&self, job: Job) -> Result<(), DatabaseError> {
        let mut state = self.lock();
        if !state.open {
            return Err(DatabaseError::Stopped);
        }
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Runs jobs with this thread's connection, until the queue is closed and empty.
    pub(super) fn serve(&self, connection: &mut Connection) {
        while let Some(job) = self.next() {
            // The job contains its caller's panics itself; here it is the destructor of a result that
            // nobody took. Either way the thread and its connection serve the next caller.
            let _contained = contain(|| job(connection));
        }
    }

    fn next(&self) -> Option<Job> {
        let idle = |state: &mut State| state.open && state.jobs.is_empty();
        let mut state = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        state.jobs.pop_front()
    }

    /// Refuses new jobs. Those that wait are still done.
    pub(super) fn close(&self) {
        self.lock().open = false;
        self.changed.notify_all();
    }

    /// Drops the jobs that wait, and says how many there were.
    pub(super) fn discard(&self) -> usize {
        let discarded = std::mem::take(&mut self.lock().jobs);
        discarded.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
