//! This crate's engine, used as an application uses it. Isolation, time-outs, events and the timeline are on: each
//! stage is a task of its own, a panic or a hang of one is contained, and every change of state is recorded.

use std::{
    hint::black_box,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use solostart::{Env, Handle, Running, StageContext, Startup, Timeline, WorkerMode};
use solostart_benches::shapes::Needs;
use tokio::runtime::Runtime;

use crate::engine::{self, Body, Round};

static HEARD: AtomicUsize = AtomicUsize::new(0);

/// The stages' names, which stand in the text of a program and cost nothing to make.
pub fn names(needs: &Needs) -> Vec<String> {
    (0..needs.len()).map(|index| format!("s{index}")).collect()
}

fn startup() -> Startup {
    let none: [(&str, &str); 0] = [];
    let many = WorkerMode::Many { reason: "a bench".to_owned() };
    Startup::new("bench", Env::from_vars("BENCH", none), many)
}

/// Builds the graph and starts it. A stage for which there is a sleep sleeps; the others do nothing.
pub async fn started(needs: &Needs, names: &[String], sleeps: &[Duration], body: Body) -> Running {
    let mut startup = startup();
    // Events are heard, not only offered.
    startup.on_event(|_| {
        HEARD.fetch_add(1, Ordering::Relaxed);
    });
    let mut handles: Vec<Handle<usize>> = Vec::with_capacity(needs.len());
    for (index, needs) in needs.iter().enumerate() {
        let sleep = sleeps.get(index).copied();
        let mut stage = startup.stage(names[index].as_str(), (), async move |_cx: StageContext, ()| {
            if let Some(sleep) = sleep {
                tokio::time::sleep(sleep).await;
            }
            body(index);
            Ok(index)
        });
        for &need in needs {
            stage = stage.after(handles[need]);
        }
        handles.push(stage.required());
    }
    startup.start().await.expect("no stage fails")
}

/// Build and start until ready; the stop is timed apart.
pub fn round(runtime: &Runtime, needs: &Needs, body: Body) -> Round {
    let names = names(needs);
    runtime.block_on(async {
        let began = Instant::now();
        let running = started(needs, &names, &[], body).await;
        let started = began.elapsed();
        let began = Instant::now();
        black_box(running.shutdown("over").await);
        Round { started, stopped: Some(began.elapsed()) }
    })
}

/// The start alone, with what it leaves behind.
pub fn timeline(runtime: &Runtime, needs: &Needs, sleeps: &[Duration]) -> (Duration, Timeline) {
    let names = names(needs);
    runtime.block_on(async {
        let began = Instant::now();
        let running = started(needs, &names, sleeps, engine::idle).await;
        let took = began.elapsed();
        let timeline = running.status().timeline();
        black_box(running.shutdown("over").await);
        (took, timeline)
    })
}
