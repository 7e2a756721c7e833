//! The short form of a report: for repeats, and for places with little room.

use super::document::Document;

/// Kubernetes keeps 4096 bytes of a termination message, and 2048 where it takes the end of the log:
/// <https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/>. Three lines of
/// this length are below either.
const LINE: usize = 400;

/// What failed, the first thing to do about it, and which attempt this is: three lines at most.
pub(super) fn short(document: &Document) -> String {
    let Some(code) = &document.code else { return document.rendered.clone() };
    let stage = document.stage.as_deref().unwrap_or("startup");
    let what = document.event.headline();
    let name = document.exit_name.unwrap_or_default();
    let exit = document.exit_code.map_or_else(String::new, |exit| format!(" exit {exit} ({name})"));
    let why = document.cause.first().or(document.title.as_ref()).map_or("", String::as_str);
    let mut lines = vec![format!("{what}  {stage}  [{code}]{exit}: {why}")];
    if let Some(action) = document.actions.first() {
        let fix = action.command.as_ref().unwrap_or(&action.text);
        lines.push(format!("  fix: {}", fix.replace('\n', " ")));
    }
    let again = document.attempt.as_ref().map(|attempt| {
        let first = attempt.first_at.strftime("%Y-%m-%dT%H:%M:%SZ");
        format!("attempt {}, same since {first}. ", attempt.n)
    });
    let helps = match document.restart_helps {
        Some(true) => "Restarting MAY help.",
        Some(false) => "Restarting will NOT help.",
        None => "",
    };
    let last = format!("  {}Full report: {} report. {helps}", again.unwrap_or_default(), document.service);
    lines.push(last);
    lines.into_iter().map(|line| cut(line.trim_end()) + "\n").collect()
}

fn cut(line: &str) -> String {
    // Everything in a document is printable ASCII, so a byte is a character.
    if line.len() <= LINE {
        line.to_owned()
    } else {
        format!("{}...", &line[..line.floor_char_boundary(LINE)])
    }
}
