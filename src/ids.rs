//! Names and identities. Floor 0: imports nothing of ours.

use std::{
    borrow::{Borrow, Cow},
    fmt,
    ops::Deref,
    sync::Arc,
};

use uuid::Uuid;

/// The longest stage name. A name stands in a report line of 80 columns beside its state and time.
pub(crate) const STAGE_NAME_MAX: usize = 40;

/// Whether `name` can name a stage: lower-case letters, digits and single hyphens, a letter first.
///
/// A stage's name becomes part of an environment variable (`<P>_STAGE_TIMEOUT_HTTP_SESSION`), of log
/// lines and of file names, so only characters that need no quoting in any of them are allowed.
#[must_use]
pub(crate) fn is_stage_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let word = |each: u8| each.is_ascii_lowercase() || each.is_ascii_digit();
    // A hyphen stands between two words, so neither last nor before another.
    let fits = |at: usize| {
        word(bytes[at]) || (bytes[at] == b'-' && bytes.get(at + 1).is_some_and(|&next| word(next)))
    };
    bytes.len() <= STAGE_NAME_MAX
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && (1..bytes.len()).all(fits)
}

/// A stage's name. It reads like a `str`, and its copies share the text, because every event and every line of a
/// timeline has one.
///
/// ```
/// use solostart::StageName;
///
/// let name = StageName::from("database");
/// assert_eq!(name, "database");
/// assert!(name.starts_with("data"));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageName(Arc<str>);

impl StageName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for StageName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Arc<str>>> From<T> for StageName {
    fn from(name: T) -> Self {
        Self(name.into())
    }
}

impl From<StageName> for String {
    fn from(name: StageName) -> Self {
        name.as_str().to_owned()
    }
}

impl From<StageName> for Cow<'static, str> {
    fn from(name: StageName) -> Self {
        Cow::Owned(name.as_str().to_owned())
    }
}

impl Borrow<str> for StageName {
    fn borrow(&self) -> &str {
        self
    }
}

impl AsRef<str> for StageName {
    fn as_ref(&self) -> &str {
        self
    }
}

impl PartialEq<str> for StageName {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for StageName {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<String> for StageName {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Which stage of one start-up: its place in the order in which the stages were added.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StageId(pub u32);

impl StageId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// One process start: 128 random bits, minted anew each time.
///
/// It is never derived from a process id, a host name or the configuration, because in containers all
/// three repeat: every application is process 1, and host names and settings come from the same file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct InstanceId(Uuid);

impl InstanceId {
    /// A new random identity.
    #[must_use]
    pub fn mint() -> Self {
        Self(Uuid::new_v4())
    }

    /// The first eight hexadecimal digits: what people compare in reports and logs.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.0.simple().to_string();
        text.truncate(8);
        text
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stage_names_are_lower_case_words_joined_by_single_hyphens() {
        for good in ["database", "http-session", "s3", "a"] {
            assert!(is_stage_name(good), "{good}");
        }
        let long = "a".repeat(STAGE_NAME_MAX + 1);
        for bad in ["", "Database", "http_session", "-a", "a-", "a--b", "3s", "a b", "é", long.as_str()] {
            assert!(!is_stage_name(bad), "{bad}");
        }
    }

    #[test]
    fn two_instances_never_share_an_identity() {
        assert_ne!(InstanceId::mint(), InstanceId::mint());
        assert_eq!(InstanceId::mint().short().len(), 8);
    }
}
