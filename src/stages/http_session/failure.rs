//! What goes wrong with a request: as applications see it, and as operators see it.

use std::{error::Error, fmt};

use reqwest::{StatusCode, Url};

use super::{
    fault::{FAILING, Fault, REFUSED, SILENT, SPEAKS_TLS, TOO_LONG, UNEXPECTED, fault_of, find},
    proxies::Road,
};
use crate::{
    codes::FailureCode,
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

impl HttpFailure {
    pub(super) fn of(error: reqwest::Error) -> Self {
        let target = error.url().map(shown);
        let error = error.without_url();
        if let Some(status) = error.status() {
            return Self::status(status, target);
        }
        let fault = fault_of(&error);
        // The parser's message quotes the answer.
        let source = find::<serde_json::Error>(&error).is_none().then(|| error.into());
        Self { fault, target, status: None, source, road: None }
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

    /// `http.dns`, `http.connect` (also no answer, or not in time), `http.tls` or `http.status` (also an answer that is
    /// not HTTP); `stage.failed` where the request could not be sent as it is.
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
            Self::TooLarge { .. } => (&TOO_LONG, None, None),
            Self::NotJson { .. } => (&UNEXPECTED, None, None),
            Self::Failed(failure) => (failure.fault, failure.target.as_deref(), failure.road.clone()),
        };
        let target = target.and_then(|target| Url::parse(target).ok());
        let mut error = StageError::new(fault.code, self);
        let is_encrypted = target.as_ref().is_some_and(|target| target.scheme() == "https");
        for hint in fault.hints.iter().filter(|hint| !(is_encrypted && **hint == SPEAKS_TLS)) {
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
            Some(_) if self.fault.of_proxy => self.write_blame(f),
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
