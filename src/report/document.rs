//! The JSON form of a report: `startup-report/1`, one object on one line. Its schema is
//! `docs/startup-report-1.schema.json`; a field may be added, none is renamed or removed.
//!
//! Every field is always there, `null` where it says nothing, so that a query needs no special case.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Identity, advice,
    clean::{self, clean},
    words::{causes, sentence, stage},
};
use crate::{
    codes::FailureCode,
    contract::{
        outcome::{FailurePhase, StageFailure, StopHook, StopSummary},
        state::StageState,
        status::{StageTimes, Timeline},
    },
    error::{ErrorKind, StageError},
};

/// What a report is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(crate) enum Event {
    #[serde(rename = "check.ok")]
    CheckOk,
    #[serde(rename = "check.failed")]
    CheckFailed,
    #[serde(rename = "startup.warning")]
    Warning,
    #[serde(rename = "startup.progress")]
    Progress,
    #[serde(rename = "startup.ready")]
    Ready,
    #[serde(rename = "startup.failed")]
    StartupFailed,
    #[serde(rename = "startup.interrupted")]
    Interrupted,
    #[serde(rename = "service.failed")]
    ServiceFailed,
    #[serde(rename = "service.stop-incomplete")]
    StopIncomplete,
    #[serde(rename = "service.panicked")]
    Panicked,
    #[serde(rename = "service.stopping")]
    Stopping,
    #[serde(rename = "service.stopped")]
    Stopped,
}

impl Event {
    /// How the text of such a report begins.
    pub(crate) fn headline(self) -> &'static str {
        match self {
            Self::CheckOk => "CHECK OK",
            Self::CheckFailed => "CHECK FAILED",
            Self::Warning => "WARNING",
            Self::Progress => "STARTING",
            Self::Ready => "READY",
            Self::StartupFailed => "STARTUP FAILED",
            Self::Panicked => "PANIC",
            Self::Stopping => "STOPPING",
            Self::Interrupted | Self::Stopped => "STOPPED",
            Self::ServiceFailed => "SERVICE FAILED",
            Self::StopIncomplete => "STOP INCOMPLETE",
        }
    }
}

/// A report as data. [`rendered`](Self::rendered) is the text that a person would have read.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Document {
    pub(crate) schema: &'static str,
    pub(crate) event: Event,
    pub(crate) ts: String,
    pub(crate) level: &'static str,
    pub(crate) service: String,
    pub(crate) version: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) message: String,
    pub(crate) stage: Option<String>,
    pub(crate) phase: Option<&'static str>,
    pub(crate) class: Option<&'static str>,
    pub(crate) exit_code: Option<u8>,
    pub(crate) exit_name: Option<&'static str>,
    pub(crate) restart_helps: Option<bool>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) actions: Vec<Action>,
    pub(crate) cause: Vec<String>,
    pub(crate) also: Vec<Also>,
    pub(crate) stages: Vec<StageLine>,
    pub(crate) rollback: Option<Rollback>,
    pub(crate) lock: Option<serde_json::Value>,
    pub(crate) attempt: Option<Attempt>,
    pub(crate) process: Process,
    pub(crate) elapsed_ms: Option<u64>,
    pub(crate) docs: Option<String>,
    pub(crate) rendered: String,
}

/// Something that the process knows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Evidence {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Something that the operator can do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Action {
    pub(crate) text: String,
    /// What can be pasted, where the action has a line of its own for it.
    pub(crate) command: Option<String>,
}

/// A failure of another stage that the first one did not cause.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Also {
    pub(crate) stage: String,
    pub(crate) code: String,
    pub(crate) cause: Vec<String>,
}

/// One stage of the graph.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct StageLine {
    pub(crate) name: String,
    pub(crate) needs: Vec<String>,
    pub(crate) state: String,
    pub(crate) start_ms: Option<f64>,
    pub(crate) ms: Option<f64>,
    /// Whether it belongs to the chain that decided how long the start took.
    pub(crate) critical: bool,
}

impl StageLine {
    pub(super) fn new(each: &StageTimes) -> Self {
        // To the microsecond: an idle stage takes a few of them.
        let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        Self {
            name: stage(&each.name),
            needs: each.needs.iter().map(|name| stage(name)).collect(),
            state: each.state.word().to_owned(),
            start_ms: each.began.map(ms),
            ms: each.took.map(ms),
            critical: each.critical,
        }
    }
}

/// What became of what had been started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Rollback {
    pub(crate) ok: bool,
    pub(crate) ms: u64,
    pub(crate) order: Vec<String>,
    pub(crate) errors: Vec<String>,
}

/// Which start in a row this is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// How many starts have failed in a row, this one included.
    pub(crate) n: u64,
    /// How many of them, this one included, failed in the same way one after the other.
    pub(crate) same_failure: u64,
    /// When the first of the same failures was.
    pub(crate) first_at: jiff::Timestamp,
    /// What makes two failures the same.
    pub(crate) fingerprint: String,
}

/// The process that reports.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Process {
    pub(crate) instance: String,
    pub(crate) host: String,
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The fields that describe one failure.
pub(super) struct Verdict<'f> {
    pub(super) failure: &'f StageFailure,
    pub(super) kind: ErrorKind,
}

impl Document {
    /// A report that says nothing yet but who makes it.
    pub(super) fn new(event: Event, level: &'static str, message: &str, identity: &Identity) -> Self {
        Self {
            schema: "startup-report/1",
            event,
            ts: identity.at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
            level,
            service: clean(&identity.service, 80),
            version: identity.version.as_deref().map(|version| clean(version, 80)),
            code: None,
            title: None,
            // Its parts are clean already; as one text, `warning: see a@b` would look like a password.
            message: clean::escaped(message, 400, false),
            stage: None,
            phase: None,
            class: None,
            exit_code: None,
            exit_name: None,
            restart_helps: None,
            evidence: Vec::new(),
            actions: Vec::new(),
            cause: Vec::new(),
            also: Vec::new(),
            stages: Vec::new(),
            rollback: None,
            lock: None,
            attempt: identity.attempt.clone(),
            process: Process {
                instance: identity.instance.short(),
                host: clean(&identity.host, 80),
                pid: std::process::id(),
                uid: rustix::process::getuid().as_raw(),
                gid: rustix::process::getgid().as_raw(),
            },
            elapsed_ms: None,
            docs: None,
            rendered: String::new(),
        }
    }

    /// What failed, why, and what to do about it.
    pub(super) fn failed(mut self, verdict: &Verdict<'_>, identity: &Identity) -> Self {
        let Verdict { failure, kind } = *verdict;
        let error = &failure.error;
        let code = error.failure_code();
        let causes = causes(error);
        let cause = causes.first().map_or("", String::as_str);
        let what = sentence(code.title, cause);
        self.message = format!("{} at {} [{}]: {what}", self.message, stage(&failure.stage), code.name);
        self.code = Some(clean(code.name, 80));
        self.title = Some(clean(code.title, 120));
        self.stage = Some(stage(&failure.stage));
        self.phase = Some(phase(failure.phase));
        self.exits(kind);
        self.evidence = evidence(failure);
        let actions = advice::actions(error, &failure.stage, failure.elapsed, identity);
        self.actions = actions.iter().map(|action| Action::from_text(action)).collect();
        self.cause = causes;
        self.elapsed_ms = Some(millis(failure.at));
        self.docs = Some(docs(code.name));
        self
    }

    /// Something did not end in time, at `of`.
    pub(super) fn incomplete(mut self, code: FailureCode, of: &str, actions: Vec<String>) -> Self {
        self.message = format!("{} at {} [{}]: {}", self.message, stage(of), code.name, code.title);
        self.code = Some(code.name.to_owned());
        self.title = Some(code.title.to_owned());
        self.stage = Some(stage(of));
        self.exits(code.kind);
        self.actions = actions.iter().map(|action| Action::from_text(action)).collect();
        self.docs = Some(docs(code.name));
        self
    }

    /// The exit code, and what follows from it.
    fn exits(&mut self, kind: ErrorKind) {
        self.class = Some(if kind.restart_helps() { "transient" } else { "permanent" });
        self.exit_code = Some(kind.exit_code());
        self.exit_name = Some(kind.exit_name());
        self.restart_helps = Some(kind.restart_helps());
    }

    pub(super) fn with_timeline(mut self, timeline: &Timeline) -> Self {
        self.stages = timeline.stages.iter().map(StageLine::new).collect();
        self
    }

    /// Names as failed what has: when the times were taken, its undo hooks may still have been running.
    pub(super) fn with_failed<'s>(mut self, failed: impl Iterator<Item = &'s StageFailure>) -> Self {
        let failed: Vec<String> = failed.map(|failure| stage(&failure.stage)).collect();
        for line in self.stages.iter_mut().filter(|line| failed.contains(&line.name)) {
            StageState::Failed.word().clone_into(&mut line.state);
        }
        self
    }

    pub(super) fn with_rollback(mut self, summary: &StopSummary) -> Self {
        let problems = summary.problems.iter().map(|problem| {
            let hook = match problem.hook {
                StopHook::Undo => "undo",
                StopHook::Stop => "stop",
                StopHook::Serve => "serve",
            };
            format!("{} {hook}: {}", stage(&problem.stage), causes(&problem.error).join(": "))
        });
        let stuck = summary.stuck.iter().map(|(name, _)| format!("{} still runs", stage(name)));
        let left = summary.left_up.iter().map(|(name, above)| {
            format!("{} was left up, because {} still needs it", stage(name), stage(above))
        });
        self.rollback = Some(Rollback {
            ok: summary.is_complete(),
            ms: millis(summary.elapsed),
            order: summary.stopped.iter().map(|name| stage(name)).collect(),
            errors: problems.chain(stuck).chain(left).collect(),
        });
        self
    }

    pub(super) fn with_also(mut self, failures: &[StageFailure]) -> Self {
        let also = |failure: &StageFailure| Also {
            stage: stage(&failure.stage),
            code: clean(failure.error.failure_code().name, 80),
            cause: causes(&failure.error),
        };
        self.also = failures.iter().map(also).collect();
        self
    }

    /// The report on one line, with its line break.
    pub(crate) fn line(&self) -> String {
        // The document holds nothing that JSON cannot say; were it otherwise, the text is what counts.
        serde_json::to_string(self).map_or_else(|_| self.rendered.clone(), |json| clean::json(&json) + "\n")
    }
}

impl Action {
    fn from_text(text: &str) -> Self {
        match text.split_once('\n') {
            Some((text, command)) => {
                Self { text: text.trim_end_matches(':').to_owned(), command: Some(command.to_owned()) }
            }
            None => Self { text: text.to_owned(), command: None },
        }
    }
}

/// Where the documentation of a failure code is.
fn docs(code: &str) -> String {
    format!("docs/failures.md#{}", clean(code, 80).replace('.', "-"))
}

/// What makes two failures the same: nothing in it changes from start to start, as times, ports and process
/// ids would.
pub(crate) fn fingerprint(stage: &str, error: &StageError) -> String {
    // FNV-1a: a hash that stays the same in every version, which the standard library's does not promise.
    // http://www.isthe.com/chongo/tech/comp/fnv/
    let names = error.facts().iter().map(|fact| fact.name.as_ref());
    let parts = [error.failure_code().name, stage].into_iter().chain(names);
    let bytes = parts.flat_map(|part| part.bytes().chain([0]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn evidence(failure: &StageFailure) -> Vec<Evidence> {
    let known = failure.error.facts().iter();
    let known = known.map(|fact| Evidence { name: clean(&fact.name, 60), value: clean(&fact.value, 400) });
    let step = failure.step.iter();
    let step = step.map(|step| Evidence { name: "last step".to_owned(), value: clean(step, 120) });
    let tried = (failure.attempts > 1)
        .then(|| Evidence { name: "attempts".to_owned(), value: failure.attempts.to_string() });
    known.chain(step).chain(tried).take(100).collect()
}

fn phase(phase: FailurePhase) -> &'static str {
    match phase {
        FailurePhase::Check => "check",
        FailurePhase::Start => "start",
        FailurePhase::ReadyCheck => "ready-check",
        FailurePhase::Serve => "serve",
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
