//! The thread that writes to stderr: what the operator must see, and before that what the start shows. One thread,
//! so that the two never mix, and that a pipe or a terminal that nobody reads keeps nothing but that thread.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
};

use super::{deliver::PATIENCE, progress::Show};
use crate::contract::panic::contain;

/// Where to write. Clones share the thread, which begins with the first order and ends with the last clone.
#[derive(Clone, Default)]
pub(super) struct Stderr(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// `None` as long as there is no thread.
    orders: Mutex<Option<Sender<Order>>>,
    /// Nobody reads: nothing more is written.
    stuck: AtomicBool,
}

enum Order {
    /// Ends what is shown, then writes. The sender is dropped when it is done.
    Write(String, Sender<()>),
    /// Shows this until something is written.
    Show(Show),
}

impl Stderr {
    /// Writes what the operator must see, and returns when it is written. A closed stderr changes nothing: there is
    /// nobody to tell. Nor does one that nobody reads: a full pipe must neither keep the process nor delay its end
    /// twice (invariant 11).
    pub(super) fn write(&self, text: String) {
        if self.0.stuck.load(Ordering::Relaxed) {
            return;
        }
        let (done, written) = mpsc::channel();
        self.order(Order::Write(text, done));
        if written.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            self.0.stuck.store(true, Ordering::Relaxed);
        }
    }

    /// Shows what the start does until something is written.
    pub(super) fn show(&self, show: Show) {
        self.order(Order::Show(show));
    }

    fn order(&self, order: Order) {
        let mut orders = self.0.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.is_none() {
            *orders = begin();
        }
        match (&*orders, order) {
            (Some(orders), order) => {
                let _heard = orders.send(order);
            }
            // Where no thread can be had, that is what the report is about.
            (None, Order::Write(text, _done)) => write(&text),
            (None, Order::Show(_)) => {}
        }
    }
}

fn begin() -> Option<Sender<Order>> {
    let (orders, ordered) = mpsc::channel();
    let thread = thread::Builder::new().name("solostart-stderr".to_owned());
    thread.spawn(move || serve(&ordered)).ok().map(|_runs_on| orders)
}

fn serve(orders: &Receiver<Order>) {
    let mut shown: Option<Show> = None;
    loop {
        let next = match &shown {
            Some(show) => orders.recv_timeout(show.beat()),
            None => orders.recv().map_err(RecvTimeoutError::from),
        };
        match next {
            Ok(Order::Show(show)) => shown = Some(show),
            Ok(Order::Write(text, done)) => {
                // Dropping the lines of a terminal clears them: what is written now stands alone.
                let _shows_nothing = contain(|| shown = None);
                write(&text);
                drop(done);
            }
            Err(RecvTimeoutError::Timeout) => match contain(|| shown.as_mut().and_then(Show::look)) {
                Ok(text) => text.iter().for_each(|text| write(text)),
                // What only helps must not keep what must be seen.
                Err(_panicked) => shown = None,
            },
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn write(text: &str) {
    let _nobody_reads = io::stderr().lock().write_all(text.as_bytes());
}
