//! What one renewal of the lease costs, beside the same upsert by hand.
//!
//! A renewal cannot be asked for: a thread of the lease's own does it, every 3 s unless told otherwise. So it is told to
//! do it every 10 ms, and what is measured is the processor time of that thread, as the kernel counts it, for each
//! number that the row has grown by: waking up, the looks at the files before and after, and the write. By hand, a
//! thread that is woken up as often does nothing but its upsert. Neither is waited for until it is on the disk.

use std::{
    fs,
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use solostart_benches::samples::Samples;

use crate::{directory, open_lease, runtime, startup_with, upsert};

const EVERY: Duration = Duration::from_millis(10);

/// How long each look lasts, and how many there are. One covers some ten renewals.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: usize = 50;

/// Prints both in the form of criterion's lines.
pub fn measure() {
    let dir = directory();
    let (over, ended) = channel();
    let lease = open_lease(dir.path(), "normal");
    let by_hand = thread::Builder::new().name("by-hand".to_owned()).spawn(move || renew(&lease, &ended));
    let by_hand = by_hand.expect("there are threads");
    let raw = samples("by-hand", || number(&dir.path().join("raw.db"), "SELECT token FROM lease"));
    drop(over);
    by_hand.join().expect("it does not panic");
    print("keep/raw SQLite: a renewal, woken up for it", &raw);

    let runtime = runtime();
    let often = [("BENCH_LEASE_TTL", "2s"), ("BENCH_LEASE_RENEW", "10ms")];
    let running = runtime.block_on(startup_with(dir.path(), often).start()).expect("it starts");
    let lease = dir.path().join("bench.lease.db");
    let ours = samples("solostart-lease", || number(&lease, "SELECT seq FROM solostart_lease"));
    runtime.block_on(running.shutdown("over"));
    print("keep/ours: a renewal, woken up for it", &ours);
}

fn renew(lease: &Connection, ended: &Receiver<()>) {
    while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
        upsert(lease);
    }
}

/// Nanoseconds of this thread's processor time for each renewal that `counted` tells of.
fn samples(thread: &str, counted: impl Fn() -> u64) -> Samples {
    let mut samples = Samples::default();
    // The first have to read what they need into memory.
    thread::sleep(LOOK);
    for _ in 0..LOOKS {
        let (begin, before) = (cpu(thread), counted());
        thread::sleep(LOOK);
        let (spent, renewals) = (cpu(thread) - begin, counted() - before);
        samples.add(spent.as_nanos() as f64 / renewals as f64);
    }
    samples
}

/// How much processor time the thread of this name had so far.
fn cpu(name: &str) -> Duration {
    let tasks =
        fs::read_dir("/proc/self/task").expect("it is there").map(|task| task.expect("it is read").path());
    let of_that_name =
        |task: &Path| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name);
    let task = tasks.into_iter().find(|task| of_that_name(task)).expect("it runs");
    let text = fs::read_to_string(task.join("schedstat")).expect("the kernel counts it");
    let nanoseconds = text.split_whitespace().next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

fn number(database: &Path, question: &str) -> u64 {
    let reader = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("it opens");
    let number: i64 = reader.query_row(question, [], |row| row.get(0)).expect("it is there");
    number.unsigned_abs()
}

#[allow(clippy::print_stdout, reason = "a bench prints its table")]
fn print(what: &str, samples: &Samples) {
    let [low, median, high] = [0.25, 0.5, 0.75].map(|part| samples.quantile(part).expect("there are some"));
    println!("test {what} ... bench: {median:.0} ns/iter (+/- {:.0})", (high - low) / 2.0);
}
