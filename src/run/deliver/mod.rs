//! Tells where the operator looks later, or is called from: files, the service manager, a webhook. All of it is
//! best effort: what cannot be delivered in time is not, and no exit code changes for it.

use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use super::reporter::Reporter;
use crate::{report::Report, run::telling::Telling};

mod files;
pub(super) mod systemd;
mod textfile;
#[cfg_attr(not(feature = "notify"), path = "no_webhook.rs")]
mod webhook;

/// How long anything that tells may take: it is done for the operator, and must not keep the process.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// Whether somebody is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call {
    /// Nobody needs to hear of it, or has heard before.
    Nobody,
    /// Whoever the webhook reaches.
    Webhook,
}

/// Begins every delivery of a report, each on a thread of its own, so that none has to wait for another one that
/// hangs. Each ends what is returned for it when it is done.
pub(super) fn begin(report: Report, call: Call, telling: &Telling, reporter: &Reporter) -> Vec<Receiver<()>> {
    let report = Arc::new(report);
    let mut begun = Vec::new();
    if report.is_kept() {
        let (report, telling) = (report.clone(), telling.clone());
        begun.extend(start(move || files::deliver(&report, &telling)));
    }
    // The service that runs has the file; one that was refused beside it must not hide that it is well.
    if let (Some(path), true, false) = (&telling.metrics_textfile, report.is_result(), report.is_refusal()) {
        let (report, path) = (report.clone(), path.clone());
        begun.extend(start(move || textfile::deliver(&report, &path)));
    }
    if let (Some(webhook), Call::Webhook) = (&telling.webhook, call) {
        let (webhook, reporter) = (webhook.clone(), reporter.clone());
        begun.extend(start(move || {
            if let Err(why) = webhook::deliver(&report, &webhook) {
                reporter.undelivered(&webhook, &why);
            }
        }));
    }
    begun
}

/// Begins `work` on a thread of its own. `None` where no thread can be had.
pub(super) fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<Receiver<T>> {
    let (done, result) = mpsc::channel();
    let work = move || {
        let _waited_no_longer = done.send(work());
    };
    let _thread = thread::Builder::new().name("solostart-report".to_owned()).spawn(work).ok()?;
    Some(result)
}

/// Does `work` on a thread of its own, and waits for it no longer than a report may take. A disk or a pipe
/// that hangs keeps only that thread.
pub(super) fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    within(PATIENCE, work)
}

/// The same for another length of time.
pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    start(work)?.recv_timeout(limit).ok()
}
