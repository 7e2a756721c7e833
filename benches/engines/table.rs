//! The table of one runtime: ours, its stop, the floor, and the peers.

use std::time::{Duration, Instant};

use solostart_benches::{
    samples::{Samples, whole},
    shapes::{Needs, Shape},
};
use tokio::runtime::Runtime;

use crate::{
    alone::Task,
    engine::{Engine, FLOOR, OURS, Threads, idle},
    wanted::Wanted,
};

/// A peer that has used this up has enough rounds, if it has three.
const ENOUGH: Duration = Duration::from_millis(500);
const FEW: usize = 3;

/// The figures of one graph.
struct Row {
    size: usize,
    ours: Samples,
    stop: Samples,
    floor: Samples,
    /// Without samples where the peer cannot run this graph.
    peers: Vec<Samples>,
}

/// Why peers could not run a graph: the number in the table, and the words below it.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn mark(&mut self, note: String) -> String {
        let at = self.0.iter().position(|other| *other == note).unwrap_or_else(|| {
            self.0.push(note);
            self.0.len() - 1
        });
        format!("- ({})", at + 1)
    }
}

pub fn print(wanted: &Wanted, threads: Threads) {
    let runtime = threads.runtime();
    println!("\n### Stages that do nothing, {} of the runtime: ns per stage\n", threads.title());
    println!(
        "Build + start until all are up: median (quartiles); the peers' medians. The ratio is that of the"
    );
    println!("medians; beside it that of the fastest tenths, which a busy machine disturbs less.\n");
    let names: String = wanted.peers.iter().map(|peer| format!(" {} |", peer.name)).collect();
    println!("| shape | stages | ours | its stop | floor | ours / floor | fastest tenths |{names}");
    println!("|---|---|---|---|---|---|---|{}", "---|".repeat(wanted.peers.len()));
    let mut notes = Notes::default();
    for &shape in &wanted.shapes {
        let mut rows = Vec::new();
        // Who failed at a graph is not asked for a larger one.
        let mut failed: Vec<Option<String>> = vec![None; wanted.peers.len()];
        for &size in &wanted.sizes {
            for (peer, failed) in wanted.peers.iter().zip(&mut failed) {
                if failed.is_none() {
                    let tried = Task { engine: *peer, shape, size, threads }.figure();
                    *failed = tried.err().map(|why| format!("{}: {why}", peer.name));
                }
            }
            let row = measure(&runtime, wanted, shape, size, &failed);
            let marks = failed.iter().map(|why| why.clone().map_or_else(String::new, |why| notes.mark(why)));
            row.print(shape, &marks.collect::<Vec<_>>());
            rows.push(row);
        }
        print_growth(shape, &rows);
        print_distance(shape, &rows);
    }
    for (index, note) in notes.0.iter().enumerate() {
        println!("{}({}) {note}", if index == 0 { "\n" } else { "" }, index + 1);
    }
}

fn measure(runtime: &Runtime, wanted: &Wanted, shape: Shape, size: usize, failed: &[Option<String>]) -> Row {
    let needs = (shape.of_size)(size);
    let rounds = (400_000 / size).clamp(5, 2_000);
    let none = Samples::default;
    let mut row = Row { size, ours: none(), stop: none(), floor: none(), peers: vec![none(); failed.len()] };
    // In turn, so that what else the machine does meets all alike. The first round warms up.
    for round in 0..=rounds {
        let up = (OURS.round)(runtime, &needs, idle);
        let bare = (FLOOR.round)(runtime, &needs, idle);
        if round > 0 {
            row.ours.add_per_stage(up.started, size);
            row.stop.add_per_stage(up.stopped.unwrap_or_default(), size);
            row.floor.add_per_stage(bare.started, size);
        }
    }
    // The peers in turn among themselves: what some of them leave in the heap slows down who comes next.
    let mut spent = vec![Duration::ZERO; failed.len()];
    for _ in 0..rounds {
        for (index, peer) in wanted.peers.iter().enumerate() {
            let samples = &mut row.peers[index];
            if failed[index].is_none() && (spent[index] < ENOUGH || samples.len() < FEW) {
                spent[index] += peer_round(runtime, peer, &needs, samples);
            }
        }
    }
    row
}

/// One round, and how long it took with all that is not counted.
fn peer_round(runtime: &Runtime, peer: &Engine, needs: &Needs, samples: &mut Samples) -> Duration {
    let began = Instant::now();
    samples.add_per_stage((peer.round)(runtime, needs, idle).started, needs.len());
    began.elapsed()
}

impl Row {
    fn print(&self, shape: Shape, marks: &[String]) {
        let peers = self.peers.iter().zip(marks);
        let peers: String = peers
            .map(|(peer, mark)| format!(" {} |", peer.median().map_or_else(|| mark.clone(), whole)))
            .collect();
        println!(
            "| {} | {} | {} | {} | {} | {} | {} |{peers}",
            shape.name,
            whole(self.size as f64),
            self.ours.spread().unwrap_or_default(),
            self.stop.median().map(whole).unwrap_or_default(),
            self.floor.spread().unwrap_or_default(),
            ratio(&self.ours, &self.floor),
            ratio_at(0.1, &self.ours, &self.floor),
        );
    }
}

/// Of the medians.
fn ratio(one: &Samples, other: &Samples) -> String {
    ratio_at(0.5, one, other)
}

/// Of the figures below which this part of the samples lies.
fn ratio_at(part: f64, one: &Samples, other: &Samples) -> String {
    match (one.quantile(part), other.quantile(part)) {
        (Some(one), Some(other)) => format!("{:.2}", one / other),
        _ => String::new(),
    }
}

/// How much dearer a stage is in the largest of these graphs than in one of a hundred stages.
fn print_growth(shape: Shape, rows: &[Row]) {
    let of = |size: usize| rows.iter().find(|row| row.size == size);
    if let (Some(small), Some(large)) = (of(100), of(100_000)) {
        let peers = large.peers.iter().zip(&small.peers);
        let peers: String = peers.map(|(large, small)| format!(" {} |", ratio(large, small))).collect();
        println!(
            "| {} | 100,000 over 100 | {} | {} | {} | | |{peers}",
            shape.name,
            ratio(&large.ours, &small.ours),
            ratio(&large.stop, &small.stop),
            ratio(&large.floor, &small.floor),
        );
    }
}

/// How many times ours the peers take.
fn print_distance(shape: Shape, rows: &[Row]) {
    if let Some(row) = rows.iter().find(|row| row.size == 1_000 && !row.peers.is_empty()) {
        let peers: String = row.peers.iter().map(|peer| format!(" {} |", ratio(peer, &row.ours))).collect();
        println!("| {} | 1,000, over ours | 1 | | {} | | |{peers}", shape.name, ratio(&row.floor, &row.ours));
    }
}
