//! SIGTERM and SIGINT, read by a thread of their own, so that they are heard even where every thread of
//! the runtime is blocked.
//!
//! As process 1 of a container a process without a handler ignores both (the kernel drops signals with a
//! default action for it), so the handlers are there before the first stage.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM, SIGXFSZ},
    flag,
    iterator::Signals,
    low_level,
};

use super::{reporter::Reporter, voice};
use crate::{contract::state::StopReason, engine::running::Control, report::Report};

/// A signal that comes this soon after the first is the same request: `timeout` of GNU coreutils, for one,
/// signals its child and then the child's whole process group.
const SAME_REQUEST: Duration = Duration::from_millis(100);

/// How long whoever wants the end at once waits for what is said last.
const LAST_WORD: Duration = Duration::from_millis(100);

/// Has a write beyond the limit on the size of files fail with `EFBIG`, which is reported, where it would end the process
/// without a word: `SIGXFSZ`, setrlimit(2).
pub(super) fn keep_to_errors() {
    // Where it cannot be installed, what follows says why.
    let _stays_deadly = flag::register(SIGXFSZ, Arc::default());
}

/// What the signal thread shares with the rest of the facade.
#[derive(Clone, Default)]
pub(super) struct StopRequest(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    first: Option<(&'static str, Instant)>,
    control: Option<Control>,
    /// Who sleeps until there is a signal.
    waiting: Option<Thread>,
}

/// What a signal means.
enum Heard {
    First,
    Repeat,
    Second,
}

impl StopRequest {
    /// Installs the handlers and the thread that hears them.
    pub(super) fn listen(reporter: Reporter) -> io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let request = Self::default();
        let heard = request.clone();
        thread::Builder::new().name("solostart-signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                heard.hear(signal, &reporter);
            }
        })?;
        Ok(request)
    }

    /// When the first signal came.
    pub(super) fn since(&self) -> Option<Instant> {
        self.shared(|shared| shared.first.map(|(_, at)| at))
    }

    /// Says whom to ask to stop from now on. A signal that came earlier is passed on at once.
    pub(super) fn pass_to(&self, control: Control, watchdog: Thread) {
        self.shared(|shared| {
            if let Some((name, _)) = shared.first {
                control.stop(StopReason::Signal(name));
            }
            shared.control = Some(control);
            shared.waiting = Some(watchdog);
        });
    }

    /// Waits for a signal, but not longer than `most`.
    pub(super) fn wait(&self, most: Duration) {
        let end = Instant::now().checked_add(most);
        self.shared(|shared| shared.waiting = Some(thread::current()));
        while self.since().is_none() {
            // A hold that is longer than any clock can say has no end of its own.
            let left = end.map_or(most, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    fn hear(&self, signal: i32, reporter: &Reporter) {
        let name = if signal == SIGTERM { "SIGTERM" } else { "SIGINT" };
        let heard = self.shared(|shared| {
            if let Some((_, first)) = shared.first {
                return if first.elapsed() < SAME_REQUEST { Heard::Repeat } else { Heard::Second };
            }
            shared.first = Some((name, Instant::now()));
            if let Some(control) = &shared.control {
                control.stop(StopReason::Signal(name));
            }
            if let Some(waiting) = &shared.waiting {
                waiting.unpark();
            }
            Heard::First
        });
        match heard {
            Heard::First => {
                let text = format!("{name}: stopping in order; a second signal ends the process at once\n");
                reporter.tell(|identity| Report::stopping(&text, identity));
            }
            Heard::Repeat => {}
            Heard::Second => {
                let text = format!("second {name}: ending at once, without stopping what runs\n");
                reporter.tell(|identity| Report::stopping(&text, identity));
                voice::settle(LAST_WORD);
                // The conventional code of a process that a signal ended. It ends here and now: destructors
                // and exit handlers are just what may hang.
                low_level::exit(128 + signal);
            }
        }
    }

    fn shared<T>(&self, look: impl FnOnce(&mut Shared) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
