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

mod clean;
mod layout;
mod words;
