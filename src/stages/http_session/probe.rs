//! Waiting for the upstream, and saying what is wrong with it.

use std::{error::Error, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use reqwest::{Client, Url};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    HttpSession,
    failure::{HttpError, HttpFailure},
};
use crate::{
    contract::context::StageContext,
    error::{ErrorKind, StageError, StageResult},
    settings::HttpUrl,
    stages::in_flight::soft_deadline,
};

/// The URL that the start waits for, and for how long it is tried again.
pub(super) struct Probe<'s> {
    session: &'s HttpSession,
    url: Url,
    /// Prints as scheme, host and port: all of the URL that may be shown.
    target: HttpUrl,
}

impl<'s> Probe<'s> {
    pub(super) fn of(session: &'s HttpSession, url: &str) -> StageResult<Self> {
        let target = url.parse().map_err(unusable)?;
        let url = Url::parse(url).map_err(unusable)?;
        Ok(Self { session, url, target })
    }

    /// Returns once the upstream has answered without an error.
    pub(super) async fn until_answered(&self, client: &Client, cx: &StageContext) -> StageResult<()> {
        let began = Instant::now();
        // The stage's own time-out would hide what is wrong with the upstream, so this ends before it.
        let end = soft_deadline(cx.deadline());
        // Who can do without the upstream does not wait for it.
        let budget = if self.session.required { self.session.retry_budget } else { Duration::ZERO };
        let patience = began.checked_add(budget).map_or(end, |until| until.min(end));
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
                Err(_) => last.unwrap_or_else(|| self.judged(HttpFailure::silence(self.target.to_string()))),
            };
            let resume = Instant::now() + delays.next().unwrap_or_default();
            if !failure.may_pass() || resume >= patience {
                return Err(self.failed(failure, tries, began.elapsed()));
            }
            last = Some(failure);
            sleep(resume - Instant::now()).await;
        }
    }

    async fn ask(&self, client: &Client) -> Result<(), HttpFailure> {
        // The body is not read, however long it is: the connection is closed with it.
        let answer =
            client.get(self.url.clone()).send().await.map_err(|error| self.judged(HttpFailure::of(error)))?;
        let status = answer.status();
        if status.is_client_error() || status.is_server_error() {
            return Err(self.judged(HttpFailure::status(status, Some(self.target.to_string()))));
        }
        Ok(())
    }

    fn judged(&self, failure: HttpFailure) -> HttpFailure {
        failure.on_its_way(&self.session.proxies)
    }

    fn failed(&self, failure: HttpFailure, tries: u32, elapsed: Duration) -> StageError {
        let prefix = &self.session.prefix;
        let proxy = failure.proxy().map(|through| match &through.variable {
            Some(variable) => format!("{}, from {variable}", through.url),
            None => through.url.to_string(),
        });
        let error = HttpError::Failed(failure)
            .for_operator_of(prefix.as_deref().unwrap_or("<P>"))
            .fact("target", self.target.to_string())
            .fact("tries", format!("{tries} in {:.1} s", elapsed.as_secs_f64()));
        match proxy {
            Some(proxy) => error.fact("proxy", proxy),
            None => error,
        }
    }
}

/// Neither error shows the text that it is about.
fn unusable(error: impl Error) -> StageError {
    StageError::from(format!("the probe's address is not usable: {error}")).kind(ErrorKind::Config)
}
