//! Durations with a unit: `250ms`, `15s`, `1m30s`.

use std::{fmt::Write, ops::RangeInclusive, time::Duration};

use super::{Fault, Form};

/// Largest first: parts of a duration stand in this order.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// One leap year. Adding a longer time to a clock could overflow, which panics.
const LONGEST_MS: u64 = 366 * 24 * 3_600_000;

/// Every duration but none at all, for settings that zero would make useless.
pub(crate) const SOME_TIME: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_millis(LONGEST_MS);

pub(in crate::settings) fn duration() -> Form<Duration> {
    Form::plain("a duration such as 500ms, 30s or 1m30s", Duration::ZERO, parse, show)
}

fn parse(text: &str) -> Result<Duration, Fault> {
    if text.bytes().all(|each| each.is_ascii_digit()) {
        // The unit is never guessed: half of all programs mean seconds, the other half milliseconds.
        let fault = Fault::new("has no unit");
        return Err(if text.len() > 9 {
            fault
        } else {
            fault.remedy(format!("write {text}s (or 500ms, 2m)"))
        });
    }
    let mut total_ms: u64 = 0;
    // The search goes on where the last one ended, which refuses a unit that comes twice or too late.
    let mut units = UNITS.iter();
    let mut rest = text;
    while !rest.is_empty() {
        let (digits, after) = split_where(rest, |each| !each.is_ascii_digit());
        let (unit, after) = split_where(after, |each| each.is_ascii_digit());
        let (_, unit_ms) = units.find(|(name, _)| *name == unit).ok_or(Fault::new("is not a duration"))?;
        if digits.is_empty() {
            return Err(Fault::new("is not a duration"));
        }
        let part = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(*unit_ms));
        let sum = part.and_then(|part| total_ms.checked_add(part)).filter(|sum| *sum <= LONGEST_MS);
        total_ms = sum.ok_or(Fault::new("is longer than a year"))?;
        rest = after;
    }
    Ok(Duration::from_millis(total_ms))
}

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

/// The shortest text that reads back as the same number of milliseconds.
fn show(duration: &Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, unit_ms) in UNITS {
        if rest >= unit_ms {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}{name}", rest / unit_ms);
            rest %= unit_ms;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_numbers_with_units_largest_first() {
        for (text, ms) in [
            ("250ms", 250),
            ("15s", 15_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1m30s", 90_000),
            ("1h1m1s1ms", 3_661_001),
            ("0s", 0),
            ("007s", 7_000),
            ("90s", 90_000),
            ("8784h", LONGEST_MS),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn a_number_without_a_unit_is_refused_and_the_unit_is_proposed() {
        let fault = parse("30").unwrap_err();
        assert_eq!(fault.what, "has no unit");
        assert_eq!(fault.remedy.as_deref(), Some("write 30s (or 500ms, 2m)"));
        let long = parse("1234567890").unwrap_err();
        assert_eq!((long.what, long.remedy), ("has no unit", None));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "s", "ms", "-5s", "+5s", "1.5s", "30 s", "30S", "30sec", "5s5", "30s1m", "1s1s", "1d", "٣s",
            "1µs", "∞",
        ] {
            assert_eq!(parse(text).unwrap_err().what, "is not a duration", "{text}");
        }
        for text in ["8785h", "8784h1ms", "18446744073709551615h", "99999999999999999999999s"] {
            assert_eq!(parse(text).unwrap_err().what, "is longer than a year", "{text}");
        }
    }

    #[test]
    fn a_shown_duration_reads_back() {
        for (ms, text) in
            [(0, "0s"), (1, "1ms"), (5_000, "5s"), (90_000, "1m30s"), (120_000, "2m"), (3_600_001, "1h1ms")]
        {
            assert_eq!(show(&Duration::from_millis(ms)), text);
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(show(&Duration::from_micros(900)), "0s");
        assert!(show(&Duration::MAX).ends_with("ms"));
    }
}
