//! What the model knows of the world at one instant.
//!
//! Times are whole ticks relative to the present, and a time that no rule can tell from an earlier one is kept
//! as the latest of them. So the clock has no bound of its own: a state is the same however late it is.

use super::super::{Earlier, Fence, Row, Watch};
pub(super) use super::values::{
    BOUNDS, Name, Stamp, Ticks, Times, clock_name, duration, instant, name, version,
};

/// What the processes share.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Place {
    /// One machine and one lock file.
    OneLock,
    /// One lock file that can be locked twice, as on some network file systems.
    LooseLock,
    /// One machine, and every process has a lock file of its own.
    OwnLocks,
    /// Every process has a machine and a lock file of its own.
    OwnMachines,
}

/// The row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Entry {
    pub(super) stamp: Stamp,
    pub(super) holder: Option<Name>,
    pub(super) clock: Name,
    pub(super) lock: Name,
    pub(super) expires: Ticks,
    /// Which acquisition wrote it. No process sees this.
    pub(super) acquisition: u8,
}

/// The fence in the application's database.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Fenced {
    pub(super) token: u8,
    pub(super) holder: Name,
    /// Which acquisition wrote it. No process sees this.
    pub(super) acquisition: u8,
}

/// A lock file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct File {
    pub(super) name: Name,
    /// The token of the last holder that had this file locked.
    pub(super) memory: u8,
    /// What was observed by the last one that had it locked and did not get the lease.
    pub(super) observed: Option<Observed>,
}

/// An observation that was noted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Observed {
    pub(super) stamp: Stamp,
    pub(super) holder: Name,
    pub(super) clock: Name,
    pub(super) since: Ticks,
}

/// One place where a process runs, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Process {
    /// How many have been started here.
    pub(super) starts: u8,
    /// The identity of the one that runs. A cloned machine has one process twice.
    pub(super) holder: Name,
    /// Stopped by a signal: it has its lock, and its times run out.
    pub(super) paused: bool,
    /// Which file it locks.
    pub(super) file: u8,
    /// Whether it has opened a lease file that is no longer at the path.
    pub(super) detached: bool,
    pub(super) phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Phase {
    /// Nothing runs.
    Down,
    /// It has the lock, and looks at the row.
    Contending {
        watch: Option<(Stamp, Ticks)>,
    },
    /// It saw that it may take the row, and asks for it.
    Asking(Request),
    /// The row is taken, and the process does not know it yet.
    Taken {
        token: u8,
        sent: Ticks,
        acquisition: u8,
    },
    Holding(Holding),
    /// The lease was given back, the lock was not yet.
    Released,
}

/// The row that a process asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Request {
    pub(super) seen: Option<Stamp>,
    pub(super) token: u8,
    pub(super) sent: Ticks,
    /// What the wall clock said, and the highest token that row and lock file knew of.
    pub(super) wall: u8,
    pub(super) known: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Holding {
    pub(super) token: u8,
    /// Which acquisition this is. No process sees this.
    pub(super) acquisition: u8,
    pub(super) valid: Ticks,
    pub(super) hard: Ticks,
    pub(super) acknowledged: u8,
    pub(super) attempted: u8,
    pub(super) renewal: Renewal,
    pub(super) work: Work,
    /// Whether it has fenced off earlier holders in the application's database.
    pub(super) opened: bool,
    /// Whether it knows that its right has ended.
    pub(super) lost: bool,
    /// Whether its right has ended, known or not.
    pub(super) ended: bool,
    /// Whether the row may be its own, as far as it knows.
    pub(super) held: bool,
}

/// The thread that renews.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Renewal {
    Waiting,
    /// Asked at this time.
    Sent(Ticks),
    /// Done or refused by the store; the answer is on its way.
    Done(Ticks, bool),
}

/// The thread that works.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Work {
    Idle,
    /// `check` said yes; the effect is still to come. `paused` is whether the process was stopped since.
    Checked {
        paused: bool,
    },
}

/// Everything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct State<const N: usize> {
    pub(super) place: Place,
    /// The row where the path of the lease leads.
    pub(super) row: Option<Entry>,
    /// What it was before the last acquisition.
    pub(super) earlier: Option<Entry>,
    /// The row in a file that is no longer at the path.
    pub(super) detached: Option<Entry>,
    /// The row in the application's database, and the latest acquisition that ever wrote it.
    pub(super) fence: Fenced,
    pub(super) fenced_by: u8,
    /// The wall clock. It moves on between any two readings; nothing else of it matters.
    pub(super) wall: u8,
    /// How often it was read.
    pub(super) readings: u8,
    pub(super) files: [File; N],
    /// How often each machine was started.
    pub(super) boots: [u8; N],
    pub(super) processes: [Process; N],
    /// Which of the faults have struck.
    pub(super) faults: u16,
    /// How many acquisitions there were, and the highest token of any.
    pub(super) acquisitions: u8,
    pub(super) highest: u8,
    /// Which of several copies of one process changed the row since they are several.
    pub(super) renewed_by: Option<u8>,
    /// Whether row, calendar and lock file have all forgotten the highest token.
    pub(super) forgotten: bool,
    /// Whether the row was lost after somebody had seen it, and before he took it.
    pub(super) raced: bool,
    /// Which of the promises are broken.
    pub(super) broken: u16,
}

impl Fenced {
    /// The fence as the protocol sees it.
    pub(super) fn shown(&self) -> Fence<'static> {
        Fence { token: self.token.into(), holder: name(self.holder) }
    }
}

impl Observed {
    /// The observation as the protocol sees it.
    pub(super) fn shown(&self, lock: Name) -> Earlier<'static> {
        let (clock, holder) = (name(self.clock), name(self.holder));
        Earlier { clock, lock: name(lock), holder, watch: watch_of(self.clock, (self.stamp, self.since)) }
    }

    /// Whether this row, if it is seen again, is the one.
    pub(super) fn is_of(&self, row: &Entry) -> bool {
        (row.stamp, row.holder) == (self.stamp, Some(self.holder))
    }
}

impl Entry {
    /// The row as the protocol sees it.
    pub(super) fn row(&self, ttl: Ticks) -> Row<'static> {
        Row {
            version: version(self.stamp),
            holder: self.holder.map(name),
            clock: name(self.clock),
            lock: name(self.lock),
            ttl: duration(ttl),
            expires: instant(self.clock, self.expires),
        }
    }
}

pub(super) fn watch_of(clock: Name, (stamp, since): (Stamp, Ticks)) -> Watch {
    Watch { version: version(stamp), since: instant(clock, since) }
}

impl Holding {
    /// Whether a row shows this claim, as far as the process knows. Renewals that were not answered may
    /// have been done.
    pub(super) fn is_shown_by(&self, (token, seq): Stamp) -> bool {
        self.token == token && (self.acknowledged..=self.attempted).contains(&seq)
    }

    /// What `check` answers.
    pub(super) fn passes(&self) -> bool {
        !self.lost && self.valid >= 0
    }
}

impl Process {
    /// Forgets what cannot matter any more, so that equal states look equal.
    pub(super) fn settle(&mut self) {
        if self.phase == Phase::Down {
            (self.paused, self.detached, self.holder) = (false, false, 0);
        }
        if let Phase::Holding(holding) = &mut self.phase
            && holding.renewal == Renewal::Waiting
            && !holding.passes()
        {
            (holding.lost, holding.ended, holding.valid) = (true, true, -1);
        }
    }

    pub(super) fn holding(&self) -> Option<&Holding> {
        if let Phase::Holding(holding) = &self.phase { Some(holding) } else { None }
    }

    /// Whether the process would be told, at this instant, that it is the only worker.
    pub(super) fn passes(&self) -> bool {
        !self.paused && self.holding().is_some_and(Holding::passes)
    }
}

impl<const N: usize> State<N> {
    pub(super) fn first(place: Place) -> Self {
        let shared = matches!(place, Place::OneLock | Place::LooseLock);
        let process = |slot: usize| Process {
            starts: 0,
            holder: 0,
            paused: false,
            detached: false,
            file: if shared { 0 } else { u8::try_from(slot).unwrap() },
            phase: Phase::Down,
        };
        Self {
            place,
            row: None,
            earlier: None,
            detached: None,
            fence: Fenced { token: 0, holder: 0, acquisition: 0 },
            fenced_by: 0,
            wall: 0,
            readings: 0,
            files: std::array::from_fn(|file| File {
                name: u8::try_from(file).unwrap(),
                memory: 0,
                observed: None,
            }),
            boots: [0; N],
            processes: std::array::from_fn(process),
            faults: 0,
            acquisitions: 0,
            highest: 0,
            renewed_by: None,
            forgotten: false,
            raced: false,
            broken: 0,
        }
    }

    /// What the wall clock will say when it is read next.
    pub(super) fn next_wall(&self) -> u64 {
        u64::from(self.wall) + 1
    }

    /// The machine that a process runs on. A clone of a machine has the same name and the same clock.
    pub(super) fn machine(&self, slot: usize) -> usize {
        if self.place == Place::OwnMachines { slot } else { 0 }
    }

    pub(super) fn clock(&self, slot: usize) -> Name {
        let machine = self.machine(slot);
        clock_name(machine, self.boots[machine])
    }

    /// Whether the file lock of a process is free for it.
    pub(super) fn can_lock(&self, slot: usize) -> bool {
        let file = self.processes[slot].file;
        let others = self.processes.iter().enumerate().filter(|(other, _)| *other != slot);
        let mut locked = others.filter(|(_, other)| other.phase != Phase::Down && other.file == file);
        self.place == Place::LooseLock || locked.next().is_none()
    }

    /// The row that a process sees.
    pub(super) fn row_of(&mut self, slot: usize) -> &mut Option<Entry> {
        if self.processes[slot].detached { &mut self.detached } else { &mut self.row }
    }

    /// Lets one tick pass for every time that is kept.
    pub(super) fn age(&mut self, times: Times) {
        let sooner = |time: &mut Ticks, least: Ticks| *time = (*time - 1).max(least);
        for entry in self.row.iter_mut().chain(&mut self.earlier).chain(&mut self.detached) {
            sooner(&mut entry.expires, -1);
        }
        for observed in self.files.iter_mut().filter_map(|file| file.observed.as_mut()) {
            sooner(&mut observed.since, -times.patience());
        }
        for process in &mut self.processes {
            match &mut process.phase {
                Phase::Contending { watch: Some((_, since)) } => sooner(since, -times.patience()),
                Phase::Asking(request) => sooner(&mut request.sent, -times.ttl - 1),
                Phase::Taken { sent, .. } => sooner(sent, -times.soft - 1),
                Phase::Holding(holding) => {
                    sooner(&mut holding.valid, -1);
                    sooner(&mut holding.hard, -1);
                    match &mut holding.renewal {
                        Renewal::Sent(sent) => sooner(sent, -times.ttl - 1),
                        Renewal::Done(sent, _) => sooner(sent, -times.soft - 1),
                        Renewal::Waiting => {}
                    }
                }
                Phase::Down | Phase::Contending { watch: None } | Phase::Released => {}
            }
        }
    }
}
