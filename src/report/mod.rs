//! Floor 3: what the operator reads. Imports floors 0 to 2; the facade calls it with what the engine
//! returned, and writes what comes back to stderr.
//!
//! Every report is text in printable ASCII that ends with a line break. A failure is one block of at most
//! 40 lines of 80 columns; everything else is one line per thing said.
//!
//! # Rules
//! - Whatever a hook said is hostile until [`clean`] has been over it: cut, escaped, without the user
//!   info, query and fragment of URLs.
//! - A block never grows: its parts share its lines by how much they matter ([`layout`]), and what does
//!   not fit is counted and, where names help, named.
//! - Facts, then actions. Nothing is said that the process does not know.

use std::time::Duration;

use crate::{clean, ids::InstanceId};

mod advice;
pub(crate) mod catalogue;
mod checked;
mod document;
mod emergency;
mod events;
mod failure;
mod layout;
mod ledger;
mod lines;
pub(crate) mod picture;
mod short;
mod state;
mod words;

pub(crate) use checked::{Found, LookedAt};
pub(crate) use document::{Attempt, Document, fingerprint};
pub(crate) use emergency::{Stalled, StalledStage};
pub(crate) use events::Report;
pub(crate) use failure::command_failure;
pub(crate) use ledger::{Before, Counted, Ledger, Recovered};
pub(crate) use lines::{Slow, Uncontained};

/// `text` as one line of printable ASCII, without what a URL in it may hide, and cut where it is endless.
pub(crate) fn printable(text: &str) -> String {
    clean::clean(text, 2_000)
}

/// `text` in printable ASCII, with its line breaks. It is one that was made by us, and is only not ours any more since it
/// lay in a file: URLs in it stay as they are.
pub(crate) fn printable_lines(text: &str) -> String {
    clean::escaped(text, 8_000, true) + "\n"
}

/// A JSON text as one line of printable ASCII, with its line break.
pub(crate) fn printable_json(text: &str) -> String {
    clean::json(text) + "\n"
}

/// Who reports: the last line of every block.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The application's name.
    pub(crate) service: String,
    /// Its version, where it said one.
    pub(crate) version: Option<String>,
    /// What its variables begin with, without the underscore, for advice that names one.
    pub(crate) prefix: String,
    /// This start of the process.
    pub(crate) instance: InstanceId,
    /// The name of the machine or container.
    pub(crate) host: String,
    /// When the report is made.
    pub(crate) at: jiff::Timestamp,
    /// Which start in a row this is, where that is known.
    pub(crate) attempt: Option<Attempt>,
    /// The stage whose time limit is shorter in this start than configured, and the configured one.
    pub(crate) shortened: Option<(String, Duration)>,
    /// How the platform calls things, for advice. It is asked for where something failed, and not at every start.
    pub(crate) words: fn() -> Words,
}

/// What differs between the platforms that run a service.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    /// Where its variables are written.
    pub(crate) settings: String,
    /// What shows who ended it.
    pub(crate) who_ended_it: String,
    /// The setting of the time that a stop may take.
    pub(crate) grace: String,
}

impl Words {
    /// Those of Docker Compose.
    #[cfg(any(test, feature = "compose"))]
    pub(crate) fn of_compose() -> Self {
        Self {
            settings: "in the `environment:` or `env_file:` of this service".to_owned(),
            who_ended_it: "docker events --since 10m --until 0s --filter event=kill".to_owned(),
            grace: "`stop_grace_period:`".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
