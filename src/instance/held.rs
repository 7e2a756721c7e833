//! The refusal that names who has the lock, or the lease.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    evidence::quoted,
    file_lock::Contest,
    freezer::is_frozen,
    holder::Holder,
    lease::{
        protocol::Pulse,
        view::{LeaseView, in_words},
    },
    mounts::Mount,
    platform::Platform,
    program::{Occupant, Program},
    sharing::Surroundings,
    siblings::{lock_owner, siblings, state},
};
use crate::{
    codes::{self, FailureCode},
    error::StageError,
};

/// How many sibling processes are listed by number.
const SIBLINGS_SHOWN: usize = 5;

/// Somebody else who is the only worker, and what is known of him.
#[derive(Debug)]
pub(super) struct Rival {
    pub(super) by: Layer,
    pub(super) lock_path: PathBuf,
    pub(super) lease_path: PathBuf,
    pub(super) mount: Mount,
    /// As the lock file describes him, or the lease.
    pub(super) holder: Option<Holder>,
    pub(super) lease: LeaseView,
}

/// Which of the layers he holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Layer {
    /// The file lock, on the file with this inode.
    Lock { inode: u64 },
    /// The lease alone: the lock was free, and we had it when we found out.
    Lease,
    /// The file lock, without being an instance: another program, where the kernel shows which.
    Program(Option<Program>),
}

/// How long was waited for him to go, of how much.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waited<'a> {
    pub(super) time: Duration,
    pub(super) limit: Duration,
    pub(super) prefix: &'a str,
}

impl Rival {
    /// Who has the lock. `lease` is what a look at the lease showed.
    pub(super) fn with_lock(contest: Contest, lease_path: PathBuf, lease: LeaseView) -> Self {
        let Contest { identity, mount, holder, occupant } = contest;
        let by = match occupant {
            Occupant::Instance | Occupant::Hidden => Layer::Lock { inode: identity.inode },
            Occupant::Other(program) => Layer::Program(program),
        };
        Self { by, lock_path: identity.path, lease_path, mount, holder, lease }
    }

    /// Whether he has the lock and has stopped to renew his lease: he may be frozen, and taking over could
    /// let two workers run. A lease that is not his own says nothing, because whoever has just got the
    /// lock has not yet taken the lease of his predecessor.
    fn is_unresponsive(&self) -> bool {
        let stale = self.lease.held().is_some_and(|(_, pulse)| pulse == Pulse::Stale);
        self.by != Layer::Lease && stale && self.lease.is_held_by(self.holder.as_ref())
    }

    fn owner(&self) -> Option<Owner> {
        let Layer::Lock { inode } = &self.by else { return None };
        let pid = lock_owner(self.mount.device, *inode)?;
        Some(Owner { pid, state: state(pid), frozen: is_frozen(pid) })
    }
}

/// The process that has the lock, as the kernel shows it.
#[derive(Clone, Copy, Debug)]
struct Owner {
    pid: u32,
    state: Option<char>,
    frozen: bool,
}

impl Owner {
    fn describe(self) -> String {
        let state = self.state.map_or_else(String::new, |state| format!(", state {state} ({})", word(state)));
        let frozen = if self.frozen { ", frozen like a paused container" } else { "" };
        format!("process {}, says /proc/locks{state}{frozen}", self.pid)
    }

    /// What lets it go on, where something keeps it from that, and what ends it.
    fn to_go_on(self, rival: &Rival, platform: &Platform) -> Option<[String; 2]> {
        let pid = self.pid;
        if self.frozen {
            let host = rival.holder.as_ref().and_then(|holder| shlex::try_quote(&holder.host).ok());
            let [go_on, end] = platform.to_go_on(&host.unwrap_or("CONTAINER".into()))?;
            return Some([
                format!("It is frozen. Let it go on: {go_on}"),
                format!("Or end it, which frees the lock: {end}"),
            ]);
        }
        matches!(self.state, Some('T' | 't')).then(|| {
            [
                format!("It is stopped. Let it go on: kill -CONT {pid}"),
                format!("Or end it, which frees the lock: kill -KILL {pid}"),
            ]
        })
    }
}

/// The refusal. The kernel's part of it is certain, the rest is said to be what the files say.
pub(super) fn refusal(rival: &Rival, this: &Holder, waited: Option<Waited<'_>>) -> StageError {
    if let Layer::Program(program) = &rival.by {
        return busy(rival, program.as_ref(), waited);
    }
    let owner = rival.owner();
    let surroundings = Surroundings::default();
    let own = surroundings.platform();
    // On the machine itself another one may be seen that is kept by a unit, or in a container.
    let its = owner.map(|owner| Platform::of_process(owner.pid)).filter(|it| *it != Platform::Machine);
    let platform = its.as_ref().filter(|_| !own.is_container()).unwrap_or(own);
    let (code, cause) = verdict(rival);
    let mut error = StageError::new(code, cause);
    for (name, value) in about_the_other(rival, owner, this) {
        error = error.fact(name, value);
    }
    error = error
        .fact("evidence", evidence(rival))
        .fact("lease", rival.lease.describe(&rival.lease_path))
        .fact("this instance", describe(this));
    error = with_wait(error, waited);
    if let Some(listed) = list(&siblings()) {
        error = error.fact("same program", listed);
    }
    let actions = if rival.is_unresponsive() {
        to_free(rival, owner, platform)
    } else {
        to_run_one(rival, owner, this, platform)
    };
    actions.into_iter().fold(error, StageError::hint)
}

fn with_wait(error: StageError, waited: Option<Waited<'_>>) -> StageError {
    match waited {
        Some(Waited { time, limit, prefix }) => {
            error.fact("waited", format!("{} of {prefix}_LOCK_WAIT={limit:?}", in_words(time)))
        }
        None => error,
    }
}

/// The refusal where no instance is known to have the lock, but another program has it: it will end.
fn busy(rival: &Rival, program: Option<&Program>, waited: Option<Waited<'_>>) -> StageError {
    let lock = rival.lock_path.display();
    let (what, held_by, look) = match program {
        Some(program) => {
            (format!("program {}", program.name()), program.describe(), format!("ps -fp {}", program.pid()))
        }
        None => (
            "another program".to_owned(),
            "a process that is hidden from here: in another container".to_owned(),
            format!("fuser -v {}", quoted(&rival.lock_path)),
        ),
    };
    let cause = format!(
        "The {what} has the lock file {lock} locked, and is no instance of this service, as far as can be seen. While \
         it has, no start can tell whether one runs."
    );
    let error = StageError::new(codes::LOCK_BUSY, cause)
        .fact("held by", held_by)
        .fact("evidence", format!("flock on {lock} is held ({})", rival.mount.describe()))
        .fact("lease", rival.lease.describe(&rival.lease_path));
    with_wait(error, waited)
        .hint(format!("See what it is: {look}"))
        .hint("Let it finish, or end it; then start again")
        .hint(format!("A backup that locks what it reads? Let it leave out {}", quoted(&rival.lock_path)))
}

fn verdict(rival: &Rival) -> (FailureCode, String) {
    let lock = rival.lock_path.display();
    if rival.is_unresponsive() {
        let cause = format!(
            "The previous instance stopped renewing its lease but still has the lock {lock}. It may be paused \
             or stuck on a disk. Taking over now could let two workers run, so this instance refuses."
        );
        return (codes::LOCK_HOLDER_UNRESPONSIVE, cause);
    }
    let cause = match &rival.by {
        Layer::Lock { .. } | Layer::Program(_) => format!(
            "Another process has the lock {lock}, so another instance of this service is running. Only one may \
             run; the other one was not disturbed."
        ),
        Layer::Lease => format!(
            "Another instance of this service renews the lease {}, so it is running, although the lock {lock} \
             is free: it runs where that lock is not seen, or the lock file was replaced. Only one may run; the \
             other one was not disturbed.",
            rival.lease_path.display()
        ),
    };
    (codes::LOCK_HELD, cause)
}

fn evidence(rival: &Rival) -> String {
    let (lock, mount) = (rival.lock_path.display(), rival.mount.describe());
    match &rival.by {
        Layer::Lock { .. } | Layer::Program(_) => format!("flock on {lock} is held ({mount})"),
        Layer::Lease => {
            let seq = rival.lease.held().map_or(0, |(row, _)| row.version.seq);
            format!(
                "flock on {lock} was free ({mount}); the sequence of the lease moved while we watched, to {seq}"
            )
        }
    }
}

fn about_the_other(rival: &Rival, owner: Option<Owner>, this: &Holder) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let source = if rival.by == Layer::Lease { "lease" } else { "file" };
    match &rival.holder {
        Some(holder) => {
            facts.push(("the other", format!("{}, as the {source} says", describe(holder))));
            facts.push(("started", since(holder.started_at)));
        }
        None => facts
            .push(("the other", "not described: it is starting, stopping or not this service".to_owned())),
    }
    facts.push(("heartbeat", rival.lease.heartbeat()));
    facts.extend(owner.map(|owner| ("held by", owner.describe())));
    facts.extend(rival.holder.as_ref().map(|holder| ("machine", machine(holder, this).to_owned())));
    // The lease describes whoever renews it, so only the file can be out of date.
    let by_lock = rival.by != Layer::Lease;
    if by_lock && rival.holder.as_ref().is_some_and(|holder| is_outdated(holder, owner, this)) {
        facts.push(("note", "the description may be that of an earlier, dead instance".to_owned()));
    }
    facts
}

fn machine(holder: &Holder, this: &Holder) -> &'static str {
    match (holder.boot_id == this.boot_id, holder.host == this.host) {
        (true, true) => "this one, under the same host name",
        (true, false) => "this one, under another host name: another container",
        (false, _) => "another one, or this one before it was booted again",
    }
}

/// Whether the file describes somebody other than the process that has the lock: a process that was
/// killed leaves its description behind.
fn is_outdated(holder: &Holder, owner: Option<Owner>, this: &Holder) -> bool {
    let same_processes = holder.boot_id == this.boot_id && holder.host == this.host;
    holder.boot_id != this.boot_id || (same_processes && owner.is_some_and(|owner| owner.pid != holder.pid))
}

/// What to do about an instance that runs.
fn to_run_one(rival: &Rival, owner: Option<Owner>, this: &Holder, platform: &Platform) -> Vec<String> {
    let go_on = owner.and_then(|owner| owner.to_go_on(rival, platform)).map(|[go_on, _end]| go_on);
    let mut actions: Vec<String> = go_on.into_iter().collect();
    actions.push(who_runs(rival, owner, platform));
    match rival.holder.as_ref().filter(|holder| holder.version != this.version) {
        Some(holder) => actions.push(format!(
            "The versions differ ({}, {}): a rolling update? {}: started first, the new one waits for the old \
             one for ever",
            holder.version,
            this.version,
            platform.update_in_order()
        )),
        None => actions.push(platform.keep_to_one()),
    }
    actions.push(leave_in_place(&rival.lock_path));
    actions
}

/// What to do about an instance that holds the lock and does not answer.
fn to_free(rival: &Rival, owner: Option<Owner>, platform: &Platform) -> Vec<String> {
    let mut actions = Vec::new();
    if let Some(go_on) = owner.and_then(|owner| owner.to_go_on(rival, platform)) {
        actions.extend(go_on);
    } else {
        let host = rival.holder.as_ref().and_then(|holder| shlex::try_quote(&holder.host).ok());
        if let Some([go_on, end]) = host.and_then(|host| platform.to_go_on(&host)) {
            actions.push(format!("Does it stand still? Let it go on: {go_on}"));
            actions.push(format!("Or end it, which frees the lock: {end}"));
        }
        actions.push(match owner {
            Some(_) => who_runs(rival, owner, platform),
            None => format!("See who has the file, on the machine: fuser -v {}", quoted(&rival.lock_path)),
        });
    }
    actions.push(leave_in_place(&rival.lock_path));
    actions
}

fn leave_in_place(lock: &Path) -> String {
    format!("Leave {} in place: without it two would run", lock.display())
}

fn who_runs(rival: &Rival, owner: Option<Owner>, platform: &Platform) -> String {
    let file = if rival.by == Layer::Lease { &rival.lease_path } else { &rival.lock_path };
    let command = match (owner, platform) {
        // It takes the number of a process, too, and shows the unit that it belongs to.
        (Some(owner), Platform::Systemd { .. }) => format!("systemctl status {}", owner.pid),
        (Some(owner), Platform::Machine) => format!("ps -fp {}", owner.pid),
        // A number that is seen in a container means nothing outside of it.
        (_, platform) => {
            platform.who_uses(&rival.mount).unwrap_or_else(|| format!("fuser -v {}", quoted(file)))
        }
    };
    format!("See who runs: {command}")
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
    let seconds = jiff::Timestamp::now().as_second() - started.as_second();
    let shown = started.strftime("%Y-%m-%dT%H:%M:%SZ");
    match u64::try_from(seconds) {
        // The file has whole seconds.
        Ok(0) => format!("{shown} (less than 1 s ago)"),
        Ok(seconds) => format!("{shown} ({} ago)", in_words(Duration::from_secs(seconds))),
        Err(_) => format!("{shown} (by a clock that is ahead of ours)"),
    }
}

#[cfg(test)]
mod tests;
