//! What the service says of itself, over and over while it runs.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    health_file::HealthFile,
    health_place::{Places, Refused},
};
use crate::{
    contract::{
        board::Board,
        state::{Phase, StageState, format_elapsed},
        status::{StageTimes, Status},
        tell::{shown, tell},
    },
    report::printable,
};

/// How often it is said while the service runs, and while that changes quickly.
const BEAT: Duration = Duration::from_secs(1);
const QUICK_BEAT: Duration = Duration::from_millis(250);

/// How many stages one line names.
const NAMED_MOST: usize = 3;

/// Says how the service is until it is dropped.
///
/// A task of the runtime that the service runs on says it, so that a runtime whose threads are all kept by hooks
/// falls silent, which counts as not running. The writes are small and go to memory in most places. A thread of its
/// own that they could hold up would have to be woken up for each, and the runtime to hear of its answer.
pub(super) struct Saying {
    spoken: Arc<Mutex<Spoken>>,
    _beating: JoinSet<()>,
}

/// Where it is said.
#[derive(Default)]
enum Spoken {
    /// Nowhere yet, or not any more: another place is looked for.
    #[default]
    Nowhere,
    In(HealthFile),
    /// Nothing is said any more.
    Over,
}

impl Saying {
    /// Begins to say it, on the runtime that this is called in.
    pub(super) fn begin(places: &Places, board: Arc<Board>) -> Self {
        let (spoken, mut beating) = (Arc::default(), JoinSet::new());
        beating.spawn(beat(Arc::clone(&spoken), places.clone(), board));
        Self { spoken, _beating: beating }
    }
}

impl Drop for Saying {
    fn drop(&mut self) {
        // The file goes before the task, which may wait for a thread that a hook keeps.
        *self.spoken.lock().unwrap_or_else(PoisonError::into_inner) = Spoken::Over;
    }
}

async fn beat(spoken: Arc<Mutex<Spoken>>, places: Places, board: Arc<Board>) {
    let status = Status(board);
    let mut warned = Warned::default();
    loop {
        let (started, line) = (status.0.ready_after().is_some(), line(&status));
        let said = {
            let mut spoken = spoken.lock().unwrap_or_else(PoisonError::into_inner);
            spoken.find_a_place(&places, started, &mut warned);
            match &*spoken {
                Spoken::In(file) => file.write(started, status.is_ready(), line),
                Spoken::Nowhere => Ok(()),
                Spoken::Over => return,
            }
        };
        if let Err(error) = said {
            warned.of_silence(&error);
        }
        tokio::time::sleep(if status.phase() == Phase::Ready { BEAT } else { QUICK_BEAT }).await;
    }
}

impl Spoken {
    /// Makes the file where there is none, or none any more.
    fn find_a_place(&mut self, places: &Places, started: bool, warned: &mut Warned) {
        match self {
            Self::Over => return,
            Self::In(file) if file.is_in_place() => return,
            Self::In(_) | Self::Nowhere => {}
        }
        *self = match HealthFile::create(places) {
            Ok((file, refused)) => {
                warned.of_places(&refused, file.is_beside_the_lock());
                Self::In(file)
            }
            Err(refused) => {
                // The directory of the data is made while the service starts.
                if started {
                    warned.of_none(&refused);
                }
                Self::Nowhere
            }
        };
    }
}

/// What the log was told already: a service that runs for years says it once.
#[derive(Default)]
struct Warned {
    places: bool,
    silence: bool,
}

impl Warned {
    fn of_places(&mut self, refused: &[Refused], beside_the_lock: bool) {
        let taken = listed(refused.iter().filter(|refused| beside_the_lock || refused.is_taken()));
        if !taken.is_empty() && !std::mem::replace(&mut self.places, true) {
            let place = if beside_the_lock { "beside the lock" } else { "elsewhere" };
            tell!(warn, format!("the state that `healthcheck` reads is {place}: {taken}"));
        }
    }

    fn of_none(&mut self, refused: &[Refused]) {
        if !std::mem::replace(&mut self.places, true) {
            let taken = listed(refused.iter());
            tell!(warn, format!("no directory for the state that `healthcheck` reads: {taken}"));
        }
    }

    fn of_silence(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.silence, true) {
            tell!(warn, "health checks cannot be told how the service is", error = shown(error));
        }
    }
}

fn listed<'a>(refused: impl Iterator<Item = &'a Refused>) -> String {
    refused.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How the service is, for people.
fn line(status: &Status) -> String {
    let stages = status.timeline().stages;
    let named = |wanted: &[StageState]| {
        let mut named: Vec<_> = stages.iter().filter(|stage| wanted.contains(&stage.state)).collect();
        named.sort_by_key(|stage| std::cmp::Reverse(stage.took));
        named
    };
    let up = named(&[StageState::Up]).len();
    let text = match status.phase() {
        Phase::Starting => {
            let running = named(&[StageState::Starting, StageState::Interrupting]);
            let running = running.iter().take(NAMED_MOST).map(|stage| in_progress(status, stage));
            join("starting", &running.collect::<Vec<_>>(), &format!("{up}/{} stages up", stages.len()))
        }
        Phase::Ready => {
            let degraded: Vec<_> =
                status.degraded().iter().take(NAMED_MOST).map(ToString::to_string).collect();
            let up = format!("{up}/{} stages", stages.len());
            match (status.is_ready(), degraded.is_empty()) {
                (true, true) => format!("ready: {up}"),
                (true, false) => format!("ready: {up}, without {}", degraded.join(", ")),
                (false, _) => join("not ready", &degraded, &up),
            }
        }
        Phase::Draining => "draining: it was asked to stop".to_owned(),
        Phase::Stopping | Phase::Stopped => {
            let failed = named(&[StageState::Failed]);
            let failed: Vec<_> = failed.iter().take(NAMED_MOST).map(|stage| stage.name.to_string()).collect();
            let verb = if status.0.ready_after().is_some() { "stopping" } else { "the start failed" };
            join(verb, &failed, &format!("{up} stages still up"))
        }
    };
    printable(&text)
}

/// `database 12.3s, migration 8/12`
fn in_progress(status: &Status, stage: &StageTimes) -> String {
    let took = format_elapsed(stage.took.unwrap_or_default());
    let id = status.0.graph.ids().find(|&id| *status.0.graph.name(id) == stage.name);
    match id.and_then(|id| status.0.cell(id).current_step()) {
        Some(step) => format!("{} {took}, {step}", stage.name),
        None => format!("{} {took}", stage.name),
    }
}

fn join(verdict: &str, names: &[String], rest: &str) -> String {
    if names.is_empty() {
        format!("{verdict}: {rest}")
    } else {
        format!("{verdict}: {}; {rest}", names.join("; "))
    }
}
