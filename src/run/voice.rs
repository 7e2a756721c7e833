//! The one voice on stderr: reports, what the start shows, and the log of an application that writes it with [`Stderr`].
//! One thread writes, so that they never mix, and that a pipe, a file system or a terminal that does not get on keeps
//! nothing but that thread (invariant 14, `docs/adr/0011`).

use std::{
    io::{self, Write},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use super::progress::Show;
use crate::contain::contain;

/// How many bytes of the log may wait for a reader. What comes then is counted instead. Reports always wait.
const MOST_WAITING: usize = 1 << 20;

/// How long nothing at all may be written before nobody is taken to read.
const STUCK: Duration = Duration::from_millis(500);

/// How much is written at once where there is no thread that may wait: no more than a pipe that is ready takes
/// (`PIPE_BUF`, pipe(7)).
const AT_ONCE: usize = 4096;

enum Order {
    /// Ends what is shown, then writes.
    Report(String),
    /// Writes beside what is shown.
    Log(Vec<u8>),
    /// Shows this until there is a report.
    Show(Box<Show>),
    /// Dropped when everything before it is written.
    Reached(Sender<()>),
}

struct Voice {
    /// The way to the thread, which lasts as long as the process; `None` before there was anything to write.
    orders: Mutex<Option<Sender<Order>>>,
    /// Bytes of the log that wait.
    waiting: AtomicUsize,
    /// Lines of the log that nobody can read any more.
    lost: AtomicU64,
    /// How often something was written.
    written: AtomicU64,
}

static VOICE: Voice = Voice {
    orders: Mutex::new(None),
    waiting: AtomicUsize::new(0),
    lost: AtomicU64::new(0),
    written: AtomicU64::new(0),
};

/// Has what the operator must see written, soon. It never waits; [`settle`] does.
pub(super) fn report(text: String) {
    order(Order::Report(text));
}

/// Shows what the start does until there is a report.
pub(super) fn show(show: Show) {
    order(Order::Show(Box::new(show)));
}

/// Waits until everything is written, but not longer than `limit`, and not for a reader who does not read: a full pipe
/// must not delay the end of the process.
pub(super) fn settle(limit: Duration) {
    let (reached, wait) = mpsc::channel();
    if held().is_none() {
        return;
    }
    order(Order::Reached(reached));
    let end = Instant::now() + limit;
    loop {
        let before = VOICE.written.load(Ordering::Relaxed);
        let left = end.saturating_duration_since(Instant::now());
        let got_on = || VOICE.written.load(Ordering::Relaxed) != before;
        match wait.recv_timeout(left.min(STUCK)) {
            Err(RecvTimeoutError::Timeout) if got_on() && Instant::now() < end => {}
            Ok(()) | Err(_) => return,
        }
    }
}

fn held() -> MutexGuard<'static, Option<Sender<Order>>> {
    VOICE.orders.lock().unwrap_or_else(PoisonError::into_inner)
}

fn order(order: Order) {
    let mut orders = held();
    if orders.is_none() {
        *orders = begin();
    }
    match (&*orders, order) {
        (Some(orders), order) => {
            let _heard = orders.send(order);
        }
        // Where no thread can be had, that is what the report is about.
        (None, Order::Report(text)) => write_in_time(text.as_bytes()),
        (None, Order::Log(text)) => {
            VOICE.waiting.fetch_sub(text.len(), Ordering::Relaxed);
            write_in_time(&text);
        }
        (None, Order::Show(_) | Order::Reached(_)) => {}
    }
}

fn begin() -> Option<Sender<Order>> {
    let (orders, ordered) = mpsc::channel();
    let thread = thread::Builder::new().name("solostart-stderr".to_owned());
    thread.spawn(move || serve(&ordered)).ok().map(|_runs_on| orders)
}

fn serve(orders: &Receiver<Order>) {
    let mut shown: Option<Box<Show>> = None;
    loop {
        let next = match &shown {
            Some(show) => orders.recv_timeout(show.beat()),
            None => orders.recv().map_err(RecvTimeoutError::from),
        };
        match next {
            Ok(Order::Show(show)) => shown = Some(show),
            Ok(Order::Report(text)) => {
                // Dropping the lines of a terminal clears them: what is written now stands alone.
                let _shows_nothing = contain(|| shown = None);
                write(text.as_bytes());
            }
            Ok(Order::Log(text)) => {
                let beside = contain(|| match &shown {
                    Some(show) => show.beside(|| write(&text)),
                    None => write(&text),
                });
                if beside.is_err() {
                    shown = None;
                }
                VOICE.waiting.fetch_sub(text.len(), Ordering::Relaxed);
                tell_lost();
            }
            Ok(Order::Reached(reached)) => drop(reached),
            Err(RecvTimeoutError::Timeout) => match contain(|| shown.as_mut().and_then(|show| show.look())) {
                Ok(text) => text.iter().for_each(|text| write(text.as_bytes())),
                // What only helps must not keep what must be seen.
                Err(_panicked) => shown = None,
            },
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Says once that a reader who reads again has missed something.
fn tell_lost() {
    let lost = VOICE.lost.swap(0, Ordering::Relaxed);
    if lost > 0 {
        write(format!("WARNING {lost} lines of the log were lost: nobody read stderr\n").as_bytes());
    }
}

/// A closed stderr changes nothing: there is nobody to tell.
fn write(text: &[u8]) {
    let _nobody_reads = io::stderr().lock().write_all(text);
    VOICE.written.fetch_add(1, Ordering::Relaxed);
}

/// Writes what fits without waiting for a reader who does not read. The lock of the standard library's stderr is not
/// taken: who has it may wait for that reader.
fn write_in_time(mut text: &[u8]) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stderr = rustix::stdio::stderr();
    let limit = Timespec::try_from(STUCK).ok();
    while !text.is_empty() {
        let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
        let written = match poll(&mut ready, limit.as_ref()) {
            Ok(1..) => rustix::io::write(stderr, &text[..text.len().min(AT_ONCE)]),
            Ok(0) => return,
            Err(error) => Err(error),
        };
        match written {
            Ok(written) => text = &text[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_nobody_reads) => return,
        }
    }
}

/// Writes to stderr without ever waiting for whoever reads it: for the log of an application.
///
/// A thread of the library writes, in turn with the reports of [`run`](crate::run()), and clear of what a terminal
/// shows of the start. The standard library's stderr makes its caller wait for as long as the reader of a pipe does not
/// read, or a terminal is stopped: in a request, in a start hook, with the lock held. Here at most 1 MiB waits; what
/// comes then is lost, and counted in a line as soon as somebody reads again. Writing never fails.
///
/// What is written is passed on line by line; what follows the last line break when it is flushed or dropped.
///
/// ```
/// tracing_subscriber::fmt().with_writer(solostart::Stderr::new).init();
/// tracing::info!("this waits for nobody");
/// ```
#[derive(Debug, Default)]
pub struct Stderr {
    /// What follows the last line break.
    rest: Vec<u8>,
}

impl Stderr {
    /// A writer of its own; all share the one thread.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match text.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => {
                self.rest.extend_from_slice(&text[..=end]);
                self.flush()?;
                self.rest.extend_from_slice(&text[end + 1..]);
            }
            None => self.rest.extend_from_slice(text),
        }
        // A line that never ends is no line.
        if self.rest.len() > MOST_WAITING / 4 {
            self.flush()?;
        }
        Ok(text.len())
    }

    /// Passes on what there is. It does not wait until it is written.
    fn flush(&mut self) -> io::Result<()> {
        let text = std::mem::take(&mut self.rest);
        if text.is_empty() {
            return Ok(());
        }
        let length = text.len();
        if VOICE.waiting.fetch_add(length, Ordering::Relaxed) + length > MOST_WAITING {
            VOICE.waiting.fetch_sub(length, Ordering::Relaxed);
            VOICE.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            order(Order::Log(text));
        }
        Ok(())
    }
}

impl Drop for Stderr {
    fn drop(&mut self) {
        let _never_fails = self.flush();
    }
}
