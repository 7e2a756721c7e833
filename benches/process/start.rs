//! Starts and stops, one of each program in turn.

use std::{collections::BTreeMap, fs, path::Path, thread::sleep, time::Duration};

use serde_json::Value;
use tempfile::TempDir;

use crate::{BANBOARD, BY_HAND, Program};

/// How long a service is left alone before it is stopped.
const SETTLE: Duration = Duration::from_millis(100);

/// What one program took, in each round.
#[derive(Default)]
struct Taken {
    ready: Vec<Duration>,
    stop: Vec<Duration>,
}

pub(crate) fn measure(rounds: usize) {
    println!(
        "\n| {rounds} rounds each, ms | p50 | p99 | least | banboard / by hand |\n|---|---|---|---|---|"
    );
    let mut stages = Vec::new();
    for (kind, place) in [("tmpfs", Path::new("/dev/shm")), ("disk", Path::new(env!("CARGO_TARGET_TMPDIR")))]
    {
        for data_is_new in [false, true] {
            let mut timeline = Timeline::default();
            let (ours, theirs) = compare(rounds, place, data_is_new, &mut timeline);
            let data = if data_is_new { "new" } else { "existing" };
            print(&format!("exec to READY, {data} data, {kind}"), &ours.ready, &theirs.ready);
            print(&format!("SIGTERM to exit, {data} data, {kind}"), &ours.stop, &theirs.stop);
            stages.push((format!("{data} data, {kind}"), timeline));
        }
    }
    println!(
        "\nThe stages of banboard, ms, p50: when each began after `run` had its runtime, and how long it took."
    );
    for (title, timeline) in stages {
        timeline.print(&title);
    }
}

fn compare(rounds: usize, place: &Path, data_is_new: bool, timeline: &mut Timeline) -> (Taken, Taken) {
    let (mut ours, mut theirs) = (Taken::default(), Taken::default());
    let home = TempDir::new_in(place).expect("a directory");
    let kept = |program: Program| home.path().join(program.name.replace(' ', "-"));
    let warm_up = 3;
    for round in 0..rounds + warm_up {
        let mut once = |program: Program, taken: &mut Taken| {
            let data = kept(program);
            if data_is_new && data.exists() {
                fs::remove_dir_all(&data).expect("it is ours");
            }
            let process = program.start(&data);
            let ready_after = process.ready_after;
            sleep(SETTLE);
            let stop = process.stop();
            if round >= warm_up {
                taken.ready.push(ready_after);
                taken.stop.push(stop);
                if program.path == BANBOARD.path {
                    timeline.add(&data.join("banboard.report.json"));
                }
            }
        };
        // Whoever comes second finds what the first left to the disk, so they take turns.
        if round % 2 == 0 {
            once(BANBOARD, &mut ours);
            once(BY_HAND, &mut theirs);
        } else {
            once(BY_HAND, &mut theirs);
            once(BANBOARD, &mut ours);
        }
    }
    (ours, theirs)
}

fn print(what: &str, ours: &[Duration], theirs: &[Duration]) {
    let ratio = quantile(ours, 0.5) / quantile(theirs, 0.5);
    println!("| {what}, banboard | {} | {ratio:.2} |", row(ours));
    println!("| {what}, by hand | {} | |", row(theirs));
}

fn row(taken: &[Duration]) -> String {
    let each = [0.5, 0.99, 0.0].map(|level| format!("{:.2}", quantile(taken, level)));
    each.join(" | ")
}

/// In milliseconds.
fn quantile(taken: &[Duration], level: f64) -> f64 {
    let mut sorted: Vec<f64> = taken.iter().map(|each| each.as_secs_f64() * 1000.0).collect();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of a short list")]
    let at = ((sorted.len() - 1) as f64 * level).round() as usize;
    sorted[at]
}

/// What banboard said of its starts.
#[derive(Default)]
struct Timeline {
    stages: BTreeMap<String, (Vec<Duration>, Vec<Duration>)>,
}

impl Timeline {
    /// Adds the start that the report file tells of.
    fn add(&mut self, report: &Path) {
        let report: Value =
            serde_json::from_slice(&fs::read(report).expect("a report")).expect("a report is JSON");
        let millis = |value: &Value| Duration::from_secs_f64(value.as_f64().unwrap_or(0.0) / 1000.0);
        for stage in report["stages"].as_array().expect("stages") {
            let name = stage["name"].as_str().expect("a name").to_owned();
            let (began, took) = self.stages.entry(name).or_default();
            began.push(millis(&stage["start_ms"]));
            took.push(millis(&stage["ms"]));
        }
    }

    fn print(&self, title: &str) {
        let mut rows: Vec<_> = self
            .stages
            .iter()
            .map(|(name, (began, took))| (quantile(began, 0.5), quantile(took, 0.5), name))
            .collect();
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        let each: Vec<_> =
            rows.iter().map(|(began, took, name)| format!("{name} {began:.2}+{took:.2}")).collect();
        println!("- {title}: {}", each.join(", "));
    }
}
