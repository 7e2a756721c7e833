//! Samples of one figure, and how a table shows them.

use std::time::Duration;

/// What was measured, round by round, in one unit.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn add(&mut self, figure: f64) {
        let at = self.0.partition_point(|&other| other < figure);
        self.0.insert(at, figure);
    }

    /// A duration as nanoseconds for each of the `stages` that it covered.
    pub fn add_per_stage(&mut self, took: Duration, stages: usize) {
        self.add(took.as_secs_f64() * 1e9 / stages as f64);
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The figure below which this part of the samples lies: 0.5 is the median.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let last = self.0.len().checked_sub(1)?;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 0 and `last`"
        )]
        let at = (last as f64 * part).round() as usize;
        self.0.get(at).copied()
    }

    #[must_use]
    pub fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    /// The median, and between which quartiles the middle half lies.
    #[must_use]
    pub fn spread(&self) -> Option<String> {
        let [low, median, high] = [0.25, 0.5, 0.75].map(|part| self.quantile(part));
        Some(format!("{} ({}..{})", whole(median?), whole(low?), whole(high?)))
    }
}

/// A figure without its fraction, its thousands set apart.
#[must_use]
pub fn whole(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
