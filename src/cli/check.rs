//! `check`: everything that would keep the service from starting, as far as it can be seen without taking the
//! lock, writing, or starting anything. It may run beside the service.

use std::{sync::mpsc, thread, time::Duration};

use super::{Identity, print};
use crate::{
    codes::{STAGE_PANICKED, STAGE_TIMEOUT},
    contain::contain,
    engine::plan::{BoxCheck, Plan},
    error::{StageError, StageResult},
    instance::worker_mode,
    report::{Found, LookedAt, Report},
    startup::{Configured, Startup},
};

/// How long the stages may take to say whether they could start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells what is wrong, and returns the exit code of the first thing that is.
pub(super) fn answer(startup: Startup, json: bool, identity: &Identity) -> u8 {
    let mut found = Vec::new();
    // As a start does it, so that the two cannot differ.
    let mut configured = startup.configured();
    let warnings = configured.judge().unwrap_or_else(|problems| {
        found.push(of("configuration", problems));
        Vec::new()
    });
    let Configured { mut startup, lock, .. } = configured;
    if let Err(error) = startup.plan.sound() {
        found.push(of("graph", error));
    }
    let locks = lock.iter().flat_map(|lock| worker_mode::check(&lock.config));
    found.extend(locks.map(|error| of("worker-mode", error)));
    let stages = startup.plan.graph.len();
    found.extend(stage_checks(&mut startup.plan));
    let exit = found.first().map_or(0, |found| found.error.error_kind().exit_code());
    let report = Report::checked(found, &LookedAt::start(stages), identity);
    if json {
        print(&report.json());
    } else {
        print(report.text());
        for warning in &warnings {
            print(Report::warning(warning, identity).text());
        }
    }
    exit
}

fn of(stage: &str, error: StageError) -> Found {
    Found { stage: stage.to_owned(), error }
}

/// Asks every stage, one after the other, on a thread that is not waited for longer than an operator would.
fn stage_checks(plan: &mut Plan) -> Vec<Found> {
    let names: Vec<String> = plan.graph.ids().map(|id| plan.graph.name(id).to_string()).collect();
    let checks: Vec<Option<BoxCheck>> = plan.specs.iter_mut().map(|spec| spec.check.take()).collect();
    let (tell, told) = mpsc::channel();
    let ask = move || {
        for (at, check) in checks.into_iter().enumerate() {
            let Some(check) = check else { continue };
            let outcome: StageResult<()> =
                contain(check).unwrap_or_else(|panic| Err(StageError::new(STAGE_PANICKED, panic)));
            if tell.send((at, outcome)).is_err() {
                return;
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("solostart-check".to_owned()).spawn(ask) {
        return vec![of("check", error.into())];
    }
    let mut found = Vec::new();
    let mut next = 0;
    loop {
        match told.recv_timeout(PATIENCE) {
            Ok((at, outcome)) => {
                next = at + 1;
                found.extend(outcome.err().map(|error| of(&names[at], error)));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return found,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let name = names.get(next).map_or("check", String::as_str);
                let error = format!("its check, or that of a stage after it, took longer than {PATIENCE:?}");
                found.push(of(name, StageError::new(STAGE_TIMEOUT, error)));
                return found;
            }
        }
    }
}
