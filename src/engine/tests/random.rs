//! Random graphs and outcomes against an oracle that is written from the invariants, not from the engine.

use std::{
    collections::HashMap,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::prelude::*;
use tokio::time::sleep;

use super::{Log, Plan, prepare};
use crate::{
    StageContext, StageResult, StartupError, StopReport,
    contract::{needs::Handle, state::StopReason},
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Start {
    Ok(u64),
    Error(u64),
    PanicBefore,
    PanicAfter(u64),
    Hang,
    /// Ignores the request to end for a while, then comes up all the same.
    LateOk(u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Ok(u64),
    Error,
    Panic,
    Hang,
}

#[derive(Clone, Debug)]
struct Case {
    needs: Vec<usize>,
    start: Start,
    undos: Vec<End>,
    stop: End,
    optional: bool,
}

fn start_outcome() -> impl Strategy<Value = Start> {
    prop_oneof![
        6 => (0..500_u64).prop_map(Start::Ok),
        1 => (0..500_u64).prop_map(Start::Error),
        1 => Just(Start::PanicBefore),
        1 => (0..500_u64).prop_map(Start::PanicAfter),
        1 => Just(Start::Hang),
        1 => (0..3_000_u64).prop_map(Start::LateOk),
    ]
}

fn end_outcome() -> impl Strategy<Value = End> {
    prop_oneof![4 => (0..300_u64).prop_map(End::Ok), 1 => Just(End::Error), 1 => Just(End::Panic), 1 => Just(End::Hang)]
}

fn case(index: usize) -> impl Strategy<Value = Case> {
    (
        prop::collection::vec(0..index.max(1), 0..4),
        start_outcome(),
        prop::collection::vec(end_outcome(), 0..3),
        end_outcome(),
        prop::bool::weighted(0.2),
    )
        .prop_map(move |(mut needs, start, undos, stop, optional)| {
            needs.sort_unstable();
            needs.dedup();
            needs.retain(|&need| need < index);
            Case { needs, start, undos, stop, optional }
        })
}

fn cases() -> impl Strategy<Value = (Vec<Case>, Option<u64>)> {
    let stages = (1..14_usize).prop_flat_map(|size| (0..size).map(case).collect::<Vec<_>>());
    (stages, prop::option::weighted(0.3, 0..2_000_u64))
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum What {
    Start,
    Acquired,
    Undo(usize),
    Stop,
}

/// What the hooks saw: beginnings and ends, in order.
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<(usize, What, bool)>>>);

/// Notes the end of a hook however it ends: by return, panic or being dropped.
struct Ends(Tape, usize, What);

impl Tape {
    fn begin(&self, stage: usize, what: What) -> Ends {
        self.0.lock().unwrap().push((stage, what, true));
        Ends(self.clone(), stage, what)
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().push((self.1, self.2, false));
    }
}

async fn play(end: End) -> StageResult<()> {
    match end {
        End::Ok(ms) => {
            sleep(Duration::from_millis(ms)).await;
            Ok(())
        }
        End::Error => Err("played error".into()),
        End::Panic => panic!("played panic"),
        End::Hang => pending().await,
    }
}

async fn play_start(tape: Tape, index: usize, case: Case, cx: StageContext) -> StageResult<usize> {
    let _ends = tape.begin(index, What::Start);
    for (nth, &undo) in case.undos.iter().enumerate() {
        let tape = tape.clone();
        cx.on_rollback(async move || {
            let _ends = tape.begin(index, What::Undo(nth));
            play(undo).await
        });
    }
    match case.start {
        Start::Ok(ms) => sleep(Duration::from_millis(ms)).await,
        Start::Error(ms) => {
            sleep(Duration::from_millis(ms)).await;
            return Err(format!("error of {index}").into());
        }
        Start::PanicBefore => panic!("panic of {index}"),
        Start::PanicAfter(ms) => {
            sleep(Duration::from_millis(ms)).await;
            panic!("panic of {index}");
        }
        Start::Hang => pending().await,
        Start::LateOk(ms) => {
            cx.cancelled().await;
            sleep(Duration::from_millis(ms)).await;
        }
    }
    drop(tape.begin(index, What::Acquired));
    Ok(index)
}

fn build(cases: &[Case], tape: &Tape) -> Plan {
    let mut plan = Plan::new();
    let mut handles: Vec<Result<Handle<usize>, crate::OptionalHandle<usize>>> = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let (started, stopped, outcome) = (tape.clone(), tape.clone(), case.clone());
        let stop = case.stop;
        let mut builder = plan
            .builder(format!("s{index}"), (), async move |cx: StageContext, ()| {
                play_start(started, index, outcome, cx).await
            })
            .timeout(Duration::from_secs(5))
            .stop(async move |_, _| {
                let _ends = stopped.begin(index, What::Stop);
                play(stop).await
            });
        for &need in &case.needs {
            builder = match handles[need] {
                Ok(required) => builder.after(required),
                Err(optional) => builder.after(optional),
            };
        }
        handles.push(if case.optional { Err(builder.optional()) } else { Ok(builder.required()) });
    }
    plan
}

enum Ended {
    Failed(Box<StartupError>),
    Stopped(Box<StopReport>),
}

/// Checks invariants 1 to 5 on what the hooks saw.
fn judge(cases: &[Case], tape: &Tape, ended: &Ended, took: Duration) -> Result<(), TestCaseError> {
    let tape = tape.0.lock().unwrap();
    let mut at: HashMap<(usize, What, bool), Vec<usize>> = HashMap::new();
    for (place, (stage, what, begins)) in tape.iter().enumerate() {
        at.entry((*stage, *what, *begins)).or_default().push(place);
    }
    let count = |stage, what| at.get(&(stage, what, true)).map_or(0, Vec::len);
    let first = |stage, what, begins| at.get(&(stage, what, begins)).and_then(|all| all.first().copied());
    let last_of = |stage| tape.iter().rposition(|(each, ..)| *each == stage);
    let summary = match ended {
        Ended::Failed(error) => &error.rollback,
        Ended::Stopped(report) => &report.summary,
    };
    for (index, case) in cases.iter().enumerate() {
        let acquired = count(index, What::Acquired) == 1;
        // 2: released exactly once, by the stop hook if it was acquired, by every undo if it was not.
        prop_assert_eq!(count(index, What::Stop), usize::from(acquired), "stop of s{}", index);
        let begun = count(index, What::Start) == 1;
        for nth in 0..case.undos.len() {
            let expected = usize::from(begun && !acquired);
            prop_assert_eq!(count(index, What::Undo(nth)), expected, "undo {} of s{}", nth, index);
        }
        for &need in &case.needs {
            // 1: begun only after the prerequisite had settled, acquired unless it is optional.
            if let Some(began) = first(index, What::Start, true) {
                let ready = first(need, What::Acquired, true);
                prop_assert!(
                    cases[need].optional || ready.is_some_and(|ready| ready < began),
                    "s{} began before s{}",
                    index,
                    need
                );
            }
            // 3: stopped only after everything of the dependant had ended.
            if let (Some(stopped), Some(last)) = (first(need, What::Stop, true), last_of(index)) {
                let optional_settled_early = cases[need].optional
                    && first(index, What::Start, true).is_some_and(|began| stopped < began);
                prop_assert!(optional_settled_early || last < stopped, "s{} stopped under s{}", need, index);
            }
        }
        // 4: every hook that did not do its work is named.
        let failed_stop = acquired && !matches!(case.stop, End::Ok(_));
        let named = summary.problems.iter().any(|problem| problem.stage == format!("s{index}"));
        let failed_undo = begun && !acquired && case.undos.iter().any(|undo| !matches!(undo, End::Ok(_)));
        prop_assert_eq!(named, failed_stop || failed_undo, "problems of s{}: {:?}", index, summary.problems);
    }
    prop_assert!(summary.stuck.is_empty() && summary.left_up.is_empty(), "{:?}", summary);
    prop_assert!(took <= Duration::from_secs(8), "stopping took {:?}", took);
    // 5: the cause is the first failure in time, and a cancellation never is one.
    if let Ended::Failed(error) = ended {
        prop_assert!(error.also.iter().all(|other| error.primary.at <= other.at));
        for failure in std::iter::once(&error.primary).chain(&error.also) {
            let Some(index) = failure.stage.strip_prefix('s').and_then(|text| text.parse::<usize>().ok())
            else {
                prop_assert_eq!(failure.error.failure_code().name, "startup.interrupted");
                continue;
            };
            prop_assert!(!cases[index].optional);
            prop_assert!(!matches!(cases[index].start, Start::Ok(_)));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs_and_outcomes_keep_invariants_1_to_5((cases, signal) in cases()) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (tape, log) = (Tape::default(), Log::default());
        let (ended, took) = runtime.block_on(async {
            let (prepared, control) = prepare(build(&cases, &tape), &log);
            let signalled = async {
                match signal {
                    Some(after) => sleep(Duration::from_millis(after)).await,
                    None => pending().await,
                }
                control.stop(StopReason::Signal("SIGTERM"));
                pending::<()>().await;
            };
            let started = tokio::select! {
                started = prepared.start() => started,
                () = signalled => unreachable!(),
            };
            match started {
                Err(error) => {
                    let took = error.rollback.elapsed;
                    (Ended::Failed(error), took)
                }
                Ok(running) => {
                    let report = running.shutdown("done").await;
                    let took = report.summary.elapsed;
                    (Ended::Stopped(Box::new(report)), took)
                }
            }
        });
        judge(&cases, &tape, &ended, took)?;
    }
}
