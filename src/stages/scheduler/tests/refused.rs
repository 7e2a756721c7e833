//! What cannot run is refused before anything waits for it.

use super::*;
use crate::stages::scheduler::timetable::Timetable;

#[tokio::test]
async fn jobs_that_cannot_run_are_refused_by_name() {
    let idle = async |_: RunContext, (): ()| Ok(());
    for (stage, expected) in [
        (Scheduler::new().every("a", SECOND, idle).cron("a", "* * * * * *", idle), "two jobs are named `a`"),
        (Scheduler::new().every("a", Duration::ZERO, idle), "job `a` has no period"),
        (Scheduler::new().cron("a", "nonsense", idle), "the schedule `nonsense` of job `a` cannot be read"),
        (Scheduler::new().cron("a", "0 0 * * *", idle), "the schedule `0 0 * * *` of job `a` cannot be read"),
        (
            Scheduler::new().cron("a", "0 0 0 30 2 *", idle),
            "the schedule `0 0 0 30 2 *` of job `a` never comes true: the day of the month `30` is in no month that is `2`",
        ),
        (
            Scheduler::new().time_zone("Mars/Olympus").cron("a", "0 0 0 * * *", idle),
            "the schedule `0 0 0 * * *` of job `a` has no time zone: `Mars/Olympus` is unknown",
        ),
        (Scheduler::new().every("a/b", SECOND, idle), "a job cannot be named \"a/b\""),
        (
            Scheduler::new().jitter(SECOND).every("a", SECOND, idle),
            "the jitter of job `a` is as long as its period",
        ),
        (
            Scheduler::new().jitter(SECOND * 60).cron("a", "0 */5 * * * *", idle).cron(
                "b",
                "0 * * * * *",
                idle,
            ),
            "the schedule `0 * * * * *` of job `b` comes true again before its jitter of 60s has passed",
        ),
        (
            Scheduler::new().jitter(Duration::MAX).cron("a", "0 0 0 1 1 *", idle),
            "the schedule `0 0 0 1 1 *` of job `a` comes true again before its jitter of",
        ),
        (Scheduler::new().every("a", Duration::MAX, idle), "the period of job `a` is longer than 100 years"),
        (Scheduler::new().every("a", Duration::from_nanos(1), idle), "the period of job `a` is 1ns"),
        (
            Scheduler::new().time_limit(Duration::ZERO).every("a", SECOND, idle),
            "the time limit of job `a` leaves its runs no time",
        ),
    ] {
        let start = Start::unhurried();
        let error = stage.start(start.cx.clone(), ()).await.unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
        start.roll_back().await.unwrap();
    }
}

#[test]
fn an_expression_that_no_day_fulfils_is_refused_with_the_field_that_is_wrong() {
    for (expression, why) in [
        ("0 0 0 * * 7L", "no day of the week is `7L`"),
        ("0 0 0 * * MON,7L", "no day of the week is `7L`"),
        ("0 0 0 31 4,6,9,11 *", "the day of the month `31` is in no month that is `4,6,9,11`"),
        ("0 0 0 30,31 FEB *", "the day of the month `30,31` is in no month that is `FEB`"),
        (
            "0 0 0 1-7 * MON#3",
            "the day of the month `1-7` is never the day of the week `MON#3`, and both must be right",
        ),
        (
            "0 0 0 15W * SUN",
            "the day of the month `15W` is never the day of the week `SUN`, and both must be right",
        ),
    ] {
        let error = Timetable::parse(expression, "Europe/Berlin").map(drop).unwrap_err();
        assert_eq!(error, format!("never comes true: {why}"), "{expression}");
    }
}

#[test]
fn an_expression_that_some_day_fulfils_is_not_refused() {
    let from = "2026-01-01T00:00:00Z".parse().unwrap();
    for expression in [
        "0 0 0 29 2 SUN",
        "0 0 0 29 FEB MON#5",
        "0 0 0 * * 0L",
        "0 0 0 * * SUNL",
        "0 0 0 * * 7",
        "0 0 0 * * 7#2",
        "0 0 0 L * *",
        "0 0 0 L 2 SAT",
        "0 0 0 31W 12 FRI",
        "0 0 0 31 * MON#5",
        "59 59 23 31 12 SAT",
        "0 0 0 ? * *",
    ] {
        let timetable = Timetable::parse(expression, "Europe/Berlin").unwrap();
        assert!(timetable.after(from).is_some(), "{expression}");
    }
}
