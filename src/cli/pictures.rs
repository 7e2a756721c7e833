//! `graph` and `timeline`: what waits for what, and how the last start went.

use super::{cannot, print};
use crate::{
    files,
    report::picture::{Chart, dot, mermaid, plain, svg, text},
    startup::Startup,
};

/// The form of a picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    Text,
    Dot,
    Mermaid,
    Svg,
}

/// A report with the stages of a large graph is some megabytes.
const REPORT_MOST: u64 = 64 * 1024 * 1024;

/// What waits for what. With the states and times of the last start, where it had the same stages.
pub(super) fn graph(startup: &Startup, format: Format) -> u8 {
    let graph = &startup.plan.graph;
    let name = |id| graph.name(id).to_string();
    let stages = graph.ids().map(|id| (name(id), graph.prerequisites(id).map(name).collect()));
    let declared = Chart::declared(startup.name(), stages);
    let chart = last(startup).filter(|last| last.has_stages_of(&declared)).unwrap_or(declared);
    print(&match format {
        Format::Dot => dot(&chart),
        Format::Mermaid => mermaid(&chart),
        Format::Text | Format::Svg => plain(&chart),
    });
    0
}

/// How the last start went, from the report that it left.
pub(super) fn timeline(startup: &Startup, format: Format) -> u8 {
    let Some(chart) = last(startup) else {
        let path = startup.telling().report_file;
        let path = path.map_or_else(|| "it is switched off".to_owned(), |path| path.display().to_string());
        return cannot(&format!("no start has left a report yet ({path})"));
    };
    print(&match format {
        Format::Svg => svg(&chart),
        Format::Text | Format::Dot | Format::Mermaid => text(&chart),
    });
    0
}

fn last(startup: &Startup) -> Option<Chart> {
    Chart::of_report(&files::read(&startup.telling().report_file?, REPORT_MOST).ok()?)
}
