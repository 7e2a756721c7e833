//! Plays a random service on the engine, and notes on a tape what its hooks saw.

use std::{
    future::pending,
    panic::resume_unwind,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle as Runtime},
    sync::Notify,
    time::{advance, sleep, sleep_until, timeout},
};

use super::{
    super::{Control, Limits, Plan, Prepared},
    generate::{Case, Check, End, Meddle, Serve, Stage, Start},
    tape::{Entry, Tape, What},
};
use crate::{
    Event, ServeContext, StageContext, StageError, StageResult, StartupError, StopReport,
    contract::{
        guard::GuardKeeper,
        needs::{Handle, Needs, OptionalHandle, Outputs, Sealed, StageKey, Take},
        state::{StageState, StopReason},
    },
};

struct Resource(usize, Tape);

impl Drop for Resource {
    fn drop(&mut self) {
        self.1.note(Entry::Dropped { stage: self.0 });
    }
}

/// Needs whose number is known at run time only.
#[derive(Clone, Copy)]
struct Several([Option<Need>; 3]);

#[derive(Clone, Copy)]
enum Need {
    Required(Handle<Resource>),
    Optional(OptionalHandle<Resource>),
}

impl Sealed for Several {
    fn keys(&self, into: &mut Vec<StageKey>) {
        for need in self.0.iter().flatten() {
            match need {
                Need::Required(handle) => handle.keys(into),
                Need::Optional(handle) => handle.keys(into),
            }
        }
    }
}

impl Needs for Several {
    type Values = Vec<Option<Arc<Resource>>>;
}

impl Take for Several {
    fn take(&self, outputs: &Outputs<'_>) -> Option<Self::Values> {
        let take = |need: &Need| match need {
            Need::Required(handle) => handle.take(outputs).map(Some),
            Need::Optional(handle) => handle.take(outputs),
        };
        self.0.iter().flatten().map(take).collect()
    }
}

fn several(handles: &[Need], indices: &[usize]) -> Several {
    let mut several = [None; 3];
    for (place, &index) in several.iter_mut().zip(indices) {
        *place = Some(handles[index]);
    }
    Several(several)
}

/// Panics without the message that the default hook would print for each of some ten thousand.
fn panic() -> ! {
    resume_unwind(Box::new("played panic"))
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

async fn play_end(end: End) -> StageResult<()> {
    match end {
        End::Ok(at) => sleep(millis(at)).await,
        End::Error(at) => {
            sleep(millis(at)).await;
            return Err("played error".into());
        }
        End::Panic(at) => {
            sleep(millis(at)).await;
            panic()
        }
        End::Hang => pending().await,
    }
    Ok(())
}

async fn play_check(check: Check) -> StageResult<()> {
    play_end(match check {
        Check::Ok(at) => End::Ok(at),
        Check::Error(at) => End::Error(at),
        Check::Panic(at) => End::Panic(at),
        Check::Hang => End::Hang,
    })
    .await
}

async fn play_start(start: Start, tape: &Tape, cx: &StageContext) -> StageResult<()> {
    match start {
        Start::Ok(at) => sleep(millis(at)).await,
        Start::Error(at) => {
            sleep(millis(at)).await;
            return Err("played error".into());
        }
        Start::Fatal(at) => {
            sleep(millis(at)).await;
            return Err(StageError::from("played fatal error").fatal());
        }
        Start::PanicBefore => panic(),
        Start::PanicAfter(at) => {
            sleep(millis(at)).await;
            panic()
        }
        Start::Hang => pending().await,
        Start::LateOk(at) => {
            cx.cancelled().await;
            sleep(millis(at)).await;
        }
        Start::LateError(at) => {
            cx.cancelled().await;
            sleep(millis(at)).await;
            return Err("played late error".into());
        }
        Start::LatePanic(at) => {
            cx.cancelled().await;
            sleep(millis(at)).await;
            panic()
        }
        Start::Block(at) => {
            tape.note(Entry::Blocked(millis(at)));
            // Polled once, it moves the clock and does not come back: what a blocking call does.
            let _unfinished = futures_util::poll!(pin!(advance(millis(at))));
        }
    }
    Ok(())
}

/// The whole of a stage's start hook.
async fn start(
    index: usize,
    stage: Stage,
    (tape, keeper): (Tape, Arc<GuardKeeper>),
    cx: StageContext,
    received: Vec<Option<Arc<Resource>>>,
) -> StageResult<Resource> {
    let attempt = cx.attempt();
    let running = tape.begin(index, What::Start { attempt }, Some(&cx));
    let hook = async {
        tape.note(Entry::Received { stage: index, some: received.iter().map(Option::is_some).collect() });
        let register = |nth: usize, undo: End| {
            tape.note(Entry::Registered { stage: index, attempt, nth });
            let tape = tape.clone();
            cx.on_rollback(async move || {
                tape.begin(index, What::Undo { attempt, nth }, None).watch(play_end(undo)).await
            });
        };
        let early = stage.undos.len() / 2;
        for (nth, &undo) in stage.undos.iter().enumerate().take(early) {
            register(nth, undo);
        }
        let played = if attempt <= stage.flaky { Start::Error(10) } else { stage.start };
        let result = play_start(played, &tape, &cx).await;
        for (nth, &undo) in stage.undos.iter().enumerate().skip(early) {
            register(nth, undo);
        }
        result?;
        if index == 0 {
            cx.publish_worker(keeper.guard());
        }
        tape.note(Entry::Acquired { stage: index });
        Ok(Resource(index, tape.clone()))
    };
    running.watch(hook).await
}

fn build(case: &Case, tape: &Tape, keeper: &Arc<GuardKeeper>) -> Plan {
    let mut plan = Plan::new();
    let mut handles: Vec<Need> = Vec::new();
    for (index, stage) in case.stages.iter().enumerate() {
        let (own, props) = (stage.clone(), (tape.clone(), keeper.clone()));
        let hook = move |cx, received| start(index, own, props, cx, received);
        let mut builder =
            plan.builder(format!("s{index}"), several(&handles, &stage.data), hook).timeout(stage.timeout);
        if stage.attempts > 1 {
            builder = builder.retry(stage.attempts);
        }
        for &need in &stage.after {
            builder = match handles[need] {
                Need::Required(handle) => builder.after(handle),
                Need::Optional(handle) => builder.after(handle),
            };
        }
        if let Some(stop) = stage.stop {
            let tape = tape.clone();
            builder = builder.stop(async move |_resource, _cx| {
                tape.begin(index, What::Stop, None).watch(play_end(stop)).await
            });
        }
        if let Some(limit) = stage.stop_timeout {
            builder = builder.stop_timeout(limit);
        }
        if let Some([first, later]) = stage.health {
            let (tape, asked) = (tape.clone(), Mutex::new(false));
            builder = builder.health(move |_resource| {
                let check = if std::mem::replace(&mut *asked.lock().unwrap(), true) { later } else { first };
                tape.begin(index, What::Check, None).watch(play_check(check))
            });
        }
        handles.push(match stage.optional {
            true => Need::Optional(builder.optional()),
            false => Need::Required(builder.required()),
        });
    }
    let (tape, serving) = (tape.clone(), case.serve);
    if serving != Serve::None {
        plan.serve(several(&handles, &case.serve_needs), async move |cx: ServeContext, _held| {
            let hook = async {
                let (after, end) = match serving {
                    Serve::Asked(after, end) => {
                        cx.shutdown_requested().await;
                        (after, end)
                    }
                    Serve::Ends(after, end) => (after, end),
                    Serve::None => (0, End::Ok(0)),
                };
                sleep(millis(after)).await;
                play_end(end).await
            };
            tape.begin(usize::MAX, What::Serve, None).watch(hook).await
        });
    }
    plan
}

/// How a service ended, as whoever started it learnt.
pub(super) enum Ended {
    Failed(Box<StartupError>),
    Stopped(Box<StopReport>),
    /// Whoever started it went away.
    Unheard,
    /// It did not end.
    Never,
}

pub(super) struct Played {
    pub(super) tape: Vec<(Duration, Entry)>,
    pub(super) ended: Ended,
    pub(super) states: Vec<StageState>,
    /// How many tasks were alive after the end.
    pub(super) alive: usize,
}

pub(super) fn play(case: &Case) -> Played {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let tape = Tape::new();
        let (keeper, stopped) = (Arc::new(GuardKeeper::exclusive()), Arc::new(Notify::new()));
        let (teller, notify) = (tape.clone(), stopped.clone());
        let sink = Arc::new(move |event: &Event| {
            if let Event::Stopped { .. } = event {
                notify.notify_one();
            }
            teller.note(Entry::Told(event.clone()));
        });
        let limits =
            Limits { startup: case.startup, shutdown: case.shutdown, drain: case.drain, ..Limits::default() };
        let prepared = Prepared::new(build(case, &tape, &keeper), limits, Some(sink)).unwrap();
        let board = prepared.board.clone();
        let control = prepared.control.clone();
        let ended =
            timeout(Duration::from_secs(3600), live(case, prepared, control, &tape, &keeper, &stopped))
                .await
                .unwrap_or(Ended::Never);
        // The engine's own task ends right after it has told how it went.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        let alive = Runtime::current().metrics().num_alive_tasks();
        let states = board.graph.ids().map(|id| board.cell(id).state()).collect();
        let entries = tape.take();
        Played { tape: entries, ended, states, alive }
    })
}

async fn live(
    case: &Case,
    prepared: Prepared,
    control: Control,
    tape: &Tape,
    keeper: &GuardKeeper,
    stopped: &Notify,
) -> Ended {
    let service = async {
        match prepared.start().await {
            Err(error) => Ended::Failed(error),
            Ok(running) => Ended::Stopped(Box::new(running.wait().await)),
        }
    };
    let meddling = async {
        // The control goes when meddling is over, as it would with the application's own handle.
        let control = control;
        for &(at, meddle) in &case.meddles {
            sleep_until(tape.1 + at).await;
            tape.note(Entry::Meddled(meddle));
            match meddle {
                Meddle::Stop => control.stop(StopReason::Signal("SIGTERM")),
                Meddle::LoseLock => keeper.lose("played loss"),
                Meddle::GiveUp => return,
            }
        }
        pending().await
    };
    tokio::select! {
        biased;
        ended = service => return ended,
        () = meddling => {}
    }
    stopped.notified().await;
    Ended::Unheard
}
