//! What the benches share: shapes of graphs, samples, tables.
