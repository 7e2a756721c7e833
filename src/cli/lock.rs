//! `lock status` and `lock break`.

use std::io::{self, Write};

use tokio_util::sync::CancellationToken;

use super::print;
use crate::{
    error::{ErrorKind, StageError},
    instance::worker_mode::{self, FlockStatus, LockStatus, Verdict},
    report::{command_failure, printable, printable_json},
    startup::Startup,
};

const NO_STATUS: &str = "LOCK NOT LOOKED AT";

/// Who has the right to be the only worker. 0 where the next instance starts at once, 75 where it may not.
pub(super) fn status(startup: &Startup, json: bool) -> u8 {
    let status = match worker_mode::status(&startup.worker_config(CancellationToken::new())) {
        Ok(status) => status,
        Err(error) => return failed(NO_STATUS, &error),
    };
    match serde_json::to_string(&status) {
        Ok(line) if json => print(&printable_json(&line)),
        Err(error) if json => return failed(NO_STATUS, &StageError::from(error)),
        Ok(_) | Err(_) => print(&in_words(&status)),
    }
    match status.verdict {
        Verdict::Free | Verdict::Gone => 0,
        Verdict::Running | Verdict::Unresponsive | Verdict::Busy | Verdict::Unclear => {
            ErrorKind::Temporary.exit_code()
        }
    }
}

/// Frees the lease of a holder that is gone.
pub(super) fn break_lease(startup: &Startup, token: u64) -> u8 {
    match worker_mode::break_lease(&startup.worker_config(CancellationToken::new()), token) {
        Ok(broken) => {
            let holder = printable(&broken.holder);
            print(&format!("was held by {holder}\ntoken {} -> {}\n", broken.token_before, broken.token));
            0
        }
        Err(error) => failed("LOCK NOT BROKEN", &error),
    }
}

fn in_words(status: &LockStatus) -> String {
    let verdict = match status.verdict {
        Verdict::Running => "an instance runs; another one would be refused",
        Verdict::Unresponsive => "an instance has the lock, and does not renew its lease",
        Verdict::Busy => "another program has the lock file; an instance would have to wait for it",
        Verdict::Free => "nobody has it; the next instance starts at once",
        Verdict::Gone => "its holder is gone; the next instance takes over at once",
        Verdict::Unclear if status.lease.error.is_some() => {
            "unclear; the lease cannot be read, and the next instance says why"
        }
        Verdict::Unclear => "unclear; the next instance finds out by watching the lease",
    };
    let lease = &status.lease;
    let mut rows = vec![
        ("verdict", verdict.to_owned()),
        ("lock file", status.file.clone()),
        ("flock", flock_in_words(&status.flock)),
        ("mount", status.file_system.clone()),
        ("lease file", lease.file.clone()),
        ("lease", lease.error.clone().unwrap_or_else(|| lease.state.to_owned())),
    ];
    rows.extend(lease.token.map(|token| ("token", token.to_string())));
    rows.extend(lease.instance.clone().map(|instance| ("instance", instance)));
    rows.extend(lease.holder.as_ref().map(|holder| {
        ("holder", format!("{} {}, host {}, pid {}", holder.service, holder.version, holder.host, holder.pid))
    }));
    let started = lease.holder.as_ref().map(|holder| holder.started_at.strftime("%Y-%m-%dT%H:%M:%SZ"));
    rows.extend(started.map(|started| ("started", started.to_string())));
    rows.extend(lease.age_ms.map(|age| ("changed", format!("{}.{:03} s ago", age / 1000, age % 1000))));
    rows.retain(|(_, value)| !value.is_empty());
    rows.into_iter().map(|(name, value)| format!("{name:<11} {}\n", printable(&value))).collect()
}

fn flock_in_words(flock: &FlockStatus) -> String {
    match flock {
        FlockStatus::Held { pid, program: Some(program), together, .. } => {
            let number = pid.map_or_else(String::new, |pid| format!("process {pid}, "));
            let how = if *together { ", as a shared lock" } else { "" };
            format!("held by {number}the program {program}{how}; it is no instance of this service")
        }
        FlockStatus::Held { pid: Some(pid), frozen: true, .. } => {
            format!("held by process {pid}, which is frozen like a paused container")
        }
        FlockStatus::Held { pid: Some(pid), process_state: Some('T' | 't'), .. } => {
            format!("held by process {pid}, which is stopped")
        }
        FlockStatus::Held { pid: Some(pid), .. } => format!("held by process {pid}"),
        FlockStatus::Held { pid: None, .. } => {
            "held by a process that is hidden from here: in another container".to_owned()
        }
        FlockStatus::Free => "free".to_owned(),
        FlockStatus::NoFile { error } | FlockStatus::Unknown { error } => error.clone(),
    }
}

fn failed(headline: &str, error: &StageError) -> u8 {
    let _nobody_reads = io::stderr().lock().write_all(command_failure(headline, error).as_bytes());
    error.error_kind().exit_code()
}
