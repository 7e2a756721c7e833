//! Waiting for the upstream, and saying what is wrong with it.

use std::{error::Error, io, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use reqwest::{Client, StatusCode, Url};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    codes::{FailureCode, HTTP_CONNECT, HTTP_DNS, HTTP_STATUS, HTTP_TLS},
    contract::context::StageContext,
    error::{BoxError, ErrorKind, StageError, StageResult},
    settings::HttpUrl,
    stages::in_flight::soft_deadline,
};

/// The URL that the start waits for, and for how long it is tried again.
pub(super) struct Probe {
    url: Url,
    /// Scheme, host and port: all of the URL that may be shown.
    target: String,
    budget: Duration,
}

/// One attempt that failed.
struct Failure {
    code: FailureCode,
    what: &'static str,
    cause: Option<BoxError>,
    may_pass: bool,
}

/// What the operator reads first.
#[derive(Debug, thiserror::Error)]
#[error("{target}: {what}")]
struct Unanswered {
    target: String,
    what: &'static str,
    source: Option<BoxError>,
}

impl Probe {
    pub(super) fn of(url: &str, budget: Duration) -> StageResult<Self> {
        let checked: HttpUrl = url.parse().map_err(unusable)?;
        let url = Url::parse(url).map_err(unusable)?;
        Ok(Self { url, target: checked.to_string(), budget })
    }

    /// Returns once the upstream has answered without an error.
    pub(super) async fn until_answered(&self, client: &Client, cx: &StageContext) -> StageResult<()> {
        let began = Instant::now();
        // The stage's own time-out would hide what is wrong with the upstream, so this ends before it.
        let end = soft_deadline(cx.deadline());
        let mut delays = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(5))
            .without_max_times()
            .with_jitter()
            .build();
        let mut tries = 0_u32;
        let mut last = None;
        loop {
            tries += 1;
            cx.step(format!("ask {}, attempt {tries}", self.target));
            let failure = match timeout_at(end, self.ask(client)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(failure)) => failure,
                // An attempt that had no time of its own says less than the one before it.
                Err(_) => last.unwrap_or(Failure::silence()),
            };
            let resume = Instant::now() + delays.next().unwrap_or_default();
            if !failure.may_pass || resume >= end.min(began + self.budget) {
                return Err(self.failed(failure, tries, began.elapsed()));
            }
            last = Some(failure);
            sleep(resume - Instant::now()).await;
        }
    }

    async fn ask(&self, client: &Client) -> Result<(), Failure> {
        let answer = client.get(self.url.clone()).send().await.map_err(Failure::of)?;
        let status = answer.status();
        if status.is_client_error() || status.is_server_error() {
            return Err(Failure::status(status));
        }
        Ok(())
    }

    fn failed(&self, failure: Failure, tries: u32, elapsed: Duration) -> StageError {
        let Failure { code, what, cause, may_pass } = failure;
        let unanswered = Unanswered { target: self.target.clone(), what, source: cause };
        let mut error = StageError::new(code, unanswered)
            .fact("target", self.target.clone())
            .fact("tries", format!("{tries} in {:.1} s", elapsed.as_secs_f64()));
        for (_, hint) in HINTS.iter().filter(|(each, _)| *each == code) {
            error = error.hint(*hint);
        }
        if may_pass { error } else { error.fatal() }
    }
}

const HINTS: [(FailureCode, &str); 5] = [
    (HTTP_DNS, "check the spelling of the host in the probe's URL"),
    (HTTP_DNS, "if it is another service's name: both must share a network, and it must be running"),
    (HTTP_CONNECT, "see whether the upstream runs and listens on this port"),
    (HTTP_TLS, "check the upstream's certificate; a private authority is not among the roots known here"),
    (HTTP_STATUS, "read the upstream's own log"),
];

impl Failure {
    fn of(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let (code, what, may_pass) = if error.is_dns() {
            (HTTP_DNS, "the name cannot be resolved", true)
        } else if has_tls_error(&error) {
            (HTTP_TLS, "no agreement on TLS", false)
        } else if error.is_redirect() {
            (HTTP_STATUS, "it redirects without end", false)
        } else if error.is_timeout() {
            (HTTP_CONNECT, "no answer in time", true)
        } else if error.is_connect() {
            (HTTP_CONNECT, "no connection", true)
        } else {
            (HTTP_STATUS, "the answer is not HTTP", true)
        };
        Self { code, what, cause: Some(error.into()), may_pass }
    }

    fn status(status: StatusCode) -> Self {
        let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        let may_pass = status.is_server_error() || passing.contains(&status);
        Self {
            code: HTTP_STATUS,
            what: "it answers with an error",
            cause: Some(status.to_string().into()),
            may_pass,
        }
    }

    fn silence() -> Self {
        Self { code: HTTP_CONNECT, what: "no answer in time", cause: None, may_pass: true }
    }
}

/// Whether rustls is somewhere among the causes. It travels inside of `io::Error`s, whose `source` is not
/// what they hold but the source of that.
fn has_tls_error(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<rustls::Error>() {
            return true;
        }
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = held.map(|held| held as &(dyn Error + 'static)).or_else(|| error.source());
    }
    false
}

/// Neither error shows the text that it is about.
fn unusable(error: impl Error) -> StageError {
    StageError::from(format!("the probe's address is not usable: {error}")).kind(ErrorKind::Config)
}
