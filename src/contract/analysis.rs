//! What is known of a failure beyond what its hook said: first the application's analysers are asked, then the
//! library's own ([`system`]).

use std::borrow::Cow;

use super::outcome::StageFailure;
use crate::{
    codes::FailureCode,
    contain::contain,
    error::{ErrorKind, Fact, StageError},
};

mod system;

/// The application's analysis of a failure. `None` where it has nothing to say.
pub(crate) type Analyser = Box<dyn Fn(&StageFailure) -> Option<Analysis> + Send + Sync>;

/// What a failure means, as [`Startup::analyse`](crate::Startup::analyse) says it. Whatever is left out stays as
/// the hook said it; facts and actions come after the hook's own.
///
/// ```
/// use solostart::{Analysis, ErrorKind, FailureCode};
///
/// const LICENCE_EXPIRED: FailureCode =
///     FailureCode::new("shop.licence-expired", ErrorKind::Config, "The licence has expired");
///
/// let analysis = Analysis::default()
///     .code(LICENCE_EXPIRED)
///     .fact("expired", "2026-10-01")
///     .hint("Put the new licence into /data/licence.txt.");
/// ```
#[derive(Clone, Default, Debug)]
#[must_use = "it counts only where an analyser returns it"]
pub struct Analysis {
    code: Option<FailureCode>,
    kind: Option<ErrorKind>,
    facts: Vec<Fact>,
    actions: Vec<String>,
}

impl Analysis {
    /// Gives the failure a code, and with it the code's kind.
    pub fn code(mut self, code: FailureCode) -> Self {
        self.code = Some(code);
        self
    }

    /// Sets the kind, and with it the exit code, apart from what the failure code says.
    pub fn kind(mut self, kind: ErrorKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Adds something that the operator should know. Never a secret.
    pub fn fact(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.facts.push(Fact { name: name.into(), value: value.into() });
        self
    }

    /// Adds something that the operator can do, best first. A command should be pasteable.
    pub fn hint(mut self, action: impl Into<String>) -> Self {
        self.actions.push(action.into());
        self
    }

    /// The error with what the analysis adds to it.
    fn of(self, error: StageError) -> StageError {
        let error = self.code.into_iter().fold(error, StageError::code);
        let error = self.kind.into_iter().fold(error, StageError::kind);
        let error = self.facts.into_iter().fold(error, |error, fact| error.fact(fact.name, fact.value));
        self.actions.into_iter().fold(error, StageError::hint)
    }
}

/// The failure with what is known of it. The first analyser that has something to say is heard, and one that
/// panics has nothing to say.
pub(crate) fn analysed(analysers: &[Analyser], mut failure: StageFailure) -> StageFailure {
    let own = analysers.iter().find_map(|analyser| contain(|| analyser(&failure)).ok().flatten());
    if let Some(analysis) = own.or_else(|| system::analyse(&failure.error)) {
        failure.error = analysis.of(failure.error);
    }
    failure
}

#[cfg(test)]
mod tests;
