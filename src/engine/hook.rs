//! A hook of the application's while it runs: its panics are contained, and the watchdog can see when it
//! keeps its thread from doing anything else.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use tracing::Span;

use crate::{
    codes::STAGE_PANICKED,
    contain::Panicked,
    contract::{board::Board, panic::Contained},
    error::{StageError, StageResult},
    ids::StageId,
    limits::behind_panic,
};

/// How many beats of the watchdog one poll may span before it counts as blocking.
pub(crate) const BLOCKING_TICKS: u64 = 4;

/// One run of a hook.
pub(super) struct Hook<'a, T> {
    board: &'a Board,
    id: StageId,
    /// What the hook says belongs here.
    span: Span,
    inner: Contained<StageResult<T>>,
    /// Whether any poll took so long that others had to wait for it.
    pub(super) blocked: bool,
    /// Whether it was polled in this turn of its task already.
    polled: bool,
}

impl<'a, T> Hook<'a, T> {
    pub(super) fn new(
        board: &'a Board,
        id: StageId,
        span: Span,
        future: BoxFuture<'static, StageResult<T>>,
    ) -> Self {
        Self { board, id, span, inner: Contained::new(future), blocked: false, polled: false }
    }

    /// Says that the hook was polled, and waits. Whoever waits for it in the same turn does not poll it once more:
    /// it may have given way to others, and they are to have their turn.
    pub(super) fn was_polled(&mut self) {
        self.polled = true;
    }

    /// Drops the hook's future where it stands. The panic of a destructor is returned.
    pub(super) fn discard(&mut self) -> Result<(), Panicked> {
        let _inside = self.span.enter();
        self.inner.discard()
    }
}

impl<T> Future for Hook<'_, T> {
    type Output = Result<StageResult<T>, Panicked>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if std::mem::take(&mut this.polled) {
            return Poll::Pending;
        }
        let _inside = this.span.enter();
        let cell = this.board.cell(this.id);
        let began = cell.poll_began(this.board);
        let poll = Pin::new(&mut this.inner).poll(cx);
        let ended = cell.poll_ended(this.board);
        this.blocked |= ended - began >= BLOCKING_TICKS;
        poll
    }
}

impl<T> Drop for Hook<'_, T> {
    fn drop(&mut self) {
        if self.inner.is_there() {
            // Reached only when the whole task is dropped; nobody is left to tell.
            let _unheard = self.discard();
        }
    }
}

/// The error for a hook that panicked.
pub(super) fn panicked(panicked: Panicked) -> StageError {
    if let Some(refused) = behind_panic(&panicked.message) {
        return refused.fatal();
    }
    let error = match &panicked.place {
        Some(place) => StageError::new(STAGE_PANICKED, panicked.message.clone()).fact("place", place.clone()),
        None => StageError::new(STAGE_PANICKED, panicked.message.clone()),
    };
    error.fatal()
}
