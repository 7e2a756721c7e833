use super::*;

const TTL: Duration = Duration::from_secs(15);
const NOW: Duration = Duration::from_secs(1000);
const SECOND: Duration = Duration::from_secs(1);
const LAST: u64 = Bounds::REAL.last;
const SEEN: Version = Version { token: 7, seq: 3 };

fn row() -> Row<'static> {
    Row { version: SEEN, holder: Some("a"), clock: "boot", lock: "theirs", ttl: TTL, expires: NOW + SECOND }
}

fn contender() -> Contender<'static> {
    Contender { clock: "boot", lock: "ours", lock_is_trusted: true }
}

fn watched(version: Version, since: Duration) -> Watch {
    Watch { version, since }
}

/// One situation of every combination of what `decide` looks at.
struct Case {
    row: Row<'static>,
    contender: Contender<'static>,
    watch: Option<Watch>,
}

fn every_case() -> Vec<Case> {
    let patience = Protocol::patience(TTL);
    let watches = [
        None,
        Some(watched(SEEN, NOW - patience + SECOND)),
        Some(watched(SEEN, NOW - patience)),
        Some(watched(Version { seq: 2, ..SEEN }, NOW - SECOND)),
        Some(watched(Version { token: 6, ..SEEN }, NOW - patience)),
    ];
    let mut cases = Vec::new();
    for holder in [None, Some("a")] {
        for row_clock in ["boot", "other", ""] {
            for clock in ["boot", ""] {
                for lock in ["ours", "theirs"] {
                    for lock_is_trusted in [true, false] {
                        for expires in [NOW - SECOND, NOW, NOW + SECOND] {
                            for watch in watches {
                                let row = Row { holder, clock: row_clock, lock, expires, ..row() };
                                let contender = Contender { clock, lock_is_trusted, ..contender() };
                                cases.push(Case { row, contender, watch });
                            }
                        }
                    }
                }
            }
        }
    }
    cases
}

#[test]
fn in_every_situation_the_row_is_taken_for_the_first_reason_that_holds_and_for_no_other() {
    let cases = every_case();
    assert_eq!(cases.len(), 2 * 3 * 2 * 2 * 2 * 3 * 5);
    for Case { row, contender, watch } in cases {
        let decision = Protocol::WHOLE.decide(&contender, NOW, Some(&row), watch.as_ref());
        let free = row.holder.is_none();
        let dead = row.lock == "ours" && contender.lock_is_trusted;
        let expired = row.clock == "boot" && contender.clock == "boot" && row.expires < NOW;
        let changed = watch.is_some_and(|watch| watch.version != SEEN);
        let long = watch.is_some_and(|watch| NOW - watch.since >= Duration::from_secs(18));
        let expected = match (free, dead, expired, changed, long, watch) {
            (true, ..) => Decision::Take(Reason::Free),
            (_, true, ..) => Decision::Take(Reason::ProvenDead),
            (_, _, true, ..) => Decision::Take(Reason::Expired),
            (_, _, _, true, ..) => Decision::Alive,
            (_, _, _, _, true, _) => Decision::Take(Reason::Silent),
            (.., Some(watch)) => Decision::Observe(watch.since + Duration::from_secs(18)),
            (.., None) => Decision::Observe(NOW + Duration::from_secs(18)),
        };
        assert_eq!(decision, expected, "{row:?} {contender:?} {watch:?}");
    }
    let absent = Protocol::WHOLE.decide(&contender(), NOW, None, None);
    assert_eq!(absent, Decision::Take(Reason::Free));
}

/// Whether something happens under these rules that the guard is there to prevent.
fn harm(guard: Guard, rules: Protocol) -> bool {
    let takes = |contender, row, watch: Option<Watch>| {
        matches!(rules.decide(&contender, NOW, Some(&row), watch.as_ref()), Decision::Take(_))
    };
    let past = NOW - SECOND;
    let window = Window { acknowledged: 3, attempted: 4 };
    match guard {
        Guard::SameClock => takes(contender(), Row { clock: "other", expires: past, ..row() }, None),
        Guard::Expiry => takes(contender(), row(), None),
        Guard::SameLock => takes(contender(), row(), None),
        Guard::TrustedLock => {
            takes(Contender { lock_is_trusted: false, ..contender() }, Row { lock: "ours", ..row() }, None)
        }
        Guard::Unchanged => {
            let earlier = Version { seq: 2, ..SEEN };
            takes(contender(), row(), Some(watched(earlier, Duration::ZERO)))
        }
        Guard::Patience => takes(contender(), row(), Some(watched(SEEN, NOW - TTL))),
        Guard::SameWatch => {
            let watch = watched(Version { seq: 2, ..SEEN }, Duration::ZERO);
            let earlier = Earlier { clock: "boot", lock: "ours", holder: "a", watch };
            rules.go_on(&contender(), NOW, &row(), &earlier).is_some()
        }
        Guard::Compare => rules.may_swap(Some(Version { seq: 4, ..SEEN }), Some(SEEN)),
        Guard::Holder => rules.may_renew(&row(), "b", 7, window),
        Guard::Token => rules.may_renew(&row(), "a", 6, window),
        Guard::Sequence => {
            let clone_was_here = Row { version: Version { seq: 5, ..SEEN }, ..row() };
            rules.may_renew(&clone_was_here, "a", 7, window)
        }
        Guard::Higher => rules.next_token(7, 0, 3) <= Some(7),
        // The row that had token 7 is gone.
        Guard::Calendar => rules.next_token(0, 0, 9) <= Some(7),
        Guard::Memory => rules.next_token(0, 7, 3) <= Some(7),
        Guard::Credible => rules.next_token(7, LAST, 3) != Some(8),
        Guard::Ceiling => {
            rules.next_token(7, 0, LAST).and_then(|token| rules.next_token(token, 0, 3)).is_none()
        }
        Guard::FromSending => {
            let (sent, answered) = (NOW, NOW + SECOND);
            rules.valid_until(sent, answered, NOW + TTL, TTL) > Some(sent + TTL)
        }
        Guard::NoRevival => rules.valid_until(NOW - SECOND, NOW, NOW - SECOND, TTL).is_some(),
        Guard::Fence => rules.passes(Fence { token: 8, holder: "a" }, 7, "a"),
        Guard::FenceHolder => rules.passes(Fence { token: 7, holder: "b" }, 7, "a"),
    }
}

#[test]
fn every_guard_prevents_something_that_happens_without_it() {
    for guard in Guard::ALL {
        assert!(!harm(guard, Protocol::WHOLE), "{guard:?} is not kept");
        assert!(harm(guard, Protocol::without(guard)), "{guard:?} can be left out");
    }
}

#[test]
fn what_the_rules_allow_they_allow() {
    let window = Window { acknowledged: 2, attempted: 4 };
    for seq in 1..=5 {
        let row = Row { version: Version { token: 7, seq }, ..row() };
        let renews = Protocol::WHOLE.may_renew(&row, "a", 7, window);
        assert_eq!(
            renews,
            seq == 2 || seq == 3,
            "an answer may have been lost, and 4 is still to be written"
        );
    }
    assert!(!Protocol::WHOLE.may_renew(&Row { holder: None, ..row() }, "a", 7, window));
    assert!(Protocol::WHOLE.may_swap(Some(SEEN), Some(SEEN)) && Protocol::WHOLE.may_swap(None, None));
    assert_eq!(Protocol::WHOLE.valid_until(NOW, NOW + SECOND, NOW + TTL, TTL), Some(NOW + TTL));
    for token in [7, 8] {
        assert!(Protocol::WHOLE.passes(Fence { token: 7, holder: "a" }, token, "a"));
    }
}

#[test]
fn tokens_grow_whichever_memory_is_left_and_end_before_they_overflow() {
    let next = |previous, remembered, clock| Protocol::WHOLE.next_token(previous, remembered, clock);
    assert_eq!(next(0, 0, 1_800_000_000_000_000), Some(1_800_000_000_000_000));
    assert_eq!(next(1_800_000_000_000_000, 0, 1_000), Some(1_800_000_000_000_001));
    assert_eq!(next(5, 1_800_000_000_000_000, 1_000), Some(1_800_000_000_000_001));
    assert_eq!(next(0, 0, 0), Some(1));
    assert_eq!(next(LAST, 0, 0), None);
    assert_eq!(next(u64::MAX, 0, 0), None);
}

const TODAY: u64 = 1_800_000_000_000_000;

#[test]
fn a_number_counts_up_to_the_horizon_and_not_beyond() {
    let credible = |number, clock| Protocol::WHOLE.credible(number, clock);
    let Bounds { calendar_max, horizon, .. } = Bounds::REAL;
    for clock in [0, TODAY, calendar_max, u64::MAX] {
        let limit = clock.min(calendar_max) + horizon;
        assert!(credible(1, clock) && credible(limit, clock), "{clock}");
        assert!(!credible(0, clock) && !credible(limit + 1, clock) && !credible(u64::MAX, clock), "{clock}");
    }
    // A clock that stands at 1970 knows every token that the calendar of any year made, and as many more.
    assert!(credible(2 * calendar_max, 0));
}

#[test]
fn whatever_is_forged_again_and_again_a_higher_token_is_left_for_ever() {
    let Bounds { calendar_max, horizon, last } = Bounds::REAL;
    // The worst that is still believed, at each of a million acquisitions of which each takes a microsecond.
    for begin in [0, TODAY, calendar_max - 500_000] {
        let mut highest = 0;
        for clock in begin..begin + 1_000_000 {
            let limit = clock.min(calendar_max) + horizon;
            assert!(clock > calendar_max || highest <= limit, "the last token is believed no more");
            let taken = |row, memory| Protocol::WHOLE.next_token(row, memory, clock).unwrap();
            highest = highest.max(taken(limit, 0)).max(taken(1, limit));
        }
        assert!(highest <= calendar_max + horizon + 1, "{highest}");
    }
    assert!(calendar_max + horizon < last / 85);
}

#[test]
fn a_fence_is_written_over_by_a_higher_token_and_where_its_number_is_none() {
    let fences = |found, token| Protocol::WHOLE.fences(found, token, TODAY);
    assert!(fences(6, 7) && !fences(7, 7) && !fences(8, 7));
    let limit = TODAY + Bounds::REAL.horizon;
    assert!(!fences(limit, 7) && fences(limit + 1, 7) && fences(u64::MAX, 7) && fences(0, 7));
}

#[test]
fn one_look_tells_fresh_from_stale_only_by_the_same_clock() {
    let pulse = |row: Row<'_>| Protocol::WHOLE.pulse("boot", NOW, &row);
    assert_eq!(pulse(row()), Pulse::Fresh);
    assert_eq!(pulse(Row { expires: NOW - SECOND, ..row() }), Pulse::Stale);
    assert_eq!(pulse(Row { clock: "other", expires: NOW - SECOND, ..row() }), Pulse::Foreign);
    assert_eq!(pulse(Row { holder: None, ..row() }), Pulse::Free);
}
