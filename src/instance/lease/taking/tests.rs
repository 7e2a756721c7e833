use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::*;
use crate::{
    ids::InstanceId,
    instance::lease::{
        memory::MemoryStore,
        protocol::TOKEN_MAX,
        testing::{Stepping, TTL, applicant, at, lease_of, row, secs, take_now},
    },
};

const HOUR_US: u64 = 3_600_000_000;

fn outcome(store: &MemoryStore, applicant: &Applicant, clock: Clock<'_>) -> Taken {
    take(Box::new(store.clone()), applicant, clock, &|| false).unwrap()
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
    let cancelled = take(Box::new(store), &applicant("ours"), &|| at(secs(100)), &|| true).unwrap();
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
        let alive = take(Box::new(store.clone()), &applicant("theirs"), &|| stepped, &|| true).unwrap();
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
                let taken = take(Box::new(store.clone()), &who, &|| at(secs(100)), &|| true).unwrap();
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
    let failed = take(Box::new(store), &applicant("ours"), &|| at(secs(1)), &|| false);
    assert!(matches!(failed, Err(StoreError::Busy)));
}

#[test]
fn a_row_without_a_higher_token_is_damaged() {
    let store = MemoryStore::default();
    let last = LeaseRecord { holder: None, ..row(TOKEN_MAX, 0, secs(0)) };
    store.state().row = Some(last);
    let failed = take(Box::new(store), &applicant("ours"), &|| at(secs(1)), &|| false);
    assert!(matches!(failed, Err(StoreError::Damaged(_))));
}
