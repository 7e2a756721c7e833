//! What the library tells `tracing`, by a thread of its own. A subscriber writes where the application had it write: a
//! pipe that nobody reads, or a panic in it, must keep neither the engine nor a request (invariant 14, `docs/adr/0011`).

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::Duration,
};

use tracing::{
    Dispatch, Level, Span,
    dispatcher::{get_default, with_default},
    field::{DisplayValue, display},
    level_filters::LevelFilter,
    subscriber::NoSubscriber,
};

use crate::contain::{self, contain};

/// How much may wait for a subscriber that does not get on. What comes then is counted instead.
const MOST_WAITING: usize = 1024;

/// Tells one thing.
type What = Box<dyn FnOnce() + Send>;

enum Order {
    /// Within the span, and to the subscriber, that it happened under.
    Tell(Dispatch, Span, What),
    /// Dropped when everything before it was told.
    Reached(#[expect(dead_code, reason = "its drop is what counts")] Box<dyn Send>),
}

/// How long the end of the service may be put off for a subscriber that does not get on.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The way to the thread; `None` before anything was told.
static TELLER: Mutex<Option<SyncSender<Order>>> = Mutex::new(None);

/// What nobody was told of because too much waited.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Tells `tracing` under the target `solostart`. The values are made only where somebody may listen; they must be
/// [`tracing::Value`]s that own what they show: [`shown`] makes one of anything.
macro_rules! tell {
    (@level error) => { tracing::Level::ERROR };
    (@level warn) => { tracing::Level::WARN };
    (@level info) => { tracing::Level::INFO };
    (@level debug) => { tracing::Level::DEBUG };
    ($level:ident, $message:expr $(, $field:ident = $value:expr)* $(,)?) => {
        if $crate::contract::tell::is_heard($crate::contract::tell::tell!(@level $level)) {
            let (message, $($field,)*) = ($message, $($value,)*);
            $crate::contract::tell::later(move || tracing::$level!(target: "solostart", $($field,)* "{message}"));
        }
    };
}
pub(crate) use tell;

/// A value as it is shown, to be told later. Its text may be the application's to write.
pub(crate) fn shown(value: impl fmt::Display) -> DisplayValue<String> {
    display(contain::shown(&value))
}

/// Whether anybody may listen at this level. It asks no subscriber.
pub(crate) fn is_heard(level: Level) -> bool {
    level <= LevelFilter::current()
}

/// The subscriber of this thread, if there is one.
fn subscriber() -> Option<Dispatch> {
    get_default(|dispatch| (!dispatch.is::<NoSubscriber>()).then(|| dispatch.clone()))
}

/// Tells it soon, within the span of the caller.
pub(crate) fn later(what: impl FnOnce() + Send + 'static) {
    let Some(dispatch) = subscriber() else { return };
    if !order(Order::Tell(dispatch, Span::current(), Box::new(what))) {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until everything that was told so far has reached the subscriber, but not longer than `limit`.
#[cfg(feature = "run")]
pub(crate) fn settle(limit: Duration) {
    let (reached, wait) = mpsc::channel::<()>();
    if drop_when_reached(reached) {
        let _told_or_gave_up = wait.recv_timeout(limit);
    }
}

/// The same for a task, at the end of a service. Whoever has no subscriber waits for nobody else's.
pub(crate) async fn settled() {
    let (reached, wait) = tokio::sync::oneshot::channel::<()>();
    if subscriber().is_some() && drop_when_reached(reached) {
        let _told_or_gave_up = tokio::time::timeout(LAST_WORDS, wait).await;
    }
}

/// `false` where nothing ever was told, or too much waits.
fn drop_when_reached(this: impl Send + 'static) -> bool {
    held().is_some() && order(Order::Reached(Box::new(this)))
}

fn held() -> std::sync::MutexGuard<'static, Option<SyncSender<Order>>> {
    TELLER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Never waits.
fn order(order: Order) -> bool {
    let mut teller = held();
    if teller.is_none() {
        *teller = begin();
    }
    teller.as_ref().is_some_and(|teller| teller.try_send(order).is_ok())
}

/// Begins the thread, which ends with the process. `None` where no thread can be had.
fn begin() -> Option<SyncSender<Order>> {
    let (orders, ordered) = mpsc::sync_channel(MOST_WAITING);
    thread::Builder::new().name("solostart-tell".to_owned()).spawn(move || serve(&ordered)).ok()?;
    Some(orders)
}

fn serve(orders: &Receiver<Order>) {
    let mut has_panicked = false;
    for order in orders {
        let Order::Tell(dispatch, span, what) = order else { continue };
        let told = || {
            with_default(&dispatch, || {
                let lost = LOST.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tracing::warn!(target: "solostart", lost, "events were lost: the subscriber did not get on");
                }
                span.in_scope(what);
                // A registry closes the spans around it by the subscriber of this thread.
                drop(span);
            });
        };
        // The subscriber's own affair, and nothing that is waited for. The first panic is told as any other.
        if has_panicked {
            let _again = contain(told);
        } else {
            has_panicked = catch_unwind(AssertUnwindSafe(told)).is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;
    use tracing::subscriber::with_default;
    use tracing_subscriber::{layer::SubscriberExt, registry};

    use super::*;

    struct Stopped(Mutex<Receiver<()>>);

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Stopped {
        fn on_event(&self, _: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            let _goes_on = self.0.lock().unwrap().recv();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_without_a_subscriber_does_not_wait_for_that_of_another() {
        let (go_on, stopped) = mpsc::channel();
        with_default(registry().with(Stopped(Mutex::new(stopped))), || {
            later(|| tracing::info!(target: "solostart", "never told"));
        });
        let began = Instant::now();
        settled().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        drop(go_on);
    }
}
