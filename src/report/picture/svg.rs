//! The timeline as a drawing that every browser shows: one row a stage, in the manner of
//! `systemd-analyze plot`.

use std::fmt::Write;

use super::{Chart, Look, Row, label};

const WIDTH: f64 = 960.0;
const ROW: f64 = 28.0;
const TOP: f64 = 64.0;
const MARGIN: f64 = 12.0;
/// The width of a character of a monospaced font of 12 pixels.
const CHARACTER: f64 = 7.3;

/// The drawing. A stage's own time is a bar, its wait for prerequisites a thin line before it; the critical
/// path has a dark outline, what failed is hatched, and each bar says in words what it is.
pub(crate) fn svg(chart: &Chart) -> String {
    let shown = Shown::new(chart);
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    let _written = shown.write(chart, &mut out);
    out
}

/// Where things are.
struct Shown {
    left: f64,
    scale: f64,
    bottom: f64,
    height: f64,
}

impl Shown {
    fn new(chart: &Chart) -> Self {
        let longest = chart.rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
        let left = MARGIN * 2.0 + CHARACTER * f64::from(u32::try_from(longest).unwrap_or_default());
        let rows = f64::from(u32::try_from(chart.rows.len()).unwrap_or_default());
        let bottom = TOP + ROW * rows;
        let scale = (WIDTH - left - MARGIN) / chart.total_ms.max(0.001);
        Self { left, scale, bottom, height: bottom + 62.0 }
    }

    fn at(&self, ms: f64) -> f64 {
        self.left + ms * self.scale
    }

    fn write(&self, chart: &Chart, out: &mut String) -> std::fmt::Result {
        let Self { bottom, height, .. } = *self;
        let title = escape(&chart.title);
        writeln!(
            out,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" font-family="ui-monospace,monospace" font-size="12">"#
        )?;
        writeln!(out, "<title>{title}</title>")?;
        writeln!(
            out,
            "<desc>Stages by the time at which they began. A dotted line is waiting, a bar the stage's own time; \
             a dark outline marks the critical path; hatching marks what failed.</desc>"
        )?;
        out.push_str(PATTERN);
        writeln!(out, r##"<rect width="{WIDTH}" height="{height}" fill="#fff"/>"##)?;
        writeln!(
            out,
            r##"<text x="{MARGIN}" y="24" font-size="15" font-weight="bold" fill="#111">{title}</text>"##
        )?;
        writeln!(out, r##"<text x="{MARGIN}" y="44" fill="#555">{}</text>"##, escape(&chart.subtitle))?;
        for tick in ticks(chart.total_ms) {
            let x = self.at(tick);
            writeln!(
                out,
                r##"<line x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{bottom}" stroke="#ddd"/><text x="{:.1}" y="{}" fill="#666">{}</text>"##,
                x + 3.0,
                bottom + 16.0,
                tick_label(tick)
            )?;
        }
        let mut y = TOP;
        for row in &chart.rows {
            self.row(row, y, out)?;
            y += ROW;
        }
        let more = match chart.hidden {
            0 => String::new(),
            hidden => format!("; and {hidden} faster stages"),
        };
        writeln!(
            out,
            r##"<text x="{MARGIN}" y="{}" fill="#555">dark outline: critical path; dotted line: waiting for prerequisites; hatched: failed{more}</text>"##,
            bottom + 44.0
        )?;
        out.push_str("</svg>\n");
        Ok(())
    }

    fn row(&self, row: &Row, y: f64, out: &mut String) -> std::fmt::Result {
        let (name, base) = (escape(&row.name), y + 18.0);
        writeln!(out, r##"<text x="{MARGIN}" y="{base}" fill="#111">{name}</text>"##)?;
        let (Some(start), Some(ms)) = (row.start_ms, row.ms) else {
            let needs = if row.needs.is_empty() {
                String::new()
            } else {
                format!(" (needs {})", row.needs.join(", "))
            };
            return writeln!(
                out,
                r##"<text x="{:.1}" y="{base}" fill="#555">{}{}</text>"##,
                self.left + 6.0,
                row.look.word(),
                escape(&needs)
            );
        };
        let (x, width) = (self.at(start), (ms * self.scale).max(2.5));
        let middle = y + ROW / 2.0;
        if start > 0.0 {
            writeln!(
                out,
                r##"<line x1="{:.1}" x2="{x:.1}" y1="{middle}" y2="{middle}" stroke="#999" stroke-dasharray="2 3"/>"##,
                self.left
            )?;
        }
        let (fill, words) = look(row);
        let outline =
            if row.critical { r##" stroke="#111" stroke-width="2""## } else { r##" stroke="#777""## };
        writeln!(
            out,
            r#"<rect x="{x:.1}" y="{}" width="{width:.1}" height="18" rx="2" fill="{fill}"{outline}><title>{name}: {}, began after {}, took {}</title></rect>"#,
            y + 5.0,
            row.look.word(),
            label(start),
            label(ms)
        )?;
        let says = if words.is_empty() { label(ms) } else { format!("{} {words}", label(ms)) };
        let length = CHARACTER * f64::from(u32::try_from(says.len()).unwrap_or_default());
        // Beside the bar where there is room, before it where there is not.
        let after = x + width + 6.0;
        let (at, anchor) = if after + length < WIDTH { (after, "start") } else { (x - 6.0, "end") };
        let (at, anchor) =
            if anchor == "end" && at - length < self.left { (x + 6.0, "start") } else { (at, anchor) };
        writeln!(
            out,
            r##"<text x="{at:.1}" y="{base}" text-anchor="{anchor}" fill="#111" stroke="#fff" stroke-width="6" stroke-linejoin="round" paint-order="stroke">{says}</text>"##
        )
    }
}

const PATTERN: &str = r##"<defs><pattern id="failed" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="8" height="8" fill="#ef9a9a"/><rect width="3" height="8" fill="#c62828"/></pattern></defs>
"##;

fn look(row: &Row) -> (&'static str, &'static str) {
    match row.look {
        Look::Up => ("#a5d6a7", ""),
        Look::Running => ("#90caf9", "running"),
        Look::Failed => ("url(#failed)", "FAILED"),
        Look::RolledBack => ("#ffcc80", "rolled back"),
        Look::NotStarted => ("#eee", "not started"),
    }
}

/// About six round times over the whole.
fn ticks(total: f64) -> impl Iterator<Item = f64> {
    let rough = (total / 6.0).max(0.0001);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|each| each * power).find(|&step| step >= rough);
    let step = step.unwrap_or(power);
    (0_u8..12).map(move |at| f64::from(at) * step).take_while(move |&tick| tick <= total)
}

fn tick_label(ms: f64) -> String {
    if ms >= 1000.0 { format!("{} s", ms / 1e3) } else { format!("{} ms", (ms * 1e4).round() / 1e4) }
}

/// Text as XML holds it; it is printable ASCII already.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
