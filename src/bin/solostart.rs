//! `solostart check --compose FILE…`: whether Compose files would run a service as it must be run.

use std::process::ExitCode;

fn main() -> ExitCode {
    solostart::compose::run(std::env::args_os().skip(1))
}
