//! Tells the operator, in the form that was asked for, and never at the price of the process's end.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use super::{deliver, signals::StopRequest, stderr};
use crate::{
    clock,
    contract::outcome::{StageFailure, StartupError},
    error::ErrorKind,
    instance::worker_mode::status,
    report::{Counted, Identity, Ledger, Recovered, Report, fingerprint},
    settings::EnvWarning,
    startup::{About, Ready, Telling},
};

/// How long anything that tells may take: it is done for the operator, and must not keep the process.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// Writes each report where the operator reads it.
#[derive(Clone)]
pub(super) struct Reporter {
    identity: Identity,
    telling: Telling,
    ledger: Ledger,
    /// What is being delivered.
    pending: Arc<Mutex<Vec<Receiver<()>>>>,
}

impl Reporter {
    pub(super) fn new(telling: Telling, identity: Identity) -> Self {
        let ledger = Ledger::new(telling.ledger.clone());
        Self { identity, telling, ledger, pending: Arc::default() }
    }

    /// Who reports.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Makes a report, of now, and writes it.
    pub(super) fn tell(&self, make: impl FnOnce(&Identity) -> Report) {
        self.write(&make(&self.now()), true);
    }

    /// Tells what looks like a mistake, before anything is started.
    pub(super) fn warn(&mut self, ready: &Ready) {
        for warning in &ready.warnings {
            self.tell(|identity| Report::warning(warning, identity));
        }
        if let Some(shortened) = &ready.about.shortened {
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
        self.write(&report.with_lock(lock), in_full);
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

    /// The wait that the last start made in vain.
    pub(super) fn in_vain(&self) -> Option<String> {
        let ledger = self.ledger.clone();
        in_time(move || ledger.waited()).flatten()
    }

    /// The start succeeded: what the operator should know of the failures before it.
    pub(super) fn recovered(&self) -> Option<String> {
        let ledger = self.ledger.clone();
        let Recovered { attempts, code, since } = in_time(move || ledger.clear()).flatten()?;
        let down = clock::wall_clock().duration_since(since).unsigned_abs();
        let starts = if attempts == 1 { "1 failed start" } else { &format!("{attempts} failed starts") };
        Some(format!("recovered after {starts} ({code}) in {} s", down.as_secs()))
    }

    fn count(&self, failure: &StageFailure, kind: ErrorKind, about: Option<&About>) -> Option<Counted> {
        let code = failure.error.failure_code().name;
        let fingerprint = fingerprint(&failure.stage, &failure.error);
        let in_vain = about.filter(|_| !kind.restart_helps()).and_then(|about| about.waits.in_vain(failure));
        let (ledger, now) = (self.ledger.clone(), clock::wall_clock());
        // That it cannot be written down is no news: a directory that is missing or full is often the very
        // failure that is reported.
        in_time(move || ledger.count(code, &fingerprint, in_vain.as_deref(), now).0)
    }

    fn now(&self) -> Identity {
        Identity { at: clock::wall_clock(), ..self.identity.clone() }
    }

    /// Waits, not for long, for what is still being delivered.
    pub(super) fn settle(&self) {
        let pending = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        let end = Instant::now() + PATIENCE;
        for delivered in pending {
            let _gave_up = delivered.recv_timeout(end.saturating_duration_since(Instant::now()));
        }
    }

    fn write(&self, report: &Report, in_full: bool) {
        self.print(report, in_full);
        if report.is_kept() {
            let (report, telling) = (report.clone(), self.telling.clone());
            let delivering = start(move || deliver::to_files(&report, &telling));
            self.pending.lock().unwrap_or_else(PoisonError::into_inner).extend(delivering);
        }
    }

    fn print(&self, report: &Report, in_full: bool) {
        stderr::write(match (self.telling.json, in_full) {
            (true, _) => report.json(),
            (false, true) => report.text().to_owned(),
            (false, false) => report.short(),
        });
    }
}

/// What can be seen of the locks.
fn lock(about: &About) -> Option<serde_json::Value> {
    let config = about.locks.clone()?;
    in_time(move || serde_json::to_value(status(&config).ok()?).ok()).flatten()
}

/// Does `work` on a thread of its own, and waits for it no longer than a report may take. A disk or a pipe
/// that hangs keeps only that thread.
pub(super) fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    within(PATIENCE, work)
}

/// The same for another length of time.
pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    start(work)?.recv_timeout(limit).ok()
}

/// Begins `work` on a thread of its own. `None` where no thread can be had.
fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<Receiver<T>> {
    let (done, result) = mpsc::channel();
    let work = move || {
        let _waited_no_longer = done.send(work());
    };
    let _thread = thread::Builder::new().name("solostart-report".to_owned()).spawn(work).ok()?;
    Some(result)
}
