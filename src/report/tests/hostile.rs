//! Whatever stands in the fields, a report keeps its limits and tells no secret.

use proptest::prelude::*;

use super::*;
use crate::{
    codes::{self, FailureCode},
    contract::{guard::LockLost, outcome::StopReport, state::Phase, state::StopReason},
    error::ErrorKind,
    report::{
        Report, Stalled, StalledStage,
        emergency::emergency,
        failure::stop_failure,
        lines::{interrupted, ready, stopped, warning},
    },
    settings::EnvWarning,
};

const SECRETS: [&str; 2] = ["S3CRET", "T0KEN"];

/// Texts of all kinds, many of them with a URL that carries secrets.
fn text() -> impl Strategy<Value = String> {
    let url =
        |(before, after): (String, String)| format!("{before}https://user:S3CRET@host/a?token=T0KEN{after}");
    prop_oneof![
        any::<String>(),
        "[ -~]{0,300}",
        "[=`.\n\t -]{0,200}",
        "\\PC{0,200}",
        "[a-z-]{1,90}",
        ("\\PC{0,80}", "\\PC{0,80}").prop_map(url),
        ("[a-z:/@?#.\\[\\] ]{0,12}", "[&=a-z/ ]{0,300}").prop_map(url),
        ("[ -~]{4000,4100}", "[a-z ]{0,9}").prop_map(url),
    ]
}

/// Hands out texts and numbers, again from the beginning when they are used up.
#[derive(Debug)]
struct Pool {
    texts: Vec<String>,
    numbers: Vec<usize>,
    code: FailureCode,
    at: usize,
}

impl Pool {
    fn text(&mut self) -> String {
        self.at += 1;
        self.texts[self.at % self.texts.len()].clone()
    }

    fn number(&mut self) -> usize {
        self.at += 1;
        self.numbers[self.at % self.numbers.len()]
    }

    fn list<T>(&mut self, mut each: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.number()).map(|_| each(self)).collect()
    }

    fn name(&mut self) -> StageName {
        self.text().into()
    }

    fn error(&mut self) -> StageError {
        let mut error = StageError::new(self.code, Chain(self.list(Self::text)).into_error());
        for (name, value) in self.list(|pool| (pool.text(), pool.text())) {
            error = error.fact(name, value);
        }
        self.list(Self::text).into_iter().fold(error, StageError::hint)
    }

    fn failure(&mut self) -> StageFailure {
        let phases =
            [FailurePhase::Check, FailurePhase::Start, FailurePhase::ReadyCheck, FailurePhase::Serve];
        StageFailure {
            phase: phases[self.number() % phases.len()],
            step: Some(self.text()),
            steps: self.list(|pool| (pool.text(), ms(7))),
            attempts: 3,
            elapsed: Duration::from_millis(self.number() as u64 * 99_999),
            ..failure(self.name(), self.error())
        }
    }

    fn summary(&mut self) -> StopSummary {
        StopSummary {
            elapsed: ms(5),
            stopped: self.list(Self::name),
            problems: self.list(|pool| StopProblem {
                stage: pool.name(),
                hook: StopHook::Undo,
                error: pool.error(),
            }),
            stuck: self.list(|pool| (pool.name(), Some(pool.text()))),
            left_up: self.list(|pool| (pool.name(), pool.name())),
            leaked: self.list(|pool| (pool.name(), 2)),
        }
    }

    fn startup(&mut self) -> StartupError {
        StartupError {
            primary: self.failure(),
            also: self.list(Self::failure),
            cancelled: self.list(Self::name),
            never_started: self.list(|pool| NeverStarted {
                stage: pool.name(),
                waited_for: pool.list(|pool| (pool.name(), StageState::Skipped)),
            }),
            rollback: self.summary(),
            timeline: self.timeline(),
        }
    }

    fn timeline(&mut self) -> Timeline {
        let stages = self.list(|pool| StageTimes { name: pool.name(), ..times("x", StageState::Up, 1) });
        Timeline { stages, total: ms(1) }
    }

    fn stop(&mut self) -> StopReport {
        let failure = self.number().is_multiple_of(2).then(|| self.failure());
        let reason = StopReason::Requested(self.text());
        StopReport { reason, failure, also: Vec::new(), summary: self.summary(), timeline: self.timeline() }
    }

    fn identity(&mut self) -> Identity {
        let (service, version) = (self.text(), Some(self.text()));
        Identity { service, version, prefix: self.text(), host: self.text(), ..identity() }
    }

    fn stalled(&mut self) -> Stalled {
        let stages = self.list(|pool| StalledStage {
            name: pool.text(),
            state: StageState::Stopping,
            step: Some(pool.text()),
            blocks: pool.number().is_multiple_of(2),
        });
        let lost = self.number().is_multiple_of(2).then(|| LockLost::expired(self.text(), vec![self.text()]));
        Stalled { phase: Phase::Starting, limit: ms(1), stages, lost }
    }
}

/// The messages of a chain of errors, outermost first.
struct Chain(Vec<String>);

impl Chain {
    fn into_error(self) -> Link {
        let messages = self.0.into_iter().rev();
        let chain = messages.fold(None, |inner, message| Some(Box::new(Link(message, inner))));
        chain.map_or_else(|| Link(String::new(), None), |link| *link)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Link(String, #[source] Option<Box<Link>>);

fn pool() -> impl Strategy<Value = Pool> {
    let texts = prop::collection::vec(text(), 1..12);
    let numbers = prop::collection::vec(prop_oneof![0_usize..4, 0_usize..60], 1..20);
    (texts, numbers, prop::sample::select(codes::ALL)).prop_map(|(texts, numbers, code)| Pool {
        texts,
        numbers: cap(numbers),
        code,
        at: 0,
    })
}

/// Lists in lists in lists: their product must stay small.
fn cap(mut numbers: Vec<usize>) -> Vec<usize> {
    let mut large = 0;
    for number in &mut numbers {
        large += usize::from(*number > 4);
        *number = if large > 2 { *number % 3 } else { *number };
    }
    numbers
}

fn tells_no_secret(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} in\n{text}");
    }
}

proptest! {
    #[test]
    fn blocks_keep_their_limits_and_tell_no_secret(mut pool in pool(), exit in any::<u8>()) {
        let identity = pool.identity();
        for text in [
            startup_failure(&pool.startup(), exit, &identity),
            stop_failure(&pool.stop(), exit, &identity),
            emergency(&pool.stalled(), exit, &identity),
        ] {
            within_limits(&text);
            tells_no_secret(&text);
            let last = text.lines().last().unwrap();
            prop_assert!(last.len() == 80 && last.bytes().all(|byte| byte == b'='), "{}", text);
            prop_assert!(text.contains(&identity.instance.short()), "{}", text);
        }
    }

    #[test]
    fn lines_are_lines_and_tell_no_secret(mut pool in pool()) {
        let degraded = pool.list(Pool::name);
        let notes = pool.list(Pool::text);
        let warned = pool.list(|pool| EnvWarning { variable: pool.text(), text: pool.text() });
        let count = warned.len();
        for (text, lines) in [
            (ready(&pool.timeline(), &degraded, &notes), 1),
            (stopped(&pool.stop()), 1),
            (interrupted(&pool.startup()), 1),
            (warned.iter().map(warning).collect(), count),
        ] {
            prop_assert_eq!(text.lines().count(), lines, "{}", text);
            prop_assert!(text.is_empty() || text.ends_with('\n'));
            prop_assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)));
            tells_no_secret(&text);
        }
    }
}

proptest! {
    #[test]
    fn data_is_what_the_schema_says_and_the_short_form_is_short(mut pool in pool()) {
        let identity = pool.identity();
        let kind = ErrorKind::Data;
        let error = pool.startup();
        for report in [
            Report::startup_failed(&error, kind, &identity),
            Report::interrupted(&error, &identity),
            Report::stop_failed(&pool.stop(), kind, &identity),
            Report::stalled(&pool.stalled(), &identity),
            Report::ready(&pool.timeline(), &[], &[pool.text()], &identity),
        ] {
            let data = json::valid(&report);
            tells_no_secret(&report.json());
            if !data["code"].is_null() {
                let short = report.short();
                prop_assert!(short.len() < 2048 && short.lines().count() <= 3, "{}", short);
                printable(&short);
                tells_no_secret(&short);
            }
        }
    }
}

/// In time that does not grow with the square of the length, or this test would not end.
#[test]
fn values_of_ten_megabytes_are_cut_early() {
    let huge = "https://user:S3CRET@host x`".repeat(10_000_000 / 27);
    let mut pool = Pool { texts: vec![huge], numbers: vec![2], code: codes::STAGE_TIMEOUT, at: 0 };
    let identity = pool.identity();
    let text = startup_failure(&StartupError { also: Vec::new(), ..failed(pool.failure()) }, 75, &identity);
    within_limits(&text);
    tells_no_secret(&text);
}
