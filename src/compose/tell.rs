//! What was found, in the form of every report.

use super::{Seen, command::Asked, fault::Weight};
use crate::{
    cli::print,
    error::ErrorKind,
    ids::InstanceId,
    report::{Found, Identity, LookedAt, Report, Words},
    settings::EnvWarning,
};

/// Tells it, and returns the exit code.
pub(super) fn tell(asked: &Asked, seen: Seen) -> u8 {
    let identity = identity(asked.choice.prefix.as_deref());
    let show = |report: &Report| {
        if asked.json { print(&report.json()) } else { print(report.text()) }
    };
    let (problems, warnings): (Vec<_>, Vec<_>) =
        seen.findings.into_iter().partition(|finding| finding.weight == Weight::Problem);
    for finding in warnings {
        let hint = finding.hint.as_deref().map_or_else(String::new, |hint| format!(". {hint}"));
        let text = format!("{}: {}{hint}", finding.service, finding.text);
        show(&Report::warning(&EnvWarning::new(&finding.at.to_string(), text), &identity));
    }
    let exit = if problems.is_empty() { 0 } else { ErrorKind::Config.exit_code() };
    let found: Vec<Found> = problems
        .into_iter()
        .map(|finding| Found { stage: finding.service.clone(), error: finding.error() })
        .collect();
    let files = match asked.files.len() {
        1 => "1 file".to_owned(),
        many => format!("{many} files"),
    };
    let named = if seen.services.len() == 1 { "service" } else { "services" };
    let looked = LookedAt {
        ok: format!("{files}, {named} {}; only files were read", seen.services.join(", ")),
        harm: "would keep the service from being run as it must be",
    };
    show(&Report::checked(found, &looked, &identity));
    exit
}

fn identity(prefix: Option<&str>) -> Identity {
    Identity {
        service: "solostart".to_owned(),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        prefix: prefix.unwrap_or("SOLOSTART").to_owned(),
        instance: InstanceId::mint(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        at: jiff::Timestamp::now(),
        attempt: None,
        shortened: None,
        words: Words::of_compose,
    }
}
