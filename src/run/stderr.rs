//! The last resort of every report.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use super::deliver::in_time;

/// Writes what the operator must see. A closed stderr changes nothing: there is nobody to tell. Nor does one
/// that nobody reads: a full pipe must neither keep the process nor delay its end twice (invariant 11).
pub(super) fn write(text: String) {
    if STUCK.load(Ordering::Relaxed) {
        return;
    }
    let written = in_time(move || {
        let _nobody_reads = io::stderr().lock().write_all(text.as_bytes());
    });
    if written.is_none() {
        give_up();
    }
}

/// Nobody reads: nothing more is written.
pub(super) fn give_up() {
    STUCK.store(true, Ordering::Relaxed);
}

static STUCK: AtomicBool = AtomicBool::new(false);
