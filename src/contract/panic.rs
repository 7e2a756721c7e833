//! Panics of hooks become values that carry the message and the place.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    pin::Pin,
    sync::Once,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;

/// What a hook panicked with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Panicked {
    pub(crate) message: String,
    pub(crate) place: Option<String>,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "panicked at {place}: {}", self.message),
            None => write!(f, "panicked: {}", self.message),
        }
    }
}

impl std::error::Error for Panicked {}

thread_local! {
    /// Whether the code that runs on this thread right now is a hook whose panic will be reported.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes panics of hooks note their place instead of printing themselves, because the report says it
/// all. Other panics go to the hook that the application has set, or where it has set none, to `tell`: the standard
/// library's would wait for whoever reads stderr. Only `run` calls it: a library must not change how the process
/// reports its panics behind the application's back.
pub(crate) fn note_places(tell: fn(&Panicked)) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        // What is taken while nobody has set one is the standard library's own.
        let own = std::panic::take_hook();
        let is_own = std::ptr::eq(&raw const *previous, &raw const *own);
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let place = info.location().map(ToString::to_string);
            if CONTAINED.get() {
                PLACE.with(|slot| *slot.borrow_mut() = place);
            } else if is_own {
                tell(&Panicked { message: message_of(info.payload()), place });
            } else {
                previous(info);
            }
        }));
    });
}

/// Runs code of the application's that may panic.
///
/// `AssertUnwindSafe` is sound here because whatever the code had in hand is dropped, never looked at.
pub(crate) fn contain<T>(code: impl FnOnce() -> T) -> Result<T, Panicked> {
    let outer = CONTAINED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(code));
    CONTAINED.set(outer);
    result.map_err(|payload| Panicked {
        message: message_of(payload.as_ref()),
        place: PLACE.with(|slot| slot.borrow_mut().take()),
    })
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    // `panic!("literal")` carries a &str, and so does a format string that the compiler could fold;
    // every other one carries a String.
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not a text".to_owned())
}

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
            Ok(Poll::Ready(value)) => Poll::Ready(self.discard().map(|()| value)),
            Err(panicked) => {
                // The first panic is the cause; one of the destructors' would only hide it.
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
}
