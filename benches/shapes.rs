//! The graphs that every engine is given.

/// For each stage the earlier ones that it needs.
pub type Needs = Vec<Vec<usize>>;

/// A family of graphs, of any size.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub name: &'static str,
    pub of_size: fn(usize) -> Needs,
}

pub const SHAPES: [Shape; 4] = [
    Shape { name: "chain", of_size: chain },
    Shape { name: "fan", of_size: fan },
    Shape { name: "layers", of_size: layers },
    Shape { name: "random", of_size: random },
];

/// Each stage needs the one before it.
#[must_use]
pub fn chain(size: usize) -> Needs {
    (0..size).map(|index| index.checked_sub(1).into_iter().collect()).collect()
}

/// All need the first.
#[must_use]
pub fn fan(size: usize) -> Needs {
    (0..size).map(|index| if index == 0 { vec![] } else { vec![0] }).collect()
}

/// Layers of eight stages, of which each needs three of the layer before.
#[must_use]
pub fn layers(size: usize) -> Needs {
    let width = 8;
    (0..size)
        .map(|index| {
            let layer = index / width;
            if layer == 0 { vec![] } else { ((layer - 1) * width..layer * width).step_by(3).collect() }
        })
        .collect()
}

/// One or two earlier stages each, by a fixed generator, so that every run sees the same graph.
#[must_use]
pub fn random(size: usize) -> Needs {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap_or(0)
    };
    let mut earlier = |index: usize| {
        let mut needs = vec![next(index), next(index)];
        needs.dedup();
        needs
    };
    (0..size).map(|index| if index == 0 { vec![] } else { earlier(index) }).collect()
}
