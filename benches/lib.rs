//! What the benches share: the shapes of the graphs, and samples with their spread.

pub mod samples;
pub mod shapes;
