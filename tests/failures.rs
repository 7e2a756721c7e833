//! Every failure code, brought about in a real process: its report stands in `docs/failures.md`, and where the
//! report says what to do, doing that literally makes the service start.
//!
//! Where a report has changed on purpose, `UPDATE_GOLDEN=1 cargo test --all-features --test failures` writes the
//! new one into the document. For a new code, write its section, and add a case to the table in
//! `tests/failures/cases.rs`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{fs, panic::catch_unwind, path::Path, thread};

use cases::{CASES, Case};
use obstacles::{SITUATIONS, Situation};
use solostart::codes;

#[path = "failures/advice.rs"]
mod advice;
#[path = "failures/cases.rs"]
mod cases;
#[path = "failures/gist.rs"]
mod gist;
#[path = "failures/mended.rs"]
mod mended;
#[path = "failures/obstacles.rs"]
mod obstacles;
#[path = "failures/shop.rs"]
mod shop;
#[allow(dead_code, reason = "this file uses its own part of it")]
mod support;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/failures.md");
/// How many cases run at the same time; most of their time they wait.
const AT_ONCE: usize = 4;

#[test]
fn every_code_has_a_case_that_brings_it_about() {
    let missing: Vec<_> =
        codes::ALL.iter().filter(|code| !CASES.iter().any(|(case, _)| *case == code.name)).collect();
    assert!(missing.is_empty(), "add them to tests/failures/cases.rs: {missing:?}");
    assert_eq!(CASES.len(), codes::ALL.len(), "a case of no code, or two of one");
}

/// The situations beside the examples, of which every code has one.
fn situations() -> Vec<String> {
    let run = |(code, situation): &Situation| match catch_unwind(situation) {
        Ok(report) if report.0.contains(&format!("[{code}]")) => None,
        Ok(report) => Some(format!("{code}: a situation of it reports\n{}", report.0)),
        Err(_) => Some(format!("{code}: a situation of it went wrong, see above")),
    };
    let share = SITUATIONS.len().div_ceil(AT_ONCE);
    thread::scope(|scope| {
        let run =
            |all: &'static [Situation]| scope.spawn(move || all.iter().filter_map(run).collect::<Vec<_>>());
        let threads: Vec<_> = SITUATIONS.chunks(share).map(run).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn every_report_is_as_documented_and_what_it_tells_to_do_mends_it() {
    let share = CASES.len().div_ceil(AT_ONCE);
    let outcomes: Vec<_> = thread::scope(|scope| {
        // One that goes wrong says why, and does not keep the others from being compared.
        let run = |(code, case): &Case| (*code, catch_unwind(case).ok());
        let run = |cases: &'static [Case]| scope.spawn(move || cases.iter().map(run).collect::<Vec<_>>());
        let threads: Vec<_> = CASES.chunks(share).map(run).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut document = fs::read_to_string(DOCUMENT).unwrap();
    let mut wrong = situations();
    if wrong.is_empty() {
        wrong.extend(advice::unaccounted());
    }
    let advised = wrong.len();
    for (code, report) in &outcomes {
        let Some(report) = report.as_ref().filter(|report| report.contains(&format!("[{code}]"))) else {
            wrong.push(format!("{code}: its case went wrong: {}", report.as_deref().unwrap_or("see above")));
            continue;
        };
        if !gist::same(gist::example(&document, code).unwrap_or_default(), report) {
            wrong.push(format!("{code}, which reports\n{report}"));
            document = gist::with_example(&document, code, report);
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(Path::new(DOCUMENT), document).unwrap();
        assert_eq!(advised, 0, "{}", wrong[..advised].join("\n"));
    } else {
        let how = "UPDATE_GOLDEN=1 cargo test --all-features --test failures";
        assert!(wrong.is_empty(), "docs/failures.md shows something else for {}\n{how}", wrong.join("\n"));
    }
}
