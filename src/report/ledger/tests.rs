use std::fs;

use super::*;

fn ledger() -> (tempfile::TempDir, Ledger) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::new(dir.path().join("shop.ledger.json"));
    (dir, ledger)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// Counts one failure, which must be written down.
fn count(ledger: &Ledger, fingerprint: &str, second: i64) -> Counted {
    let (counted, written) = ledger.count("db.busy", fingerprint, None, at(second));
    written.unwrap();
    counted
}

#[test]
fn repeats_are_counted_across_processes_and_told_in_full_at_powers_of_ten() {
    let (_dir, ledger) = ledger();
    let in_full: Vec<u64> =
        (1..=120).filter(|&n| count(&ledger, "a", i64::try_from(n).unwrap()).in_full).collect();
    assert_eq!(in_full, [1, 10, 100]);
    let last = count(&ledger, "a", 121);
    assert_eq!((last.attempt.n, last.attempt.same_failure, last.attempt.first_at), (121, 121, at(1)));
}

#[test]
fn a_repeat_is_told_in_full_every_ten_minutes_whatever_the_clock_does() {
    let (_dir, ledger) = ledger();
    let told: Vec<i64> = [0, 300, 599, 600, 900, -100_000, -99_900]
        .into_iter()
        .filter(|&second| count(&ledger, "a", second).in_full)
        .collect();
    assert_eq!(told, [0, 600, -100_000]);
}

#[test]
fn a_change_is_told_in_full_and_keeps_the_number_of_the_attempt() {
    let (_dir, ledger) = ledger();
    count(&ledger, "a", 0);
    assert!(!count(&ledger, "a", 1).in_full);
    let changed = count(&ledger, "b", 2);
    assert!(changed.in_full);
    assert_eq!((changed.attempt.n, changed.attempt.same_failure, changed.attempt.first_at), (3, 1, at(2)));
}

#[test]
fn a_start_that_succeeds_ends_the_count_and_says_what_it_ended() {
    let (_dir, ledger) = ledger();
    assert_eq!((ledger.before(), ledger.clear()), (None, false));
    count(&ledger, "a", 0);
    count(&ledger, "b", 60);
    let failures = Recovered { attempts: 2, code: "db.busy".to_owned(), since: at(0) };
    assert_eq!(ledger.before(), Some(Before { failures, waited: None }));
    assert!(ledger.clear());
    assert_eq!(count(&ledger, "b", 120).attempt.n, 1);
}

#[test]
fn a_ledger_that_is_corrupt_newer_huge_or_a_link_counts_from_the_beginning() {
    let (dir, ledger) = ledger();
    let other = dir.path().join("other");
    fs::write(&other, "precious").unwrap();
    for damage in ["", "{", "{\"schema\":\"startup-ledger/2\"}", &"9".repeat(100_000), "\0\u{1b}["] {
        fs::write(&ledger.path, damage).unwrap();
        assert_eq!(count(&ledger, "a", 0).attempt.n, 1, "{damage:.20}");
        assert_eq!(count(&ledger, "a", 1).attempt.n, 2);
    }
    fs::remove_file(&ledger.path).unwrap();
    std::os::unix::fs::symlink(&other, &ledger.path).unwrap();
    assert_eq!(count(&ledger, "a", 0).attempt.n, 1);
    assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
}

#[test]
fn a_ledger_that_cannot_be_written_still_tells_in_full() {
    let ledger = Ledger::new(PathBuf::from("/nowhere/at/all.json"));
    let (counted, written) = ledger.count("db.busy", "a", None, at(0));
    assert!(written.is_err());
    assert_eq!((counted.in_full, counted.attempt.n), (true, 1));
}

#[test]
fn a_count_at_the_end_of_its_range_is_counted_on_without_an_end() {
    let (_dir, ledger) = ledger();
    count(&ledger, "a", 0);
    let text = fs::read_to_string(&ledger.path).unwrap();
    let max = u64::MAX.to_string();
    let forged = text
        .replace("\"attempts\":1", &format!("\"attempts\":{max}"))
        .replace("\"same_failure\":1", &format!("\"same_failure\":{max}"));
    assert_ne!(forged, text);
    fs::write(&ledger.path, forged).unwrap();
    let counted = count(&ledger, "a", 1);
    assert_eq!((counted.attempt.n, counted.attempt.same_failure), (u64::MAX, u64::MAX));
    assert_eq!(ledger.before().unwrap().failures.attempts, u64::MAX);
    assert!(ledger.clear());
}
