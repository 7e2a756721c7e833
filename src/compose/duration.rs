//! Durations as Compose writes them: `10s`, `1m30s`, `1.5h`.

use std::time::Duration;

/// Seconds in each unit.
const UNITS: [(&str, f64); 8] = [
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3_600.0),
    ("d", 86_400.0),
    ("w", 604_800.0),
];

/// `None` where Compose would refuse it, too.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = 0.0;
    while !rest.is_empty() || total == 0.0 {
        let (number, after) = rest.split_at(rest.find(|each: char| !each.is_ascii_digit() && each != '.')?);
        let end = after.find(|each: char| each.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total += number.parse::<f64>().ok()? * seconds;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    Duration::try_from_secs_f64(total).ok()
}

/// For people: `8s`, `8.5s`, `2m`.
pub(super) fn show(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0 => "0s".to_owned(),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ => format!("{}s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_compose() {
        for (text, ms) in [
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("1.5s", 1_500),
            ("500ms", 500),
            ("1h5m30s20ms", 3_930_020),
            ("0s", 0),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "10", "s", "ten", "-5s", "1x", "1..5s", "99999999999999999999999w", "5s 5"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_shown_duration_has_a_unit() {
        for (ms, text) in [(0, "0s"), (8_500, "8.5s"), (10_000, "10s"), (120_000, "2m"), (130_000, "130s")] {
            assert_eq!(show(Duration::from_millis(ms)), text);
        }
    }
}
