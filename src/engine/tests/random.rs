//! Random services against an oracle that is written from the invariants, not from the engine.
//!
//! `PROPTEST_CASES=200000 cargo test --release --lib random` runs longer. A case that fails is shrunk,
//! printed, and kept with its seed in `proptest-regressions/`, from where it is played first next time.

use std::io::Write as _;

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

mod causes;
mod generate;
mod oracle;
mod play;
mod seen;
mod tape;

use generate::{Shape, cases};
use play::Ended;

/// For each of the four shapes.
const CASES: u32 = 5_000;

fn config() -> ProptestConfig {
    let wanted = std::env::var_os("PROPTEST_CASES").is_some();
    let default = ProptestConfig::default();
    let cases = if wanted { default.cases } else { CASES };
    // Written past the test harness, which shows what a test prints only where it fails.
    writeln!(std::io::stderr(), "{cases} random services").unwrap();
    ProptestConfig { cases, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_chains_keep_the_invariants(case in cases(Shape::Chain)) {
        oracle::judge(&case, &play::play(&case))?;
    }

    #[test]
    fn random_fans_keep_the_invariants(case in cases(Shape::Fan)) {
        oracle::judge(&case, &play::play(&case))?;
    }

    #[test]
    fn random_layers_keep_the_invariants(case in cases(Shape::Layers)) {
        oracle::judge(&case, &play::play(&case))?;
    }

    #[test]
    fn random_graphs_keep_the_invariants(case in cases(Shape::Random)) {
        oracle::judge(&case, &play::play(&case))?;
    }
}

/// A generator that only makes services that start and stop would keep every invariant.
#[test]
fn random_services_come_to_every_kind_of_end_and_mostly_with_several_failures() {
    let mut runner = TestRunner::deterministic();
    let (mut failed, mut stopped, mut unheard, mut several) = (0, 0, 0, 0);
    for _ in 0..400 {
        let case = cases(Shape::Random).new_tree(&mut runner).unwrap().current();
        let played = play::play(&case);
        let problems = match &played.ended {
            Ended::Failed(error) => {
                failed += 1;
                1 + error.also.len() + error.rollback.problems.len()
            }
            Ended::Stopped(report) => {
                stopped += 1;
                report.summary.problems.len() + usize::from(report.failure.is_some())
            }
            Ended::Unheard | Ended::Never => {
                unheard += 1;
                0
            }
        };
        several += usize::from(problems > 1);
    }
    let least = [failed, stopped, unheard, several].into_iter().min().unwrap();
    assert!(
        least > 20,
        "{failed} failed, {stopped} stopped, {unheard} unheard; {several} with several failures"
    );
}
