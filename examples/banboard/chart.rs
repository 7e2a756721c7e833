//! Charts as inline SVG. Horizontal places are per cent and vertical ones pixels, without a view box: so a
//! chart is as wide as its place on any screen, and its text is never stretched.

use maud::{Markup, html};

use crate::{
    log::Millis,
    store::HOUR,
    text::{instant, number},
    timeline::StageRow,
};

/// Pixels from the top of the chart to its highest line, and from there to its base line.
const TOP: f64 = 16.0;
const PLOT: f64 = 144.0;
const HEIGHT: f64 = TOP + PLOT + 22.0;

/// The bans that began in each hour, as bars.
pub(crate) fn bans_over_time(first_hour: Millis, hours: &[u32]) -> Markup {
    let top = round_up(hours.iter().copied().max().unwrap_or(0));
    let start = |index: usize| first_hour + HOUR * Millis::try_from(index).unwrap_or(0);
    let day_begins = |index: &usize| start(*index).rem_euclid(24 * HOUR) == 0;
    html! {
        svg.chart width="100%" height=(HEIGHT) role="img" aria-labelledby="chart-title chart-desc" {
            title #chart-title { "Bans by hour" }
            desc #chart-desc { (summary(first_hour, hours)) }
            @for (part, value) in [(0.0, top), (0.5, top / 2), (1.0, 0)] {
                @let y = TOP + PLOT * part;
                line.grid x1="0" x2="100%" y1=(y) y2=(y) {}
                @if value > 0 { text.tick x="0" y=(y - 4.0) { (number(value)) } }
            }
            @for index in (0..hours.len()).filter(day_begins) {
                @let x = percent(index, hours.len());
                line.day x1=(x) x2=(x) y1=(TOP) y2=(TOP + PLOT + 6.0) {}
                // A label that begins near the right edge would be cut off.
                @if index + 12 < hours.len() {
                    text.tick x=(x) dx="4" y=(HEIGHT - 6.0) {
                        tspan.weekday { (instant(start(index), "%a ")) }
                        (instant(start(index), "%-d"))
                    }
                }
            }
            @for (index, bans) in hours.iter().enumerate().filter(|(_, bans)| **bans > 0) {
                @let height = PLOT * f64::from(*bans) / f64::from(top);
                rect.bar x=(percent(index, hours.len())) width=(percent(4, hours.len() * 5))
                    y=(pixels(TOP + PLOT - height)) height=(pixels(height)) {
                    title { (instant(start(index), "%a %-d %b %H:%M")) ": " (number(*bans)) }
                }
            }
            @if hours.iter().all(|bans| *bans == 0) {
                text.empty x="50%" y=(TOP + PLOT / 2.0 - 8.0) text-anchor="middle" { "No bans in this time" }
            }
        }
    }
}

/// What the chart shows, in words.
pub(crate) fn summary(first_hour: Millis, hours: &[u32]) -> String {
    let total: u64 = hours.iter().copied().map(u64::from).sum();
    let busiest =
        hours.iter().enumerate().rev().max_by_key(|(_, bans)| **bans).filter(|(_, bans)| **bans > 0);
    let Some((index, most)) = busiest else { return "No bans in the last seven days.".to_owned() };
    let begins = first_hour + HOUR * Millis::try_from(index).unwrap_or(0);
    let hour = instant(begins, "%a %-d %b, %H:%M");
    format!("{} bans in seven days; the busiest hour began {hour} with {}.", number(total), number(*most))
}

/// When one stage of the start ran, on a scale of `total_ms`.
pub(crate) fn stage_span(stage: &StageRow, total_ms: f64) -> Markup {
    let part = |ms: f64| if total_ms > 0.0 { (ms / total_ms * 100.0).clamp(0.0, 100.0) } else { 0.0 };
    html! {
        @if let (Some(start), Some(took)) = (stage.start_ms, stage.ms) {
            // Even the shortest stage is seen, and one that began last does not lie outside.
            @let width = part(took).max(0.7);
            svg.span width="100%" height="12" aria-hidden="true" {
                line.grid x1="0" x2="100%" y1="6" y2="6" {}
                rect class=(if stage.critical { "critical" } else { "slack" }) rx="2" y="1" height="10"
                    x={ (round(part(start).min(100.0 - width))) "%" } width={ (round(width)) "%" } {}
            }
        }
    }
}

/// A share of the largest value, as a bar.
pub(crate) fn share(value: u32, of: u32) -> Markup {
    html! {
        svg.share width="100%" height="8" aria-hidden="true" {
            rect.bar rx="2" width=(percent_of(f64::from(value) / f64::from(of.max(1)))) height="8" {}
        }
    }
}

/// The next number that can be halved to a round one.
fn round_up(value: u32) -> u32 {
    let powers = (0..9).map(|power| 10_u32.pow(power));
    powers
        .flat_map(|power| [4 * power, 10 * power, 20 * power])
        .find(|round| *round >= value)
        .unwrap_or(u32::MAX)
}

fn percent(part: usize, of: usize) -> String {
    let as_float = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    percent_of(as_float(part) / as_float(of.max(1)))
}

fn percent_of(part: f64) -> String {
    format!("{}%", round(part * 100.0))
}

fn pixels(height: f64) -> f64 {
    (height * 10.0).round() / 10.0
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::HOURS;

    #[test]
    fn a_week_without_bans_says_so_and_divides_by_nothing() {
        for hours in [vec![0; HOURS], Vec::new()] {
            let svg = bans_over_time(0, &hours).into_string();
            assert!(svg.contains("No bans in this time") && svg.contains("No bans in the last seven days."));
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn each_hour_with_bans_is_one_bar_of_its_height() {
        let mut hours = vec![0; HOURS];
        (hours[0], hours[84], hours[167]) = (10, 5, 1);
        let svg = bans_over_time(0, &hours).into_string();
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(svg.contains(r#"x="0%" width="0.48%" y="16" height="144""#), "{svg}");
        assert!(svg.contains(r#"x="50%" width="0.48%" y="88" height="72""#), "{svg}");
        assert!(svg.contains("16 bans in seven days; the busiest hour began Thu 1 Jan, 00:00 with 10."));
    }

    #[test]
    fn the_scale_ends_at_a_round_number_that_can_be_halved() {
        let tops = [0, 3, 4, 5, 11, 21, 41, 399].map(round_up);
        assert_eq!(tops, [4, 4, 4, 10, 20, 40, 100, 400]);
        assert_eq!(round_up(u32::MAX), u32::MAX);
    }

    #[test]
    fn a_stage_that_took_no_time_is_seen_within_the_scale() {
        let row = |start_ms, ms| StageRow {
            name: "tasks".to_owned(),
            needs: Vec::new(),
            state: "up",
            start_ms,
            ms,
            slack_ms: 0.0,
            critical: false,
        };
        let svg = stage_span(&row(Some(200.0), Some(0.0)), 200.0).into_string();
        assert!(svg.contains(r#"x="99.3%" width="0.7%""#), "{svg}");
        assert!(!stage_span(&row(Some(0.0), Some(0.0)), 0.0).into_string().contains("NaN"));
        assert_eq!(stage_span(&row(None, None), 200.0).into_string(), "");
    }
}
