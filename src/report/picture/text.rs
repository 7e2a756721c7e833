//! The text twin of the timeline.

use super::{Chart, Look, Row, label};

/// Characters between the bars of a row.
const WIDTH: usize = 38;

/// When each stage ran, one row each, and the chain that decided how long the start took.
pub(crate) fn text(chart: &Chart) -> String {
    let column = chart.rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
    let mut shown = format!("{}\n", chart.title);
    if !chart.subtitle.is_empty() {
        shown.push_str(&format!("{}\n", chart.subtitle));
    }
    for row in &chart.rows {
        let line = format!("{:column$} |{}| {}", row.name, bar(row, chart.total_ms), what(row));
        shown.push_str(line.trim_end());
        shown.push('\n');
    }
    if chart.hidden > 0 {
        shown.push_str(&format!("and {} faster stages\n", chart.hidden));
    }
    let critical: Vec<String> = chart.critical().into_iter().map(times).collect();
    if !critical.is_empty() {
        shown.push_str(&format!("critical path: {}\n", critical.join(" <- ")));
    }
    shown
}

/// Blanks while it waits, `#` while it runs, `x` where that failed, `=` where it does not decide the whole.
fn bar(row: &Row, total: f64) -> String {
    let (Some(start), Some(ms)) = (row.start_ms, row.ms) else { return " ".repeat(WIDTH) };
    let (from, to) = (column(start, total), column(start + ms, total));
    let fill = match (row.look, row.critical) {
        (Look::Failed, _) => 'x',
        (_, true) => '#',
        (_, false) => '=',
    };
    let bar: String = (0..WIDTH).map(|at| if (from..=to).contains(&at) { fill } else { ' ' }).collect();
    bar
}

fn column(ms: f64, total: f64) -> usize {
    let share = if total > 0.0 { (ms / total).clamp(0.0, 1.0) } else { 0.0 };
    // At most the width, so that a bar at the very end is still seen.
    (0..WIDTH).rev().find(|&at| share * 38.0 >= f64::from(u8::try_from(at).unwrap_or(u8::MAX))).unwrap_or(0)
}

fn times(row: &Row) -> String {
    let (start, ms) = (row.start_ms.unwrap_or_default(), row.ms.unwrap_or_default());
    format!("{} @{} +{}", row.name, label(start), label(ms))
}

fn what(row: &Row) -> String {
    match (row.start_ms, row.ms) {
        (Some(start), Some(ms)) => format!("@{} +{}  {}", label(start), label(ms), row.look.word()),
        _ if row.needs.is_empty() => row.look.word().to_owned(),
        _ => format!("{} (needs {})", row.look.word(), row.needs.join(", ")),
    }
}
