//! What a process does, one atomic step at a time: the steps of `taking`, `keeper` and the guard. Each
//! call of the store is one step, and so is each reading of the clock that something else can come after.

use super::super::Window;
use super::{
    World,
    event::Event,
    state::{
        Entry, Fenced, Holding, Phase, Renewal, Request, State, Ticks, Work, clock_name, duration, instant,
        name, version,
    },
};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Step {
    /// A new process starts, and locks its file.
    Start,
    /// `taking::take` reads the clock and the row, and decides; if it may take the row, it reads the clocks
    /// again, and forms the row that it asks for. In truth these are three instants. But an earlier clock
    /// before the look could only make it wait, and what it decided stays right as long as the row stays as it
    /// was seen: a later reading of the clock is the same as a later look.
    Look,
    /// The store replaces the row.
    Swap,
    /// The answer arrives: the token is noted in the lock file, and the keeper starts.
    Begin,
    /// The database of the application is opened, and earlier holders are fenced off; where a
    /// higher token stands there, or an equal one of somebody else, the own one is raised in the lease first.
    Open,
    /// The keeper reads the clock and asks for a renewal.
    Renew,
    /// The store renews.
    Apply,
    /// The answer arrives.
    Answer,
    /// A thread asks whether it may act. All work is behind the database here.
    Check,
    /// And acts: in a fenced transaction, and outside any.
    Act,
    /// The work has ended, and the lease is given back.
    Release,
    /// The lock is given back, and the process ends.
    Unlock,
    /// `kill -9`, or the watchdog at the hard limit.
    Die,
    /// SIGCONT.
    Continue,
}

/// The steps that a phase may offer.
pub(super) fn offered(phase: &Phase) -> &'static [Step] {
    match phase {
        Phase::Down => &[Step::Start],
        Phase::Contending { .. } => &[Step::Look, Step::Die],
        Phase::Asking { .. } => &[Step::Swap, Step::Die],
        Phase::Taken { .. } => &[Step::Begin, Step::Die],
        Phase::Holding(_) => &[
            Step::Open,
            Step::Renew,
            Step::Apply,
            Step::Answer,
            Step::Check,
            Step::Act,
            Step::Release,
            Step::Die,
        ],
        Phase::Released => &[Step::Unlock, Step::Die],
    }
}

impl<const N: usize> World<N> {
    /// Does a step, unless the process is not in a state to do it.
    pub(super) fn step(&self, state: &mut State<N>, slot: usize, step: Step) -> Option<Event> {
        match (step, state.processes[slot].phase) {
            (Step::Start, Phase::Down) => Self::start(state, slot),
            (Step::Look, Phase::Contending { watch }) => self.look(state, slot, watch),
            (Step::Swap, Phase::Asking(request)) => Some(self.swap(state, slot, request)),

            (Step::Begin, Phase::Taken { token, sent, acquisition }) => {
                Some(self.begin(state, slot, token, sent, acquisition))
            }
            (Step::Release, Phase::Holding(holding)) => self.release(state, slot, holding),
            (Step::Unlock, Phase::Released) | (Step::Die, _) => {
                state.processes[slot].phase = Phase::Down;
                Some(Event::Plain)
            }
            (Step::Continue, _) => {
                state.processes[slot].paused = false;
                Some(Event::Plain)
            }
            (step, Phase::Holding(mut holding)) => {
                let event = self.hold(state, slot, &mut holding, step)?;
                state.processes[slot].phase = Phase::Holding(holding);
                Some(event)
            }
            _ => None,
        }
    }

    fn start(state: &mut State<N>, slot: usize) -> Option<Event> {
        if !state.can_lock(slot) {
            return None;
        }
        let process = &mut state.processes[slot];
        process.holder = clock_name(slot, process.starts);
        process.starts += 1;
        process.detached = false;
        process.phase = Phase::Contending { watch: None };
        Some(Event::Plain)
    }

    fn swap(&self, state: &mut State<N>, slot: usize, request: Request) -> Event {
        let Request { seen, token, sent, .. } = request;
        let before = *state.row_of(slot);
        let stored = before.map(|entry| version(entry.stamp));
        if !self.protocol.may_swap(stored, seen.map(version)) {
            state.processes[slot].phase = Phase::Contending { watch: None };
            return Event::Overtaken;
        }
        let process = state.processes[slot];
        let file = state.files[usize::from(process.file)];
        // What is taken in a file that nobody finds any more is not begun, and counts for nothing.
        if !process.detached {
            Self::judge_token(state, request);
        }
        state.acquisitions += 1;
        state.renewed_by = None;
        let (acquisition, clock) = (state.acquisitions, state.clock(slot));
        state.earlier = before;
        *state.row_of(slot) = Some(Entry {
            stamp: (token, 0),
            holder: Some(process.holder),
            clock,
            lock: file.name,
            expires: sent + self.times.ttl,
            acquisition,
        });
        state.processes[slot].phase = Phase::Taken { token, sent, acquisition };
        Event::Plain
    }

    fn begin(&self, state: &mut State<N>, slot: usize, token: u8, sent: Ticks, acquisition: u8) -> Event {
        let process = state.processes[slot];
        if process.detached {
            // Seen by `LeaseStore::verify`, and given back where nobody will look for it.
            let ours = |row: &&mut Entry| row.acquisition == acquisition;
            if let Some(row) = state.row_of(slot).as_mut().filter(ours) {
                (row.holder, row.expires) = (None, -1);
            }
            state.processes[slot].phase = Phase::Released;
            return Event::SeenDetached;
        }
        let file = usize::from(process.file);
        state.files[file].memory = token;
        state.files[file].observed = None;
        state.processes[slot].phase = Phase::Holding(Holding {
            token,
            acquisition,
            valid: (sent + self.times.soft).max(-1),
            hard: (sent + self.times.hard).max(-1),
            acknowledged: 0,
            attempted: 0,
            renewal: Renewal::Waiting,
            work: Work::Idle,
            opened: false,
            lost: false,
            ended: false,
            held: true,
        });
        Event::Plain
    }

    fn hold(&self, state: &mut State<N>, slot: usize, holding: &mut Holding, step: Step) -> Option<Event> {
        match (step, holding.renewal, holding.work) {
            (Step::Open, ..) if !holding.opened => self.open(state, slot, holding),
            (Step::Renew, Renewal::Waiting, _) if holding.passes() => {
                holding.attempted += 1;
                holding.renewal = Renewal::Sent(0);
                Some(Event::Plain)
            }
            (Step::Apply, Renewal::Sent(sent), _) => Some(self.apply(state, slot, holding, sent)),
            (Step::Answer, Renewal::Done(sent, renewed), _) => {
                Some(self.answer(holding, sent, renewed, state.processes[slot].detached))
            }
            (Step::Check, _, Work::Idle) if holding.opened && !holding.lost => {
                if holding.passes() {
                    holding.work = Work::Checked { paused: false };
                    return Some(Event::Plain);
                }
                holding.lost = true;
                Some(Event::CheckFails)
            }
            (Step::Act, _, Work::Checked { paused }) => {
                holding.work = Work::Idle;
                self.judge_effect(state, slot, paused);
                if !self.lets_write(state, slot, holding) {
                    holding.lost = true;
                    return Some(Event::WriteRefused);
                }
                self.judge_write(state, holding);
                Some(Event::Written)
            }
            _ => None,
        }
    }

    /// Whether the database lets a process write.
    fn lets_write(&self, state: &State<N>, slot: usize, holding: &Holding) -> bool {
        self.protocol.passes(state.fence.shown(), holding.token.into(), name(state.processes[slot].holder))
    }

    /// Whether a process must raise its token before the database lets it write.
    pub(super) fn must_rise(&self, state: &State<N>, slot: usize, holding: &Holding) -> bool {
        !self.fences(state, holding) && !self.lets_write(state, slot, holding)
    }

    fn fences(&self, state: &State<N>, holding: &Holding) -> bool {
        self.protocol.fences(state.fence.token.into(), holding.token.into(), state.next_wall())
    }

    fn open(&self, state: &mut State<N>, slot: usize, holding: &mut Holding) -> Option<Event> {
        let Holding { token, acquisition, .. } = *holding;
        // Asked while nobody else can write to the database.
        if !holding.passes() {
            holding.lost = true;
            return Some(Event::CheckFails);
        }
        if self.fences(state, holding) {
            state.fence = Fenced { token, holder: state.processes[slot].holder, acquisition };
            state.fenced_by = state.fenced_by.max(acquisition);
        }
        if self.lets_write(state, slot, holding) {
            holding.opened = true;
            return Some(Event::Plain);
        }
        // Renewing and raising exclude each other: both need the lease.
        if holding.renewal != Renewal::Waiting {
            return None;
        }
        let Some(token) = self.next_token(state, token, state.fence.token) else {
            holding.lost = true;
            return Some(Event::NotRaised);
        };
        let holder = Some(state.processes[slot].holder);
        match state.row_of(slot).filter(|row| row.holder == holder && holding.is_shown_by(row.stamp)) {
            Some(row) => {
                self.judge_change(state, slot, holding, &row);
                state.highest = state.highest.max(token);
                *state.row_of(slot) = Some(Entry { stamp: (token, row.stamp.1), ..row });
                holding.token = token;
                Some(Event::Raised)
            }
            None => {
                (holding.lost, holding.held) = (true, false);
                Some(Event::NotRaised)
            }
        }
    }

    fn apply(&self, state: &mut State<N>, slot: usize, holding: &mut Holding, sent: Ticks) -> Event {
        let holder = name(state.processes[slot].holder);
        let window =
            Window { acknowledged: holding.acknowledged.into(), attempted: holding.attempted.into() };
        let renews = |row: &Entry| {
            self.protocol.may_renew(&row.row(self.times.ttl), holder, holding.token.into(), window)
        };
        let Some(row) = state.row_of(slot).filter(renews) else {
            holding.renewal = Renewal::Done(sent, false);
            return Event::NotRenewed;
        };
        self.judge_change(state, slot, holding, &row);
        let stamp = (row.stamp.0, holding.attempted);
        *state.row_of(slot) = Some(Entry { stamp, expires: sent + self.times.ttl, ..row });
        holding.renewal = Renewal::Done(sent, true);
        Event::Renewed
    }

    fn answer(&self, holding: &mut Holding, sent: Ticks, renewed: bool, detached: bool) -> Event {
        holding.renewal = Renewal::Waiting;
        holding.held = renewed;
        if !renewed {
            holding.lost = true;
            return Event::NotRenewed;
        }
        holding.acknowledged = holding.attempted;
        if detached {
            // Seen by `LeaseStore::verify`.
            holding.lost = true;
            return Event::SeenDetached;
        }
        let (clock, soft) = (clock_name(0, 0), duration(self.times.soft));
        let at = |ticks| instant(clock, ticks);
        match self.protocol.valid_until(at(sent), at(0), at(holding.valid), soft) {
            Some(valid) => {
                let present = at(0);
                let ahead =
                    valid.checked_sub(present).map_or(-1, |ahead| ahead.as_secs().try_into().unwrap());
                holding.valid = ahead;
                holding.hard = (sent + self.times.hard).max(-1);
                Event::Plain
            }
            None => {
                holding.lost = true;
                Event::TooLate
            }
        }
    }

    fn release(&self, state: &mut State<N>, slot: usize, holding: Holding) -> Option<Event> {
        if holding.work != Work::Idle || holding.renewal != Renewal::Waiting {
            return None;
        }
        let holder = Some(state.processes[slot].holder);
        state.processes[slot].phase = Phase::Released;
        let ours = |row: &Entry| holding.held && row.holder == holder && holding.is_shown_by(row.stamp);
        let Some(row) = state.row_of(slot).filter(ours) else { return Some(Event::NothingToGiveBack) };
        self.judge_change(state, slot, &holding, &row);
        let (token, seq) = row.stamp;
        *state.row_of(slot) = Some(Entry {
            stamp: (token, seq + 1),
            holder: None,
            expires: -1,
            clock: 0,
            lock: 0,
            acquisition: 0,
        });
        Some(Event::GivenBack)
    }
}
