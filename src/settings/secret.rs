//! A value that no log line, report or `Debug` output shows.

use std::fmt;

/// Stands wherever a value must not be printed.
pub(super) const REDACTED: &str = "[redacted]";

/// A secret: a token, a password, a key.
///
/// It prints as `[redacted]`, and it implements neither `PartialEq` nor serde's `Serialize`: a comparison
/// must take the same time for every input, and a secret in a file should be a decision, so both go
/// through [`Secret::expose`], which a reviewer can search for. The memory is not wiped on drop, because
/// the environment block of the process keeps its own copy anyway.
///
/// ```
/// use solostart::Secret;
///
/// let token = Secret::from("tk_1f3a".to_owned());
/// assert_eq!(format!("{token} {token:?}"), "[redacted] Secret([redacted])");
/// assert_eq!(token.expose(), "tk_1f3a");
/// ```
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// The value itself. Pass it to what needs it at once, and keep no other copy.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({REDACTED})")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}
