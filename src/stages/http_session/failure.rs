//! What goes wrong with a request: as applications see it, and as operators see it.

use std::{error::Error, fmt, io};

use reqwest::{StatusCode, Url};
use rustls::{CertificateError, Error as TlsError};

use super::{proxies::Road, redirects};
use crate::{
    codes::{FailureCode, HTTP_CONNECT, HTTP_DNS, HTTP_STATUS, HTTP_TLS},
    error::{BoxError, StageError},
};

mod proxied;

/// Why a request has no answer that can be used.
///
/// `?` turns every `reqwest::Error` into it, and drops the URL, which may hold a token: only scheme, host and
/// port are kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The stage is stopped; the request was not sent.
    #[error("the HTTP client is stopped")]
    Stopped,
    /// The stage had no time left to wait for the answer. The request may have been sent.
    #[error("the request was cut off because the service stops")]
    CutOff,
    /// The body is longer than the caller allows. What was read of it is dropped.
    #[error("the answer is longer than {limit} bytes")]
    TooLarge {
        /// What is allowed, in bytes.
        limit: usize,
    },
    /// The body is not JSON, or not of the form that was expected. The text itself may be a secret or an
    /// attack, so only the place is told.
    #[error("the answer is not the JSON that was expected, at line {line}, column {column}")]
    NotJson {
        /// From 1.
        line: usize,
        /// In bytes, from 1.
        column: usize,
    },
    /// The upstream could not be asked, or answered with an error.
    #[error(transparent)]
    Failed(#[from] HttpFailure),
}

/// A request that failed on its way, and where it was going.
pub struct HttpFailure {
    fault: &'static Fault,
    /// Scheme, host and port: all of the URL that may be shown.
    target: Option<String>,
    status: Option<StatusCode>,
    source: Option<BoxError>,
    /// The way that the request went, where that is known.
    road: Option<Road>,
}

/// One way to fail. There is a table of them, so that codes, words and advice stand side by side.
struct Fault {
    code: FailureCode,
    what: &'static str,
    /// Whether the same request can succeed later without anybody changing anything.
    may_pass: bool,
    hints: &'static [&'static str],
}

const DNS: Fault = Fault {
    code: HTTP_DNS,
    what: "the name cannot be resolved",
    may_pass: true,
    hints: &[
        "Is the name right? See whether it resolves here: getent hosts <HOST>",
        "Another service's name? It must be running, and containers of both must share a network",
    ],
};
const UNREACHABLE: Fault = Fault {
    code: HTTP_CONNECT,
    what: "no connection",
    may_pass: true,
    hints: &[
        "See whether anything answers there: curl -v <URL>",
        "Is it running, and listening on that port, on an address that this host reaches?",
    ],
};
const SILENT: Fault = Fault { what: "no answer in time", ..UNREACHABLE };
const BROKEN_OFF: Fault = Fault {
    what: "the connection broke off",
    hints: &[
        "Ask it yourself: curl -v <URL>",
        "Look into the log of the upstream, and of a proxy in between",
    ],
    ..UNREACHABLE
};
const LOOK_AT_IT: &str = "Look at it: openssl s_client -connect <HOST>:<PORT> -servername <HOST> </dev/null";
const NO_TLS: Fault = Fault {
    code: HTTP_TLS,
    what: "no agreement on TLS",
    may_pass: false,
    hints: &[
        "See whether that port speaks TLS: openssl s_client -connect <HOST>:<PORT> </dev/null",
        "If it does not, the URL begins with http://",
    ],
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
    hints: &["See where it leads: curl -vL <URL>", "Write the URL that it should end at"],
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
    hints: &["Is the port that of a web service? curl -v <URL>"],
};
const REFUSED: Fault = Fault {
    code: HTTP_STATUS,
    what: "it answers with an error",
    may_pass: false,
    hints: &["Ask it yourself, with the whole URL: curl -v <URL>", "Look into the log of the upstream"],
};
const FAILING: Fault = Fault { may_pass: true, ..REFUSED };
const UNEXPECTED: Fault = Fault {
    code: HTTP_STATUS,
    what: "the answer is not what was expected",
    may_pass: false,
    hints: &["Is the URL that of the right service and version? curl -v <URL>"],
};

impl HttpFailure {
    pub(super) fn of(error: reqwest::Error) -> Self {
        let target = error.url().map(shown);
        let error = error.without_url();
        if let Some(status) = error.status() {
            return Self::status(status, target);
        }
        let fault = if error.is_dns() {
            &DNS
        } else if let Some(tls) = find::<TlsError>(&error) {
            tls_fault(tls)
        } else if error.is_redirect() {
            if redirects::leads_elsewhere(&error) { &ELSEWHERE } else { &ASTRAY }
        } else if error.is_timeout() {
            &SILENT
        } else if error.is_connect() {
            &UNREACHABLE
        } else if find::<serde_json::Error>(&error).is_some() {
            // The parser's message quotes the answer.
            return Self { fault: &UNEXPECTED, target, status: None, source: None, road: None };
        } else if error.is_body() || error.is_decode() || find::<io::Error>(&error).is_some() {
            &BROKEN_OFF
        } else {
            &NOT_HTTP
        };
        Self { fault, target, status: None, source: Some(error.into()), road: None }
    }

    pub(super) fn status(status: StatusCode, target: Option<String>) -> Self {
        let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        let may_pass = status.is_server_error() || passing.contains(&status);
        let fault = if may_pass { &FAILING } else { &REFUSED };
        Self { fault, target, status: Some(status), source: Some(status.to_string().into()), road: None }
    }

    pub(super) fn silence(target: String) -> Self {
        Self { fault: &SILENT, target: Some(target), status: None, source: None, road: None }
    }

    /// `http.dns`, `http.connect` (also no answer in time), `http.tls` or `http.status` (also an answer that is
    /// not HTTP).
    #[must_use]
    pub fn failure_code(&self) -> FailureCode {
        self.fault.code
    }

    /// Whether the same request can succeed later without anybody changing anything. Whether it may be sent
    /// twice is for the caller to know.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.fault.may_pass
    }

    /// The status that the upstream answered with, where it answered.
    #[must_use]
    pub fn status_code(&self) -> Option<StatusCode> {
        self.status
    }
}

impl HttpError {
    /// The same for a stage's hook, with its failure code and what the operator can do.
    ///
    /// ```
    /// use solostart::{StageResult, stages::http_session::{HttpClient, HttpError, read_limited}};
    ///
    /// async fn rules(http: &HttpClient) -> StageResult<Vec<u8>> {
    ///     let rules = http.request(async |client| {
    ///         let answer = client.get("https://api.example.com/rules").send().await?;
    ///         read_limited(answer.error_for_status()?, 1024 * 1024).await
    ///     });
    ///     rules.await.map_err(HttpError::into_stage_error)
    /// }
    /// ```
    #[must_use]
    pub fn into_stage_error(self) -> StageError {
        self.for_operator_of("<P>")
    }

    /// The same, with the prefix of the variables that the advice names.
    pub(super) fn for_operator_of(self, prefix: &str) -> StageError {
        let (fault, target, road) = match &self {
            Self::Stopped | Self::CutOff => return self.into(),
            Self::TooLarge { .. } | Self::NotJson { .. } => (&UNEXPECTED, None, None),
            Self::Failed(failure) => (failure.fault, failure.target.as_deref(), failure.road.clone()),
        };
        let target = target.and_then(|target| Url::parse(target).ok());
        let mut error = StageError::new(fault.code, self);
        for hint in fault.hints {
            let hint = proxied::by_road(hint, road.as_ref());
            error = error.hint(pasteable(&hint, target.as_ref()).replace("<P>", prefix));
        }
        if fault.may_pass { error } else { error.fatal() }
    }
}

impl From<reqwest::Error> for HttpError {
    fn from(error: reqwest::Error) -> Self {
        Self::Failed(HttpFailure::of(error))
    }
}

impl fmt::Display for HttpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Some(_) if self.blames_the_proxy() => self.write_blame(f),
            Some(target) => write!(f, "{target}: {}", self.fault.what),
            None => f.write_str(self.fault.what),
        }
    }
}

impl Error for HttpFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}

impl fmt::Debug for HttpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpFailure")
            .field("code", &self.fault.code.name)
            .field("what", &self.fault.what)
            .field("target", &self.target)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// A hint whose command asks the upstream that failed. The names of hosts are not trusted: what is pasted must be
/// one word.
fn pasteable(hint: &str, target: Option<&Url>) -> String {
    let Some(target) = target else { return hint.to_owned() };
    let word = |text: &str| shlex::try_quote(text).map(|word| word.into_owned()).unwrap_or_default();
    let port = target.port_or_known_default().map_or_else(String::new, |port| port.to_string());
    hint.replace("<URL>", &word(&shown(target)))
        .replace("<HOST>", &word(target.host_str().unwrap_or_default()))
        .replace("<PORT>", &port)
}

/// Scheme, host and port of a URL: user, password, path, query and fragment can all be secrets.
pub(super) fn shown(url: &Url) -> String {
    let port = url.port_or_known_default().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

fn tls_fault(error: &TlsError) -> &'static Fault {
    use CertificateError as C;
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

/// The first error of type `E` among the causes. Some travel inside of `io::Error`s, whose `source` is not
/// what they hold but the source of that.
pub(super) fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = held.map(|held| held as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}
