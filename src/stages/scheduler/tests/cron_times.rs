use chrono::{DateTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;

use crate::stages::scheduler::timetable::Timetable;

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The next times after `from`.
fn times(expression: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let timetable = Timetable::parse(expression, zone).unwrap();
    let next = |last: &DateTime<Utc>| timetable.after(*last);
    let found = std::iter::successors(timetable.after(utc(from)), next);
    found.take(count).map(|time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string()).collect()
}

#[test]
fn a_job_at_a_time_that_is_left_out_runs_at_the_change_of_the_clocks() {
    // Berlin goes from 02:00 to 03:00 at 01:00 UTC.
    assert_eq!(
        times("0 30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
        ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    assert_eq!(times("0 30 2 29 3 *", "Europe/Berlin", "2025-06-01T00:00:00Z", 1), ["2026-03-29T01:00:00Z"]);
}

#[test]
fn a_job_at_a_time_that_comes_twice_runs_the_first_time_only() {
    // Berlin goes from 03:00 back to 02:00 at 01:00 UTC.
    assert_eq!(
        times("0 30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    // A service that is started between the two.
    assert_eq!(times("0 30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1), ["2026-10-26T01:30:00Z"]);
}

#[test]
fn a_job_on_one_day_of_the_year_runs_then_also_if_the_clocks_go_back_on_it() {
    for from in ["2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"] {
        let expected = ["2026-10-25T00:30:00Z", "2027-10-25T00:30:00Z"];
        assert_eq!(times("0 30 2 25 10 *", "Europe/Berlin", from, 2), expected, "{from}");
    }
}

#[test]
fn a_job_keeps_its_time_of_day_over_the_whole_year() {
    let zone: Tz = "America/New_York".parse().unwrap();
    let timetable = Timetable::parse("0 15 9 * * *", "America/New_York").unwrap();
    let mut at = utc("2026-01-01T00:00:00Z");
    for _ in 0..730 {
        let next = timetable.after(at).unwrap();
        let local = next.with_timezone(&zone);
        assert_eq!((local.hour(), local.minute()), (9, 15), "{local}");
        assert!((next - at).num_hours() <= 25, "{local}");
        at = next;
    }
}

#[test]
fn any_other_job_runs_whenever_the_clocks_show_an_allowed_time() {
    type Allowed = fn(u32, u32) -> bool;
    let changes = [
        ("Europe/Berlin", "2026-03-28T12:00:00Z"),
        ("Europe/Berlin", "2026-10-24T12:00:00Z"),
        ("America/New_York", "2026-03-07T12:00:00Z"),
        ("America/New_York", "2026-10-31T12:00:00Z"),
        // By half an hour.
        ("Australia/Lord_Howe", "2026-04-04T00:00:00Z"),
        ("Australia/Lord_Howe", "2026-10-03T00:00:00Z"),
        // By a whole day.
        ("Pacific/Apia", "2011-12-29T12:00:00Z"),
    ];
    let jobs: [(&str, Allowed); 4] = [
        ("0 * * * * *", |_, _| true),
        ("0 0 * * * *", |_, minute| minute == 0),
        ("0 */15 1-3 * * *", |hour, minute| minute % 15 == 0 && (1..=3).contains(&hour)),
        ("0 30 1,2 * * *", |hour, minute| minute == 30 && (1..=2).contains(&hour)),
    ];
    for (zone, from) in changes {
        let tz: Tz = zone.parse().unwrap();
        let begin = utc(from);
        for (expression, allowed) in jobs {
            let minutes = (1..=36 * 60).map(|minute| begin + TimeDelta::minutes(minute));
            let expected = minutes.filter(|at| {
                let local = tz.from_utc_datetime(&at.naive_utc());
                allowed(local.hour(), local.minute())
            });
            let timetable = Timetable::parse(expression, zone).unwrap();
            let mut last = begin;
            for due in expected {
                assert_eq!(timetable.after(last), Some(due), "{expression} {zone} after {last}");
                last = due;
            }
        }
    }
}

#[test]
fn a_time_is_found_to_the_second_and_never_the_same_twice() {
    let timetable = Timetable::parse("* * * * * *", "UTC").unwrap();
    assert_eq!(timetable.after(utc("2026-11-19T03:14:00.999Z")), Some(utc("2026-11-19T03:14:01Z")));
    assert_eq!(timetable.after(utc("2026-11-19T03:14:01Z")), Some(utc("2026-11-19T03:14:02Z")));
}

#[test]
fn rare_days_are_found_and_impossible_ones_are_not() {
    assert_eq!(times("0 0 12 29 2 *", "Europe/Berlin", "2097-01-01T00:00:00Z", 1), ["2104-02-29T11:00:00Z"]);
    // Both days must be right: a 29th of February that is a Sunday.
    assert_eq!(times("0 0 0 29 2 SUN", "Europe/Berlin", "2026-01-01T00:00:00Z", 1), ["2032-02-28T23:00:00Z"]);
    assert!(Timetable::parse("0 0 0 31 4 *", "Europe/Berlin").is_err());
}
