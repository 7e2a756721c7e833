//! `report`, `explain` and `env`: what was said, what it means, what can be set.

use serde::Deserialize;

use super::{cannot, print};
use crate::{
    files,
    instance::evidence::quoted,
    report::{Identity, catalogue, printable, printable_json, printable_lines},
    run::telling::refusal_file,
    settings::Env,
    startup::Startup,
};

/// A report with the stages of a large graph is some megabytes.
const REPORT_MOST: u64 = 64 * 1024 * 1024;

#[derive(Deserialize)]
struct Saved {
    ts: String,
    rendered: String,
}

/// The last report, of the service or of an instance that was refused: the later one.
pub(super) fn report(startup: &Startup, json: bool) -> u8 {
    let Some(path) = startup.telling().report_file else { return cannot("the report file is switched off") };
    let paths = [refusal_file(&path), path.clone()];
    let saved = paths.iter().filter_map(|path| {
        let content = files::read(path, REPORT_MOST).ok()?;
        let saved: Saved = serde_json::from_slice(&content).ok()?;
        Some((saved, String::from_utf8(content).ok()?))
    });
    // Times in this form sort as text.
    let Some((saved, line)) = saved.max_by(|(a, _), (b, _)| a.ts.cmp(&b.ts)) else {
        return cannot(&format!("there is no report yet ({})", path.display()));
    };
    // The file may have been written by anybody who can write the data.
    if json {
        print(&printable_json(&line));
    } else {
        print(&printable_lines(&saved.rendered));
        print(&format!("(reported at {})\n", printable(&saved.ts)));
    }
    0
}

/// What a failure code means, with this application's own names, or all of them in a line each.
pub(super) fn explain(code: Option<&str>, startup: &Startup, identity: &Identity) -> u8 {
    let Some(code) = code else {
        for (code, title) in catalogue::all() {
            print(&format!("{code:<26} {title}\n"));
        }
        return 0;
    };
    match catalogue::section(code) {
        Some(text) => {
            let data = printable(&quoted(&startup.data_dir()));
            let marks = [("<app>", &identity.service), ("<P>", &identity.prefix), ("<data>", &data)];
            let text = marks.iter().fold(text.to_owned(), |text, (mark, name)| text.replace(mark, name));
            print(&format!("{text}\n"));
            0
        }
        None => cannot(&format!("`{code}` is not a code of the library; without a code, all are listed")),
    }
}

/// Every variable that the application reads, with its value where that is no secret.
pub(super) fn env(startup: &mut Startup, markdown: bool) -> u8 {
    startup.read_settings();
    let env = startup.env();
    print(&if markdown { markdown_table(&env) } else { effective(&env) });
    0
}

fn effective(env: &Env) -> String {
    let mut shown = String::new();
    for variable in env.catalogue() {
        let set = env.raw(&variable.name).filter(|value| !value.is_empty());
        let file = variable.takes_file.then(|| format!("{}_FILE", variable.name));
        let file = file.filter(|file| env.raw(file).is_some_and(|value| !value.is_empty()));
        let value = match (set, file) {
            (Some(_), _) if variable.secret => "[set, secret]".to_owned(),
            (Some(value), _) => printable(&value.to_string_lossy()),
            (None, Some(file)) => format!("[from {file}]"),
            (None, None) if variable.required => "[MISSING]".to_owned(),
            (None, None) => variable.default.clone().map_or_else(
                || "[not set]".to_owned(),
                |default| format!("{}  (default)", printable(&default)),
            ),
        };
        shown.push_str(&format!("{} = {value}\n", variable.name));
        shown.push_str(&format!("    {} {}\n", variable.description, capital(&variable.form)));
    }
    shown
}

fn capital(form: &str) -> String {
    format!("Write {form}.")
}

fn markdown_table(env: &Env) -> String {
    let mut shown =
        String::from("| Variable | What it is for | Write | Default | Example |\n|---|---|---|---|---|\n");
    let mut variables = env.catalogue();
    variables.sort_by_key(|variable| !variable.required);
    for variable in variables {
        let file = if variable.takes_file { "; or name a file in its `_FILE` twin" } else { "" };
        let default = match (&variable.default, variable.required) {
            (_, true) => "**required**".to_owned(),
            // It may be made of another variable's value.
            (Some(default), _) if !default.is_empty() => format!("`{}`", cell(&printable(default))),
            _ => String::new(),
        };
        let example = variable.example.map_or_else(String::new, |example| format!("`{example}`"));
        shown.push_str(&format!(
            "| `{}` | {} | {}{file} | {default} | {example} |\n",
            variable.name,
            cell(variable.description),
            cell(&variable.form),
        ));
    }
    shown
}

fn cell(text: &str) -> String {
    // A `<word>` would be taken for a tag, and not shown.
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}
