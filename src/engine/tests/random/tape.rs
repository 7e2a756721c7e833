//! What the hooks of a random service saw, in order.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use tokio::time::Instant;

use super::generate::Meddle;
use crate::{Event, StageContext, StageResult};

/// A hook of a stage, told apart from every other run of any hook of that stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum What {
    Start { attempt: u32 },
    Undo { attempt: u32, nth: usize },
    Stop,
    Check,
    Serve,
}

/// How a run of a hook ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    Ok,
    Error,
    Panicked,
    /// Its future was dropped before it was done.
    Dropped,
}

#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// A hook began; `cancelled` is what its context said, `deadline` when its own time is up.
    Began {
        stage: usize,
        what: What,
        cancelled: bool,
        deadline: Duration,
    },
    Ended {
        stage: usize,
        what: What,
        cancelled: bool,
        how: How,
    },
    /// Which of the prerequisites' outputs a start hook got.
    Received {
        stage: usize,
        some: Vec<bool>,
    },
    Registered {
        stage: usize,
        attempt: u32,
        nth: usize,
    },
    Acquired {
        stage: usize,
    },
    /// The resource itself was dropped.
    Dropped {
        stage: usize,
    },
    /// A hook let the clock go on without returning to the runtime.
    Blocked(Duration),
    Meddled(Meddle),
    Told(Event),
}

/// What happened, in order, with the time since the beginning.
#[derive(Clone)]
pub(super) struct Tape(Arc<Mutex<Vec<(Duration, Entry)>>>, pub(super) Instant);

impl Tape {
    pub(super) fn new() -> Self {
        Self(Arc::default(), Instant::now())
    }

    /// What was noted; the tape is empty after.
    pub(super) fn take(&self) -> Vec<(Duration, Entry)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    pub(super) fn note(&self, entry: Entry) {
        self.0.lock().unwrap().push((self.1.elapsed(), entry));
    }

    pub(super) fn begin(&self, stage: usize, what: What, cx: Option<&StageContext>) -> Running {
        let cancelled = cx.is_some_and(StageContext::is_cancelled);
        let deadline = cx.map_or(Duration::MAX, |cx| {
            // Its own, which the whole start's may come before.
            cx.board().own_deadline(cx.id()).duration_since(self.1)
        });
        self.note(Entry::Began { stage, what, cancelled, deadline });
        Running { tape: self.clone(), stage, what, cx: cx.cloned(), how: None }
    }
}

/// A hook while it runs. Its end is noted however it comes: by return, panic or being dropped.
pub(super) struct Running {
    tape: Tape,
    stage: usize,
    what: What,
    cx: Option<StageContext>,
    how: Option<How>,
}

impl Running {
    pub(super) async fn watch<T>(mut self, hook: impl Future<Output = StageResult<T>>) -> StageResult<T> {
        let result = hook.await;
        self.how = Some(if result.is_ok() { How::Ok } else { How::Error });
        result
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let unfinished = if thread::panicking() { How::Panicked } else { How::Dropped };
        let cancelled = self.cx.as_ref().is_some_and(StageContext::is_cancelled);
        let how = self.how.unwrap_or(unfinished);
        self.tape.note(Entry::Ended { stage: self.stage, what: self.what, cancelled, how });
    }
}
