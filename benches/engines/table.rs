//! The table of one runtime: ours, its stop, the floor, and the peers.

use solostart_benches::{
    samples::{Samples, whole},
    shapes::Shape,
};
use tokio::runtime::Runtime;

use crate::{
    engine::{FLOOR, OURS, Threads},
    wanted::Wanted,
};

pub fn print(wanted: &Wanted, threads: Threads) {
    let runtime = threads.runtime();
    println!("\n### Stages that do nothing, {} thread(s): ns per stage\n", threads.name());
    println!("Build + start until all are up: median (quartiles). The ratio is that of the medians.\n");
    println!("| shape | stages | ours | its stop | floor | ours / floor |");
    println!("|---|---|---|---|---|---|");
    for &shape in &wanted.shapes {
        let mut growth = Vec::new();
        for &size in &wanted.sizes {
            let (ours, floor) = row(&runtime, shape, size);
            growth.push((size, ours, floor));
        }
        print_growth(shape, &growth);
    }
}

fn row(runtime: &Runtime, shape: Shape, size: usize) -> (f64, f64) {
    let needs = (shape.of_size)(size);
    let rounds = (400_000 / size).clamp(5, 2_000);
    let (mut ours, mut stop, mut floor) = (Samples::default(), Samples::default(), Samples::default());
    // In turn, so that what else the machine does meets all alike. The first round warms up.
    for round in 0..=rounds {
        let up = (OURS.round)(runtime, &needs);
        let bare = (FLOOR.round)(runtime, &needs);
        if round > 0 {
            ours.add_per_stage(up.started, size);
            stop.add_per_stage(up.stopped.unwrap_or_default(), size);
            floor.add_per_stage(bare.started, size);
        }
    }
    let medians = (ours.median().unwrap_or_default(), floor.median().unwrap_or_default());
    println!(
        "| {} | {} | {} | {} | {} | {:.2} |",
        shape.name,
        whole(size as f64),
        ours.spread().unwrap_or_default(),
        whole(stop.median().unwrap_or_default()),
        floor.spread().unwrap_or_default(),
        medians.0 / medians.1
    );
    medians
}

/// How much dearer a stage becomes between the smallest of these graphs and the largest.
fn print_growth(shape: Shape, rows: &[(usize, f64, f64)]) {
    let of = |size: usize| rows.iter().find(|row| row.0 == size);
    if let (Some(small), Some(large)) = (of(100), of(100_000)) {
        println!(
            "| {} | 100,000 over 100 | {:.2} | | {:.2} | |",
            shape.name,
            large.1 / small.1,
            large.2 / small.2
        );
    }
}
