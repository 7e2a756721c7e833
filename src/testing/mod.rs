//! Faults on demand, and real processes, for an application's own tests. Feature `testing`.
//!
//! What breaks in production is the start that fails half-way. [`for_each_single_fault`] plays every
//! [`Fault`] in every stage of a graph, one at a time, and checks that all that was acquired is released,
//! and in order; the application adds what it promises itself. [`Startup::inject`] and [`EventSpy`] are the
//! parts of it, for tests of one's own.
//!
//! What no test of one process can show is that a second one is kept out: [`assert_one_worker`] starts the
//! application's own program several times, and [`Process`] is the part that it is made of.
//!
//! Put `solostart = { version = "…", features = ["testing"] }` under `[dev-dependencies]`.
//!
//! ```
//! use std::sync::Arc;
//! use solostart::{
//!     Env, Startup, StageContext, WorkerMode,
//!     testing::{Ended, Fault, for_each_single_fault},
//! };
//!
//! /// What `main` hands to `solostart::run`, too.
//! fn plan(startup: &mut Startup) {
//!     let database = startup.stage("database", (), async |_cx, ()| Ok("open")).required();
//!     startup
//!         .stage("cache", database, async |_cx: StageContext, database: Arc<&str>| Ok(database.len()))
//!         .stop(async |_cache, _cx| Ok(()))
//!         .optional();
//! }
//!
//! fn build() -> Startup {
//!     let mode = WorkerMode::Many { reason: "no lock in this test".to_owned() };
//!     let mut startup = Startup::new("shop", Env::from_vars("SHOP", [("SHOP_STAGE_TIMEOUT", "5s")]), mode);
//!     plan(&mut startup);
//!     startup
//! }
//!
//! for_each_single_fault(build, |played| {
//!     if played.stage == "cache" && played.fault == Fault::Panic {
//!         assert!(matches!(played.ended, Ended::Stopped(_)), "the shop can do without its cache");
//!     }
//! });
//! ```

#![expect(clippy::panic, reason = "an assertion fails by panicking, and one of the faults is a panic")]

mod fault;
mod matrix;
mod process;
mod spy;

pub use fault::{Fault, FaultPlan};
pub use matrix::{
    Ended, SingleFault, for_each_single_fault, for_each_single_fault_in_real_time, single_faults,
};
pub use process::{Exit, Process, assert_one_worker};
pub use spy::EventSpy;

#[cfg(doc)]
use crate::startup::Startup;

#[cfg(test)]
mod tests;
