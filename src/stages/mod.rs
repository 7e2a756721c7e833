//! Ready-made stages for what most services hold: a database, a cache, an HTTP client, scheduled jobs and
//! background tasks. Floor 4: thin adapters over other crates; they import floors 0 to 2.

#[cfg(feature = "cache")]
pub mod cache;
#[cfg(feature = "database")]
pub mod database;
mod flood;
#[cfg(feature = "http-session")]
pub mod http_session;
mod in_flight;
#[cfg(feature = "scheduler")]
pub mod scheduler;
pub mod tasks;
mod work;

pub use work::RunContext;

#[cfg(test)]
mod testing;
