//! What the environment says about the number of workers: the first layer, before any file is touched.
//!
//! One process cannot see how many others a supervisor is about to start, but the supervisor's own
//! variables say so. Each of them is judged on its own, and all findings stand in one report.

use std::ffi::OsString;

use super::sharing::Surroundings;
use crate::{
    codes,
    error::{StageError, StageResult},
};

/// Reads one variable of the environment.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What a variable's value means.
#[derive(Clone, Copy)]
enum Form {
    /// A number of workers.
    Count,
    /// Which of several replicas this is, counted from 0.
    Index,
    /// Heroku's `web.1`: which of several replicas this is, counted from 1.
    Dyno,
    /// A command line for gunicorn that may hold `--workers`.
    Gunicorn,
}

/// Variables of process managers and platforms, beside `<P>_WORKERS`.
const KNOWN: &[(&str, Form)] = &[
    ("WEB_CONCURRENCY", Form::Count),
    ("UVICORN_WORKERS", Form::Count),
    ("GUNICORN_CMD_ARGS", Form::Gunicorn),
    ("UWSGI_PROCESSES", Form::Count),
    ("NODE_APP_INSTANCE", Form::Index),
    ("CF_INSTANCE_INDEX", Form::Index),
    ("NOMAD_ALLOC_INDEX", Form::Index),
    ("DYNO", Form::Dyno),
];

/// Variables that people confuse with a number of workers. They are named beside a refusal only.
const THREADS: &[&str] = &["TOKIO_WORKER_THREADS", "RAYON_NUM_THREADS"];

/// Heroku's one-off processes: their numbers are drawn from thousands and count nothing.
const ONE_OFF: &[&str] = &["run", "scheduler", "release"];

/// What is wrong with one variable's value, in words for the report.
#[derive(PartialEq, Eq, Debug)]
enum Complaint {
    Several(String),
    Invalid(String),
}

struct Finding<'a> {
    variable: &'a str,
    form: Form,
    complaint: Complaint,
}

/// Refuses an environment that asks for more than one worker, or that is not clear about it.
///
/// # Errors
/// `worker.count-configured` where at least one variable asks for several workers, else `env.invalid`
/// where one cannot be understood. Either way every finding is a fact of the error.
pub(crate) fn check(prefix: &str, more: &[String], lookup: Lookup<'_>) -> StageResult<()> {
    let own = format!("{prefix}_WORKERS");
    let counts = std::iter::once(own.as_str()).chain(more.iter().map(String::as_str));
    let variables = counts.map(|name| (name, Form::Count)).chain(KNOWN.iter().copied());
    let findings: Vec<Finding<'_>> = variables
        .filter_map(|(variable, form)| {
            let complaint = judge_raw(form, lookup(variable)?)?;
            Some(Finding { variable, form, complaint })
        })
        .collect();
    if findings.is_empty() { Ok(()) } else { Err(refusal(&own, &findings, lookup)) }
}

fn judge_raw(form: Form, value: OsString) -> Option<Complaint> {
    match value.to_str().map(str::trim) {
        None => Some(Complaint::Invalid("is not text".to_owned())),
        // A variable that Compose cannot fill in becomes the empty string, not an unset one.
        Some("") => None,
        Some(value) => judge(form, value),
    }
}

fn judge(form: Form, value: &str) -> Option<Complaint> {
    match form {
        Form::Count => count("", value),
        Form::Index => replica(value, 0),
        Form::Dyno => match value.rsplit_once('.') {
            Some((process, _)) if ONE_OFF.contains(&process) => None,
            Some((_, number)) => replica(number, 1),
            None => Some(Complaint::Invalid("is not of the form web.1".to_owned())),
        },
        Form::Gunicorn => match workers_flag(value) {
            Ok(flag) => flag.and_then(|workers| count("--workers ", workers.trim())),
            Err(complaint) => Some(Complaint::Invalid(complaint.to_owned())),
        },
    }
}

/// Judges a number of workers. A value that is not a number is not repeated: it may be anything,
/// also a secret that was put into the wrong variable.
fn count(flag: &str, value: &str) -> Option<Complaint> {
    match value.parse::<i64>() {
        Ok(1) => None,
        Ok(several @ 2..) => Some(Complaint::Several(format!("{flag}{several}: asks for {several} workers"))),
        Ok(none) => Some(Complaint::Invalid(format!("{flag}{none}: is not a number of workers; write 1"))),
        Err(_) if matches!(value, "auto" | "max") => {
            Some(Complaint::Invalid(format!("{flag}{value}: one worker for each processor; write 1")))
        }
        Err(_) => Some(Complaint::Invalid(format!("{flag}is not a whole number; write 1"))),
    }
}

fn replica(value: &str, first: i64) -> Option<Complaint> {
    match value.parse::<i64>() {
        Ok(index) if index == first => None,
        Ok(index) if index > first => {
            Some(Complaint::Several(format!("{index}: is not the first replica, which is {first}")))
        }
        Ok(index) => Some(Complaint::Invalid(format!("{index}: is not the number of a replica"))),
        Err(_) => Some(Complaint::Invalid("is not the number of a replica".to_owned())),
    }
}

/// The value of the last `-w` or `--workers`, as gunicorn's argparse reads them.
fn workers_flag(arguments: &str) -> Result<Option<String>, &'static str> {
    // Python's shlex.split, which gunicorn uses, knows no comments; this one does, and would not see
    // a flag behind a hash. Nothing but the flag's value is used, so any other character will do.
    let words = shlex::split(&arguments.replace('#', "_")).ok_or("has an open quotation mark")?;
    let mut words = words.into_iter().take_while(|word| word != "--");
    let mut last = None;
    while let Some(word) = words.next() {
        let value = if word == "-w" || word == "--workers" {
            words.next().ok_or("ends with --workers, without a number")?
        } else if let Some(value) = word.strip_prefix("--workers=") {
            value.to_owned()
        } else if let Some(value) = word.strip_prefix("-w") {
            value.strip_prefix('=').unwrap_or(value).to_owned()
        } else {
            continue;
        };
        last = Some(value);
    }
    Ok(last)
}

fn refusal(own: &str, findings: &[Finding<'_>], lookup: Lookup<'_>) -> StageError {
    let several = findings.iter().any(|finding| matches!(finding.complaint, Complaint::Several(_)));
    let mut error = if several {
        StageError::new(
            codes::WORKER_COUNT_CONFIGURED,
            "This service must run as exactly one worker process, but the environment asks for more than \
             one. Two workers would run every scheduled task twice.",
        )
    } else {
        StageError::new(
            codes::ENV_INVALID,
            "This service must run as exactly one worker process, and the environment is not clear about \
             how many it asks for.",
        )
    };
    for Finding { variable, complaint, .. } in findings {
        let (Complaint::Several(text) | Complaint::Invalid(text)) = complaint;
        error = error.fact((*variable).to_owned(), text.as_str());
    }
    if lookup(own).is_none_or(|value| value.is_empty()) {
        error = error.fact(own.to_owned(), "not set (1 is the default)");
    }
    for threads in THREADS.iter().filter(|name| lookup(name).is_some_and(|value| !value.is_empty())) {
        error = error.fact(*threads, "threads, not workers: fine");
    }
    for action in actions(findings) {
        error = error.hint(action);
    }
    error
}

fn actions(findings: &[Finding<'_>]) -> Vec<String> {
    let names = |wanted: fn(&Form) -> bool| {
        let names = findings.iter().filter(|finding| wanted(&finding.form));
        names.map(|finding| finding.variable).collect::<Vec<_>>().join(", ")
    };
    let counts = names(|form| matches!(form, Form::Count));
    let flags = names(|form| matches!(form, Form::Gunicorn));
    let replicas = names(|form| matches!(form, Form::Index | Form::Dyno));
    let surroundings = Surroundings::default();
    let (place, shown) = (surroundings.platform().settings_place(), surroundings.platform().settings_shown());
    let mut actions = Vec::new();
    if !counts.is_empty() {
        actions.push(format!("Set {counts} to 1, or remove it, {place}"));
    }
    if !flags.is_empty() {
        actions.push(format!("Remove -w and --workers from {flags}, {place}"));
    }
    if !replicas.is_empty() {
        actions.push(format!("Run one replica of this service; {replicas} comes from whatever scales it"));
    }
    actions.push(format!("See what the process really gets: {shown}"));
    actions
}

#[cfg(test)]
mod tests;
