//! Random services: a graph, how each hook of each stage behaves, and what meddles with the whole.
//!
//! Each stage is read from a few random bytes, where a smaller byte means something more harmless. So a
//! failing case shrinks byte by byte to few stages that mostly do nothing.

use std::{fmt, time::Duration};

use proptest::{array::uniform32, collection::vec, prelude::*};

/// How a graph is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    Chain,
    Fan,
    Layers,
    Random,
}

/// How one attempt of a start hook goes; numbers are milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Start {
    /// Whether or not it was asked to end meanwhile.
    Ok(u64),
    Error(u64),
    /// An error that is not worth another attempt.
    Fatal(u64),
    PanicBefore,
    PanicAfter(u64),
    Hang,
    /// Waits until it is asked to end, and then comes up all the same.
    LateOk(u64),
    LateError(u64),
    LatePanic(u64),
    /// Keeps the thread to itself: the clock goes on, and nothing else does.
    Block(u64),
}

/// How an undo or stop hook goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Ok(u64),
    Error(u64),
    Panic(u64),
    Hang,
}

/// How a health check goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Check {
    Ok(u64),
    Error(u64),
    Panic(u64),
    Hang,
}

/// How serving goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Serve {
    None,
    /// Until it is asked to end.
    Asked(u64, End),
    /// By itself.
    Ends(u64, End),
}

/// What happens from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meddle {
    Stop,
    LoseLock,
    /// Whoever started the service goes away.
    GiveUp,
}

#[derive(Clone, Debug)]
pub(super) struct Stage {
    /// Whose output it receives.
    pub(super) data: Vec<usize>,
    /// After whom it starts without receiving anything.
    pub(super) after: Vec<usize>,
    pub(super) optional: bool,
    /// How many attempts fail with a retryable error before `start` is played, and how many there may be.
    pub(super) flaky: u32,
    pub(super) attempts: u32,
    pub(super) start: Start,
    pub(super) timeout: Duration,
    /// The first half is registered before the hook does anything, the rest at its end.
    pub(super) undos: Vec<End>,
    pub(super) stop: Option<End>,
    pub(super) stop_timeout: Option<Duration>,
    /// The first check, and each later one.
    pub(super) health: Option<[Check; 2]>,
}

#[derive(Clone)]
pub(super) struct Case {
    pub(super) stages: Vec<Stage>,
    pub(super) serve: Serve,
    pub(super) serve_needs: Vec<usize>,
    pub(super) startup: Duration,
    pub(super) shutdown: Duration,
    pub(super) drain: Duration,
    /// In order of time; the last one is [`Meddle::Stop`], so that every case ends.
    pub(super) meddles: Vec<(Duration, Meddle)>,
}

/// One line for each stage: what a shrunk case is read by.
impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stages, serve, serve_needs, startup, shutdown, drain, meddles } = self;
        let service = (("startup", startup), ("shutdown", shutdown), ("drain", drain), meddles);
        write!(f, "serve {serve:?} on {serve_needs:?}, {service:?}")?;
        stages.iter().enumerate().try_for_each(|(index, stage)| write!(f, "\n  s{index} {stage:?}"))
    }
}

impl Stage {
    pub(super) fn needs(&self) -> impl Iterator<Item = usize> + '_ {
        self.data.iter().chain(&self.after).copied()
    }
}

pub(super) fn cases(shape: Shape) -> impl Strategy<Value = Case> {
    // Small graphs find most and shrink fast; large ones are for the budgets.
    let stage = || uniform32(any::<u8>());
    let stages = prop_oneof![12 => vec(stage(), 1..10), 3 => vec(stage(), 1..25), 1 => vec(stage(), 1..61)];
    (uniform32(any::<u8>()), stages).prop_map(move |(service, stages)| read(shape, &service, &stages))
}

/// Reads choices from random bytes.
struct Dice<'a>(std::slice::Iter<'a, u8>);

impl Dice<'_> {
    fn byte(&mut self) -> u8 {
        *self.0.next().expect("a stage has bytes for every choice")
    }

    /// The place of one of the weights; the first for a zero.
    fn one_of(&mut self, weights: &[u32]) -> usize {
        let mut left = u32::from(self.byte()) * weights.iter().sum::<u32>() / 256;
        weights
            .iter()
            .position(|&weight| {
                left < weight || {
                    left -= weight;
                    false
                }
            })
            .unwrap_or(0)
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.one_of(&[100 - percent, percent]) == 1
    }

    /// Up to about this many milliseconds, rarely many times that.
    fn millis(&mut self, most: u64) -> u64 {
        let byte = u64::from(self.byte());
        if byte < 240 { byte * most / 240 } else { (byte - 239) * most }
    }

    fn end(&mut self) -> End {
        let (kind, at) = (self.one_of(&[10, 1, 1, 1]), self.millis(200));
        [End::Ok(at), End::Error(at), End::Panic(at), End::Hang][kind]
    }

    fn check(&mut self) -> Check {
        let (kind, at) = (self.one_of(&[20, 1, 1, 1]), self.millis(300));
        [Check::Ok(at), Check::Error(at), Check::Panic(at), Check::Hang][kind]
    }

    fn start(&mut self) -> Start {
        let at = self.millis(400);
        match self.one_of(&[40, 2, 1, 1, 1, 1, 1, 1, 1, 1]) {
            0 => Start::Ok(at),
            1 => Start::Error(at),
            2 => Start::Fatal(at),
            3 => Start::PanicBefore,
            4 => Start::PanicAfter(at),
            5 => Start::Hang,
            6 => Start::LateOk(at),
            7 => Start::LateError(at),
            8 => Start::LatePanic(at),
            _ => Start::Block(at * 4),
        }
    }

    fn among(&mut self, from: usize, to: usize) -> usize {
        from + usize::from(self.byte()) % (to - from)
    }
}

fn read(shape: Shape, service: &[u8; 32], stages: &[[u8; 32]]) -> Case {
    let mut dice = Dice(service.iter());
    let width = 1 + usize::from(dice.byte() % 8);
    let stages: Vec<Stage> =
        stages.iter().enumerate().map(|(index, bytes)| stage(shape, width, index, bytes)).collect();
    let serve = match (dice.one_of(&[2, 4, 2]), dice.millis(2_000), dice.end()) {
        (0, ..) => Serve::None,
        (1, after, end) => Serve::Asked(after, end),
        (_, after, end) => Serve::Ends(after, end),
    };
    let serve_needs = (0..dice.one_of(&[1, 1, 1])).map(|_| dice.among(0, stages.len())).collect();
    let startup = [120_000, 1_500][dice.one_of(&[9, 1])];
    let shutdown = [8_000, 1_000][dice.one_of(&[4, 1])];
    let drain = [0, 1_500][dice.one_of(&[3, 1])];
    let mut meddles = Vec::new();
    for _ in 0..dice.one_of(&[6, 3, 1]) {
        let what = [Meddle::Stop, Meddle::LoseLock, Meddle::GiveUp][dice.one_of(&[3, 2, 2])];
        meddles.push((millis(dice.millis(1_500)), what));
    }
    meddles.sort_by_key(|(at, _)| *at);
    let last = meddles.last().map_or(Duration::ZERO, |(at, _)| *at);
    meddles.push((last + millis(5_000 + 100 * u64::from(dice.byte())), Meddle::Stop));
    Case {
        stages,
        serve,
        serve_needs: unique(serve_needs),
        startup: millis(startup),
        shutdown: millis(shutdown),
        drain: millis(drain),
        meddles,
    }
}

fn stage(shape: Shape, width: usize, index: usize, bytes: &[u8; 32]) -> Stage {
    let mut dice = Dice(bytes.iter());
    let start = dice.start();
    let optional = dice.chance(20);
    let (attempts, flaky) = match dice.one_of(&[6, 1, 1, 1]) {
        0 => (1, 0),
        tries => (u32::try_from(tries).unwrap() + 1, u32::from(dice.byte() % 4)),
    };
    let timeout = millis(4_000 - 10 * u64::from(dice.byte()));
    let undos = (0..dice.one_of(&[4, 2, 2, 1])).map(|_| dice.end()).collect();
    let stop = (!dice.chance(20)).then(|| dice.end());
    let stop_timeout = dice.chance(5).then(|| millis(100));
    let health = dice.chance(25).then(|| [dice.check(), dice.check()]);
    let needs = needs(shape, width, index, &mut dice);
    // Data of at most three: what the test's hooks can receive.
    let data =
        needs.iter().copied().filter(|need| !(need + index).is_multiple_of(3)).take(3).collect::<Vec<_>>();
    let after = needs.into_iter().filter(|need| !data.contains(need)).collect();
    Stage { data, after, optional, flaky, attempts, start, timeout, undos, stop, stop_timeout, health }
}

fn needs(shape: Shape, width: usize, index: usize, dice: &mut Dice<'_>) -> Vec<usize> {
    if index == 0 {
        return Vec::new();
    }
    let layer = index / width * width;
    unique(match shape {
        Shape::Chain => vec![index - 1],
        Shape::Fan => vec![0],
        Shape::Layers if layer == 0 => vec![0],
        Shape::Layers => (0..=dice.one_of(&[1, 1, 1])).map(|_| dice.among(layer - width, layer)).collect(),
        Shape::Random => (0..dice.one_of(&[1, 2, 2, 1])).map(|_| dice.among(0, index)).collect(),
    })
}

fn unique(mut indices: Vec<usize>) -> Vec<usize> {
    indices.sort_unstable();
    indices.dedup();
    indices
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
