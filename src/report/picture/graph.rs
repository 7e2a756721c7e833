//! What waits for what: as text, for Graphviz, and for Mermaid. An arrow means "must be up before".

use super::{Chart, Look, Row, label};

/// One line a stage: what it is, and what it needs.
pub(crate) fn plain(chart: &Chart) -> String {
    let column = chart.rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
    let line = |row: &Row| {
        let needs =
            if row.needs.is_empty() { String::new() } else { format!("  <- {}", row.needs.join(", ")) };
        let state = state(row).map_or_else(String::new, |state| format!("  [{state}]"));
        let line = format!("{:column$}{needs}{state}", row.name);
        line.trim_end().to_owned() + "\n"
    };
    chart.rows.iter().map(line).chain(more(chart, "").map(|more| more + "\n")).collect()
}

/// For Graphviz: `dot -Tsvg`.
pub(crate) fn dot(chart: &Chart) -> String {
    let mut out =
        String::from("digraph startup {\n  rankdir=LR;\n  node [shape=box, style=\"rounded,filled\"];\n");
    for row in &chart.rows {
        let (fill, _, _, border) = look(row);
        let pen = if row.critical { 3 } else { 1 };
        let state = state(row).map_or_else(String::new, |state| format!("\\n{state}"));
        let name = quoted(&row.name);
        out.push_str(&format!(
            "  \"{name}\" [label=\"{name}{state}\", fillcolor=\"{fill}\", penwidth={pen}, style=\"rounded,filled{border}\"];\n"
        ));
    }
    for row in &chart.rows {
        for need in &row.needs {
            out.push_str(&format!("  \"{}\" -> \"{}\";\n", quoted(need), quoted(&row.name)));
        }
    }
    out.extend(more(chart, "  // ").map(|more| more + "\n"));
    out + "}\n"
}

/// For Mermaid, which GitHub and many wikis draw.
pub(crate) fn mermaid(chart: &Chart) -> String {
    let mut out = String::from("flowchart LR\n");
    let id = |name: &str| chart.rows.iter().position(|row| row.name == name).map(|at| format!("s{at}"));
    for (at, row) in chart.rows.iter().enumerate() {
        let state = state(row).map_or_else(String::new, |state| format!("<br/>{state}"));
        out.push_str(&format!("  s{at}[\"{}{state}\"]\n", entities(&row.name)));
    }
    for (at, row) in chart.rows.iter().enumerate() {
        for need in row.needs.iter().filter_map(|need| id(need)) {
            out.push_str(&format!("  {need} --> s{at}\n"));
        }
    }
    for class in [Look::Up, Look::Running, Look::Failed, Look::RolledBack, Look::NotStarted] {
        let (fill, name, stroke, _) = colours(class);
        let of: Vec<String> = chart
            .rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.look == class)
            .map(|(at, _)| format!("s{at}"))
            .collect();
        if !of.is_empty() {
            out.push_str(&format!("  classDef {name} fill:{fill},color:#111,{stroke}\n"));
            out.push_str(&format!("  class {} {name}\n", of.join(",")));
        }
    }
    out.extend(more(chart, "  %% ").map(|more| more + "\n"));
    out
}

/// What is known of a stage beside its name; nothing of a start that was not made.
fn state(row: &Row) -> Option<String> {
    match (row.look, row.ms) {
        (_, Some(ms)) => Some(format!("{} {}", row.look.word(), label(ms))),
        (Look::NotStarted, None) => None,
        (Look::Up | Look::Running | Look::Failed | Look::RolledBack, None) => {
            Some(row.look.word().to_owned())
        }
    }
}

fn more(chart: &Chart, mark: &str) -> Option<String> {
    (chart.hidden > 0).then(|| format!("{mark}and {} more stages", chart.hidden))
}

type Colours = (&'static str, &'static str, &'static str, &'static str);

fn look(row: &Row) -> Colours {
    colours(row.look)
}

/// The ground, the class, its outline in Mermaid, and its outline in DOT.
fn colours(look: Look) -> Colours {
    match look {
        Look::Up => ("#e8f5e9", "up", "stroke:#2e7d32", ""),
        Look::Running => ("#e3f2fd", "running", "stroke:#1565c0", ""),
        Look::Failed => ("#ffebee", "failed", "stroke:#c62828,stroke-width:3px", ",bold"),
        Look::RolledBack => ("#fff3e0", "back", "stroke:#ef6c00,stroke-dasharray:6 2", ",dashed"),
        Look::NotStarted => ("#f5f5f5", "waits", "stroke:#9e9e9e,stroke-dasharray:2 3", ",dotted"),
    }
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Text within a quoted Mermaid label.
fn entities(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
