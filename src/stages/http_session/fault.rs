//! The ways in which a request can fail, in a table: codes, words and advice stand side by side. What happened on the
//! wire decides which of them it was.

use std::{
    error::Error,
    io::{self, ErrorKind as Io},
};

use rustls::{AlertDescription as Alert, CertificateError, Error as TlsError};

use super::redirects::Astray;
use crate::{
    codes::{FailureCode, HTTP_CONNECT, HTTP_DNS, HTTP_STATUS, HTTP_TLS, STAGE_FAILED},
    error::{as_error, causes},
};

/// One way to fail.
pub(super) struct Fault {
    pub(super) code: FailureCode,
    pub(super) what: &'static str,
    /// Whether the same request can succeed later without anybody changing anything.
    pub(super) may_pass: bool,
    /// Whether it is the proxy that failed, and not the upstream.
    pub(super) of_proxy: bool,
    pub(super) hints: &'static [&'static str],
}

const DNS: Fault = Fault {
    code: HTTP_DNS,
    what: "the name cannot be resolved",
    may_pass: true,
    of_proxy: false,
    hints: &[
        "Is the name right? See whether it resolves here: getent hosts <HOST>",
        "Another service's name? It must be running, and containers of both must share a network",
    ],
};
const UNREACHABLE: Fault = Fault {
    code: HTTP_CONNECT,
    what: "no connection",
    may_pass: true,
    of_proxy: false,
    hints: &[
        "See whether anything answers there: curl -v <URL>",
        "Is it running, and listening on that port, on an address that this host reaches?",
    ],
};
const NOT_CONNECTED_IN_TIME: Fault = Fault {
    what: "no answer in time while connecting",
    hints: &[
        "See whether anything answers there: curl -v <URL>",
        "Does a firewall drop what is sent, or is it the wrong network?",
        "Is it far away? <P>_HTTP_CONNECT_TIMEOUT=10s",
    ],
    ..UNREACHABLE
};
pub(super) const SILENT: Fault = Fault {
    what: "no answer in time",
    hints: &[
        "See how long it takes to answer: curl -v <URL>",
        "Is it slow, and may be? <P>_HTTP_TIMEOUT=30s",
    ],
    ..UNREACHABLE
};
/// What is asked where the other side ended a connection that was not encrypted.
pub(super) const SPEAKS_TLS: &str = "Does that port speak TLS? Then the URL begins with https://";
const ITS_LOG: &str = "Look into the log of the upstream, and of a proxy in between";
const BROKEN_OFF: Fault = Fault {
    what: "the connection broke off",
    hints: &["Ask it yourself: curl -v <URL>", ITS_LOG],
    ..UNREACHABLE
};
const CLOSED: Fault = Fault {
    what: "it closed the connection before it answered",
    hints: &["Ask it yourself: curl -v <URL>", SPEAKS_TLS, ITS_LOG],
    ..UNREACHABLE
};
const RESET: Fault = Fault { what: "it reset the connection before it answered", ..CLOSED };
const CLOSED_BEFORE_TLS: Fault = Fault {
    what: "it closed the connection instead of speaking TLS",
    hints: &[
        "See whether that port speaks TLS: openssl s_client -connect <HOST>:<PORT> </dev/null",
        "If it does not, the URL begins with http://",
        ITS_LOG,
    ],
    ..UNREACHABLE
};
const LOOK_AT_IT: &str = "Look at it: openssl s_client -connect <HOST>:<PORT> -servername <HOST> </dev/null";
const NO_TLS: Fault = Fault {
    code: HTTP_TLS,
    what: "no agreement on TLS",
    may_pass: false,
    of_proxy: false,
    hints: &[
        "See whether that port speaks TLS: openssl s_client -connect <HOST>:<PORT> </dev/null",
        "If it does not, the URL begins with http://",
    ],
};
const PLAIN: Fault = Fault { what: "that port does not speak TLS", ..NO_TLS };
const WANTS_CERTIFICATE: Fault = Fault {
    what: "it wants a certificate from its clients, and this one has none",
    hints: &["Ask it at an address where none is needed", LOOK_AT_IT],
    ..NO_TLS
};
const BAD_CERTIFICATE: Fault =
    Fault { what: "its certificate is not accepted", hints: &[LOOK_AT_IT], ..NO_TLS };
const EXPIRED: Fault = Fault {
    what: "its certificate has expired",
    hints: &["Renew it on the upstream", "Is this machine's clock right? date -u", LOOK_AT_IT],
    ..NO_TLS
};
const NOT_YET_VALID: Fault = Fault {
    what: "its certificate is not valid yet",
    hints: &["Is this machine's clock right? date -u", LOOK_AT_IT],
    ..NO_TLS
};
const WRONG_NAME: Fault = Fault {
    what: "its certificate is for another name",
    hints: &[
        "Use the name that the certificate is for",
        "Or have one made for the name in the URL",
        LOOK_AT_IT,
    ],
    ..NO_TLS
};
const UNKNOWN_AUTHORITY: Fault = Fault {
    what: "its certificate comes from an authority that is not trusted",
    hints: &[
        "Is that your own authority? <P>_HTTP_CA_FILE=/path/of/its/certificate.pem",
        "A public one? The upstream must send the intermediate certificates too",
        LOOK_AT_IT,
    ],
    ..NO_TLS
};
const ASTRAY: Fault = Fault {
    code: HTTP_STATUS,
    what: "its redirects are not followed",
    may_pass: false,
    of_proxy: false,
    hints: &["See where it leads: curl -vL <URL>", "Write the URL that it should end at"],
};
const IN_A_CIRCLE: Fault = Fault {
    hints: &[
        "See where it leads: curl -vL <URL>",
        "Mend the redirects of the upstream, or write another URL",
    ],
    ..ASTRAY
};
const DOWNGRADED: Fault = Fault {
    hints: &[
        "See where it leads: curl -vL <URL>",
        "Have the upstream lead to https://: what follows would not be encrypted",
        "Or write the URL that it should end at",
    ],
    ..ASTRAY
};
const ELSEWHERE: Fault = Fault {
    what: "its redirect to another service is not followed",
    hints: &[
        "See where it leads: curl -vL <URL>",
        "Write the URL that it should end at",
        "Trust it with where the service goes? <P>_HTTP_REDIRECTS=any",
    ],
    ..ASTRAY
};
const NOT_HTTP: Fault = Fault {
    code: HTTP_STATUS,
    what: "the answer is not HTTP",
    may_pass: true,
    of_proxy: false,
    hints: &["Is the port that of a web service? curl -v <URL>", SPEAKS_TLS],
};
const LONG_HEAD: Fault = Fault {
    code: HTTP_STATUS,
    what: "the head of its answer is longer than is read here",
    may_pass: false,
    of_proxy: false,
    hints: &[
        "See what it sends: curl -v <URL>",
        "Have the upstream send fewer or shorter headers: cookies, mostly",
    ],
};
/// It was not sent.
const UNUSABLE: Fault = Fault {
    code: STAGE_FAILED,
    what: "the request cannot be sent as it is",
    may_pass: false,
    of_proxy: false,
    hints: &[],
};
pub(super) const REFUSED: Fault = Fault {
    code: HTTP_STATUS,
    what: "it answers with an error",
    may_pass: false,
    of_proxy: false,
    hints: &["Ask it yourself, with the whole URL: curl -v <URL>", "Look into the log of the upstream"],
};
pub(super) const FAILING: Fault = Fault { may_pass: true, ..REFUSED };
pub(super) const UNEXPECTED: Fault = Fault {
    code: HTTP_STATUS,
    what: "the answer is not what was expected",
    may_pass: false,
    of_proxy: false,
    hints: &["Is the URL that of the right service and version? curl -v <URL>"],
};

/// A limit of the program's own.
pub(super) const TOO_LONG: Fault = Fault {
    hints: &[
        "Is the URL that of the right service and version? curl -v <URL>",
        "For its developers: what may be read is said where the program reads it",
    ],
    ..UNEXPECTED
};

const ANOTHER_WAY: &str = "Can it be reached without? NO_PROXY=<HOST>";
pub(super) const DOWN: Fault = Fault {
    what: "no connection to the proxy",
    hints: &["Is the proxy in <VARIABLE> right, and running? curl -v <URL>", ANOTHER_WAY],
    of_proxy: true,
    ..UNREACHABLE
};
pub(super) const NO_SUCH_NAME: Fault = Fault {
    what: "the proxy's name cannot be resolved",
    hints: &["Is the name in <VARIABLE> right? getent hosts <PROXYHOST>", ANOTHER_WAY],
    of_proxy: true,
    ..DNS
};
pub(super) const NO_TUNNEL: Fault = Fault {
    what: "the proxy opens no way to it",
    hints: &[
        "Hear what the proxy in <VARIABLE> says: curl -v <URL>",
        "Look into the log of the proxy",
        ANOTHER_WAY,
    ],
    of_proxy: true,
    ..UNREACHABLE
};
pub(super) const PROXY_SILENT: Fault =
    Fault { what: "no answer from the proxy in time", hints: DOWN.hints, of_proxy: true, ..SILENT };

/// What went wrong with a request that has no status.
pub(super) fn fault_of(error: &reqwest::Error) -> &'static Fault {
    // The innermost is what the system said; those around it are of whoever passed it on.
    let io = causes(error).filter_map(as_error::<io::Error>).last().map(io::Error::kind);
    let hyper = find::<hyper::Error>(error);
    if error.is_dns() {
        &DNS
    } else if let Some(tls) = find::<TlsError>(error) {
        of_tls(tls)
    } else if error.is_redirect() {
        find::<Astray>(error).map_or(&ASTRAY, of_redirects)
    } else if error.is_builder() {
        &UNUSABLE
    } else if error.is_timeout() {
        if error.is_connect() { &NOT_CONNECTED_IN_TIME } else { &SILENT }
    } else if error.is_connect() {
        // Who is not there refuses; who is there and hangs up has accepted before.
        let hung_up = matches!(io, Some(Io::UnexpectedEof | Io::ConnectionReset | Io::BrokenPipe));
        if hung_up { &CLOSED_BEFORE_TLS } else { &UNREACHABLE }
    } else if find::<serde_json::Error>(error).is_some() {
        &UNEXPECTED
    } else if error.is_body() || error.is_decode() {
        &BROKEN_OFF
    } else if hyper.is_some_and(hyper::Error::is_parse_too_large) {
        &LONG_HEAD
    } else if hyper.is_some_and(hyper::Error::is_parse) {
        &NOT_HTTP
    } else if hyper.is_some_and(hyper::Error::is_incomplete_message) || io == Some(Io::UnexpectedEof) {
        &CLOSED
    } else if matches!(io, Some(Io::ConnectionReset | Io::BrokenPipe)) {
        &RESET
    } else {
        &BROKEN_OFF
    }
}

fn of_redirects(why: &Astray) -> &'static Fault {
    match why {
        Astray::Circle => &IN_A_CIRCLE,
        Astray::Downgrade => &DOWNGRADED,
        Astray::Elsewhere(_) => &ELSEWHERE,
        Astray::TooMany(_) | Astray::OtherScheme => &ASTRAY,
    }
}

fn of_tls(error: &TlsError) -> &'static Fault {
    use CertificateError as C;
    // The first byte is not that of a record of TLS (RFC 8446, section 5.1).
    if matches!(error, TlsError::InvalidMessage(_)) {
        return &PLAIN;
    } else if matches!(error, TlsError::AlertReceived(Alert::CertificateRequired)) {
        return &WANTS_CERTIFICATE;
    }
    let TlsError::InvalidCertificate(why) = error else { return &NO_TLS };
    if matches!(why, C::Expired | C::ExpiredContext { .. }) {
        &EXPIRED
    } else if matches!(why, C::NotValidYet | C::NotValidYetContext { .. }) {
        &NOT_YET_VALID
    } else if matches!(why, C::NotValidForName | C::NotValidForNameContext { .. }) {
        &WRONG_NAME
    } else if matches!(why, C::UnknownIssuer | C::BadSignature) {
        // A bad signature is what an authority gives that was made anew under its old name.
        &UNKNOWN_AUTHORITY
    } else {
        &BAD_CERTIFICATE
    }
}

/// The first error of type `E` among the causes.
pub(super) fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    causes(error).find_map(as_error)
}
