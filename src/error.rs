//! What a hook returns when it fails, and how that maps to an exit code. Floor 0: imports only floor 0.

use std::{borrow::Cow, error::Error, fmt, io, sync::Arc};

pub use crate::kind::ErrorKind;
use crate::{
    codes::{FailureCode, STAGE_FAILED, is_own, of_kind},
    contain::{contain, shown},
};

/// How many errors of one chain are looked at. A chain has no end that anyone could rely on.
const CAUSES_MOST: usize = 64;

/// The boxed error that every hook's own error becomes.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// What a stage's hooks return.
pub type StageResult<T> = Result<T, StageError>;

/// Something that the process knows about a failure: a path, an owner, an age.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fact {
    /// What it is about, in at most 20 characters: the left column of a report.
    pub name: Cow<'static, str>,
    /// What is known. Never a secret.
    pub value: String,
}

/// Why a hook failed, and what the operator can do about it.
///
/// Any error converts into it with `?`, and then counts as [`ErrorKind::Software`] under the code
/// `stage.failed`, unless an analysis knows better: [`Startup::analyse`](crate::Startup::analyse). Say more where
/// more is known: the operator sees it in the report.
///
/// It does not implement [`Error`] itself; if it did, the conversion from every error would not be
/// possible (the same choice as in `anyhow`).
///
/// ```
/// use solostart::{ErrorKind, Hint, StageResult};
///
/// fn read_key(path: &str) -> StageResult<String> {
///     let key = std::fs::read_to_string(path).hint("create it with `banboard keygen`")?;
///     Ok(key)
/// }
///
/// let error = read_key("/nowhere/key").unwrap_err().kind(ErrorKind::Config).fact("path", "/nowhere/key");
/// assert_eq!(error.error_kind().exit_code(), 78);
/// assert_eq!(error.actions(), ["create it with `banboard keygen`"]);
/// ```
pub struct StageError(Box<Inner>);

struct Inner {
    cause: BoxError,
    code: FailureCode,
    kind: ErrorKind,
    facts: Vec<Fact>,
    actions: Vec<String>,
    retryable: Option<bool>,
}

/// The cause is the application's, and so is its destructor: it must not end whoever lets go of the error.
impl Drop for Inner {
    fn drop(&mut self) {
        let cause = std::mem::replace(&mut self.cause, Box::new(fmt::Error));
        let _unheard = contain(move || drop(cause));
    }
}

impl StageError {
    /// An error of this library's or the application's failure codes.
    #[must_use]
    pub fn new(code: FailureCode, cause: impl Into<BoxError>) -> Self {
        Self(Box::new(Inner {
            cause: cause.into(),
            code,
            kind: code.kind,
            facts: Vec::new(),
            actions: Vec::new(),
            retryable: None,
        }))
    }

    /// Gives the error a failure code, and with it the code's kind.
    #[must_use]
    pub fn code(mut self, code: FailureCode) -> Self {
        self.0.code = code;
        self.0.kind = code.kind;
        self
    }

    /// Sets the kind, and with it the exit code, apart from what the failure code says.
    ///
    /// A failure code of this library has one exit code. An error of another kind gets the general code of that
    /// kind: `stage.misconfigured` of [`ErrorKind::Config`], `stage.busy` of [`ErrorKind::Temporary`], and so on. The
    /// application's own codes stay.
    #[must_use]
    pub fn kind(mut self, kind: ErrorKind) -> Self {
        if kind != self.0.code.kind && is_own(self.0.code) {
            self.0.code = of_kind(kind);
        }
        self.0.kind = kind;
        self
    }

    /// Adds something that the operator should know. Never a secret.
    #[must_use]
    pub fn fact(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.0.facts.push(Fact { name: name.into(), value: value.into() });
        self
    }

    /// Adds something that the operator can do, best first. A command should be pasteable.
    #[must_use]
    pub fn hint(mut self, action: impl Into<String>) -> Self {
        self.0.actions.push(action.into());
        self
    }

    /// Says that another attempt of the same start cannot succeed.
    #[must_use]
    pub fn fatal(mut self) -> Self {
        self.0.retryable = Some(false);
        self
    }

    /// Says that another attempt may succeed although the kind is a permanent one.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.0.retryable = Some(true);
        self
    }

    /// Whether a stage with `.retry(n)` tries again. Unless said otherwise, an error that the hook did
    /// not classify is tried again, and one of a permanent kind is not.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable.unwrap_or(self.is_unclassified() || self.0.kind.restart_helps())
    }

    /// Whether nobody has said what kind of failure it is.
    pub(crate) fn is_unclassified(&self) -> bool {
        self.0.code == STAGE_FAILED && self.0.kind == STAGE_FAILED.kind
    }

    /// The failure code.
    #[must_use]
    pub fn failure_code(&self) -> FailureCode {
        self.0.code
    }

    /// The kind, which decides the exit code.
    #[must_use]
    pub fn error_kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What is known, in the order in which it was added.
    #[must_use]
    pub fn facts(&self) -> &[Fact] {
        &self.0.facts
    }

    /// What the operator can do, best first.
    #[must_use]
    pub fn actions(&self) -> &[String] {
        &self.0.actions
    }

    /// The error itself.
    #[must_use]
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        self.0.cause.as_ref()
    }

    /// The first error of this type in the chain of causes, outermost first, also one that is shared or boxed.
    ///
    /// ```
    /// use std::io;
    /// use solostart::StageError;
    ///
    /// let error = StageError::from(io::Error::other(io::Error::from(io::ErrorKind::StorageFull)));
    /// assert!(error.find::<io::Error>().is_some());
    /// assert!(error.find::<std::fmt::Error>().is_none());
    /// ```
    #[must_use]
    pub fn find<E: Error + 'static>(&self) -> Option<&E> {
        self.causes().find_map(as_error)
    }

    /// The chain of causes, outermost first, as far as anybody would look.
    pub(crate) fn causes(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        causes(self.0.cause.as_ref())
    }

    /// The errors that each of them names as its source, the error itself first.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        chained(self.0.cause.as_ref(), Error::source)
    }

    /// The messages of the whole chain of causes, outermost first, each of them once.
    #[must_use]
    pub fn chain(&self) -> Vec<String> {
        let mut messages: Vec<String> = Vec::new();
        for message in self.sources().map(|error| shown(&error)) {
            // Many crates repeat the source's text in their own, which would print it twice.
            if !messages.iter().any(|earlier| earlier.contains(&message)) {
                messages.push(message);
            }
        }
        messages
    }
}

/// The error and what lies behind it, as far as anybody would look.
pub(crate) fn causes<'e>(
    outermost: &'e (dyn Error + 'static),
) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    chained(outermost, inner)
}

/// Where the application's code cannot say what lies behind an error, nothing does.
fn chained<'e>(
    outermost: &'e (dyn Error + 'static),
    next: impl Fn(&'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)>,
) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(outermost), move |&error| contain(|| next(error)).ok().flatten())
        .take(CAUSES_MOST)
}

/// The error as one of this type. A box and an [`Arc`] are errors of their own, whose `source` is already that of what
/// they hold.
pub(crate) fn as_error<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    error
        .downcast_ref()
        .or_else(|| error.downcast_ref::<Box<E>>().map(AsRef::as_ref))
        .or_else(|| error.downcast_ref::<Arc<E>>().map(AsRef::as_ref))
}

/// What lies behind an error. [`io::Error`] tells of what it wraps as its own: its `source` is already that of the
/// wrapped error, which could then not be found by its type.
fn inner<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    let wrapped = as_error::<io::Error>(error).and_then(io::Error::get_ref);
    wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| error.source())
}

impl<E: Into<BoxError>> From<E> for StageError {
    fn from(cause: E) -> Self {
        Self::new(STAGE_FAILED, cause)
    }
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain().join(": "))
    }
}

impl fmt::Debug for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageError")
            .field("code", &self.0.code.name)
            .field("kind", &self.0.kind)
            .field("cause", &format_args!("{}", shown(&format_args!("{:?}", self.0.cause))))
            .field("facts", &self.0.facts)
            .field("actions", &self.0.actions)
            .finish()
    }
}

/// Adds to a `Result` what the operator can do about its error.
pub trait Hint<T> {
    /// Turns the error into a [`StageError`] that carries `action`.
    ///
    /// # Errors
    /// The same as before, with the action.
    fn hint(self, action: impl Into<String>) -> StageResult<T>;
}

impl<T, E: Into<StageError>> Hint<T> for Result<T, E> {
    fn hint(self, action: impl Into<String>) -> StageResult<T> {
        self.map_err(|error| error.into().hint(action))
    }
}

#[cfg(test)]
mod tests;
