//! What is compared: ways to run the same graph of stages that do nothing.

use std::time::{Duration, Instant};

use solostart_benches::shapes::Needs;
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};

use crate::{floor, ours};

pub const SIZES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];

/// What each stage does: as good as nothing where it is timed, and told its own index, so that the order can be seen.
pub type Body = fn(usize);

/// How long one graph took.
pub struct Round {
    /// From nothing until every stage has ended.
    pub started: Duration,
    /// From then until everything is stopped, where the engine has anything to stop.
    pub stopped: Option<Duration>,
}

#[derive(Clone, Copy)]
pub struct Engine {
    pub name: &'static str,
    /// Builds the graph and runs it on the runtime, driven from a task of the runtime: driven from `block_on`, an
    /// engine wakes the main thread for each stage that ends.
    pub round: fn(&Runtime, &Needs, Body) -> Round,
}

pub const OURS: Engine = Engine { name: "ours", round: ours::round };
pub const FLOOR: Engine = Engine { name: "floor", round: floor::round };

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    One,
    Two,
}

impl Threads {
    pub const ALL: [Self; 2] = [Self::One, Self::Two];

    /// As it is said on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Two => "two",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::One => "one thread",
            Self::Two => "two threads",
        }
    }

    pub fn runtime(self) -> Runtime {
        let mut builder = match self {
            Self::One => Builder::new_current_thread(),
            Self::Two => Builder::new_multi_thread(),
        };
        if self == Self::Two {
            builder.worker_threads(2);
        }
        builder.enable_all().build().expect("a runtime")
    }
}

/// A round of an engine that has nothing to stop, driven from a task of the runtime.
pub fn in_a_task(runtime: &Runtime, engine: impl Future<Output = ()> + Send + 'static) -> Round {
    runtime.block_on(async {
        let began = Instant::now();
        let mut owner = JoinSet::new();
        owner.spawn(engine);
        owner.join_next().await.expect("it was spawned").expect("it does not panic");
        Round { started: began.elapsed(), stopped: None }
    })
}

/// What a stage does where it is timed.
pub fn idle(index: usize) {
    std::hint::black_box(index);
}
