//! The last result as numbers, for `node_exporter`'s text file collector: a process that has ended is never
//! scraped.

use std::{fmt::Write, path::Path};

use crate::{
    contract::tell::{shown, tell},
    files,
    report::{Document, Report},
};

/// Writes the file, whole: <https://github.com/prometheus/node_exporter#textfile-collector>.
pub(super) fn deliver(report: &Report, path: &Path) {
    if let Err(error) = files::replace(path, text(report.document()).as_bytes()) {
        tell!(warn, "the metrics file is not written", path = shown(path.display()), error = shown(error));
    }
}

fn text(document: &Document) -> String {
    let at: Option<jiff::Timestamp> = document.ts.parse().ok();
    let seconds = |millis: f64| millis / 1e3;
    let mut text = Text { service: &document.service, text: String::new() };
    let failed = document.code.is_some();
    text.gauge(
        "last_result_success",
        "Whether the last start or stop succeeded.",
        [(vec![], f64::from(u8::from(!failed)))],
    );
    let code = document.code.as_deref().unwrap_or("ok");
    let stage = document.stage.as_deref().unwrap_or_default();
    let event = document.event.headline();
    let result = vec![("event", event), ("code", code), ("stage", stage)];
    text.gauge("last_result", "What the last result was; always 1.", [(result, 1.0)]);
    if let Some(at) = at {
        let at = at.as_duration().as_secs_f64();
        text.gauge("last_result_timestamp_seconds", "When the last result was.", [(vec![], at)]);
    }
    if let Some(exit) = document.exit_code {
        text.gauge("last_exit_code", "The exit code that the last process chose.", [(vec![], exit.into())]);
    }
    let attempts = document.attempt.as_ref().map_or(0, |attempt| attempt.n);
    let attempts = f64::from(u32::try_from(attempts).unwrap_or(u32::MAX));
    text.gauge("attempts", "How many starts have failed in a row.", [(vec![], attempts)]);
    let stages = document.stages.iter().filter_map(|stage| {
        let labels = vec![("stage", stage.name.as_str()), ("state", stage.state.as_str())];
        Some((labels, seconds(stage.ms?)))
    });
    text.gauge("stage_duration_seconds", "How long the start of each stage took.", stages);
    text.text
}

/// The exposition format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
struct Text<'d> {
    service: &'d str,
    text: String,
}

impl Text<'_> {
    fn gauge<'v>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Vec<(&'v str, &'v str)>, f64)>,
    ) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return;
        }
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.text, "# HELP solostart_{name} {help}\n# TYPE solostart_{name} gauge");
        for (labels, value) in values {
            let _ = write!(self.text, "solostart_{name}{{service=\"{}\"", escape(self.service));
            for (label, of) in labels {
                let _ = write!(self.text, ",{label}=\"{}\"", escape(of));
            }
            let _ = writeln!(self.text, "}} {value}");
        }
    }
}

/// Everything in a document is printable ASCII already.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests;
