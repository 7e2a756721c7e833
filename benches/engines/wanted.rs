//! What the command line asks for. Each word names an engine, a shape, a size, a runtime or a part; where a kind is
//! not named at all, all of that kind are measured.

use solostart_benches::shapes::{SHAPES, Shape};

use crate::engine::{Engine, FLOOR, OURS, SIZES, Threads};

/// The part that measures the start-up time over the critical path.
const SLEEPING: &str = "sleeping";

pub struct Wanted {
    pub peers: Vec<Engine>,
    pub shapes: Vec<Shape>,
    pub sizes: Vec<usize>,
    pub threads: Vec<Threads>,
    pub no_ops: bool,
    pub sleeping: bool,
}

impl Wanted {
    /// The words that cargo adds itself begin with a dash and are not looked at.
    pub fn from_args(peers: &[Engine]) -> Result<Self, String> {
        let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
        let named = |name: &str| words.iter().any(|word| word == name);
        let known = |word: &String| {
            Self::names(peers).contains(&word.as_str()) || word.parse().is_ok_and(|size: usize| size > 0)
        };
        if !words.iter().all(known) {
            return Err(format!("any of: {} SIZE", Self::names(peers).join(" ")));
        }
        let sleeping = named(SLEEPING);
        let own = named(OURS.name) || named(FLOOR.name);
        let some: Vec<Engine> = peers.iter().copied().filter(|peer| named(peer.name)).collect();
        let shapes: Vec<Shape> = SHAPES.into_iter().filter(|shape| named(shape.name)).collect();
        let threads: Vec<Threads> =
            Threads::ALL.into_iter().filter(|threads| named(threads.name())).collect();
        let sizes: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
        Ok(Self {
            peers: if own || !some.is_empty() { some } else { peers.to_vec() },
            shapes: or_all(shapes, &SHAPES),
            sizes: or_all(sizes, &SIZES),
            threads: or_all(threads, &Threads::ALL),
            no_ops: !sleeping || words.len() > 1,
            sleeping: sleeping || words.is_empty(),
        })
    }

    fn names(peers: &[Engine]) -> Vec<&'static str> {
        let engines = [OURS, FLOOR].into_iter().chain(peers.iter().copied()).map(|engine| engine.name);
        let shapes = SHAPES.into_iter().map(|shape| shape.name);
        engines.chain(shapes).chain(Threads::ALL.map(Threads::name)).chain([SLEEPING]).collect()
    }
}

fn or_all<T: Clone>(some: Vec<T>, all: &[T]) -> Vec<T> {
    if some.is_empty() { all.to_vec() } else { some }
}
