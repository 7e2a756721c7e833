//! What the world does to the processes.

use super::{
    World,
    state::{BOUNDS, Entry, File, Phase, Place, Process, Renewal, State, Work},
};

/// What a number is made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Number {
    Zero,
    /// The largest one that is credible when the clock is read next, and the one after it.
    Limit,
    Beyond,
    /// The largest one that can be stored.
    Last,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Fault {
    /// A holder gets SIGSTOP, or its container is frozen.
    Pause {
        slot: usize,
    },
    /// The store fails a renewal, before or after it was done.
    LoseAnswer {
        slot: usize,
    },
    /// The row is deleted, in spite of the trigger.
    Delete,
    /// The row is made again what it was before the last acquisition.
    Restore,
    /// The lease file is deleted, or replaced by an older copy; who had it open sees nothing of it.
    Replace {
        copy: bool,
    },
    /// The wall clock is set back to its beginning.
    StepBack,
    /// The machine loses its power, with the renewals that it had not yet written to its disk.
    Reboot {
        machine: usize,
    },
    /// The machine is cloned with a process that runs on it.
    Clone {
        slot: usize,
        to: usize,
    },
    /// The token in the row, the memory of a lock file, or the token of the fence is damaged or forged.
    ForgeRow {
        number: Number,
    },
    ForgeMemory {
        file: usize,
        number: Number,
    },
    ForgeFence {
        number: Number,
    },
    /// The wall clock is set to the end of all time.
    StepAhead,
}

impl Fault {
    /// The kinds that need an older copy of the row.
    pub(super) const COPIES: u16 = Self::Restore.bit() | Self::Replace { copy: true }.bit();

    /// One bit for each kind. Each strikes at most once.
    pub(super) const fn bit(self) -> u16 {
        match self {
            Self::Pause { .. } => 1,
            Self::LoseAnswer { .. } => 2,
            Self::Delete => 4,
            Self::Restore => 8,
            Self::Replace { .. } => 16,
            Self::StepBack => 32,
            Self::Reboot { .. } => 64,
            Self::Clone { .. } => 128,
            Self::ForgeRow { .. } => 256,
            Self::ForgeMemory { .. } => 512,
            Self::ForgeFence { .. } => 1024,
            Self::StepAhead => 2048,
        }
    }
}

impl<const N: usize> State<N> {
    pub(super) fn has_struck(&self, fault: Fault) -> bool {
        self.faults & fault.bit() != 0
    }

    /// How many faults have struck.
    pub(super) fn struck(&self) -> u32 {
        self.faults.count_ones()
    }

    /// Whether the row was, for whatever reason, not what the last change made it.
    pub(super) fn row_was_lost(&self) -> bool {
        [Fault::Delete, Fault::Restore, Fault::Replace { copy: false }]
            .into_iter()
            .any(|fault| self.has_struck(fault))
    }

    pub(super) fn row_was_restored(&self) -> bool {
        self.has_struck(Fault::Restore) || self.has_struck(Fault::Replace { copy: false })
    }

    pub(super) fn clock_was_set(&self) -> bool {
        self.has_struck(Fault::StepBack) || self.has_struck(Fault::StepAhead)
    }

    pub(super) fn was_cloned(&self) -> bool {
        self.has_struck(Fault::Clone { slot: 0, to: 0 })
    }
}

impl<const N: usize> World<N> {
    /// Every fault that might strike.
    pub(super) fn faults(&self, state: &State<N>) -> Vec<Fault> {
        if state.struck() >= self.most_faults {
            return Vec::new();
        }
        let mut all = vec![Fault::Delete, Fault::Restore, Fault::StepBack, Fault::StepAhead];
        for number in [Number::Zero, Number::Limit, Number::Beyond, Number::Last] {
            all.extend([Fault::ForgeRow { number }, Fault::ForgeFence { number }]);
            all.extend((0..N).map(|file| Fault::ForgeMemory { file, number }));
        }
        all.extend([false, true].map(|copy| Fault::Replace { copy }));
        for slot in 0..N {
            all.extend([Fault::Pause { slot }, Fault::LoseAnswer { slot }]);
            let clones = (0..N).filter(|to| *to != slot && state.place != Place::OwnMachines);
            all.extend(clones.map(|to| Fault::Clone { slot, to }));
            if slot == 0 || state.place == Place::OwnMachines {
                all.push(Fault::Reboot { machine: slot });
            }
        }
        all.retain(|fault| fault.bit() & self.kinds & !state.faults != 0);
        all
    }

    /// Lets a fault strike, unless it would change nothing.
    pub(super) fn strike(state: &mut State<N>, fault: Fault) -> Option<()> {
        state.faults |= fault.bit();
        if matches!(fault, Fault::Delete | Fault::Restore) {
            let asks = |process: &Process| matches!(process.phase, Phase::Asking(_));
            state.raced |= state.processes.iter().any(asks);
        }
        let next = state.next_wall();
        match fault {
            Fault::Pause { slot } => pause(state, slot),
            Fault::LoseAnswer { slot } => {
                let Phase::Holding(holding) = &mut state.processes[slot].phase else { return None };
                (holding.renewal != Renewal::Waiting).then(|| holding.renewal = Renewal::Waiting)
            }
            Fault::Delete => state.row.take().map(drop),
            Fault::Restore => {
                let earlier = state.earlier.take();
                earlier.is_some().then(|| state.row = earlier)
            }
            Fault::Replace { copy } => {
                if state.row.is_none() || (copy && state.earlier.is_none()) {
                    return None;
                }
                let earlier = state.earlier.take().filter(|_| copy);
                state.detached = std::mem::replace(&mut state.row, earlier);
                state.processes.iter_mut().for_each(|process| process.detached = true);
                Some(())
            }
            Fault::StepBack => (std::mem::take(&mut state.wall) > 0).then_some(()),
            Fault::Reboot { machine } => reboot(state, machine),
            Fault::Clone { slot, to } => clone(state, slot, to),
            Fault::ForgeRow { number } => {
                let row = state.row.as_mut()?;
                forge(&mut row.stamp.0, number, next)
            }
            Fault::ForgeMemory { file, number } => forge(&mut state.files[file].memory, number, next),
            Fault::ForgeFence { number } => forge(&mut state.fence.token, number, next),
            Fault::StepAhead => {
                let last = u8::try_from(BOUNDS.last).unwrap();
                (std::mem::replace(&mut state.wall, last) < last).then_some(())
            }
        }
    }
}

fn forge(token: &mut u8, number: Number, wall: u64) -> Option<()> {
    let limit = BOUNDS.calendar_max.min(wall) + BOUNDS.horizon;
    let number = match number {
        Number::Zero => 0,
        Number::Limit => limit,
        Number::Beyond => limit + 1,
        Number::Last => BOUNDS.last,
    };
    let number = u8::try_from(number).ok()?;
    (std::mem::replace(token, number) != number).then_some(())
}

fn pause<const N: usize>(state: &mut State<N>, slot: usize) -> Option<()> {
    let process = &mut state.processes[slot];
    // Nothing makes the steps of any other process come in time.
    let Phase::Holding(holding) = &mut process.phase else { return None };
    process.paused = true;
    if let Work::Checked { paused } = &mut holding.work {
        *paused = true;
    }
    Some(())
}

fn reboot<const N: usize>(state: &mut State<N>, machine: usize) -> Option<()> {
    for slot in 0..N {
        if state.machine(slot) == machine {
            state.processes[slot].phase = Phase::Down;
        }
    }
    state.boots[machine] += 1;
    // An observation by the clock of before goes on for nobody.
    for slot in 0..N {
        if state.machine(slot) == machine {
            state.files[usize::from(state.processes[slot].file)].observed = None;
        }
    }
    // What other machines see is on another machine, which still has its power.
    if state.place != Place::OwnMachines {
        let rolled_back = |row: Entry| Entry { stamp: (row.stamp.0, 0), ..row };
        state.row = state.row.map(|row| if row.holder.is_some() { rolled_back(row) } else { row });
    }
    Some(())
}

/// The copy has an equal lock file, with the same name and a lock that the other kernel knows nothing of.
fn clone<const N: usize>(state: &mut State<N>, slot: usize, to: usize) -> Option<()> {
    if state.processes[slot].phase == Phase::Down || state.processes[to].phase != Phase::Down {
        return None;
    }
    // One process alone on the machine, so that no third one is cloned along.
    let free = (0..N).find(|file| state.processes.iter().all(|process| usize::from(process.file) != *file));
    let file = if state.place == Place::OwnLocks { to } else { free? };
    let original = state.processes[slot];
    state.files[file] = File { ..state.files[usize::from(original.file)] };
    let starts = state.processes[to].starts;
    state.processes[to] = Process { file: u8::try_from(file).ok()?, starts, ..original };
    state.renewed_by = None;
    Some(())
}
