//! The program `solostart`: whether Compose files would run a service as it must be run. Floor 5.
//!
//! It reads files only, as Compose reads them: several files merged, `extends`, `env_file`, `.env` and `${VAR}`,
//! anchors and `<<`. It asks no engine and starts nothing.
//!
//! ```console
//! $ solostart check --compose compose.yaml
//! CHECK OK  1 file, service app; only files were read
//! ```
//!
//! # Which services are judged
//! Those named with `--service`. Without it, those that set a variable of `--prefix`, whose image has its name, or
//! whose health check calls it. Without either, those whose health check is `["CMD", "/<name>", "healthcheck"]`, or
//! that set a variable that only this library reads, such as `<P>_SHUTDOWN_TIMEOUT`. None is an error: a check that
//! found nothing to check must not say OK.
//!
//! # Not looked at
//! The files of `include`, which is a warning; what the image sets by itself, so that a data directory which only the
//! image knows is judged by whether any lasting volume is mounted; a `--scale` on the command line of Compose.
//!
//! # Exit codes
//! 0 where nothing is wrong, also with warnings; 78 for problems and for files that Compose would refuse; 64 for a
//! wrong command line.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use crate::settings::Env;

mod checks;
mod command;
mod dotenv;
mod duration;
mod fault;
mod files;
mod interpolate;
mod keys;
mod merge;
mod mounts;
mod node;
mod project;
mod select;
mod service;
mod tell;
mod yaml;

use fault::{Fault, Finding, Place};
use project::Lookup;
use select::Choice;
use service::Service;

/// Services in a project. Each may unfold to a large one by `extends`.
const SERVICES_MOST: usize = 500;

/// Does what the command line asks, which stands in `arguments` without the program's name, and returns the exit
/// code. Problems are told on stdout, as the answer to a question; mistakes of usage on stderr.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let env = Env::from_process("SOLOSTART");
    let lookup = |name: &str| env.raw(name).map(|value| value.to_string_lossy().into_owned());
    ExitCode::from(match command::parse(arguments) {
        Ok(asked) => tell::tell(&asked, look(&asked.files, &asked.choice, &lookup)),
        Err(refused) => refused.tell(),
    })
}

/// What was looked at, and what was found.
struct Seen {
    /// The names of the services that were judged.
    services: Vec<String>,
    findings: Vec<Finding>,
}

/// Reads and judges the files. `process` is the environment that Compose would be called with.
fn look(files: &[PathBuf], choice: &Choice, process: Lookup<'_>) -> Seen {
    let mut seen = Seen { services: Vec::new(), findings: Vec::new() };
    if let Err(fault) = judge(files, choice, process, &mut seen) {
        seen.findings.push(fault.into());
    }
    seen.findings.sort_by(|a, b| a.at.cmp(&b.at));
    seen
}

fn judge(files: &[PathBuf], choice: &Choice, process: Lookup<'_>, seen: &mut Seen) -> Result<(), Fault> {
    let mut project = project::load(files, process)?;
    seen.findings.append(&mut project.findings);
    let first = project.root.at.clone();
    let services: Vec<_> = project.section("services").take(SERVICES_MOST + 1).collect();
    if services.len() > SERVICES_MOST {
        return Err(Fault::new(&first, format!("there are more than {SERVICES_MOST} services")));
    }
    let read = |(name, node)| Service::read(name, node, &project, process);
    let services = services.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let ours = select::select(&services, choice, &Place::whole(&first.file))?;
    seen.services = ours.iter().map(|each| each.service.name.to_owned()).collect();
    seen.findings.extend(checks::all(&ours, &services, &project));
    Ok(())
}
