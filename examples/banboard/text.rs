//! Times, spans and numbers as people and programs read them.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use serde::Serializer;

use crate::log::{Millis, is_visible};

fn timestamp(at: Millis) -> Timestamp {
    // The parser lets no other time in; a database that others wrote to may.
    Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A name that others chose, with what is not visible written as a number.
pub(crate) fn visible(name: &str) -> String {
    let shown =
        |each: char| if is_visible(each) { each.to_string() } else { each.escape_unicode().to_string() };
    name.chars().map(shown).collect()
}

/// `2026-11-19T03:14:07Z`: RFC 3339, to the second.
pub(crate) fn iso(at: Millis) -> String {
    timestamp(at).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The time in another form, such as `%d %b %H:%M`.
pub(crate) fn instant(at: Millis, form: &str) -> String {
    timestamp(at).to_zoned(TimeZone::UTC).strftime(form).to_string()
}

/// `45 s`, `9 min`, `2 h 05 min`, `6 d 3 h`: the two units that matter.
pub(crate) fn span(millis: Millis) -> String {
    let seconds = millis.max(0) / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {:02} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// `12,345`.
pub(crate) fn number(number: impl Into<u64>) -> String {
    let digits = number.into().to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Milliseconds to the microsecond, as a start-up's times are compared.
pub(crate) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

pub(crate) fn serialize_instant<S: Serializer>(at: &Millis, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&iso(*at))
}

pub(crate) fn serialize_optional_instant<S: Serializer>(
    at: &Option<Millis>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serialize_instant(at, to),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_the_two_units_that_matter() {
        let shown = [0, 59_999, 60_000, 3_599_000, 7_500_000, 86_400_000, 529_200_000, -5].map(span);
        assert_eq!(shown, ["0 s", "59 s", "1 min", "59 min", "2 h 05 min", "1 d 0 h", "6 d 3 h", "0 s"]);
    }

    #[test]
    fn a_name_neither_turns_the_page_around_nor_hides() {
        assert_eq!(visible("fail2ban \u{e9}.log"), "fail2ban \u{e9}.log");
        assert_eq!(visible("a\u{202e}b\u{200b}\n"), "a\\u{202e}b\\u{200b}\\u{a}");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0_u32, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn instants_are_utc_and_impossible_ones_do_not_panic() {
        assert_eq!(iso(1_795_058_047_123), "2026-11-19T03:14:07Z");
        assert_eq!(instant(1_795_058_047_123, "%d %b %H:%M"), "19 Nov 03:14");
        assert_eq!(iso(i64::MAX), "1970-01-01T00:00:00Z");
    }
}
