//! Tells the operator, in the form that was asked for, and never at the price of the process's end.

use std::{
    backtrace::Backtrace,
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc::Receiver},
    thread,
    time::Instant,
};

use jiff::Timestamp;

use super::{
    deliver::{
        self, Call, PATIENCE, in_time,
        systemd::{Notifier, errno},
    },
    notifying::Webhook,
    progress::{Progress, Show},
    signals::StopRequest,
    telling::Telling,
    voice,
    waits::{About, Shortened},
};
use crate::{
    contain::Panicked,
    contract::{
        board::Board,
        outcome::{StageFailure, StartupError, StopReport},
        status::Timeline,
        tell,
    },
    error::ErrorKind,
    instance::worker_mode::status,
    report::{Before, Counted, Identity, Ledger, Recovered, Report, Slow, Uncontained, fingerprint},
    settings::EnvWarning,
    startup::ReportTo,
};

/// Writes each report where the operator reads it.
#[derive(Clone)]
pub(super) struct Reporter {
    identity: Identity,
    telling: Telling,
    to: ReportTo,
    ledger: Ledger,
    /// The failures before this start, as far as they are known.
    before: Option<Recovered>,
    systemd: Option<Notifier>,
    /// What is being delivered.
    pending: Arc<Mutex<Vec<Receiver<()>>>>,
}

impl Reporter {
    pub(super) fn new(telling: Telling, to: ReportTo, identity: Identity) -> Self {
        let ledger = Ledger::new(telling.ledger.clone());
        let systemd = Notifier::connect(&telling.systemd);
        let (before, pending) = Default::default();
        Self { identity, telling, to, ledger, before, systemd, pending }
    }

    /// Tells of panics from now on.
    pub(super) fn hear_of_panics(&self) {
        // A process has one service.
        let _is_told_already = OF_PANICS.set(self.clone());
    }

    /// The service manager, where there is one.
    pub(super) fn systemd(&self) -> Option<&Notifier> {
        self.systemd.as_ref()
    }

    /// Who reports.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Makes a report, of now, and writes it.
    pub(super) fn tell(&self, make: impl FnOnce(&Identity) -> Report) {
        let report = make(&self.now());
        let call = if report.is_failure() { Call::Webhook } else { Call::Nobody };
        self.write(report, true, call, None);
    }

    /// The service is ready. Who was called for the failures before it is called again.
    pub(super) fn ready(&self, recovered: bool, make: impl FnOnce(&Identity) -> Report) {
        let call = if recovered { Call::Webhook } else { Call::Nobody };
        self.write(make(&self.now()), true, call, None);
    }

    /// The service ran and did not end well.
    pub(super) fn stop_failed(&self, report: &StopReport, kind: ErrorKind) {
        let errno = report.failure.as_ref().and_then(|failure| errno(&failure.error, kind));
        let report = Report::stop_failed(report, kind, &self.now());
        self.write(report, true, Call::Webhook, errno);
    }

    /// Nobody could be called.
    pub(super) fn undelivered(&self, webhook: &Webhook, why: &str) {
        let warning = EnvWarning {
            variable: webhook.variable.clone(),
            text: format!("{} was not told: {why}", webhook.url),
        };
        self.print(&Report::warning(&warning, &self.now()), true);
    }

    /// Tells what looks like a mistake, before anything is started.
    pub(super) fn warn(&mut self, warnings: &[EnvWarning], shortened: Option<&Shortened>) {
        for warning in warnings {
            self.tell(|identity| Report::warning(warning, identity));
        }
        if let Some(shortened) = shortened {
            self.identity.shortened = Some((shortened.stage.clone(), shortened.from));
            let warning: EnvWarning = shortened.warning();
            self.tell(|identity| Report::warning(&warning, identity));
        }
    }

    /// Tells why the service could not start: in full, or in short where it failed in the same way before.
    pub(super) fn failed(&self, error: &StartupError, kind: ErrorKind, about: Option<&About>) {
        let counted = self.count(&error.primary, kind, about);
        let in_full = counted.as_ref().is_none_or(|counted| counted.in_full);
        let attempt = counted.map(|counted| counted.attempt);
        let identity = Identity { attempt, ..self.now() };
        let report = Report::startup_failed(error, kind, &identity);
        let about_lock = error.primary.error.failure_code().name.starts_with("lock.");
        let lock = about.filter(|_| about_lock).and_then(lock);
        let call = if in_full { Call::Webhook } else { Call::Nobody };
        self.write(report.with_lock(lock), in_full, call, errno(&error.primary.error, kind));
    }

    /// Stays for a while after a failed start: the only brake for a platform that restarts a container
    /// whatever its exit code is. A signal ends it.
    pub(super) fn hold(&self, exit: u8, request: &StopRequest) {
        if self.telling.hold.is_zero() {
            return;
        }
        let text = format!(
            "HOLDING for {:?} before exit {exit}; nothing runs; SIGTERM ends it now\n",
            self.telling.hold
        );
        self.tell(|identity| Report::stopping(&text, identity));
        request.wait(self.telling.hold);
    }

    /// Begins to look at what the failures before this start say, for [`look_back`](Self::look_back).
    pub(super) fn begin_to_look_back(&self) -> Option<Receiver<Option<Before>>> {
        let ledger = self.ledger.clone();
        deliver::start(move || ledger.before())
    }

    /// Remembers the failures before this start, and returns the wait that the last one made in vain.
    pub(super) fn look_back(&mut self, looking: Option<Receiver<Option<Before>>>) -> Option<String> {
        let Before { failures, waited } = looking?.recv_timeout(PATIENCE).ok().flatten()?;
        self.before = Some(failures);
        waited
    }

    /// The start succeeded: what the operator should know of the failures before it.
    pub(super) fn recovered(&self) -> Option<String> {
        // What another instance counted since this start began ends with that one's next start.
        let Recovered { attempts, code, since } = self.before.clone()?;
        let ledger = self.ledger.clone();
        in_time(move || ledger.clear()).filter(|cleared| *cleared)?;
        let down = Timestamp::now().duration_since(since).unsigned_abs();
        let starts = if attempts == 1 { "1 failed start" } else { &format!("{attempts} failed starts") };
        Some(format!("recovered after {starts} ({code}) in {} s", down.as_secs()))
    }

    fn count(&self, failure: &StageFailure, kind: ErrorKind, about: Option<&About>) -> Option<Counted> {
        let code = failure.error.failure_code().name;
        let fingerprint = fingerprint(&failure.stage, &failure.error);
        let in_vain = about.filter(|_| !kind.restart_helps()).and_then(|about| about.waits.in_vain(failure));
        let (ledger, now) = (self.ledger.clone(), Timestamp::now());
        // That it cannot be written down is no news: a directory that is missing or full is often the very
        // failure that is reported.
        in_time(move || ledger.count(code, &fingerprint, in_vain.as_deref(), now).0)
    }

    fn now(&self) -> Identity {
        Identity { at: Timestamp::now(), ..self.identity.clone() }
    }

    /// Waits, not for long, for what is still being delivered and written.
    pub(super) fn settle(&self) {
        let end = Instant::now() + PATIENCE;
        finish_telling();
        let pending = std::mem::take(&mut *self.pending());
        for delivered in pending {
            let _gave_up = delivered.recv_timeout(end.saturating_duration_since(Instant::now()));
        }
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Vec<Receiver<()>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, report: Report, in_full: bool, call: Call, errno: Option<i32>) {
        self.print(&report, in_full);
        let told = self.systemd.as_ref().and_then(|systemd| systemd.report(&report, errno));
        let begun = deliver::begin(report, call, &self.telling, self);
        self.pending().extend(told.into_iter().chain(begun));
    }

    /// Shows what the start does until anything else is told.
    pub(super) fn show(&self, board: Arc<Board>) {
        // Not a clone of all of this: it would keep the thread that has it.
        let (identity, json) = (self.identity.clone(), self.telling.json);
        let tell = move |slow: &Slow, timeline: &Timeline| {
            let identity = Identity { at: Timestamp::now(), ..identity.clone() };
            let report = Report::progress(slow, timeline, &identity);
            if json { report.json() } else { report.text().to_owned() }
        };
        if self.to.is_stderr() {
            voice::show(Show::new(Progress::new(board), self.telling.live, Box::new(tell)));
        }
    }

    fn print(&self, report: &Report, in_full: bool) {
        if self.to.is_tracing() {
            report.trace();
        }
        if self.to.is_stderr() {
            voice::report(match (self.telling.json, in_full) {
                (true, _) => report.json(),
                (false, true) => report.text().to_owned(),
                (false, false) => report.short(),
            });
        }
    }
}

/// Who tells of panics in the service's form; `None` before the environment says which that is.
static OF_PANICS: OnceLock<Reporter> = OnceLock::new();

/// Tells of a panic that nothing contains: in a thread or task of the application's own.
pub(super) fn panicked(panic: &Panicked) {
    let thread = thread::current();
    let backtrace = Backtrace::capture();
    let seen = Uncontained { thread: thread.name(), panic, backtrace: &backtrace };
    match OF_PANICS.get() {
        Some(reporter) => reporter.tell(|identity| Report::panicked(&seen, identity)),
        None => voice::report(seen.text()),
    }
    if cfg!(panic = "abort") || thread.name() == Some("main") {
        // The process ends with it, and waits for nobody.
        finish_telling();
    }
}

/// Has everything that was said so far reach its reader, where there is one who reads.
pub(super) fn finish_telling() {
    // A subscriber may write by the same voice, so it comes first.
    tell::settle(PATIENCE / 4);
    voice::settle(PATIENCE);
}

/// What can be seen of the locks.
fn lock(about: &About) -> Option<serde_json::Value> {
    let lock = about.lock.clone()?;
    in_time(move || serde_json::to_value(status(&lock.config).ok()?).ok()).flatten()
}
