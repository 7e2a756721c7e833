//! What the protocol promises. What breaks a promise is noted in the state, by whoever sees everything.

use super::{
    World,
    event::Event,
    faults::Fault,
    state::{BOUNDS, Entry, Holding, Phase, Place, Request, State},
    steps::Step,
};

/// The exceptions are part of each promise, and as narrow as the checker allows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Promise {
    /// A write is never accepted below a token that was fenced off, nor of any acquisition but the one that
    /// fenced last, nor, unless the row was lost, of an earlier one than any that fenced.
    OneWriter,
    /// A new token is higher than all before, if any of row, calendar and lock file still knows better.
    TokensGrow,
    /// All three forget together only where the row was lost, and the wall clock was set back or somebody had
    /// seen the row before.
    Remembered,
    /// `check` never says yes to two processes at one instant, unless a machine was cloned, or the row was
    /// lost where the lock does not exclude.
    OneHolder,
    /// An effect that follows a `check` never meets another holder, with the same exceptions, unless
    /// its process was stopped in between.
    NoOverlap,
    /// A right that has ended does not come back.
    NoReturn,
    /// Nobody renews, raises or frees the row of another acquisition.
    OwnRow,
    /// Of two copies of one process at most one changes the row, unless an answer was lost.
    OneCopy,
    /// There always is a higher token, and none is further ahead of all calendars than what is credible. So a number
    /// that is not, wherever it stands, gets nowhere else.
    TokensLast,
}

impl Promise {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::OneWriter => "OneWriter",
            Self::TokensGrow => "TokensGrow",
            Self::Remembered => "Remembered",
            Self::OneHolder => "OneHolder",
            Self::NoOverlap => "NoOverlap",
            Self::NoReturn => "NoReturn",
            Self::OwnRow => "OwnRow",
            Self::OneCopy => "OneCopy",
            Self::TokensLast => "TokensLast",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

impl<const N: usize> State<N> {
    pub(super) fn breaks(&mut self, promise: Promise) {
        self.broken |= promise.bit();
    }

    pub(super) fn keeps(&self, promise: Promise) -> bool {
        self.broken & promise.bit() == 0
    }

    /// Whether nothing was done to the world that no protocol could make up for.
    fn excludes(&self) -> bool {
        !self.was_cloned() && (self.place == Place::OneLock || !self.row_was_lost())
    }
}

impl<const N: usize> World<N> {
    pub(super) fn judge_token(state: &mut State<N>, request: Request) {
        // At its end the calendar does not move on.
        let calendar = request.wall.min(u8::try_from(BOUNDS.calendar_max).unwrap()) - 1;
        if state.raced || state.highest > request.known.max(calendar) {
            state.forgotten = true;
            if !state.row_was_lost() || !(state.clock_was_set() || state.raced) {
                state.breaks(Promise::Remembered);
            }
        }
        if request.token <= state.highest && !state.forgotten {
            state.breaks(Promise::TokensGrow);
        }
        state.highest = state.highest.max(request.token);
    }

    /// Two numbers may be as far ahead as is credible: the one that was forged last, and the calendar.
    pub(super) fn judge_number(state: &mut State<N>, token: Option<u64>) {
        let most = BOUNDS.calendar_max + BOUNDS.horizon + u64::from(state.readings);
        if token.is_none_or(|token| token > most) {
            state.breaks(Promise::TokensLast);
        }
    }

    pub(super) fn judge_write(&self, state: &mut State<N>, writer: &Holding) {
        let earlier = writer.acquisition < state.fenced_by;
        let another = writer.acquisition != state.fence.acquisition;
        if another
            || writer.token < state.fence.token
            || (earlier && !state.forgotten && !state.row_was_restored())
        {
            state.breaks(Promise::OneWriter);
        }
    }

    pub(super) fn judge_effect(&self, state: &mut State<N>, slot: usize, paused: bool) {
        let mut others = state.processes.iter().enumerate().filter(|(other, _)| *other != slot);
        if !paused && state.excludes() && others.any(|(_, other)| other.passes()) {
            state.breaks(Promise::NoOverlap);
        }
    }

    /// The row is about to be changed on behalf of an acquisition.
    pub(super) fn judge_change(&self, state: &mut State<N>, slot: usize, by: &Holding, row: &Entry) {
        if by.acquisition != row.acquisition {
            state.breaks(Promise::OwnRow);
            return;
        }
        if !state.was_cloned() {
            return;
        }
        let slot = u8::try_from(slot).ok();
        if state.renewed_by.is_some_and(|copy| Some(copy) != slot)
            && !state.has_struck(Fault::LoseAnswer { slot: 0 })
        {
            state.breaks(Promise::OneCopy);
        }
        state.renewed_by = slot;
    }

    /// What can be seen of one state.
    pub(super) fn judge(&self, state: &mut State<N>) {
        if state.excludes() && state.processes.iter().filter(|process| process.passes()).count() > 1 {
            state.breaks(Promise::OneHolder);
        }
        let mut returned = false;
        for process in &mut state.processes {
            if let Phase::Holding(holding) = &mut process.phase {
                returned |= holding.ended && holding.passes();
                holding.ended |= holding.valid < 0;
            }
        }
        if returned {
            state.breaks(Promise::NoReturn);
        }
    }

    /// Whether every new process that gets its lock, with all others dead or stopped, becomes the one that
    /// writes, by itself and within the time that a silent row is watched for.
    pub(super) fn recovers(&self, state: &State<N>) -> bool {
        let down = |slot: usize| state.processes[slot].phase == Phase::Down;
        let quiet = (0..N).all(|slot| state.processes[slot].paused || down(slot));
        let starts = |slot: &usize| down(*slot) && state.can_lock(*slot);
        !quiet || (0..N).filter(starts).all(|slot| self.takes_over(*state, slot).is_some())
    }

    fn takes_over(&self, mut state: State<N>, slot: usize) -> Option<()> {
        self.step(&mut state, slot, Step::Start)?;
        let mut patience = self.times.patience();
        let mut moved_away = false;
        loop {
            let seen = self.step(&mut state, slot, Step::Look)?;
            if matches!(seen, Event::Observes | Event::GoesOn) {
                state.age(self.times);
                patience = patience.checked_sub(1).filter(|left| *left >= 0)?;
            } else if seen == Event::SawDamage && !moved_away {
                // It refuses to start, once, and says which file is to be moved away.
                (moved_away, state.row) = (true, None);
                self.step(&mut state, slot, Step::Start)?;
            } else {
                break;
            }
        }
        self.step(&mut state, slot, Step::Swap)?;
        self.step(&mut state, slot, Step::Begin)?;
        while state.processes[slot].holding().is_some_and(|holding| !holding.opened) {
            self.step(&mut state, slot, Step::Open)?;
        }
        self.step(&mut state, slot, Step::Check)?;
        (self.step(&mut state, slot, Step::Act)? == Event::Written).then_some(())
    }
}
