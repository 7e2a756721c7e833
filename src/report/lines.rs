//! The reports that are one line: ready, stopped, interrupted, and warnings.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    time::Duration,
};

use super::{
    clean::{clean, escaped},
    state::names,
    words::{clean_display, list, span, stage},
};
use crate::{
    contain::Panicked,
    contract::{
        outcome::{StartupError, StopReport},
        state::{StageState, format_elapsed},
        status::{StageTimes, Timeline},
    },
    graph::StageName,
    settings::EnvWarning,
};

/// How many stages are listed with their times; the slowest are, where there are more.
const TIMES_SHOWN: usize = 12;

/// A stage that has been starting for long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Slow {
    pub(crate) stage: StageName,
    /// For how long.
    pub(crate) running: Duration,
    /// What it does, in its own words.
    pub(crate) step: Option<String>,
    /// Whether its hook keeps its thread to itself.
    pub(crate) blocks: bool,
}

impl Slow {
    /// What there is to say of the stage beside its time.
    pub(crate) fn what(&self) -> String {
        let step = self.step.iter().map(|step| clean(step, 120));
        let blocks = self.blocks.then(|| "it blocks its thread".to_owned());
        step.chain(blocks).collect::<Vec<_>>().join(", ")
    }
}

/// A panic in a thread or task of the application's own, which nothing contains.
pub(crate) struct Uncontained<'a> {
    pub(crate) thread: Option<&'a str>,
    pub(crate) panic: &'a Panicked,
    /// Captured where `RUST_BACKTRACE` asks for one.
    pub(crate) backtrace: &'a Backtrace,
}

impl Uncontained<'_> {
    /// One line, and the backtrace after it.
    pub(crate) fn text(&self) -> String {
        let thread = clean(self.thread.unwrap_or("without a name"), 80);
        let line = format!("PANIC  thread `{thread}` {}\n", clean_display(self.panic, 400));
        if self.backtrace.status() != BacktraceStatus::Captured {
            return line;
        }
        line + &escaped(&self.backtrace.to_string(), 64_000, true) + "\n"
    }
}

/// A stage that is slow: for how long, and what it does.
pub(super) fn progress(slow: &Slow) -> String {
    let seconds = slow.running.as_secs();
    let running = if seconds < 60 { format!("{seconds} s") } else { span(slow.running) };
    let line = format!("STARTING  {} {running}, {}", stage(&slow.stage), slow.what());
    line.trim_end_matches(", ").to_owned() + "\n"
}

/// The service is ready: how long it took, stage by stage, which stages are missing or unhealthy, and
/// what else the operator should see on every start.
pub(super) fn ready(timeline: &Timeline, degraded: &[StageName], notes: &[String]) -> String {
    let mut line = format!("READY in {}", span(timeline.total));
    // A service that finishes at once may be stopping by the time that this is printed.
    let was_up = |stage: &&StageTimes| {
        use StageState as S;
        matches!(stage.state, S::Up | S::Stopping | S::Stopped | S::StopFailed | S::Stuck)
    };
    let up: Vec<&StageTimes> = timeline.stages.iter().filter(was_up).collect();
    if !up.is_empty() {
        line = format!("{line}: {}", times(&up));
    }
    if let Some(slowest) = up.iter().max_by_key(|stage| stage.took).filter(|_| up.len() > 1) {
        line = format!("{line}; slowest: {}", stage(&slowest.name));
    }
    if !degraded.is_empty() {
        let why = degraded.iter().take(TIMES_SHOWN).map(|name| impaired(timeline, name));
        let why: Vec<String> = why.collect();
        let more = degraded.len() - why.len();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        line = format!("{line}; DEGRADED: {}{more}", why.join(", "));
    }
    for note in notes.iter().take(8) {
        line = format!("{line}; {}", clean(note, 200));
    }
    line + "\n"
}

/// The stages with their times, in the order in which they were added.
fn times(up: &[&StageTimes]) -> String {
    let mut by_time: Vec<usize> = (0..up.len()).collect();
    by_time.sort_by_key(|&at| std::cmp::Reverse(up[at].took));
    by_time.truncate(TIMES_SHOWN);
    by_time.sort_unstable();
    let shown = by_time
        .iter()
        .map(|&at| format!("{} {}", stage(&up[at].name), format_elapsed(up[at].took.unwrap_or_default())));
    let shown: Vec<String> = shown.collect();
    match up.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} faster ones", shown.join(", ")),
    }
}

/// An impaired stage and what is wrong with it.
fn impaired(timeline: &Timeline, name: &StageName) -> String {
    let times = timeline.stages.iter().find(|stage| stage.name == *name);
    let why = match times {
        Some(times) if times.state == StageState::Failed => "failed".to_owned(),
        Some(StageTimes { degraded: Some(why), healthy: true, .. }) => clean(why, 120),
        Some(_) | None => "unhealthy".to_owned(),
    };
    format!("{} ({why})", stage(name))
}

/// The service stopped as asked and left nothing behind: why, and in which order.
pub(super) fn stopped(report: &StopReport) -> String {
    let summary = &report.summary;
    let mut line = format!("STOPPED in {} ({})", span(summary.elapsed), clean_display(&report.reason, 200));
    if !summary.stopped.is_empty() {
        line = format!("{line}: {}", names(&summary.stopped));
    }
    if !summary.leaked.is_empty() {
        let leaked = list(summary.leaked.iter().map(|(name, _)| name.as_ref()), TIMES_SHOWN);
        line = format!("{line}; LEAKED, stopped but still referenced: {leaked}");
    }
    line + "\n"
}

/// The service was asked to stop while it was starting, and everything was rolled back.
pub(super) fn interrupted(error: &StartupError) -> String {
    let why = clean_display(&error.primary.error.cause(), 200);
    let why = why.strip_prefix("the start was interrupted: ").unwrap_or(&why);
    let rollback = &error.rollback;
    let rolled_back = if rollback.stopped.is_empty() {
        "nothing was up yet".to_owned()
    } else {
        format!("rolled back in {}: {}", span(rollback.elapsed), names(&rollback.stopped))
    };
    format!("STOPPED after {}, before it was ready ({why}): {rolled_back}\n", span(error.primary.at))
}

/// A variable that looks like a mistake.
pub(super) fn warning(found: &EnvWarning) -> String {
    format!("WARNING {}: {}\n", clean(&found.variable, 80), clean(&found.text, 300))
}
