use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::BoxFuture;
use tokio::time::advance;

use super::*;
use crate::stages::{
    in_flight::InFlight,
    scheduler::{cron::Entry, job::Job, timetable::Timetable},
};

#[tokio::test(start_paused = true)]
async fn of_an_interval_the_missed_runs_are_counted_and_the_newest_runs() {
    for missed in [MissedRuns::RunOnce, MissedRuns::Skip] {
        let (count, counted) = counting();
        let stage = Scheduler::new().missed_runs(missed).every("count", SECOND, count_up);
        let scheduler = up(&stage, count).await;
        tokio::task::yield_now().await;
        // As if the threads had been blocked until then: due at 1 to 8 s.
        advance(SECOND * 17 / 2).await;
        sleep(Duration::from_millis(1)).await;
        assert_eq!((counted(), scheduler.stats()[0].missed), (1, 7));
        sleep(SECOND).await;
        assert_eq!((counted(), scheduler.stats()[0].missed), (2, 7));
        stop(&stage, &scheduler).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_noticed_hours_late_is_made_up_for_or_left_out_as_was_said() {
    const DAY: Duration = Duration::from_hours(24);
    for (missed, expected) in [(MissedRuns::RunOnce, (1, 0)), (MissedRuns::Skip, (0, 1))] {
        let (count, counted) = counting();
        let stage = Scheduler::new().missed_runs(missed).every("count", DAY, count_up);
        let scheduler = up(&stage, count).await;
        tokio::task::yield_now().await;
        advance(DAY + Duration::from_hours(3)).await;
        sleep(SECOND).await;
        assert_eq!((counted(), scheduler.stats()[0].missed), expected, "{missed:?}");
        sleep(Duration::from_hours(21)).await;
        assert_eq!(counted(), expected.0 + 1);
        stop(&stage, &scheduler).await.unwrap();
    }
}

/// A job at each full minute, from noon on, and how often it ran.
fn each_minute(missed: MissedRuns) -> (Arc<Job>, Entry, DateTime<Utc>, impl Fn() -> u32) {
    by("0 * * * * *", missed)
}

/// A job that is looked at from noon on, and how often it ran.
fn by(expression: &str, missed: MissedRuns) -> (Arc<Job>, Entry, DateTime<Utc>, impl Fn() -> u32) {
    let (count, counted) = counting();
    let in_flight = InFlight::default();
    let cx = RunContext::new("minute".into(), in_flight.stopping().clone(), Start::unhurried().cx);
    let run = move |cx| -> BoxFuture<'static, StageResult<()>> { Box::pin(count_up(cx, count.clone())) };
    let rules = Rules { time_limit: SECOND, jitter: Duration::ZERO, missed };
    let job = Job::new(cx, Box::new(run), String::new(), rules, Arc::new(in_flight));
    let noon = "2026-11-19T12:00:00Z".parse().unwrap();
    let timetable = Timetable::parse(expression, "UTC").unwrap();
    let next = timetable.after(noon).unwrap();
    let entry = Entry::new(timetable, noon, next, job.clone());
    (job, entry, noon, counted)
}

#[tokio::test(start_paused = true)]
async fn a_cron_job_runs_once_when_it_is_due_and_not_before() {
    let (job, mut entry, noon, counted) = each_minute(MissedRuns::Skip);
    for (seconds, runs) in [(0, 0), (59, 0), (60, 1), (61, 1), (119, 1), (124, 2), (125, 2)] {
        assert!(entry.beat(noon + TimeDelta::seconds(seconds)));
        sleep(SECOND).await;
        assert_eq!((counted(), job.stats().missed), (runs, 0), "after {seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_cron_job_the_missed_runs_are_counted_and_made_up_for_or_left_out() {
    for (missed, runs, counts) in [(MissedRuns::RunOnce, 1, 59), (MissedRuns::Skip, 0, 60)] {
        let (job, mut entry, noon, counted) = each_minute(missed);
        // The machine slept for an hour and half a minute.
        assert!(entry.beat(noon + TimeDelta::seconds(3630)));
        sleep(SECOND).await;
        assert_eq!((counted(), job.stats().missed), (runs, counts), "{missed:?}");
        assert!(entry.beat(noon + TimeDelta::seconds(3660)));
        sleep(SECOND).await;
        assert_eq!((counted(), job.stats().missed), (runs + 1, counts), "{missed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_by_years_makes_a_cron_job_run_once_and_then_as_before() {
    let (job, mut entry, noon, counted) = each_minute(MissedRuns::RunOnce);
    let later = noon + TimeDelta::days(3650);
    for (seconds, runs) in [(0, 1), (59, 1), (60, 2)] {
        assert!(entry.beat(later + TimeDelta::seconds(seconds)));
        sleep(SECOND).await;
        assert_eq!(counted(), runs, "after {seconds} s");
    }
    assert!(job.stats().missed >= 10_000);
}

/// Beats at these seconds after noon, and how often the job has run by each of them.
async fn beats(expression: &str, expected: &[(i64, u32)]) {
    let (_, mut entry, noon, counted) = by(expression, MissedRuns::RunOnce);
    for (seconds, runs) in expected {
        assert!(entry.beat(noon + TimeDelta::seconds(*seconds)));
        sleep(SECOND).await;
        assert_eq!(counted(), *runs, "{expression} after {seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_does_not_let_a_cron_job_stand_still() {
    const HOUR: i64 = 3600;
    // It was five hours fast when the service was started, before anything ran.
    beats("0 0 9 * * *", &[(0, 0), (-5 * HOUR, 0), (-3 * HOUR, 1), (-3 * HOUR + 1, 1)]).await;
    // And after something had run.
    beats("0 * * * * *", &[(60, 1), (60 - 5 * HOUR, 1), (120 - 5 * HOUR, 2), (180 - 5 * HOUR, 3)]).await;
    beats("0 0 13 * * *", &[(HOUR, 1), (-4 * HOUR, 1), (HOUR, 2)]).await;
    // It jumped ahead, and back again.
    beats("* * * * * *", &[(1, 1), (8 * HOUR, 2), (5 * HOUR, 2), (5 * HOUR + 1, 3)]).await;
    beats("0 * * * * *", &[(60, 1), (8 * HOUR, 2), (5 * HOUR, 2), (5 * HOUR + 60, 3)]).await;
    // Again and again.
    beats(
        "0 0 13 * * *",
        &[(0, 0), (-9 * HOUR, 0), (-18 * HOUR, 0), (-18 * HOUR + 1, 0), (-23 * HOUR - 1, 0), (-23 * HOUR, 1)],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_a_little_does_not_let_a_cron_job_run_twice() {
    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;
    beats("0 0 13 * * *", &[(HOUR, 1), (HOUR - 2, 1), (HOUR, 1), (HOUR + 1, 1), (HOUR + DAY, 2)]).await;
    beats("0 0 13 * * *", &[(HOUR, 1), (-HOUR, 1), (HOUR, 1), (HOUR + DAY, 2)]).await;
    beats("0 * * * * *", &[(60, 1), (55, 1), (60, 1), (120, 2), (180, 3)]).await;
}

thread_local! {
    static SUSPENDED: std::cell::Cell<Duration> = const { std::cell::Cell::new(Duration::ZERO) };
}

#[tokio::test(start_paused = true)]
async fn the_time_that_the_machine_was_suspended_counts_for_an_interval_and_is_noticed_within_a_minute() {
    const HOUR: Duration = Duration::from_hours(1);
    for (missed, counts) in [(MissedRuns::RunOnce, (1, 2)), (MissedRuns::Skip, (0, 3))] {
        SUSPENDED.set(Duration::ZERO);
        let (job, _, _, counted) = by("0 * * * * *", missed);
        let in_flight = Arc::new(InFlight::default());
        let timer = running::every(HOUR, job.clone(), in_flight.clone(), || SUSPENDED.get());
        in_flight.spawn_on(timer, &tokio::runtime::Handle::current());
        sleep(HOUR / 2).await;
        // Due at 1, 2 and 3 hours.
        SUSPENDED.set(HOUR * 3 - HOUR / 4);
        sleep(61 * SECOND).await;
        assert_eq!((counted(), job.stats().missed), counts, "{missed:?}");
        sleep(HOUR * 3 / 4).await;
        assert_eq!((counted(), job.stats().missed), (counts.0 + 1, counts.1), "at four hours");
        in_flight.stopping().cancel();
    }
}
