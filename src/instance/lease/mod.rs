//! The lease: a row that says who the only worker is, under which number, and until when.
//!
//! The file lock excludes those who see the same file on the same machine. The lease has to say who holds
//! where that is not enough, when a holder has frozen, and under which ever growing number it writes.
//!
//! - `protocol` decides, from values alone; `record` is the row, `timings` its times.

pub(crate) mod protocol;
pub(crate) mod record;
pub(crate) mod timings;
