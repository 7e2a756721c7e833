//! The command line of the program `solostart`.

use std::{ffi::OsString, path::PathBuf};

use clap::{Arg, ArgAction, Command, value_parser};

use super::select::Choice;
use crate::cli::Refused;

/// What is asked for.
pub(super) struct Asked {
    pub(super) files: Vec<PathBuf>,
    pub(super) choice: Choice,
    pub(super) json: bool,
}

pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, Refused> {
    let matches = command()
        .try_get_matches_from([OsString::from("solostart")].into_iter().chain(arguments))
        .map_err(|error| Refused { text: error.to_string(), is_mistake: error.use_stderr() })?;
    let given = matches.subcommand().map_or(&matches, |(_, given)| given);
    let files = given.get_many::<PathBuf>("compose").unwrap_or_default().cloned().collect();
    let services = given.get_many::<String>("service").unwrap_or_default().cloned().collect();
    let prefix = given.get_one::<String>("prefix").map(|prefix| prefix.trim_end_matches('_').to_owned());
    Ok(Asked { files, choice: Choice { services, prefix }, json: given.get_flag("json") })
}

fn command() -> Command {
    let compose = Arg::new("compose")
        .long("compose")
        .value_name("FILE")
        .num_args(1..)
        .action(ArgAction::Append)
        .required(true)
        .value_parser(value_parser!(PathBuf))
        .help("The Compose files, in the order in which they are given to Compose");
    let service = Arg::new("service")
        .long("service")
        .value_name("NAME")
        .action(ArgAction::Append)
        .help("A service that may run only once; without it, those that show it");
    let prefix = Arg::new("prefix")
        .long("prefix")
        .value_name("PREFIX")
        .help("What the service's variables begin with, for instance BANBOARD");
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("One object on each line");
    Command::new("solostart")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Looks at how a service is run")
        .subcommand_required(true)
        .subcommand(
            Command::new("check")
                .about("What in Compose files would start a second worker, or stop the only one badly")
                .args([compose, service, prefix, json]),
        )
}
