//! The subcommands that every application has. Floor 5. None of them takes the lock.

use std::{
    ffi::OsString,
    io::{self, Write},
};

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};

use crate::{error::ErrorKind, startup::Startup};

pub(crate) mod healthcheck;
mod lock;

use healthcheck::Probe;

/// What the command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// No argument: run the service.
    Run,
    /// `lock status [--json]`
    LockStatus { json: bool },
    /// `lock break --token N`
    LockBreak { token: u64 },
    /// `healthcheck [--live|--ready|--startup]`
    Healthcheck(Probe),
}

/// A command line that asks for nothing that can be run: `--help`, `--version`, or a mistake.
pub(crate) struct Refused {
    pub(crate) text: String,
    /// Whether it is the user's mistake, and not an answer to a question.
    pub(crate) is_mistake: bool,
}

impl Refused {
    /// Tells the user, and returns the exit code.
    pub(crate) fn tell(&self) -> u8 {
        if self.is_mistake {
            let _nobody_reads = io::stderr().lock().write_all(self.text.as_bytes());
            return ErrorKind::Usage.exit_code();
        }
        print(&self.text);
        0
    }
}

/// Does what was asked, and returns the exit code.
pub(crate) fn answer(request: &Request, startup: &Startup) -> u8 {
    match *request {
        Request::Run => 0,
        Request::LockStatus { json } => lock::status(startup, json),
        Request::LockBreak { token } => lock::break_lease(startup, token),
        Request::Healthcheck(probe) => healthcheck::answer(startup, probe),
    }
}

/// Writes an answer to stdout. A reader that has gone away has read enough.
fn print(text: &str) {
    let _reader_is_gone = io::stdout().lock().write_all(text.as_bytes());
}

/// Reads the command line, without the program's name.
pub(crate) fn parse(
    service: &str,
    version: Option<&str>,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Request, Refused> {
    let name = OsString::from(service);
    let matches = command(service, version)
        .try_get_matches_from([name].into_iter().chain(arguments))
        .map_err(|error| Refused { text: error.to_string(), is_mistake: error.use_stderr() })?;
    Ok(request(&matches))
}

fn command(service: &str, version: Option<&str>) -> Command {
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("As one line of JSON");
    let token =
        Arg::new("token").long("token").required(true).value_parser(value_parser!(u64)).help(
            "The token that `lock status` shows, so that no other acquisition can be broken by mistake",
        );
    let command = Command::new(service.to_owned()).about("Without a command, the service runs").subcommand(
        Command::new("lock")
            .about("Look at, or break, the right to be the only worker")
            .subcommand_required(true)
            .subcommand(
                Command::new("status")
                    .about("Who has the right, and by which evidence; takes nothing, changes nothing")
                    .arg(json),
            )
            .subcommand(
                Command::new("break")
                    .about("Free the lease of a holder that is gone; refused while it shows any sign of life")
                    .arg(token),
            ),
    );
    let command = command.subcommand(healthcheck());
    match version {
        Some(version) => command.version(version.to_owned()),
        None => command,
    }
}

fn healthcheck() -> Command {
    let probe = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Command::new("healthcheck")
        .about("Whether the service that runs here is well: one line, exit 0 or 1")
        .arg(probe("live", "Whether it runs at all"))
        .arg(probe("ready", "Whether requests should come here (the default)"))
        .arg(probe("startup", "Whether its start is over"))
        .group(ArgGroup::new("probe").args(["live", "ready", "startup"]))
}

fn request(matches: &ArgMatches) -> Request {
    match matches.subcommand() {
        Some(("lock", lock)) => lock_request(lock),
        Some((_, probe)) if probe.get_flag("live") => Request::Healthcheck(Probe::Live),
        Some((_, probe)) if probe.get_flag("startup") => Request::Healthcheck(Probe::Startup),
        Some(_) => Request::Healthcheck(Probe::Ready),
        None => Request::Run,
    }
}

fn lock_request(lock: &ArgMatches) -> Request {
    match lock.subcommand() {
        Some(("status", status)) => Request::LockStatus { json: status.get_flag("json") },
        Some((_, broken)) => {
            Request::LockBreak { token: broken.get_one("token").copied().unwrap_or_default() }
        }
        None => Request::Run,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Request, Refused> {
        parse("shop", Some("1.4.2"), words.iter().map(OsString::from))
    }

    #[test]
    fn no_argument_runs_the_service() {
        assert_eq!(parse_words(&[]).ok(), Some(Request::Run));
    }

    #[test]
    fn the_lock_is_looked_at_and_broken_by_its_exact_token() {
        assert_eq!(parse_words(&["lock", "status"]).ok(), Some(Request::LockStatus { json: false }));
        assert_eq!(parse_words(&["lock", "status", "--json"]).ok(), Some(Request::LockStatus { json: true }));
        assert_eq!(
            parse_words(&["lock", "break", "--token", "17"]).ok(),
            Some(Request::LockBreak { token: 17 })
        );
    }

    #[test]
    fn a_health_check_asks_one_question_and_by_default_whether_the_service_is_ready() {
        let asked = |words: &[&str]| parse_words(&[&["healthcheck"], words].concat()).ok();
        assert_eq!(asked(&[]), Some(Request::Healthcheck(Probe::Ready)));
        assert_eq!(asked(&["--ready"]), Some(Request::Healthcheck(Probe::Ready)));
        assert_eq!(asked(&["--live"]), Some(Request::Healthcheck(Probe::Live)));
        assert_eq!(asked(&["--startup"]), Some(Request::Healthcheck(Probe::Startup)));
        assert_eq!(asked(&["--live", "--ready"]), None);
    }

    #[test]
    fn a_mistake_says_how_it_is_meant_and_a_question_is_no_mistake() {
        for wrong in
            [&["lokc"][..], &["lock"], &["lock", "break"], &["lock", "break", "--token", "x"], &["--now"]]
        {
            let refused = parse_words(wrong).unwrap_err();
            assert!(refused.is_mistake, "{wrong:?}");
            assert!(refused.text.contains("Usage:") || refused.text.contains("--help"), "{}", refused.text);
        }
        assert!(!parse_words(&["--help"]).unwrap_err().is_mistake);
        assert!(parse_words(&["--version"]).unwrap_err().text.contains("1.4.2"));
    }
}
