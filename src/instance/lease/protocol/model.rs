//! The rules under a model checker.
//!
//! Everything that the processes of a small world can do, and that can be done to them, is done in every
//! order, and every state that comes of it is looked at. The rules are those of `protocol`, called and not
//! copied; what is copied is the order in which `taking`, `keeper` and the guard ask them (`steps`), and what
//! can go wrong around them (`faults`). What they promise together is in `promises`.
//!
//! Not in the model: clocks of different rates, the breaking of a lease by an operator, and a lock file that
//! is replaced while it is locked, which is the same as a lock file of one's own.

mod event;
mod faults;
mod looks;
mod promises;
mod state;
mod steps;
mod values;

use std::sync::atomic::{AtomicU64, Ordering};

use stateright::{Model, Property};

use super::{Guard, Protocol};
use faults::Fault;
use promises::Promise;
use state::{Place, State, Times};
use steps::Step;

/// A world to be explored: its rules, and how much may happen in it.
struct World<const N: usize> {
    protocol: Protocol,
    times: Times,
    places: Vec<Place>,
    /// Which faults may strike, and how many of them together.
    kinds: u16,
    most_faults: u32,
    /// How many processes are started, in all.
    starts: u8,
    /// How often a token is formed, in all.
    tokens: u8,
    /// How often one acquisition is renewed.
    renewals: u8,
    /// Which faults and events there were.
    reached: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Action {
    /// Time passes.
    Tick,
    Step(usize, Step),
    Fault(Fault),
    /// An operator moves a lease away whose row has a number that is no token, when no instance runs.
    MoveAway,
}

impl<const N: usize> World<N> {
    /// Whether the bounds leave room for a step.
    fn within_bounds(&self, state: &State<N>, slot: usize, step: Step) -> bool {
        let holding = state.processes[slot].holding();
        match (step, holding) {
            (Step::Start, _) => {
                state.processes.iter().map(|process| process.starts).sum::<u8>() < self.starts
            }
            (Step::Look, _) => state.readings < self.tokens,
            (Step::Open, Some(holding)) => {
                state.readings < self.tokens || !self.must_rise(state, slot, holding)
            }
            (Step::Renew, Some(holding)) => holding.attempted < self.renewals,
            _ => true,
        }
    }

    /// Forgets what cannot matter any more, so that equal states look equal.
    fn settle(&self, state: &mut State<N>) {
        state.processes.iter_mut().for_each(state::Process::settle);
        if state.struck() >= self.most_faults || self.kinds & Fault::COPIES == 0 {
            state.earlier = None;
        }
        // With its rule an observation of another row matters no more.
        let rows = [state.row, state.earlier, state.detached];
        let kept = self.protocol.removed == Some(Guard::SameWatch);
        for file in &mut state.files {
            file.observed =
                file.observed.filter(|seen| kept || rows.iter().flatten().any(|row| seen.is_of(row)));
        }
        if state.processes.iter().all(|process| !process.detached) {
            state.detached = None;
        }
    }

    fn tick(&self, state: &mut State<N>) -> Option<()> {
        // The watchdog ends every process at its hard limit that is not itself stopped.
        let overdue = |process: &state::Process| {
            !process.paused && process.holding().is_some_and(|holding| holding.hard <= 0)
        };
        if state.processes.iter().any(overdue) {
            return None;
        }
        state.age(self.times);
        Some(())
    }
}

impl<const N: usize> Model for World<N> {
    type State = State<N>;
    type Action = Action;

    fn init_states(&self) -> Vec<Self::State> {
        self.places.iter().copied().map(State::first).collect()
    }

    fn actions(&self, state: &Self::State, actions: &mut Vec<Self::Action>) {
        // Nobody wants to know what comes after a broken promise.
        if state.broken != 0 {
            return;
        }
        actions.push(Action::Tick);
        for (slot, process) in state.processes.iter().enumerate() {
            let steps =
                if process.paused { &[Step::Continue, Step::Die] } else { steps::offered(&process.phase) };
            let possible = steps.iter().filter(|step| self.within_bounds(state, slot, **step));
            actions.extend(possible.map(|step| Action::Step(slot, *step)));
        }
        actions.extend(self.faults(state).into_iter().map(Action::Fault));
        let damaged = |row: state::Entry| !self.protocol.credible(row.stamp.0.into(), state.next_wall());
        let down = |process: &state::Process| process.phase == state::Phase::Down;
        if state.row.is_some_and(damaged) && state.processes.iter().all(down) {
            actions.push(Action::MoveAway);
        }
    }

    fn next_state(&self, last: &Self::State, action: Self::Action) -> Option<Self::State> {
        let mut next = *last;
        match action {
            Action::Tick => self.tick(&mut next)?,
            Action::Step(slot, step) => {
                let event = self.step(&mut next, slot, step)?;
                self.reached.fetch_or(event.bit(), Ordering::Relaxed);
            }
            Action::MoveAway => next.row = None,
            Action::Fault(fault) => {
                Self::strike(&mut next, fault)?;
                self.reached.fetch_or(fault.bit().into(), Ordering::Relaxed);
            }
        }
        self.settle(&mut next);
        self.judge(&mut next);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(Promise::OneWriter.name(), |_, state: &State<N>| {
                state.keeps(Promise::OneWriter)
            }),
            Property::always(Promise::TokensGrow.name(), |_, state: &State<N>| {
                state.keeps(Promise::TokensGrow)
            }),
            Property::always(Promise::Remembered.name(), |_, state: &State<N>| {
                state.keeps(Promise::Remembered)
            }),
            Property::always(Promise::OneHolder.name(), |_, state: &State<N>| {
                state.keeps(Promise::OneHolder)
            }),
            Property::always(Promise::NoOverlap.name(), |_, state: &State<N>| {
                state.keeps(Promise::NoOverlap)
            }),
            Property::always(Promise::NoReturn.name(), |_, state: &State<N>| state.keeps(Promise::NoReturn)),
            Property::always(Promise::OwnRow.name(), |_, state: &State<N>| state.keeps(Promise::OwnRow)),
            Property::always(Promise::OneCopy.name(), |_, state: &State<N>| state.keeps(Promise::OneCopy)),
            Property::always(Promise::TokensLast.name(), |_, state: &State<N>| {
                state.keeps(Promise::TokensLast)
            }),
            Property::always("a dead holder blocks nobody", |world: &Self, state: &State<N>| {
                world.recovers(state)
            }),
        ]
    }
}

#[cfg(test)]
mod tests;
