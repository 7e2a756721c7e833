//! Floor 3: exactly one worker. Imports floors 0 to 2, and knows neither the engine nor the reports.
//!
//! Evidence of a second worker is judged in layers, cheapest first, and before any resource is touched:
//! what the environment declares (`declared`), then a lock that the kernel keeps (`file_lock`), on a file
//! system that is known to keep it (`mounts`, `sharing`), then a row that says who holds, under which number
//! and until when (`lease`). `worker_mode` puts them in their order.

mod breaking;
pub(crate) mod data_dir;
mod data_files;
pub(crate) mod declared;
pub(crate) mod evidence;
mod file_lock;
mod flock;
mod freezer;
mod heartbeat;
mod held;
mod holder;
pub(crate) mod id_map;
mod joining;
mod lease;
pub(crate) mod missing;
mod mounts;
mod obstacles;
pub(crate) mod other_names;
#[cfg(test)]
mod other_process;
pub(crate) mod platform;
mod private;
mod program;
pub(crate) mod refusal;
pub(crate) mod sharing;
mod siblings;
mod status;
#[cfg(test)]
mod testing;
pub(crate) mod worker_mode;
