//! `dag-flow`: one shared future for each stage, polled by whoever awaits it, all in one task. A stage asks for the
//! outputs that it wants, here all, and so the order holds.
//!
//! It does not isolate: one stage that blocks stalls all, and a panic of one ends all. No time-outs, no undo, no
//! record. A stage polls what it needs from within its own poll, so that a long chain needs as deep a stack.

use std::collections::HashMap;

use dag_flow::{
    context::Context,
    engine::Engine,
    task::{Input, Task},
};
use solostart_benches::shapes::Needs;
use tokio::runtime::Runtime;

use crate::engine::{Body, Round, in_a_task};

struct Stage {
    index: usize,
    needs: Vec<usize>,
    body: Body,
}

impl Task<usize, usize> for Stage {
    fn id(&self) -> usize {
        self.index
    }

    fn dependencies(&self) -> Vec<usize> {
        self.needs.clone()
    }

    async fn run(&self, inputs: HashMap<usize, Input<'_, usize>>) -> Option<usize> {
        for input in inputs.into_values() {
            input.await?;
        }
        (self.body)(self.index);
        Some(self.index)
    }
}

pub fn round(runtime: &Runtime, needs: &Needs, body: Body) -> Round {
    let needs = needs.clone();
    in_a_task(runtime, async move {
        let builder = Engine::builder();
        for (index, needs) in needs.into_iter().enumerate() {
            builder.add_task(Stage { index, needs, body });
        }
        builder.build().expect("there is no cycle").run(Context::new()).await;
    })
}
