//! What is wrong with the environment, worded for the operator and safe to print.

use std::{borrow::Cow, error::Error, fmt};

use crate::{
    clean,
    codes::ENV_INVALID,
    error::{Fact, StageError},
};

/// How much of a bad value is printed.
const ECHO_LIMIT: usize = 40;

/// One variable that keeps the service from starting.
///
/// Problems sort by variable, so that a report reads the same whatever order the stages were added in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub struct EnvProblem {
    /// The full name of the variable; the name that ends in `_FILE` if the file is at fault.
    pub variable: String,
    /// What is wrong. Never the value of a secret.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

impl EnvProblem {
    pub(super) fn new(variable: &str, what: impl AsRef<str>, remedy: impl AsRef<str>) -> Self {
        Self {
            variable: printable(variable, usize::MAX),
            what: one_line(what.as_ref()),
            remedy: one_line(remedy.as_ref()),
        }
    }
}

impl fmt::Display for EnvProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.variable, self.what, self.remedy)
    }
}

/// One variable that looks like a mistake, although the service can start with it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub struct EnvWarning {
    /// The full name of the variable.
    pub variable: String,
    /// What looks wrong. Never the value.
    pub text: String,
}

impl EnvWarning {
    pub(crate) fn new(variable: &str, text: impl AsRef<str>) -> Self {
        Self { variable: printable(variable, 80), text: one_line(text.as_ref()) }
    }
}

impl fmt::Display for EnvWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.text)
    }
}

/// Everything that is wrong with the environment: all problems, and the warnings beside them.
///
/// A misspelt name shows as a missing variable and as a warning, so the warnings belong to the answer.
///
/// It is an ordinary error, so `?` turns it into a [`StageError`] like any other, under `stage.failed`.
/// Use [`EnvProblems::into_stage_error`] for the code `env.invalid` and one fact per problem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvProblems {
    problems: Vec<EnvProblem>,
    warnings: Vec<EnvWarning>,
}

impl EnvProblems {
    pub(super) fn new(problems: Vec<EnvProblem>, warnings: Vec<EnvWarning>) -> Self {
        Self { problems, warnings }
    }

    /// The problems, sorted by variable; at least one.
    #[must_use]
    pub fn problems(&self) -> &[EnvProblem] {
        &self.problems
    }

    /// The warnings, sorted by variable.
    #[must_use]
    pub fn warnings(&self) -> &[EnvWarning] {
        &self.warnings
    }

    /// The failure as a report lists it: code `env.invalid`, one fact for each problem, then one for each
    /// warning, each named by its variable.
    #[must_use]
    pub fn into_stage_error(self) -> StageError {
        let problems = self
            .problems
            .iter()
            .map(|each| (each.variable.clone(), format!("{}; {}", each.what, each.remedy)));
        let warnings =
            self.warnings.iter().map(|each| (each.variable.clone(), format!("warning: {}", each.text)));
        problems
            .chain(warnings)
            .map(|(name, value)| Fact { name: Cow::Owned(name), value })
            .fold(StageError::new(ENV_INVALID, self.headline()), |error, fact| {
                error.fact(fact.name, fact.value)
            })
    }

    fn headline(&self) -> String {
        match self.problems.len() {
            1 => "1 problem in the environment".to_owned(),
            many => format!("{many} problems in the environment"),
        }
    }
}

impl fmt::Display for EnvProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.headline())?;
        self.problems.iter().try_for_each(|each| write!(f, "\n  {each}"))?;
        self.warnings.iter().try_for_each(|each| write!(f, "\n  {} (warning)", each))
    }
}

impl Error for EnvProblems {}

/// What a form says about a value that it refuses, worded to follow the value: `"30" has no unit`.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Fault {
    pub(super) what: &'static str,
    /// What to write; `None` means that the form's own description says it.
    pub(super) remedy: Option<String>,
}

impl Fault {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, remedy: None }
    }

    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

/// The bad value of a variable that is not secret, in quotes.
///
/// Anything in which a password could stand is withheld: in the wrong variable it is often a connection string.
pub(super) fn echo(value: &str) -> String {
    if clean::may_hold_a_password(value) {
        "the value".to_owned()
    } else {
        format!("\"{}\"", printable(value, ECHO_LIMIT))
    }
}

/// `text` in printable ASCII, everything else escaped, cut after `limit` characters.
pub(super) fn printable(text: &str, limit: usize) -> String {
    let mut shown = String::new();
    for each in text.chars() {
        if shown.len() >= limit {
            shown.push_str("...");
            break;
        }
        shown.extend(each.escape_default());
    }
    shown
}

/// `text` without characters that could forge a line of a log or drive a terminal.
fn one_line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, each| {
        match each {
            ' '..='~' => line.push(each),
            _ => line.extend(each.escape_default()),
        }
        line
    })
}
