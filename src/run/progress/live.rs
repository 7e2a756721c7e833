//! A line for each stage that is starting, on a terminal: how long it has been, and what it does. Without
//! colour, so there is none that `NO_COLOR` would have to take away.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{ids::StageId, report::Slow};

/// A start that is over before this shows nothing: it would only flicker.
const PATIENT: Duration = Duration::from_millis(300);

/// How many stages are shown; of more, those that have been starting the longest.
const LINES: usize = 8;

/// The lines. Dropping it clears them.
pub(super) struct Live {
    began: Instant,
    lines: MultiProgress,
    style: ProgressStyle,
    shown: Vec<(StageId, ProgressBar)>,
}

impl Live {
    pub(super) fn new() -> Option<Self> {
        let style = ProgressStyle::with_template("{spinner} {wide_msg}").ok()?.tick_chars("|/-\\ ");
        let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Some(Self { began: Instant::now(), lines, style, shown: Vec::new() })
    }

    /// Draws the stages that are starting.
    pub(super) fn draw(&mut self, running: &[(StageId, Slow)]) {
        if self.began.elapsed() < PATIENT {
            return;
        }
        let mut running: Vec<_> = running.iter().collect();
        running.sort_by_key(|(_, slow)| std::cmp::Reverse(slow.running));
        running.truncate(LINES);
        let lines = &self.lines;
        self.shown.retain(|(id, line)| {
            let is_running = running.iter().any(|(each, _)| each == id);
            if !is_running {
                line.finish_and_clear();
                lines.remove(line);
            }
            is_running
        });
        for (id, slow) in running {
            let text = format!("{} {:.1} s  {}", slow.stage, slow.running.as_secs_f64(), slow.what());
            let shown = self.shown.iter().find(|(each, _)| each == id).map(|(_, line)| line.clone());
            let line = shown.unwrap_or_else(|| {
                let line = self.lines.add(ProgressBar::new_spinner().with_style(self.style.clone()));
                self.shown.push((*id, line.clone()));
                line
            });
            line.set_message(text);
            line.tick();
        }
    }

    /// Takes the lines away while something else is written.
    pub(super) fn beside(&self, write: impl FnOnce()) {
        self.lines.suspend(write);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        for (_, line) in &self.shown {
            line.finish_and_clear();
        }
        let _terminal_gone = self.lines.clear();
    }
}
