//! What there is to report, each as text and as data.

use super::{
    Identity, Slow, Stalled,
    checked::{Found, LookedAt, checked},
    document::{Document, Event, Verdict, millis},
    emergency::emergency,
    failure::{startup_failure, stop_failure, unstopped},
    lines::{Uncontained, interrupted, progress, ready, stopped, warning},
    short::short,
    words,
};
use crate::{
    codes::{self, ROLLBACK_INCOMPLETE},
    contract::{
        outcome::{StageFailure, StartupError, StopReport},
        state::Phase,
        status::Timeline,
        tell::tell,
    },
    error::ErrorKind,
    graph::StageName,
    settings::EnvWarning,
};

/// One thing to tell the operator.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    document: Document,
}

impl Report {
    fn new(document: Document, rendered: String) -> Self {
        Self { document: Document { rendered, ..document } }
    }

    /// A variable that looks like a mistake.
    pub(crate) fn warning(found: &EnvWarning, identity: &Identity) -> Self {
        let text = warning(found);
        Self::new(Document::new(Event::Warning, "WARN", text.trim_end(), identity), text)
    }

    /// A stage has been starting for long, and goes on.
    pub(crate) fn progress(slow: &Slow, timeline: &Timeline, identity: &Identity) -> Self {
        let text = progress(slow);
        let mut document =
            Document::new(Event::Progress, "INFO", text.trim_end(), identity).with_timeline(timeline);
        document.stages.retain(|stage| slow.stage == stage.name);
        document.stage = Some(words::stage(&slow.stage));
        document.elapsed_ms = Some(millis(timeline.total));
        Self::new(document, text)
    }

    /// The service is ready.
    pub(crate) fn ready(
        timeline: &Timeline,
        degraded: &[StageName],
        notes: &[String],
        identity: &Identity,
    ) -> Self {
        let text = ready(timeline, degraded, notes);
        let level = if degraded.is_empty() { "INFO" } else { "WARN" };
        let mut document =
            Document::new(Event::Ready, level, text.trim_end(), identity).with_timeline(timeline);
        document.elapsed_ms = Some(millis(timeline.total));
        Self::new(document, text)
    }

    /// The service could not start.
    pub(crate) fn startup_failed(error: &StartupError, kind: ErrorKind, identity: &Identity) -> Self {
        let verdict = Verdict { failure: &error.primary, kind };
        let document = Document::new(Event::StartupFailed, "ERROR", "startup failed", identity)
            .failed(&verdict, identity)
            .with_also(&error.also)
            .with_timeline(&error.timeline)
            .with_failed(std::iter::once(&error.primary).chain(&error.also))
            .with_rollback(&error.rollback);
        Self::new(document, startup_failure(error, kind.exit_code(), identity))
    }

    /// The service was asked to stop while it was starting, and nothing is left.
    pub(crate) fn interrupted(error: &StartupError, identity: &Identity) -> Self {
        let text = interrupted(error);
        let mut document = Document::new(Event::Interrupted, "INFO", text.trim_end(), identity)
            .with_timeline(&error.timeline)
            .with_rollback(&error.rollback);
        document.exit_code = Some(0);
        document.elapsed_ms = Some(millis(error.primary.at));
        Self::new(document, text)
    }

    /// What `check` found.
    pub(crate) fn checked(found: Vec<Found>, looked: &LookedAt, identity: &Identity) -> Self {
        let found: Vec<StageFailure> = found.into_iter().map(Found::failure).collect();
        let text = checked(&found, looked, identity);
        let document = match found.split_first() {
            None => Document::new(Event::CheckOk, "INFO", text.trim_end(), identity),
            Some((failure, others)) => {
                let verdict = Verdict { failure, kind: failure.error.error_kind() };
                Document::new(Event::CheckFailed, "ERROR", "check failed", identity)
                    .failed(&verdict, identity)
                    .with_also(others)
            }
        };
        Self::new(document, text)
    }

    /// A thread or task of the application's own panicked. The service goes on.
    pub(crate) fn panicked(seen: &Uncontained<'_>, identity: &Identity) -> Self {
        let text = seen.text();
        let message = text.lines().next().unwrap_or_default();
        Self::new(Document::new(Event::Panicked, "ERROR", message, identity), text)
    }

    /// A signal was heard.
    pub(crate) fn stopping(text: &str, identity: &Identity) -> Self {
        Self::new(Document::new(Event::Stopping, "INFO", text.trim_end(), identity), text.to_owned())
    }

    /// The service stopped as asked, and nothing is left.
    pub(crate) fn stopped(report: &StopReport, identity: &Identity) -> Self {
        let text = stopped(report);
        let mut document = Document::new(Event::Stopped, "INFO", text.trim_end(), identity)
            .with_timeline(&report.timeline)
            .with_rollback(&report.summary);
        document.exit_code = Some(0);
        document.elapsed_ms = Some(millis(report.summary.elapsed));
        Self::new(document, text)
    }

    /// The service ran and did not end well.
    pub(crate) fn stop_failed(report: &StopReport, kind: ErrorKind, identity: &Identity) -> Self {
        let document = match &report.failure {
            Some(failure) => Document::new(Event::ServiceFailed, "ERROR", "service failed", identity)
                .failed(&Verdict { failure, kind }, identity),
            None => {
                let (of, actions) = unstopped(&report.summary, identity);
                Document::new(Event::StopIncomplete, "ERROR", "stop incomplete", identity).incomplete(
                    ROLLBACK_INCOMPLETE,
                    of,
                    actions,
                )
            }
        };
        let document = document.with_timeline(&report.timeline).with_rollback(&report.summary);
        let document = document.with_also(&report.also);
        Self::new(document, stop_failure(report, kind.exit_code(), identity))
    }

    /// The process must end although the engine does not react any more.
    pub(crate) fn stalled(stalled: &Stalled, identity: &Identity) -> Self {
        let (event, message) = match stalled.phase {
            Phase::Starting => (Event::StartupFailed, "startup failed"),
            Phase::Ready | Phase::Draining | Phase::Stopping | Phase::Stopped if stalled.lost.is_some() => {
                (Event::ServiceFailed, "service failed")
            }
            Phase::Ready | Phase::Draining | Phase::Stopping | Phase::Stopped => {
                (Event::StopIncomplete, "stop incomplete")
            }
        };
        let (code, culprit) = stalled.cause();
        let actions = stalled.actions(identity);
        let document = Document::new(event, "ERROR", message, identity).incomplete(code, culprit, actions);
        Self::new(document, emergency(stalled, code.kind.exit_code(), identity))
    }

    /// Whether it tells of a failure.
    pub(crate) fn is_failure(&self) -> bool {
        self.document.code.is_some()
    }

    /// Whether it is kept beyond the process: how a start went, and what failed.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_failure() || self.is_ready()
    }

    /// Whether the service is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.document.event == Event::Ready
    }

    /// Whether a start or a run is over, or a start has succeeded.
    pub(crate) fn is_result(&self) -> bool {
        self.is_kept() || matches!(self.document.event, Event::Interrupted | Event::Stopped)
    }

    /// The report as data.
    pub(crate) fn document(&self) -> &Document {
        &self.document
    }

    /// Whether this instance may not run because another one does, or might.
    pub(crate) fn is_refusal(&self) -> bool {
        let refusals = [
            codes::LOCK_HELD,
            codes::LOCK_HOLDER_UNRESPONSIVE,
            codes::LOCK_BUSY,
            codes::WORKER_COUNT_CONFIGURED,
        ];
        let code = self.document.code.as_deref();
        refusals.iter().any(|refusal| Some(refusal.name) == code)
    }

    /// What a person reads.
    pub(crate) fn text(&self) -> &str {
        &self.document.rendered
    }

    /// What a program reads: one object on one line.
    pub(crate) fn json(&self) -> String {
        self.document.line()
    }

    /// Three lines for a failure that was told in full before, or that has little room.
    pub(crate) fn short(&self) -> String {
        short(&self.document)
    }

    /// Tells `tracing`, in one event: a failure in the short form.
    pub(crate) fn trace(&self) {
        let document = &self.document;
        let (about, code) = (document.event.headline(), document.code.clone());
        let (exit_code, text) = (document.exit_code, self.short().trim_end().to_owned());
        match document.level {
            "ERROR" => tell!(error, text, about = about, code = code, exit_code = exit_code),
            "WARN" => tell!(warn, text, about = about, code = code, exit_code = exit_code),
            _ => tell!(info, text, about = about, code = code, exit_code = exit_code),
        }
    }

    /// Adds what is known of the lock.
    pub(crate) fn with_lock(mut self, lock: Option<serde_json::Value>) -> Self {
        self.document.lock = lock;
        self
    }
}
