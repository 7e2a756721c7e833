//! The subcommands that every application has. Floor 5. None of them takes the lock.

use std::{
    ffi::OsString,
    io::{self, Write},
};

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};

use crate::{
    error::ErrorKind,
    report::{Identity, printable},
    startup::Startup,
};

mod check;
pub(crate) mod healthcheck;
mod lock;
mod pictures;
mod texts;

use pictures::Format;

use healthcheck::Probe;

/// What the command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// No argument: run the service.
    Run,
    /// `check [--json]`
    Check { json: bool },
    /// `graph --format text|dot|mermaid`
    Graph { format: Format },
    /// `timeline --format text|svg`
    Timeline { format: Format },
    /// `report [--json]`
    Report { json: bool },
    /// `explain [CODE]`
    Explain { code: Option<String> },
    /// `env [--markdown]`
    Env { markdown: bool },
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
pub(crate) fn answer(request: Request, mut startup: Startup, identity: &Identity) -> u8 {
    match request {
        Request::Run => 0,
        Request::Check { json } => check::answer(startup, json, identity),
        Request::Graph { format } => pictures::graph(&startup, format),
        Request::Timeline { format } => pictures::timeline(&startup, format),
        Request::Report { json } => texts::report(&startup, json),
        Request::Explain { code } => texts::explain(code.as_deref(), &startup, identity),
        Request::Env { markdown } => texts::env(&mut startup, markdown),
        Request::LockStatus { json } => lock::status(&startup, json),
        Request::LockBreak { token } => lock::break_lease(&startup, token),
        Request::Healthcheck(probe) => healthcheck::answer(&startup, probe),
    }
}

/// Says why there is no answer, and returns the exit code 1.
fn cannot(why: &str) -> u8 {
    let _nobody_reads = io::stderr().lock().write_all(format!("{}\n", printable(why)).as_bytes());
    1
}

/// Writes an answer to stdout. A reader that has gone away has read enough.
pub(crate) fn print(text: &str) {
    let _reader_is_gone = io::stdout().lock().write_all(text.as_bytes());
}

/// Reads the command line, without the program's name.
pub(crate) fn parse(
    service: &str,
    version: Option<&str>,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Request, Refused> {
    let mut arguments = arguments.into_iter().peekable();
    if arguments.peek().is_none() {
        // Every start comes here, and describing the commands to find none is a good part of what precedes one.
        return Ok(Request::Run);
    }
    let name = OsString::from(service);
    // What is not understood is quoted in the answer, and a script may have made it of anything.
    let arguments = arguments.map(|each| OsString::from(printable(&each.to_string_lossy())));
    let matches = command(service, version)
        .try_get_matches_from([name].into_iter().chain(arguments))
        .map_err(|error| Refused { text: error.to_string(), is_mistake: error.use_stderr() })?;
    Ok(request(&matches))
}

fn command(service: &str, version: Option<&str>) -> Command {
    let command = Command::new(service.to_owned())
        .about("Without a command, the service runs")
        .subcommand(
            Command::new("check")
                .about("Everything that would keep the service from starting; takes and writes nothing")
                .arg(json()),
        )
        .subcommand(
            Command::new("graph").about("What waits for what").arg(format(&["text", "dot", "mermaid"])),
        )
        .subcommand(Command::new("timeline").about("How the last start went").arg(format(&["text", "svg"])))
        .subcommand(Command::new("report").about("The last report").arg(json()))
        .subcommand(
            Command::new("explain")
                .about("What a failure code means, or the list of them")
                .arg(Arg::new("code").value_name("CODE")),
        )
        .subcommand(
            Command::new("env").about("Every variable, with its value where that is no secret").arg(
                Arg::new("markdown").long("markdown").action(ArgAction::SetTrue).help("As documentation"),
            ),
        )
        .subcommand(lock_command())
        .subcommand(healthcheck());
    match version {
        Some(version) => command.version(version.to_owned()),
        None => command,
    }
}

fn lock_command() -> Command {
    let token =
        Arg::new("token").long("token").required(true).value_parser(value_parser!(u64)).help(
            "The token that `lock status` shows, so that no other acquisition can be broken by mistake",
        );
    Command::new("lock")
        .about("Look at, or break, the right to be the only worker")
        .subcommand_required(true)
        .subcommand(
            Command::new("status")
                .about("Who has the right, and by which evidence; takes nothing, changes nothing")
                .arg(json()),
        )
        .subcommand(
            Command::new("break")
                .about("Free the lease of a holder that is gone; refused while it shows any sign of life")
                .arg(token),
        )
}

fn json() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("As one line of JSON")
}

fn format(forms: &'static [&'static str]) -> Arg {
    Arg::new("format").long("format").value_parser(forms.to_vec()).default_value("text")
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
    let Some((name, given)) = matches.subcommand() else { return Request::Run };
    let format = || match given.get_one::<String>("format").map(String::as_str) {
        Some("dot") => Format::Dot,
        Some("mermaid") => Format::Mermaid,
        Some("svg") => Format::Svg,
        Some(_) | None => Format::Text,
    };
    match name {
        "check" => Request::Check { json: given.get_flag("json") },
        "graph" => Request::Graph { format: format() },
        "timeline" => Request::Timeline { format: format() },
        "report" => Request::Report { json: given.get_flag("json") },
        "explain" => Request::Explain { code: given.get_one("code").cloned() },
        "healthcheck" if given.get_flag("live") => Request::Healthcheck(Probe::Live),
        "healthcheck" if given.get_flag("startup") => Request::Healthcheck(Probe::Startup),
        "healthcheck" => Request::Healthcheck(Probe::Ready),
        "env" => Request::Env { markdown: given.get_flag("markdown") },
        _ => match given.subcommand() {
            Some(("status", status)) => Request::LockStatus { json: status.get_flag("json") },
            Some((_, broken)) => {
                Request::LockBreak { token: broken.get_one("token").copied().unwrap_or_default() }
            }
            None => Request::Run,
        },
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
