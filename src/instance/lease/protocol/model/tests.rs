use std::{env, time::Instant};

use stateright::{Checker, HasDiscoveries, Path};

use super::*;
use event::Event;
use faults::Number;
use state::BOUNDS;

const PLACES: [Place; 4] = [Place::OneLock, Place::LooseLock, Place::OwnLocks, Place::OwnMachines];
/// The longest times of so few ticks that keep the relations of `timings`: `hard` is 2.4, and ends between two.
const TIMES: Times = Times { ttl: 3, soft: 2, hard: 2 };

const PAUSE: u16 = Fault::Pause { slot: 0 }.bit();
const LOSE_ANSWER: u16 = Fault::LoseAnswer { slot: 0 }.bit();
const DELETE: u16 = Fault::Delete.bit();
const STEP_BACK: u16 = Fault::StepBack.bit();
const CLONE: u16 = Fault::Clone { slot: 0, to: 0 }.bit();
const FORGE_ROW: u16 = Fault::ForgeRow { number: Number::Zero }.bit();
const FORGE_MEMORY: u16 = Fault::ForgeMemory { file: 0, number: Number::Zero }.bit();
const FORGE_FENCE: u16 = Fault::ForgeFence { number: Number::Zero }.bit();
const STEP_AHEAD: u16 = Fault::StepAhead.bit();
const NUMBERS: u16 = FORGE_ROW | FORGE_MEMORY | FORGE_FENCE | STEP_AHEAD;
const LOSSES: u16 = 255;
const ALL_KINDS: u16 = LOSSES | NUMBERS;

/// A world with all rules, in which `kinds` of faults strike, `most_faults` of them together.
fn world<const N: usize>(places: &[Place], kinds: u16, most_faults: u32) -> World<N> {
    World {
        protocol: Protocol::WHOLE.within(BOUNDS),
        times: TIMES,
        places: places.to_vec(),
        kinds,
        most_faults,
        starts: 2,
        tokens: 2,
        renewals: 1,
        reached: AtomicU64::new(0),
    }
}

/// Looks at every state, and returns which events and faults there were.
fn explore<const N: usize>(what: &str, world: World<N>) -> u64 {
    let begin = Instant::now();
    let checker = world.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (states, steps, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    println!("{what}: {states} states, {steps} steps, up to {depth} in a row, {:?}", begin.elapsed());
    if let Some((promise, path)) = checker.discoveries().into_iter().next() {
        let end = *path.last_state();
        panic!("{what}: {promise} is broken by {:?}, in {end:?}", path.into_actions());
    }
    checker.model().reached.load(Ordering::Relaxed)
}

#[test]
fn every_promise_is_kept_in_every_state() {
    let undisturbed = World { starts: 3, tokens: 3, ..world::<2>(&PLACES, 0, 0) };
    let mut reached = explore("undisturbed", undisturbed);
    reached |= explore("any one loss but a clone", world::<2>(&PLACES, LOSSES & !CLONE, 1));
    let two_places = [Place::OneLock, Place::OwnLocks];
    for (place, starts) in [(Place::OneLock, 3), (Place::OwnLocks, 2)] {
        let forged = World { starts, tokens: 3, renewals: 0, ..world::<2>(&[place], NUMBERS, 1) };
        reached |= explore("a number that is damaged or forged", forged);
    }
    let lost = World { renewals: 3, ..world::<2>(&two_places, LOSE_ANSWER, 1) };
    reached |= explore("a lost answer", lost);
    let clone = World { starts: 1, renewals: 2, ..world::<2>(&[Place::OneLock], CLONE, 1) };
    reached |= explore("a clone", clone);
    reached |= explore("three processes", World { starts: 3, ..world::<3>(&PLACES, 0, 0) });
    // The row and the calendar forget, and the database of the application remembers.
    let forgetful = World { tokens: 4, renewals: 0, ..world::<2>(&[Place::OwnLocks], DELETE | STEP_BACK, 2) };
    reached |= explore("a deleted row and a clock that is set back", forgetful);
    let expected = Event::ALL.into_iter().fold(u64::from(ALL_KINDS), |bits, event| bits | event.bit());
    assert_eq!(reached, expected, "something never happens: {:b}", expected & !reached);
}

/// Takes two to three minutes more where `SOLOSTART_MODEL=large` asks for it:
/// `SOLOSTART_MODEL=large cargo test --lib protocol::model -- --nocapture`.
#[test]
fn every_promise_is_kept_where_more_happens() {
    if env::var("SOLOSTART_MODEL").is_ok_and(|size| size == "large") {
        let no_clone = LOSSES & !CLONE;
        let two_places = [Place::OneLock, Place::OwnLocks];
        let fine = Times { ttl: 5, soft: 3, hard: 4 };
        explore(
            "in the proportions of the default",
            World { times: fine, ..world::<2>(&PLACES, no_clone, 1) },
        );
        explore("any two losses but a clone", world::<2>(&PLACES, no_clone, 2));
        let forged = World { starts: 3, tokens: 3, ..world::<2>(&two_places, NUMBERS | STEP_BACK, 2) };
        explore("two numbers that are damaged or forged, or a clock that is set back", forged);
        explore(
            "a clone, and a process more",
            World { renewals: 2, ..world::<2>(&[Place::OneLock], CLONE, 1) },
        );
        explore("three processes, more tokens", World { starts: 3, tokens: 3, ..world::<3>(&PLACES, 0, 0) });
        let more = World { starts: 3, tokens: 3, renewals: 2, ..world::<2>(&two_places, no_clone, 1) };
        explore("any one loss but a clone, more of everything", more);
    }
}

/// Where the rule that a guard stands for is needed, and which promise is broken without it.
fn needed(guard: Guard) -> (World<2>, Promise) {
    let two = |place, kinds: u16, promise| (world(&[place], kinds, kinds.count_ones()), promise);
    match guard {
        Guard::SameClock | Guard::Unchanged | Guard::Patience => {
            two(Place::OwnMachines, 0, Promise::OneHolder)
        }
        // Who observed once starts again.
        Guard::SameWatch => {
            let (world, promise) = two(Place::OwnMachines, 0, Promise::OneHolder);
            (World { starts: 3, ..world }, promise)
        }
        Guard::Expiry | Guard::SameLock | Guard::Compare => two(Place::OwnLocks, 0, Promise::OneHolder),
        Guard::TrustedLock => two(Place::LooseLock, 0, Promise::OneHolder),
        // Two holders have the same token only where row and calendar forgot it.
        Guard::Holder => two(Place::OwnLocks, DELETE | STEP_BACK, Promise::OwnRow),
        // And one holder has two tokens only if it was cloned while it asked for one.
        Guard::Token => two(Place::OneLock, CLONE, Promise::OwnRow),
        Guard::Sequence => two(Place::OneLock, CLONE, Promise::OneCopy),
        Guard::Higher => two(Place::OneLock, STEP_BACK, Promise::TokensGrow),
        Guard::Calendar => two(Place::OwnLocks, DELETE, Promise::TokensGrow),
        Guard::Memory => two(Place::OneLock, DELETE | STEP_BACK, Promise::TokensGrow),
        Guard::Credible => two(Place::OneLock, FORGE_MEMORY, Promise::TokensLast),
        Guard::Ceiling => two(Place::OneLock, STEP_AHEAD, Promise::TokensLast),
        // A process that runs is ended by the watchdog before it could do harm.
        Guard::FromSending => two(Place::OwnLocks, PAUSE, Promise::OneHolder),
        Guard::NoRevival => two(Place::OneLock, PAUSE, Promise::NoReturn),
        // One holder has two tokens, and two have one, only as told above.
        Guard::Fence => two(Place::OneLock, CLONE, Promise::OneWriter),
        Guard::FenceHolder => two(Place::OwnLocks, DELETE | STEP_BACK, Promise::OneWriter),
    }
}

/// The shortest way to a broken promise.
fn shortest(world: impl Fn() -> World<2>, promise: Promise) -> Option<Path<State<2>, Action>> {
    let mut found: Option<Path<State<2>, Action>> = None;
    loop {
        // The checker goes on for a while after it has found something, and what it finds last counts.
        let checker = world().checker().finish_when(HasDiscoveries::AnyFailures);
        let checker = match &found {
            Some(path) => checker.target_max_depth(path.clone().into_actions().len() + 1),
            None => checker,
        };
        match checker.spawn_bfs().join().discovery(promise.name()) {
            Some(shorter) => found = Some(shorter),
            None => return found,
        }
    }
}

#[test]
fn without_any_one_guard_a_promise_is_broken() {
    for guard in Guard::ALL {
        let (_, promise) = needed(guard);
        let protocol = Protocol::without(guard).within(BOUNDS);
        let without = || World { protocol, ..needed(guard).0 };
        let path = shortest(without, promise);
        let path = path.unwrap_or_else(|| panic!("{guard:?} can be left out: {promise:?} is kept"));
        let actions = path.into_actions();
        println!("without {guard:?} {promise:?} is broken by {} steps: {actions:?}", actions.len());
    }
}

#[test]
fn a_holder_that_lives_longer_than_its_lease_is_found() {
    for times in [Times { soft: 4, hard: 4, ..TIMES }, Times { hard: 4, ..TIMES }] {
        let late = || World { times, ..world(&[Place::OwnLocks], 0, 0) };
        let promise = if times.soft > times.ttl { Promise::OneHolder } else { Promise::NoOverlap };
        assert!(shortest(late, promise).is_some(), "{times:?}");
    }
}
