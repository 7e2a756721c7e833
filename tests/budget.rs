//! The stop budget, measured from outside: real processes that block, hang and ignore, a runtime of one
//! thread and of two, and signals at random instants (invariants 4 and 11).
//!
//! A bound on time is the rule itself here, so it is asserted: the process is gone within its budget and half
//! a second. The clock starts just before the signal is sent and ends when the process was waited for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use solostart::testing::Process;

mod support;

/// With what the engine gets beyond it, no multiple of the watchdog's beat: a watchdog that only looks at each
/// beat would be late.
const BUDGET: Duration = Duration::from_millis(460);

/// What the process may take beyond its budget.
const MARGIN: Duration = Duration::from_millis(500);

/// How long a lock file that was deleted may stay unnoticed.
const NOTICED: Duration = Duration::from_secs(3);

/// How many processes run at once. They sleep nearly all of the time.
const AT_ONCE: usize = 6;

/// What begins the stop.
#[derive(Clone, Copy, PartialEq, Debug)]
enum By {
    /// A signal, this long after the line appeared.
    Signal(&'static str, Duration),
    /// The lock file is deleted.
    LostLock,
}

#[derive(Clone, Copy, Debug)]
struct Trial {
    scenario: &'static str,
    threads: &'static str,
    by: By,
    codes: &'static [i32],
}

/// Which scenarios, after which line the signal comes, and how the process may end.
const SCENARIOS: &[(&str, &str, &[i32])] = &[
    ("ok", "base starts", &[0]),
    ("hang", "base starts", &[0]),
    ("stop-hang", "base starts", &[0, 70]),
    ("hang", "subject hangs", &[0]),
    ("late", "subject hangs", &[0]),
    ("await-blocking", "subject hangs", &[0]),
    ("block", "subject blocks", &[70]),
    ("health-block", "subject blocks", &[70]),
    ("undo-error", "subject hangs", &[70]),
    ("undo-hang", "subject hangs", &[70]),
    ("undo-block", "subject hangs", &[70]),
    ("undo-await-blocking", "subject hangs", &[70]),
    ("ok", "READY", &[0]),
    ("spawn-blocking", "READY", &[0]),
    ("serve-hang", "READY", &[70]),
    ("serve-block", "subject blocks", &[70]),
    ("serve-await-blocking", "READY", &[70]),
    ("stop-error", "READY", &[70]),
    ("stop-panic", "READY", &[70]),
    ("stop-hang", "READY", &[70]),
    ("stop-block", "READY", &[70]),
    ("stop-await-blocking", "READY", &[70]),
];

/// A number that no two calls share, from one seed.
fn random(seed: u64, nth: usize) -> u64 {
    // The finaliser of splitmix64 (Steele, Lea and Flood 2014).
    let mut mixed = seed.wrapping_add((nth as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn trials(seed: u64) -> Vec<Trial> {
    let mut trials = Vec::new();
    for &threads in &["1", "2"] {
        for &(scenario, line, codes) in SCENARIOS {
            for _ in 0..5 {
                let after = Duration::from_millis(random(seed, trials.len()) % 60);
                trials.push(Trial { scenario, threads, by: By::Signal(line, after), codes });
            }
        }
        for scenario in ["ok", "stop-hang", "stop-block", "serve-block"] {
            trials.push(Trial { scenario, threads, by: By::LostLock, codes: &[70] });
        }
    }
    trials
}

/// Plays one trial, and says what was wrong with it.
fn play(trial: Trial) -> Result<Duration, String> {
    let data = tempfile::tempdir().unwrap();
    let budget = format!("{}ms", BUDGET.as_millis());
    let vars = [
        ("TESTAPP_SCENARIO", trial.scenario),
        ("TESTAPP_SHUTDOWN_TIMEOUT", &*budget),
        ("TOKIO_WORKER_THREADS", trial.threads),
    ];
    let mut app = Process::start(&mut support::command("test-app", data.path(), &vars));
    let (asked, limit) = match trial.by {
        By::Signal(line, after) => {
            app.wait_for(line);
            // Not to wait for anything: the instant of the signal is what the trial is about.
            thread::sleep(after);
            let asked = Instant::now();
            app.terminate();
            (asked, BUDGET + MARGIN)
        }
        By::LostLock => {
            app.wait_for("READY");
            let asked = Instant::now();
            fs::remove_file(data.path().join("testapp.lock")).unwrap();
            (asked, NOTICED + BUDGET + MARGIN)
        }
    };
    let ended = app.wait();
    let took = asked.elapsed();
    if took > limit {
        return Err(format!("{trial:?} took {took:?}\n{}", ended.stderr));
    }
    if !trial.codes.contains(&ended.code()) {
        return Err(format!("{trial:?} ended with {}\n{}", ended.code(), ended.stderr));
    }
    Ok(took)
}

#[test]
fn every_process_is_gone_within_its_stop_budget_and_half_a_second() {
    let chosen = std::env::var("SOLOSTART_SEED").ok().and_then(|text| text.parse().ok());
    let seed = chosen.unwrap_or_else(|| RandomState::new().hash_one(0_u8));
    let trials = trials(seed);
    assert!(trials.len() >= 200, "{}", trials.len());
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let slowest = Mutex::new((Duration::ZERO, None));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(&trial) = trials.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match play(trial) {
                        Ok(took) if trial.by != By::LostLock => {
                            let mut slowest = slowest.lock().unwrap();
                            if took > slowest.0 {
                                *slowest = (took, Some(trial));
                            }
                        }
                        Ok(_noticed) => {}
                        Err(what) => wrong.lock().unwrap().push(what),
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    // Written past the test harness, which shows what a test prints only where it fails.
    let slowest = slowest.into_inner().unwrap();
    writeln!(std::io::stderr(), "{} processes, the slowest {slowest:?}", trials.len()).unwrap();
    assert!(wrong.is_empty(), "SOLOSTART_SEED={seed}: {} wrong\n{}", wrong.len(), wrong.join("\n"));
}
