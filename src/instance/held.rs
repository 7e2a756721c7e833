//! The refusal that names who has the lock.

use super::{
    data_dir::quoted,
    file_lock::Contest,
    holder::Holder,
    siblings::{lock_owner, siblings, state},
};
use crate::{clock::wall_clock, codes, error::StageError};

/// How many sibling processes are listed by number.
const SIBLINGS_SHOWN: usize = 5;

/// What is known about a lock that somebody else has. The kernel's part is certain, the rest is said to
/// be what the file says.
pub(super) fn refusal(contest: &Contest, this: &Holder) -> StageError {
    let path = contest.identity.path.as_path();
    let owner = lock_owner(contest.mount.device, contest.identity.inode);
    let stopped = owner.filter(|&pid| matches!(state(pid), Some('T' | 't')));
    let holder = contest.holder.as_ref();
    let cause = format!(
        "Another process has the lock {}, so another instance of this service is running. Only one may run; \
         the other one was not disturbed.",
        path.display()
    );
    let mut error = StageError::new(codes::LOCK_HELD, cause);
    for (name, value) in about_the_other(holder, owner, this) {
        error = error.fact(name, value);
    }
    error = error
        .fact("evidence", format!("flock on {} is held ({})", path.display(), contest.mount.describe()))
        .fact("this instance", describe(this));
    if let Some(listed) = list(&siblings()) {
        error = error.fact("same program", listed);
    }
    for action in actions(contest, holder, owner, stopped, this) {
        error = error.hint(action);
    }
    error
}

fn about_the_other(
    holder: Option<&Holder>,
    owner: Option<u32>,
    this: &Holder,
) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    match holder {
        Some(holder) => {
            facts.push(("the other", format!("{}, as the file says", describe(holder))));
            facts.push(("started", since(holder.started_at)));
        }
        None => facts
            .push(("the other", "not described: it is starting, stopping or not this service".to_owned())),
    }
    if let Some(pid) = owner {
        let shown = state(pid).map_or_else(String::new, |state| format!(", state {state} ({})", word(state)));
        facts.push(("held by", format!("process {pid}, says the kernel{shown}")));
    }
    if holder.is_some_and(|holder| is_outdated(holder, owner, this)) {
        facts.push(("note", "the description may be that of an earlier, dead instance".to_owned()));
    }
    facts
}

/// Whether the file describes somebody other than the process that has the lock: a process that was
/// killed leaves its description behind.
fn is_outdated(holder: &Holder, owner: Option<u32>, this: &Holder) -> bool {
    let same_processes = holder.boot_id == this.boot_id && holder.host == this.host;
    holder.boot_id != this.boot_id || (same_processes && owner.is_some_and(|pid| pid != holder.pid))
}

fn actions(
    contest: &Contest,
    holder: Option<&Holder>,
    owner: Option<u32>,
    stopped: Option<u32>,
    this: &Holder,
) -> Vec<String> {
    let path = contest.identity.path.as_path();
    let mut actions = Vec::new();
    if let Some(pid) = stopped {
        actions.push(format!("It is stopped. Let it go on: kill -CONT {pid}, or end it: kill -KILL {pid}"));
    }
    actions.push(match (contest.mount.volume_name(), owner) {
        (Some(volume), _) => format!("See who runs: docker ps --filter volume={volume}"),
        (None, Some(pid)) => format!("See who runs: ps -fp {pid}"),
        (None, None) => format!("See who runs: docker ps, or on the machine: fuser -v {}", quoted(path)),
    });
    match holder.filter(|holder| holder.version != this.version) {
        Some(holder) => actions.push(format!(
            "The versions differ ({}, {}): a rolling update? Use `order: stop-first` or `strategy: Recreate`",
            holder.version, this.version
        )),
        None => actions.push(
            "Scaled? Remove `--scale` or `deploy.replicas`; `container_name:` makes Compose refuse to scale"
                .to_owned(),
        ),
    }
    actions.push(format!("Leave {} in place: without it two would run", path.display()));
    actions
}

fn describe(holder: &Holder) -> String {
    let Holder { service, version, host, pid, .. } = holder;
    format!("{} ({service} {version}, host {host}, pid {pid})", holder.short())
}

fn word(state: char) -> &'static str {
    match state {
        'T' => "stopped",
        't' => "stopped by a debugger",
        'D' => "waiting for a disk",
        'Z' => "dead",
        _ => "alive",
    }
}

fn list(siblings: &[u32]) -> Option<String> {
    if siblings.is_empty() {
        return None;
    }
    let shown: Vec<String> = siblings.iter().take(SIBLINGS_SHOWN).map(u32::to_string).collect();
    let more = if siblings.len() > SIBLINGS_SHOWN { ", ..." } else { "" };
    Some(format!("processes {}{more} (health checks count, too)", shown.join(", ")))
}

/// A time and its age, for people; the clocks of two machines can differ.
fn since(started: jiff::Timestamp) -> String {
    let seconds = wall_clock().as_second() - started.as_second();
    let shown = started.strftime("%Y-%m-%dT%H:%M:%SZ");
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let age = match seconds {
        ..0 => return format!("{shown} (by a clock that is ahead of ours)"),
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} m {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} m", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    };
    format!("{shown} ({age} ago)")
}

#[cfg(test)]
mod tests;
