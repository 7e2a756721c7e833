//! Looking at the row, and forming the one that is asked for: the first half of `taking::take`.

use super::super::{Contender, Decision, Watch};
use super::{
    World,
    event::Event,
    state::{Entry, Observed, Phase, Place, Request, Stamp, State, Ticks, instant, name, watch_of},
};

impl<const N: usize> World<N> {
    pub(super) fn look(
        &self,
        state: &mut State<N>,
        slot: usize,
        watch: Option<((u8, u8), Ticks)>,
    ) -> Option<Event> {
        let clock = state.clock(slot);
        let contender = Contender {
            clock: name(clock),
            lock: name(state.files[usize::from(state.processes[slot].file)].name),
            lock_is_trusted: state.place != Place::LooseLock,
        };
        let seen = *state.row_of(slot);
        if seen.is_some_and(|entry| !self.protocol.credible(entry.stamp.0.into(), state.next_wall())) {
            state.processes[slot].phase = Phase::Down;
            return Some(Event::SawDamage);
        }
        let row = seen.map(|entry| entry.row(self.times.ttl));
        let file = &state.files[usize::from(state.processes[slot].file)];
        let earlier = file.observed.filter(|_| watch.is_none());
        let earlier = row.zip(earlier).and_then(|(row, earlier)| {
            self.protocol.go_on(&contender, instant(clock, 0), &row, &earlier.shown(file.name))
        });
        let watched = watch.map(|watch| watch_of(clock, watch)).or(earlier);
        let seen = seen.map(|entry| entry.stamp);
        let decision = self.protocol.decide(&contender, instant(clock, 0), row.as_ref(), watched.as_ref());
        let (phase, event) = match decision {
            Decision::Take(reason) => match self.ask(state, slot, seen) {
                Some(asking) => (asking, Event::took(reason)),
                None => (Phase::Down, Event::SawDamage),
            },
            // It refuses to start, or waits from the beginning.
            Decision::Alive => (Phase::Contending { watch: None }, Event::SawLife),
            Decision::Observe(_) => self.observe(state, slot, watch, earlier),
        };
        state.processes[slot].phase = phase;
        Some(event)
    }

    /// Goes on to observe, or begins to and notes that.
    fn observe(
        &self,
        state: &mut State<N>,
        slot: usize,
        watch: Option<(Stamp, Ticks)>,
        earlier: Option<Watch>,
    ) -> (Phase, Event) {
        if watch.is_some() {
            return (Phase::Contending { watch }, Event::Observes);
        }
        let (clock, file) = (state.clock(slot), usize::from(state.processes[slot].file));
        let row = *state.row_of(slot);
        if let (Some(row), Some(noted), true) = (row, state.files[file].observed, earlier.is_some()) {
            return (Phase::Contending { watch: Some((row.stamp, noted.since)) }, Event::GoesOn);
        }
        state.files[file].observed = row.and_then(|Entry { stamp, holder, .. }| {
            Some(Observed { stamp, holder: holder?, clock, since: 0 })
        });
        (Phase::Contending { watch: row.map(|row| (row.stamp, 0)) }, Event::Observes)
    }

    fn ask(&self, state: &mut State<N>, slot: usize, seen: Option<(u8, u8)>) -> Option<Phase> {
        let previous = seen.map_or(0, |(token, _)| token);
        let memory = state.files[usize::from(state.processes[slot].file)].memory;
        let token = self.next_token(state, previous, memory)?;
        let memory = if self.protocol.credible(memory.into(), state.wall.into()) { memory } else { 0 };
        Some(Phase::Asking(Request { seen, token, sent: 0, wall: state.wall, known: previous.max(memory) }))
    }

    pub(super) fn next_token(&self, state: &mut State<N>, previous: u8, remembered: u8) -> Option<u8> {
        state.wall += 1;
        state.readings += 1;
        let token = self.protocol.next_token(previous.into(), remembered.into(), state.wall.into());
        Self::judge_number(state, token);
        u8::try_from(token?).ok()
    }
}
