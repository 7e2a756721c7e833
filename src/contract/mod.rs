//! Floor 2: what a stage is, and what can happen to it. Imports floors 0 and 1.

pub(crate) mod guard;
