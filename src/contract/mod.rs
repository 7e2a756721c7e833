//! Floor 2: what a stage is, what it may know, and what can happen to it. Imports floors 0 and 1.

pub(crate) mod analysis;
pub(crate) mod board;
pub(crate) mod cell;
pub(crate) mod context;
pub(crate) mod event;
pub(crate) mod guard;
pub(crate) mod lost;
pub(crate) mod needs;
pub(crate) mod outcome;
pub(crate) mod panic;
pub(crate) mod stage;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod tell;
