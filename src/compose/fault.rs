//! What is wrong with a Compose file, and where.

use std::{fmt, sync::Arc};

use crate::{
    codes::{COMPOSE_INVALID, FailureCode},
    error::StageError,
};

/// A line of a file. Line 0 is the file as a whole.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    pub(super) file: Arc<str>,
    pub(super) line: usize,
}

impl Place {
    pub(super) fn whole(file: &Arc<str>) -> Self {
        Self { file: Arc::clone(file), line: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.file) } else { write!(f, "{}:{}", self.file, self.line) }
    }
}

/// Why the files cannot be read any further. Compose would refuse them, too.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) at: Place,
    pub(super) text: String,
    pub(super) hint: Option<String>,
}

impl Fault {
    pub(super) fn new(at: &Place, text: impl Into<String>) -> Self {
        Self { at: at.clone(), text: text.into(), hint: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// Whether a finding keeps the service from working, or only an operator from sleeping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Weight {
    Problem,
    Warning,
}

/// Something that is wrong, with what to write instead.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) weight: Weight,
    pub(super) code: FailureCode,
    /// The service that it is about, or `compose` where it is about the files.
    pub(super) service: String,
    pub(super) at: Place,
    pub(super) text: String,
    pub(super) hint: Option<String>,
}

impl Finding {
    pub(super) fn error(self) -> StageError {
        let error = StageError::new(self.code, format!("{}: {}", self.at, self.text));
        self.hint.into_iter().fold(error, StageError::hint)
    }
}

impl From<Fault> for Finding {
    fn from(fault: Fault) -> Self {
        let Fault { at, text, hint } = fault;
        let service = "compose".to_owned();
        Self { weight: Weight::Problem, code: COMPOSE_INVALID, service, at, text, hint }
    }
}
