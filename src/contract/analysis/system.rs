//! What the operating system said, where nobody else has said what it means: an error that a hook passed on
//! with `?` still tells the operator what to do.

use std::{
    io::{self, ErrorKind as Io},
    net::SocketAddr,
};

use rustix::io::Errno;

use super::Analysis;
use crate::{
    codes::PROCESS_LIMIT,
    contract::guard::LockLost,
    error::{ErrorKind, StageError, as_error},
    limits::Limit,
};

/// What the messages of a failure name.
#[derive(Default)]
struct Named {
    address: Option<SocketAddr>,
    path: Option<String>,
}

/// The analysis of an error that the operating system is behind, and that nobody classified, or that a limit stands behind.
pub(super) fn analyse(error: &StageError) -> Option<Analysis> {
    let mut causes = error.causes().filter_map(as_error::<io::Error>);
    if !error.is_unclassified() {
        // Whatever it kept somebody from, and whatever he takes that for: it is the limit that must be raised.
        let limit = causes.find_map(Limit::behind).filter(|_| error.failure_code() != PROCESS_LIMIT);
        return limit.map(reached);
    }
    if let Some(lost) = error.find::<LockLost>() {
        let actions = lost.actions().iter().cloned();
        return Some(actions.fold(Analysis::default().code(lost.failure_code()), Analysis::hint));
    }
    causes.find_map(|cause| of(cause, || Named::by(error)))
}

fn of(cause: &io::Error, named: impl FnOnce() -> Named) -> Option<Analysis> {
    if let Some(limit) = Limit::behind(cause) {
        return Some(reached(limit));
    }
    if is_name_lookup(cause) {
        return Some(
            analysis(ErrorKind::Unavailable)
                .hint("Check that the host name is spelt right, and that it resolves from here.")
                .hint("In Compose: the name of a service, and both services on the same network."),
        );
    }
    match Errno::from_io_error(cause) {
        Some(Errno::IO) => Some(of_disk(named())),
        Some(Errno::LOOP) => Some(
            of_path(analysis(ErrorKind::Config), named().path, "See what is there")
                .hint("Correct the links: they lead in a circle."),
        ),
        _ => of_kind(cause.kind(), named),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "most kinds say nothing that an operator could act on")]
fn of_kind(kind: Io, named: impl FnOnce() -> Named) -> Option<Analysis> {
    Some(match kind {
        Io::AddrInUse => in_use(named().address),
        Io::AddrNotAvailable => of_address(analysis(ErrorKind::Config), named().address)
            .hint("No interface of this machine has that address; 0.0.0.0 or [::] means all of them."),
        Io::PermissionDenied => denied(&named()),
        Io::NotFound => of_path(analysis(ErrorKind::Config), named().path, "See what is there").hint(MOUNTED),
        Io::ReadOnlyFilesystem => {
            of_path(analysis(ErrorKind::Config), named().path, "See what is mounted there")
                .hint("Mount that place writable: a volume, or `tmpfs:` for what need not last.")
                .hint("Nobody made it read-only? Look for errors of the disk: dmesg | tail")
        }
        Io::StorageFull | Io::QuotaExceeded => analysis(ErrorKind::Io)
            .hint("Free some space, or give the volume more. See which one is full: df -h")
            .hint("Or no inode is left there: df -i"),
        Io::StaleNetworkFileHandle => of_disk(named()),
        Io::NotADirectory | Io::IsADirectory | Io::InvalidFilename => {
            of_path(analysis(ErrorKind::Config), named().path, "See what is there")
                .hint("Correct the path: the error says what is wrong with it.")
        }
        Io::ExecutableFileBusy => of_path(analysis(ErrorKind::Config), named().path, "See what is there")
            .hint("A program that runs cannot be written: point this at a file of its own."),
        Io::ConnectionRefused
        | Io::ConnectionReset
        | Io::ConnectionAborted
        | Io::TimedOut
        | Io::HostUnreachable
        | Io::NetworkUnreachable
        | Io::NetworkDown => of_address(analysis(ErrorKind::Unavailable), named().address)
            .hint("Check that the other side runs, and that its host and port are right as seen from here."),
        _ => return None,
    })
}

const MOUNTED: &str =
    "In a container only what is in the image or mounted is there: check `volumes:` and `secrets:`.";

fn analysis(kind: ErrorKind) -> Analysis {
    Analysis::default().kind(kind)
}

fn reached(limit: Limit) -> Analysis {
    let known = Analysis::default().code(PROCESS_LIMIT);
    let known = limit.facts().into_iter().fold(known, |known, fact| known.fact(fact.name, fact.value));
    limit.actions().into_iter().fold(known, Analysis::hint)
}

/// What a disk or the way to it answers: nobody's setting, most often.
fn of_disk(named: Named) -> Analysis {
    of_path(analysis(ErrorKind::Io), named.path, "See what is there")
        .hint("Look for errors of the disk: dmesg | tail")
}

fn in_use(address: Option<SocketAddr>) -> Analysis {
    let command = match address {
        Some(address) => format!("ss -ltnp 'sport = :{}'", address.port()),
        None => "ss -ltnp".to_owned(),
    };
    // Whoever listens there may be on its way out.
    of_address(analysis(ErrorKind::Temporary), address)
        .hint(format!("See which process listens there: {command}"))
        .hint("Stop that process, or give this service another port.")
}

fn denied(named: &Named) -> Analysis {
    let process = format!("uid {}, gid {}", rustix::process::getuid(), rustix::process::getgid());
    let analysis = analysis(ErrorKind::Permission).fact("process", process);
    match named.address {
        Some(address) if address.port() < 1024 => of_address(analysis, Some(address))
            .hint("Only root may listen below port 1024: give this service a higher port."),
        _ => of_path(analysis, named.path.clone(), "See who owns it")
            .hint("Give it to the user that this process runs as, or run the service as its owner."),
    }
}

fn of_address(analysis: Analysis, address: Option<SocketAddr>) -> Analysis {
    address.into_iter().fold(analysis, |analysis, address| analysis.fact("address", address.to_string()))
}

fn of_path(analysis: Analysis, path: Option<String>, what: &str) -> Analysis {
    path.into_iter().fold(analysis, |analysis, path| {
        let command = format!("{what}: ls -ld {path}");
        analysis.fact("path", path).hint(command)
    })
}

/// `getaddrinfo` has error numbers of its own, so the standard library can tell it by its message alone:
/// <https://github.com/rust-lang/rust/blob/1.95.0/library/std/src/sys/net/connection/socket/mod.rs>.
fn is_name_lookup(cause: &io::Error) -> bool {
    cause.raw_os_error().is_none() && cause.to_string().starts_with("failed to lookup address information")
}

/// What may stand around a word.
const AROUND: [char; 7] = ['"', '\'', '`', '(', ')', ',', ';'];

impl Named {
    /// An error of the operating system does not say what it is about; those around it often do.
    fn by(error: &StageError) -> Self {
        let mut named = Self::default();
        for message in error.chain() {
            for word in message.split_whitespace() {
                let word = word.trim_start_matches(AROUND).trim_end_matches([':', '.']);
                let word = word.trim_end_matches(AROUND);
                named.address = named.address.or_else(|| word.parse().ok());
                named.path = named.path.or_else(|| is_plain_path(word).then(|| word.to_owned()));
            }
        }
        named
    }
}

/// Whether it is a path that can stand in a command as it is. What an error says may come from anywhere, and
/// commands are pasted.
fn is_plain_path(word: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte);
    word.len() > 1 && word.len() <= 200 && word.starts_with('/') && word.bytes().all(is_plain)
}
