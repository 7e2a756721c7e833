//! When a cron expression comes true in a time zone, also across the changes of its clocks.
//!
//! `croner` reads the expressions. Across a change of the clocks neither it nor `tokio-cron-scheduler` finds
//! the next time: the latter computes with the offset from UTC of the moment at which a job was added, so
//! that from the next change on the job runs an hour off; the former, asked anew after each run, leaves the
//! second pass through a repeated hour out. So `croner` is only ever asked between two changes, where the
//! offset is fixed, and what happens at a change is decided here, as Vixie cron decides it (cron(8)).

use chrono::{DateTime, FixedOffset, SubsecRound, Utc};
use croner::{
    Cron, JobType,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    Timestamp,
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};

/// How many changes of the clocks are looked past. A time zone has two in a year, and what comes true less than
/// once in 400 years does not come true in the calendar at all.
const CHANGES_AHEAD: usize = 1000;

/// A cron expression in a time zone.
#[derive(Debug)]
pub(super) struct Timetable {
    cron: Cron,
    zone: TimeZone,
    /// Whether it names one time of day. Such a job runs once on a day, whatever the clocks do.
    once_a_day: bool,
}

impl Timetable {
    /// Reads an expression of six fields. The error says what is wrong with it.
    pub(super) fn parse(expression: &str, zone: &str) -> Result<Self, String> {
        // Compiled in as the bytes that a system has in its files: a table in the program's own form would be
        // a megabyte that the loader fills with addresses at each start.
        let zones = TimeZoneDatabase::bundled();
        let zone = zones.get(zone).map_err(|_| format!("has no time zone: `{zone}` is unknown"))?;
        let parser = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Disallowed)
            // A day of the month and a day of the week must both be right.
            .dom_and_dow(true)
            .build();
        let cron = parser.parse(expression).map_err(|error| format!("cannot be read: {error}"))?;
        if let Some(why) = never(&cron, &parser, expression) {
            return Err(format!("never comes true: {why}"));
        }
        let once_a_day = cron.determine_job_type() == JobType::FixedTime;
        Ok(Self { cron, zone, once_a_day })
    }

    /// The first time after `instant`, to the second; `None` if there is none.
    pub(super) fn after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let (mut from, mut inclusive) = (instant.trunc_subsecs(0), false);
        for _ in 0..CHANGES_AHEAD {
            let offset = self.offset(from)?;
            let found =
                self.cron.find_next_occurrence(&from.with_timezone(&offset), inclusive).ok()?.to_utc();
            let Some(change) = self.first_change(from, offset).filter(|change| *change <= found) else {
                if !(self.once_a_day && self.is_second_pass(found)) {
                    return Some(found);
                }
                (from, inclusive) = (found, false);
                continue;
            };
            // The clocks change before that: nothing until then, and another offset from then on.
            if self.once_a_day && self.is_left_out(found, offset, change)? {
                return Some(change);
            }
            (from, inclusive) = (change, true);
        }
        None
    }

    fn offset(&self, at: DateTime<Utc>) -> Option<FixedOffset> {
        FixedOffset::east_opt(self.zone.to_offset(timestamp(at)?).seconds())
    }

    /// Whether the clocks showed this time of day once before, an hour ago.
    fn is_second_pass(&self, at: DateTime<Utc>) -> bool {
        let Some(at) = timestamp(at) else { return false };
        let shown = at.to_zoned(self.zone.clone()).datetime();
        match self.zone.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Fold { after, .. } => self.zone.to_offset(at) == after,
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Gap { .. } => false,
        }
    }

    /// Whether the clocks never show what they would have shown at `at` without the change.
    fn is_left_out(&self, at: DateTime<Utc>, old: FixedOffset, change: DateTime<Utc>) -> Option<bool> {
        let shown_after = change.with_timezone(&self.offset(change)?).naive_local();
        Some(at.with_timezone(&old).naive_local() < shown_after)
    }

    /// When the offset ends that holds at `from`, if ever.
    fn first_change(&self, from: DateTime<Utc>, old: FixedOffset) -> Option<DateTime<Utc>> {
        let mut changes = self.zone.following(timestamp(from)?);
        let change = changes.find(|change| change.offset().seconds() != old.local_minus_utc())?;
        DateTime::from_timestamp(change.timestamp().as_second(), 0)
    }
}

/// Why no moment is right for the expression, if none is. `croner` would look through all years up to 5000 first.
fn never(cron: &Cron, parser: &CronParser, expression: &str) -> Option<String> {
    let pattern = &cron.pattern;
    let right = |found: Result<bool, _>| found.is_ok_and(|right| right);
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let field = |at: usize| fields.get(at).copied().unwrap_or_default();
    let none = |what: &str, text: &str| Some(format!("no {what} is `{text}`"));
    if !(0..60).any(|second| right(pattern.second_match(second))) {
        return none("second", field(0));
    } else if !(0..60).any(|minute| right(pattern.minute_match(minute))) {
        return none("minute", field(1));
    } else if !(0..24).any(|hour| right(pattern.hour_match(hour))) {
        return none("hour", field(2));
    }
    let alone = |days: String| parser.parse(&days).is_ok_and(|cron| has_a_day(&cron));
    // `croner` reads 7 as Sunday, and `7L` as nothing: also in a list whose other days come.
    if let Some(nothing) = field(5).split(',').find(|day| !alone(format!("0 0 0 * * {day}"))) {
        return none("day of the week", nothing);
    }
    if has_a_day(cron) {
        return None;
    }
    let (day, month) = (field(3), field(4));
    Some(if alone(format!("0 0 0 {day} {month} *")) {
        format!(
            "the day of the month `{day}` is never the day of the week `{}`, and both must be right",
            field(5)
        )
    } else {
        format!("the day of the month `{day}` is in no month that is `{month}`")
    })
}

/// Whether any day of any year is right. Within 28 years, each day of the year is each day of the week once, that of
/// leap years too; the centuries that leave one out only make it rarer.
fn has_a_day(cron: &Cron) -> bool {
    let pattern = &cron.pattern;
    let is_right = |year, month, day| pattern.day_match(year, month, day).is_ok_and(|right| right);
    (1..=12)
        .filter(|month| pattern.month_match(*month).is_ok_and(|right| right))
        .any(|month| (2001..2029).any(|year| (1..=31).any(|day| is_right(year, month, day))))
}

/// `None` beyond the year 9999.
fn timestamp(at: DateTime<Utc>) -> Option<Timestamp> {
    Timestamp::from_second(at.timestamp()).ok()
}
