use std::{io, time::Duration};

use rustix::io::Errno;

use super::*;
use crate::{
    codes,
    contract::{guard::LockLost, outcome::FailurePhase},
};

fn failure(error: impl Into<StageError>) -> StageFailure {
    StageFailure {
        stage: "listener".into(),
        phase: FailurePhase::Start,
        step: None,
        steps: Vec::new(),
        error: error.into(),
        elapsed: Duration::ZERO,
        attempts: 1,
        at: Duration::ZERO,
    }
}

fn found(error: impl Into<StageError>) -> StageError {
    analysed(&[], failure(error)).error
}

fn facts(error: &StageError) -> Vec<(&str, &str)> {
    error.facts().iter().map(|fact| (fact.name.as_ref(), fact.value.as_str())).collect()
}

fn number(errno: Errno) -> i32 {
    errno.raw_os_error()
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Around(String, #[source] io::Error);

#[test]
fn a_port_that_is_taken_is_named_with_the_command_that_finds_its_owner() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let taken = std::net::TcpListener::bind(address).unwrap_err();
    let error = found(Around(format!("cannot listen on {address}: taken"), taken));
    assert_eq!(error.error_kind(), ErrorKind::Temporary);
    assert_eq!(facts(&error), [("address", address.to_string().as_str())]);
    let command = format!("ss -ltnp 'sport = :{}'", address.port());
    assert!(error.actions()[0].ends_with(&command), "{:?}", error.actions());
}

#[test]
fn what_the_operating_system_said_decides_the_exit_code() {
    for (kind, exit) in [
        (io::ErrorKind::PermissionDenied, 77),
        (io::ErrorKind::NotFound, 78),
        (io::ErrorKind::StorageFull, 74),
        (io::ErrorKind::ReadOnlyFilesystem, 78),
        (io::ErrorKind::ConnectionRefused, 69),
        (io::ErrorKind::AddrInUse, 75),
    ] {
        let error = found(Around("cannot open \"/data/app.key\"".to_owned(), kind.into()));
        assert_eq!(error.error_kind().exit_code(), exit, "{kind:?}");
        assert!(!error.actions().is_empty(), "{kind:?}");
    }
    let files = found(io::Error::from_raw_os_error(24));
    assert_eq!((files.failure_code(), files.error_kind().exit_code()), (codes::PROCESS_LIMIT, 71));
    assert!(files.actions()[0].contains("ulimit -n"), "{:?}", files.actions());
    for (code, exit, says) in [
        (number(Errno::IO), 74, "dmesg"),
        (number(Errno::STALE), 74, "dmesg"),
        (number(Errno::DQUOT), 74, "df -i"),
        (number(Errno::NOMEM), 71, "ulimit -v"),
        (number(Errno::FBIG), 71, "ulimit -f"),
        (number(Errno::NAMETOOLONG), 78, "Correct the path"),
        (number(Errno::NOTDIR), 78, "Correct the path"),
        (number(Errno::LOOP), 78, "circle"),
        (number(Errno::TXTBSY), 78, "a file of its own"),
    ] {
        let error = found(io::Error::from_raw_os_error(code));
        let actions = error.actions().join("\n");
        assert_eq!(error.error_kind().exit_code(), exit, "{code}: {error:?}");
        assert!(actions.contains(says), "{code}: {actions}");
    }
    // A name that no resolver may know: RFC 6761.
    let name = std::net::ToSocketAddrs::to_socket_addrs(&("nowhere.invalid", 80)).unwrap_err();
    assert_eq!(found(name).error_kind(), ErrorKind::Unavailable);
}

#[test]
fn a_path_stands_in_a_command_only_where_no_shell_reads_more_into_it() {
    let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
    let error = found(Around("open '/data/app.key': no".to_owned(), denied()));
    assert!(error.actions()[0].ends_with("ls -ld /data/app.key"), "{:?}", error.actions());
    for hostile in ["/data/$(reboot)", "/data/a;reboot", "/data/`reboot`", "/data/a&b", "/data/a\u{202e}b"] {
        let error = found(Around(format!("open {hostile} failed"), denied()));
        assert!(error.actions().iter().all(|action| !action.contains("ls -ld")), "{:?}", error.actions());
    }
}

#[test]
fn what_a_hook_classified_itself_is_left_alone() {
    let error = StageError::new(codes::DB_IO, io::Error::from(io::ErrorKind::PermissionDenied));
    let error = found(error);
    assert_eq!((error.error_kind(), error.actions().len()), (ErrorKind::Io, 0));
}

#[test]
fn the_first_analyser_that_answers_is_heard_and_one_that_panics_is_not() {
    const OWN: FailureCode = FailureCode::new("shop.own", ErrorKind::Data, "Something of our own");
    let analysers: [Analyser; 4] = [
        Box::new(|_| None),
        Box::new(|_| panic!("an analyser with a defect")),
        // Its own error, behind what the standard library wrapped around it.
        Box::new(|failure| {
            let own = failure.error.find::<Around>()?;
            Some(Analysis::default().code(OWN).fact("own", own.0.clone()).hint("do this"))
        }),
        Box::new(|_| Some(Analysis::default().kind(ErrorKind::Usage))),
    ];
    let own = Around("ours".to_owned(), io::ErrorKind::NotFound.into());
    let error = StageError::from(io::Error::other(own)).hint("what the hook says");
    let error = analysed(&analysers, failure(error)).error;
    assert_eq!((error.failure_code(), error.error_kind()), (OWN, ErrorKind::Data));
    assert_eq!(facts(&error), [("own", "ours")]);
    assert_eq!(error.actions(), ["what the hook says", "do this"]);
}

#[test]
fn an_application_can_say_the_kind_alone_and_the_code_is_that_of_the_kind() {
    let analysers: [Analyser; 1] = [Box::new(|_| Some(Analysis::default().kind(ErrorKind::Config)))];
    let error = analysed(&analysers, failure("no licence")).error;
    assert_eq!((error.failure_code(), error.error_kind()), (codes::STAGE_MISCONFIGURED, ErrorKind::Config));
}

#[test]
fn a_lost_right_that_a_hook_passed_on_keeps_its_code_and_its_actions() {
    for (lost, code) in [
        (LockLost::taken("the lock file was removed"), codes::LOCK_LOST),
        (LockLost::expired("the disk is full", vec!["look".to_owned()]), codes::LOCK_EXPIRED),
    ] {
        let error = analysed(&[], failure(lost.clone())).error;
        assert_eq!((error.failure_code(), error.actions()), (code, lost.actions()));
    }
}
