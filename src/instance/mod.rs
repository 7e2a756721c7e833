//! Floor 3: exactly one worker. Imports floors 0 to 2, and knows neither the engine nor the reports.

pub(crate) mod data_dir;
mod declared;
mod file_lock;
mod flock;
mod held;
mod holder;
mod mounts;
#[cfg(test)]
mod other_process;
mod sharing;
mod siblings;
