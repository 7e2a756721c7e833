//! A hook's future that cannot panic.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;

use crate::contain::{Panicked, contain};

/// A hook's future that cannot panic: polling it, dropping it, and dropping its result are contained.
pub(crate) struct Contained<T> {
    future: Option<BoxFuture<'static, T>>,
}

impl<T> Contained<T> {
    pub(crate) fn new(future: BoxFuture<'static, T>) -> Self {
        Self { future: Some(future) }
    }

    /// Whether the future was neither finished nor dropped.
    pub(crate) fn is_there(&self) -> bool {
        self.future.is_some()
    }

    /// Drops the hook's future now. The panic of a destructor is returned.
    pub(crate) fn discard(&mut self) -> Result<(), Panicked> {
        let future = self.future.take();
        contain(move || drop(future))
    }
}

impl<T> Future for Contained<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = self.future.as_mut() else { return Poll::Pending };
        match contain(|| future.as_mut().poll(cx)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(match self.discard() {
                Ok(()) => Ok(value),
                Err(panicked) => {
                    // The first panic is the cause; one of the destructors' would only hide it.
                    let _second = contain(move || drop(value));
                    Err(panicked)
                }
            }),
            Err(panicked) => {
                let _second = self.discard();
                Poll::Ready(Err(panicked))
            }
        }
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        if self.is_there() {
            // Reached only when the whole task is dropped with the runtime; nobody is left to tell.
            let _unheard = self.discard();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PanicsWhenDropped;

    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }

    #[tokio::test]
    async fn panics_of_either_payload_type_are_told_with_their_message() {
        let text = "dynamic".to_owned();
        let fixed = Contained::new(Box::pin(async { panic!("fixed") })).await;
        let formatted = Contained::new(Box::pin(async move { panic!("{text}") })).await;
        assert_eq!(fixed.map(|(): ()| ()).unwrap_err().message, "fixed");
        assert_eq!(formatted.map(|(): ()| ()).unwrap_err().message, "dynamic");
    }

    #[tokio::test]
    async fn a_panic_while_a_pending_hook_is_dropped_is_contained() {
        let mut hook = Contained::new(Box::pin(async {
            let _held = PanicsWhenDropped;
            std::future::pending::<()>().await;
        }));
        let poll = futures_util::poll!(&mut hook);
        assert!(poll.is_pending());
        assert_eq!(hook.discard().unwrap_err().message, "in drop");
    }

    #[tokio::test]
    async fn a_hook_whose_future_and_whose_result_panic_when_dropped_is_contained() {
        let held = PanicsWhenDropped;
        let hook = Contained::new(Box::pin(std::future::poll_fn(move |_| {
            let _captured = &held;
            Poll::Ready(PanicsWhenDropped)
        })));
        assert_eq!(hook.await.map(std::mem::forget).unwrap_err().message, "in drop");
    }
}
