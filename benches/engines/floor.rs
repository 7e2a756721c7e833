//! The floor for an engine that isolates its stages, written by hand: a spawned task that owns a `JoinSet` and counts
//! for each stage the prerequisites that are still missing. Each stage is a task of its own, so that a panic or a
//! busy stage is contained; there are no names, time-outs, undo, events or timeline, and nothing to stop.

use solostart_benches::shapes::Needs;
use tokio::{runtime::Runtime, task::JoinSet};

use crate::engine::{Body, Round, in_a_task};

pub fn round(runtime: &Runtime, needs: &Needs, body: Body) -> Round {
    let needs = needs.clone();
    in_a_task(runtime, run(needs, body))
}

async fn run(needs: Needs, body: Body) {
    let mut missing: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut dependants = vec![Vec::new(); needs.len()];
    for (index, needs) in needs.iter().enumerate() {
        for &need in needs {
            dependants[need].push(index);
        }
    }
    let mut tasks = JoinSet::new();
    for (index, needs) in needs.iter().enumerate() {
        if needs.is_empty() {
            tasks.spawn(stage(index, body));
        }
    }
    while let Some(done) = tasks.join_next().await {
        for &dependant in &dependants[done.expect("no stage fails")] {
            missing[dependant] -= 1;
            if missing[dependant] == 0 {
                tasks.spawn(stage(dependant, body));
            }
        }
    }
}

/// Boxed, because the stages of a real graph are of many types.
fn stage(index: usize, body: Body) -> std::pin::Pin<Box<dyn Future<Output = usize> + Send>> {
    Box::pin(async move {
        body(index);
        index
    })
}
