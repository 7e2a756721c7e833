//! Pictures of a start: when each stage ran and which of them decided how long it took, and what waits for
//! what. Each as text, too. Pure: from a [`Chart`] to a `String`.
//!
//! No picture tells anything by colour alone: a state is a word, the critical path an outline.

use serde::Deserialize;

use super::{clean::clean, document::StageLine, words::stage};
use crate::contract::{state::StageState, status::Timeline};

mod graph;
mod svg;
mod text;

pub(crate) use graph::{dot, mermaid, plain};
pub(crate) use svg::svg;
pub(crate) use text::text;

/// The start of a running service as a drawing, for a page: an SVG document with `title` above it. One row a
/// stage, its own time apart from its waiting, the critical path outlined.
///
/// ```no_run
/// # fn example(status: &solostart::Status) -> String {
/// solostart::timeline_svg(&status.timeline(), "start of banboard")
/// # }
/// ```
#[must_use]
pub fn timeline_svg(timeline: &Timeline, title: &str) -> String {
    svg(&Chart::of_timeline(timeline, title))
}

/// The text twin of [`timeline_svg`], for a terminal or a log.
#[must_use]
pub fn timeline_text(timeline: &Timeline, title: &str) -> String {
    text(&Chart::of_timeline(timeline, title))
}

/// How many stages are drawn. Of a larger graph the slowest are, with the critical path and the failures.
const ROWS_MOST: usize = 200;

/// What is drawn.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Chart {
    /// What happened, in one line.
    pub(crate) title: String,
    /// Who, when and where.
    pub(crate) subtitle: String,
    pub(crate) total_ms: f64,
    pub(crate) rows: Vec<Row>,
    /// How many stages are not drawn.
    pub(crate) hidden: usize,
}

/// One stage.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) needs: Vec<String>,
    pub(crate) look: Look,
    pub(crate) start_ms: Option<f64>,
    pub(crate) ms: Option<f64>,
    pub(crate) critical: bool,
}

impl Row {
    /// A stage without times. The only way to make one, so that no name comes into a picture as a file has it.
    fn new(name: &str, needs: &[String], look: Look) -> Self {
        let needs = needs.iter().map(|need| stage(need)).collect();
        Self { name: stage(name), needs, look, start_ms: None, ms: None, critical: false }
    }
}

/// What became of a stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Look {
    Up,
    Running,
    Failed,
    RolledBack,
    NotStarted,
}

impl Look {
    fn of(state: &str) -> Self {
        use StageState as S;
        let known = S::ALL.into_iter().find(|known| known.word() == state);
        match known.unwrap_or(S::Pending) {
            S::Up => Self::Up,
            S::Starting | S::Interrupting | S::Stopping => Self::Running,
            S::Failed | S::StopFailed | S::Stuck => Self::Failed,
            S::Stopped | S::Cancelled => Self::RolledBack,
            S::Pending | S::Skipped => Self::NotStarted,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Running => "running",
            Self::Failed => "FAILED",
            Self::RolledBack => "rolled back",
            Self::NotStarted => "not started",
        }
    }
}

impl Chart {
    /// The stages of a start as they stand, for the page of a running service.
    pub(crate) fn of_timeline(timeline: &Timeline, title: &str) -> Self {
        let rows = timeline.stages.iter().map(StageLine::new).map(Row::from);
        let total_ms = timeline.total.as_secs_f64() * 1e3;
        Self::new(title, "", total_ms, rows.collect())
    }

    /// The stages as a report in its JSON form tells them; `None` where it is none, or tells of no stage.
    pub(crate) fn of_report(json: &[u8]) -> Option<Self> {
        let saved: Saved = serde_json::from_slice(json).ok()?;
        let version = saved.version.unwrap_or_default();
        let from = format!("{} {version}", saved.service);
        let from = format!("{}, instance {}, {}", from.trim_end(), saved.process.instance, saved.ts);
        let title = saved.rendered.lines().find(|line| !line.starts_with('=')).unwrap_or_default();
        let title = title.split(": ").next().unwrap_or_default();
        let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut rows: Vec<Row> = saved.stages.into_iter().map(Row::from).collect();
        // How far each stage came is noted before the rollback, so that the report says what had been up.
        let back = saved.rollback.map(|rollback| rollback.order).unwrap_or_default();
        let back: Vec<String> = back.iter().map(|name| stage(name)).collect();
        for row in rows.iter_mut().filter(|row| row.look == Look::Up && back.contains(&row.name)) {
            row.look = Look::RolledBack;
        }
        let ends = rows.iter().filter_map(|row| Some(row.start_ms? + row.ms?));
        let total = ends.fold(saved.elapsed_ms.unwrap_or_default(), f64::max);
        (!rows.is_empty()).then(|| Self::new(&title, &from, total, rows))
    }

    /// The stages as they are declared, of a start that has not been made.
    pub(crate) fn declared(service: &str, stages: impl IntoIterator<Item = (String, Vec<String>)>) -> Self {
        let rows = stages.into_iter().map(|(name, needs)| Row::new(&name, &needs, Look::NotStarted));
        Self::new(service, "", 0.0, rows.collect())
    }

    /// Whether it shows the same stages, with the same prerequisites.
    pub(crate) fn has_stages_of(&self, other: &Self) -> bool {
        let shape = |chart: &Self| -> Vec<(String, Vec<String>)> {
            chart.rows.iter().map(|row| (row.name.clone(), row.needs.clone())).collect()
        };
        shape(self) == shape(other)
    }

    fn new(title: &str, subtitle: &str, total_ms: f64, mut rows: Vec<Row>) -> Self {
        let hidden = rows.len().saturating_sub(ROWS_MOST);
        if hidden > 0 {
            let mut marks: Vec<(bool, f64)> = rows
                .iter()
                .map(|row| (row.critical || row.look == Look::Failed, row.ms.unwrap_or_default()))
                .collect();
            marks.sort_by(|a, b| b.partial_cmp(a).unwrap_or(std::cmp::Ordering::Equal));
            let least = marks[ROWS_MOST - 1];
            rows.retain(|row| {
                (row.critical || row.look == Look::Failed, row.ms.unwrap_or_default()) >= least
            });
            rows.truncate(ROWS_MOST);
        }
        Self { title: clean(title, 120), subtitle: clean(subtitle, 160), total_ms, rows, hidden }
    }

    /// The chain of stages that decided how long the start took, last one first.
    fn critical(&self) -> Vec<&Row> {
        let mut critical: Vec<&Row> = self.rows.iter().filter(|row| row.critical).collect();
        let begin = |row: &Row| row.start_ms.unwrap_or_default();
        critical.sort_by(|a, b| begin(b).total_cmp(&begin(a)));
        critical
    }
}

/// What a picture takes from a report.
#[derive(Deserialize)]
struct Saved {
    service: String,
    version: Option<String>,
    ts: String,
    rendered: String,
    process: SavedProcess,
    stages: Vec<StageLine>,
    elapsed_ms: Option<f64>,
    rollback: Option<SavedRollback>,
}

#[derive(Deserialize)]
struct SavedRollback {
    order: Vec<String>,
}

#[derive(Deserialize)]
struct SavedProcess {
    instance: String,
}

impl From<StageLine> for Row {
    fn from(line: StageLine) -> Self {
        let look = Look::of(&line.state);
        let StageLine { start_ms, ms, critical, .. } = line;
        Self { start_ms, ms, critical, ..Self::new(&line.name, &line.needs, look) }
    }
}

/// A time as a label says it: three digits that count.
fn label(ms: f64) -> String {
    match ms {
        ..0.9995 => format!("{:.0} us", ms * 1e3),
        ..9.995 => format!("{ms:.2} ms"),
        ..99.95 => format!("{ms:.1} ms"),
        ..999.5 => format!("{ms:.0} ms"),
        _ => format!("{:.2} s", ms / 1e3),
    }
}

#[cfg(test)]
mod tests;
