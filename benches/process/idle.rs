//! What a service costs while nobody asks anything of it, as the kernel counts it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{BANBOARD, BARE, BY_HAND, ONLY_WORKER, Process, Program};

/// What belongs to the start is over by then.
const SETTLE: Duration = Duration::from_secs(12);

/// How often it is looked. A thread that ends takes with it what it did since the last look.
const LOOK: Duration = Duration::from_millis(500);

/// What a thread did so far.
#[derive(Clone, Default)]
struct Thread {
    name: String,
    cpu: Duration,
    voluntary: u64,
    involuntary: u64,
}

struct Service {
    program: Program,
    process: Process,
    before: BTreeMap<u32, Thread>,
    last: BTreeMap<u32, Thread>,
    _data: TempDir,
}

pub(crate) fn measure(length: Duration) {
    let mut services: Vec<Service> = [BARE, ONLY_WORKER, BY_HAND, BANBOARD].map(start).into();
    sleep(SETTLE);
    let began = Instant::now();
    for service in &mut services {
        service.before = service.threads();
    }
    while began.elapsed() < length {
        sleep(LOOK.min(length.saturating_sub(began.elapsed())));
        for service in &mut services {
            let threads = service.threads();
            service.last.extend(threads);
        }
    }
    let took = began.elapsed();
    println!(
        "\n| idle for {took:.0?} | CPU, % of a core | wake-ups/s | preempted/s | threads | VmRSS, MiB | Pss, MiB |\n|---|---|---|---|---|---|---|"
    );
    for service in &services {
        service.print(took);
    }
    println!("\nBy thread: wake-ups per second, and microseconds of CPU per second.");
    for service in &services {
        service.print_threads(took);
    }
    for service in services {
        let _took = service.process.stop();
    }
}

fn start(program: Program) -> Service {
    let data = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let process = program.start(data.path());
    Service { program, process, before: BTreeMap::new(), last: BTreeMap::new(), _data: data }
}

impl Service {
    fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.process.child.id().to_string())
    }

    fn threads(&self) -> BTreeMap<u32, Thread> {
        let tasks = fs::read_dir(self.proc().join("task")).expect("it runs");
        tasks.filter_map(|task| look(&task.ok()?.path())).collect()
    }

    /// What each thread did while it was looked.
    fn done(&self) -> Vec<Thread> {
        let done = |(id, last): (&u32, &Thread)| {
            let before = self.before.get(id).cloned().unwrap_or_default();
            Thread {
                name: last.name.clone(),
                cpu: last.cpu.saturating_sub(before.cpu),
                voluntary: last.voluntary - before.voluntary,
                involuntary: last.involuntary - before.involuntary,
            }
        };
        self.last.iter().map(done).collect()
    }

    fn print(&self, took: Duration) {
        let done = self.done();
        let seconds = took.as_secs_f64();
        let cpu: Duration = done.iter().map(|each| each.cpu).sum();
        let voluntary: u64 = done.iter().map(|each| each.voluntary).sum();
        let involuntary: u64 = done.iter().map(|each| each.involuntary).sum();
        println!(
            "| {} | {:.4} | {:.2} | {:.2} | {} | {:.1} | {:.1} |",
            self.program.name,
            cpu.as_secs_f64() / seconds * 100.0,
            voluntary as f64 / seconds,
            involuntary as f64 / seconds,
            self.threads().len(),
            self.kib("status", "VmRSS:") / 1024.0,
            self.kib("smaps_rollup", "Pss:") / 1024.0,
        );
    }

    fn print_threads(&self, took: Duration) {
        let mut by_name: BTreeMap<String, (u64, Duration)> = BTreeMap::new();
        for Thread { name, cpu, voluntary, .. } in self.done() {
            let sum = by_name.entry(name).or_default();
            *sum = (sum.0 + voluntary, sum.1 + cpu);
        }
        let seconds = took.as_secs_f64();
        let each: Vec<_> = by_name
            .iter()
            .filter(|(_, (wakes, _))| *wakes > 0)
            .map(|(name, (wakes, cpu))| {
                format!("{name} {:.2} ({:.0} us)", *wakes as f64 / seconds, cpu.as_secs_f64() * 1e6 / seconds)
            })
            .collect();
        println!("- {}: {}", self.program.name, each.join(", "));
    }

    fn kib(&self, file: &str, field: &str) -> f64 {
        let text = fs::read_to_string(self.proc().join(file)).expect("it runs");
        number(&text, field) as f64
    }
}

/// `None` where the thread has just ended.
fn look(task: &Path) -> Option<(u32, Thread)> {
    let status = fs::read_to_string(task.join("status")).ok()?;
    let cpu = fs::read_to_string(task.join("schedstat")).ok()?;
    let thread = Thread {
        name: status.lines().next()?.split_whitespace().nth(1)?.to_owned(),
        cpu: Duration::from_nanos(cpu.split_whitespace().next()?.parse().ok()?),
        voluntary: number(&status, "\nvoluntary_ctxt_switches:"),
        involuntary: number(&status, "nonvoluntary_ctxt_switches:"),
    };
    Some((task.file_name()?.to_str()?.parse().ok()?, thread))
}

fn number(text: &str, field: &str) -> u64 {
    let after = text.split_once(field).expect("the kernel tells it").1;
    after.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
}
