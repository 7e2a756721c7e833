use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::*;
use crate::{
    ids::InstanceId,
    instance::lease::{
        memory::MemoryStore,
        protocol::Bounds,
        testing::{Stepping, TTL, applicant, at, lease_of, row, secs, take_now},
    },
};

const HOUR_US: u64 = 3_600_000_000;

fn outcome(store: &MemoryStore, applicant: &Applicant, clock: Clock<'_>) -> Taken {
    take(Box::new(store.clone()), applicant, clock, &|| false, &|_| ()).unwrap()
}

#[test]
fn the_row_says_who_took_it_and_the_lease_gives_it_back_with_its_token() {
    let store = MemoryStore::default();
    let ours = applicant("ours");
    let lease = take_now(store.clone(), &ours, at(secs(100)));
    let taken = store.state().row.clone().unwrap();
    assert_eq!(taken.holder.as_deref(), Some(ours.info.instance.as_str()));
    assert_eq!(taken.info.as_ref(), Some(&ours.info));
    assert_eq!((taken.expires, taken.version.token), (secs(115), at(secs(0)).unix_us));
    assert_eq!((taken.boot_id.as_str(), taken.lock.as_str()), ("this-boot", "ours"));
    drop(lease);
    let left = store.state().row.clone().unwrap();
    assert_eq!((left.holder, left.version.token), (None, taken.version.token));
    assert!(left.version.seq > taken.version.seq, "a release that nobody can see");
}

#[test]
fn a_holder_with_the_same_lock_is_dead_and_replaced_at_once() {
    let store = MemoryStore::default();
    store.state().row = Some(LeaseRecord { lock: "ours".to_owned(), ..row(7, 3, secs(100)) });
    let Taken::Lease { reason, before, .. } = outcome(&store, &applicant("ours"), &|| at(secs(100))) else {
        panic!("not taken")
    };
    assert_eq!((reason, before.unwrap().version.token), (Reason::ProvenDead, 7));
}

#[test]
fn a_row_that_is_renewed_is_left_to_its_holder_as_soon_as_that_is_seen() {
    let store = MemoryStore::default();
    store.state().row = Some(row(7, 3, secs(100)));
    let renewed = AtomicUsize::new(0);
    let clock = || {
        // The holder renews between the first look and the second.
        if renewed.fetch_add(1, Ordering::SeqCst) == 2 {
            store.state().row = Some(row(7, 4, secs(101)));
        }
        at(secs(101))
    };
    let Taken::Alive(holder) = outcome(&store, &applicant("ours"), &clock) else { panic!("not alive") };
    assert_eq!(holder.version.seq, 4);
}

#[test]
fn a_silent_row_of_another_boot_is_taken_after_a_fifth_more_than_its_time() {
    let store = MemoryStore::default();
    let foreign = LeaseRecord { boot_id: "other-boot".to_owned(), ..row(7, 3, secs(0)) };
    store.state().row = Some(foreign);
    let clock = Stepping::from(at(secs(100)), secs(1));
    let Taken::Lease { reason, sent, .. } = outcome(&store, &applicant("ours"), &|| clock.read()) else {
        panic!("not taken")
    };
    assert_eq!(reason, Reason::Silent);
    // The first look ends at 102, and the lease is asked for one reading after the last look.
    assert!(sent.boot >= secs(102) + TTL + TTL / 5, "{sent:?}");
    assert!(sent.boot <= secs(102) + TTL + TTL / 5 + secs(3), "{sent:?}");
}

#[test]
fn an_observation_ends_when_the_caller_does_not_want_to_wait() {
    let store = MemoryStore::default();
    store.state().row = Some(row(7, 3, secs(100)));
    let cancelled = take(Box::new(store), &applicant("ours"), &|| at(secs(100)), &|| true, &|_| ()).unwrap();
    assert!(matches!(cancelled, Taken::Cancelled));
}

#[test]
fn an_hour_either_way_on_the_wall_clock_changes_neither_the_judgement_nor_the_order_of_tokens() {
    for step in [HOUR_US.wrapping_neg(), HOUR_US] {
        let store = MemoryStore::default();
        let first = take_now(store.clone(), &applicant("ours"), at(secs(100)));
        let token = first.token();
        std::mem::forget(first);
        let stepped = Now { boot: secs(101), unix_us: at(secs(0)).unix_us.wrapping_add(step) };
        let alive =
            take(Box::new(store.clone()), &applicant("theirs"), &|| stepped, &|| true, &|_| ()).unwrap();
        assert!(matches!(alive, Taken::Cancelled), "taken by the wall clock");
        let second = take_now(store, &applicant("ours"), stepped);
        assert!(second.token() > token);
    }
}

#[test]
fn tokens_grow_across_a_deleted_and_an_older_lease_even_if_the_clock_was_set_back() {
    let store = MemoryStore::default();
    let token = take_now(store.clone(), &applicant("ours"), at(secs(100))).token();
    let hour_before = Now { unix_us: at(secs(0)).unix_us - HOUR_US, ..at(secs(200)) };
    let memory = Applicant { remembered: token.get(), ..applicant("ours") };
    for left in [None, Some(row(token.get() - 5 * HOUR_US, 0, secs(0)))] {
        store.state().row = left;
        assert!(take_now(store.clone(), &memory, hour_before).token() > token);
    }
    store.state().row = None;
    assert!(take_now(store, &applicant("ours"), at(secs(300))).token() >= token);
}

#[test]
fn of_many_contenders_one_wins_each_round_and_tokens_rise() {
    let store = MemoryStore::default();
    for round in 1..=50 {
        let wins = AtomicUsize::new(0);
        let before = store.state().row.as_ref().map_or(0, |row| row.version.token);
        // Each has a lock of its own, so that only the row decides. The winner of the round holds it.
        let leases: Vec<_> = thread::scope(|scope| {
            let contend = || {
                let who = applicant(&InstanceId::mint().to_string());
                let taken =
                    take(Box::new(store.clone()), &who, &|| at(secs(100)), &|| true, &|_| ()).unwrap();
                matches!(taken, Taken::Lease { .. }).then(|| {
                    wins.fetch_add(1, Ordering::SeqCst);
                    lease_of(taken)
                })
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(contend)).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(wins.into_inner(), 1, "round {round}");
        assert!(leases[0].token().get() > before);
    }
}

#[test]
fn what_the_store_says_is_passed_on() {
    let store = MemoryStore::default();
    store.state().failing = Some(StoreError::Busy);
    let failed = take(Box::new(store), &applicant("ours"), &|| at(secs(1)), &|| false, &|_| ());
    assert!(matches!(failed, Err(StoreError::Busy)));
}

#[test]
fn a_row_without_a_higher_token_is_damaged() {
    let store = MemoryStore::default();
    let last = LeaseRecord { holder: None, ..row(Bounds::REAL.last, 0, secs(0)) };
    store.state().row = Some(last);
    let failed = take(Box::new(store), &applicant("ours"), &|| at(secs(1)), &|| false, &|_| ());
    assert!(matches!(failed, Err(StoreError::Damaged(_))));
}

#[test]
fn a_memory_that_is_no_token_is_not_followed() {
    for forged in [u64::MAX, Bounds::REAL.last, 1 << 62, at(secs(0)).unix_us + Bounds::REAL.horizon + 1] {
        let who = Applicant { remembered: forged, ..applicant("ours") };
        let lease = take_now(MemoryStore::default(), &who, at(secs(1)));
        assert_eq!(lease.token().get(), at(secs(0)).unix_us, "{forged}");
    }
}

/// A row whose time to live is an hour, of another boot.
fn hour() -> LeaseRecord {
    LeaseRecord { boot_id: "other-boot".to_owned(), ttl: secs(3600), ..row(7, 3, secs(0)) }
}

/// Starts at `boot`, with a clock that steps by a second, and returns what came of it and what was noted.
fn start_at(boot: Duration, row: LeaseRecord, observed: Option<Observed>) -> (Taken, Vec<Observed>) {
    let store = MemoryStore::default();
    store.state().row = Some(row);
    let clock = Stepping::from(at(boot), secs(1));
    let noted = Mutex::new(Vec::new());
    let note = |observed: &Observed| noted.lock().unwrap().push(observed.clone());
    let who = Applicant { observed, ..applicant("ours") };
    let taken = take(Box::new(store), &who, &|| clock.read(), &|| false, &note).unwrap();
    (taken, noted.into_inner().unwrap())
}

fn unclear(taken: Taken) -> Unclear {
    let Taken::Unclear(found) = taken else { panic!("it was decided") };
    found
}

#[test]
fn a_row_that_lasts_longer_than_a_start_may_observe_is_refused_and_the_next_start_goes_on() {
    let (taken, noted) = start_at(secs(100), hour(), None);
    let found = unclear(taken);
    // The first look was over at 102 s, and our own holders would be silent for 18 s.
    assert_eq!((found.unchanged, found.left, &found.row), (secs(18), secs(4320 - 18), &hour()));
    let [observed] = &noted[..] else { panic!("{noted:?}") };
    assert_eq!(observed.since_ns, 102_000_000_000);

    let (taken, noted) = start_at(secs(2000), hour(), Some(observed.clone()));
    assert_eq!(noted, [], "it began anew");
    assert_eq!(unclear(taken).unchanged, secs(2001 + 18 - 102));
    let (taken, _) = start_at(secs(102 + 4320 - 5), hour(), Some(observed.clone()));
    let Taken::Lease { reason, sent, .. } = taken else { panic!("not taken") };
    assert_eq!(reason, Reason::Silent);
    assert!(sent.boot >= secs(102 + 4320) && sent.boot <= secs(102 + 4320 + 2), "{sent:?}");
}

#[test]
fn an_observation_counts_for_the_row_the_clock_and_the_lock_that_it_is_of_and_never_from_the_future() {
    let (_, noted) = start_at(secs(100), hour(), None);
    let observed = noted[0].clone();
    let name = |name: &str| name.to_owned();
    let (taken, _) = start_at(secs(9000), hour(), Some(observed.clone()));
    assert!(matches!(taken, Taken::Lease { reason: Reason::Silent, .. }), "it does not count at all");
    for other in [
        Observed { lock: name("theirs"), ..observed.clone() },
        Observed { clock: name("other-boot"), ..observed.clone() },
        Observed { holder: name("another"), ..observed.clone() },
        Observed { token: 6, ..observed.clone() },
        Observed { seq: 2, ..observed.clone() },
        Observed { seq: 4, ..observed.clone() },
        Observed { since_ns: 9_002_000_000_000, ..observed.clone() },
        Observed { since_ns: u64::MAX, ..observed.clone() },
    ] {
        let (taken, noted) = start_at(secs(9000), hour(), Some(other.clone()));
        assert_eq!(unclear(taken).unchanged, secs(18), "{other:?}");
        assert_eq!(noted.len(), 1, "{other:?}");
    }
}

#[test]
fn a_row_that_changed_since_it_was_observed_is_alive_only_if_it_changes_again() {
    let (_, noted) = start_at(secs(100), hour(), None);
    let renewed = LeaseRecord { version: Version { token: 7, seq: 4 }, ..hour() };
    let (taken, noted) = start_at(secs(9000), renewed, Some(noted[0].clone()));
    assert_eq!(unclear(taken).unchanged, secs(18));
    assert_eq!((noted[0].seq, noted[0].since_ns), (4, 9_002_000_000_000));
}
