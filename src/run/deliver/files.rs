//! The files in which a report outlives the process and its stderr.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;

use crate::{
    contract::tell::{shown, tell},
    files,
    report::{
        Report,
        picture::{Chart, svg},
    },
    run::telling::{Telling, refusal_file},
};

/// Writes the files that `telling` names.
pub(super) fn deliver(report: &Report, telling: &Telling) {
    let json = report.json();
    // An instance that was refused must not hide how the start of the one that runs went.
    let refused = report.is_refusal();
    if let Some(path) = &telling.report_file {
        let path = if refused { &refusal_file(path) } else { path };
        tell_apart("report file", path, files::replace(path, json.as_bytes()));
    }
    if let (Some(path), false) = (&telling.timeline_svg, refused)
        && let Some(chart) = Chart::of_report(json.as_bytes())
    {
        tell_apart("timeline", path, files::replace(path, svg(&chart).as_bytes()));
    }
    if let (Some(path), true) = (&telling.termination_log, report.is_failure()) {
        match overwrite(path, report.short().as_bytes()) {
            // Outside of Kubernetes there is none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => tell_apart("termination log", path, outcome),
        }
    }
}

/// A missing directory is often the very failure that is reported, so this is no news for the operator.
fn tell_apart(what: &str, path: &Path, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tell!(
            debug,
            "not written",
            what = what.to_owned(),
            path = shown(path.display()),
            error = shown(error)
        );
    }
}

/// Kubernetes mounts the file, so it can neither be made nor replaced.
fn overwrite(path: &Path, content: &[u8]) -> io::Result<()> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = flags.bits().cast_signed();
    OpenOptions::new().write(true).truncate(true).custom_flags(flags).open(path)?.write_all(content)
}
