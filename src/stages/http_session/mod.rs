//! An HTTP client as a stage: one connection pool and one set of root certificates for the whole service.
//!
//! Loading the platform's certificate store takes milliseconds and is paid by every client that is
//! built; the roots that are compiled in take microseconds. So the service shares this client.

mod client;
mod probe;
mod tls;

use std::{fmt, sync::Arc, time::Duration};

/// The crate whose client [`HttpClient`] lends, so that applications use the same version of it.
pub use reqwest;
use reqwest::redirect::Policy;

pub use self::client::{HttpClient, HttpError};
use self::probe::Probe;
use crate::{
    codes::STARTUP_INTERRUPTED,
    contract::{
        context::{StageContext, StopContext},
        stage::Stage,
    },
    error::{ErrorKind, StageError, StageResult},
    settings::Env,
};

/// One HTTP client that the whole service shares; the stage's output is an [`HttpClient`].
///
/// With a [`probe`](Self::probe), the stage is up once the upstream has answered. Without one, it touches no
/// network.
///
/// ```
/// use std::time::Duration;
/// use solostart::stages::http_session::HttpSession;
///
/// let stage = HttpSession::new()
///     .user_agent("banboard/1.4")
///     .timeout(Duration::from_secs(10))
///     .probe("https://api.example.com/health");
/// ```
///
/// # Guarantees
/// - Every request has an end: 3 s to connect, 5 s without a byte, 5 s in all, unless said otherwise here or
///   for the single request.
/// - At most five redirects are followed, and none is told where the request came from.
/// - Certificates are checked against Mozilla's roots as compiled in (`webpki-roots`), not the system's.
/// - The proxies that `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` name are used.
/// - No error, report or log line shows a URL beyond its scheme, host and port.
///
/// # Failure codes
/// `http.dns`, `http.connect` (also no answer in time), `http.tls`, `http.status` (also an answer that is not
/// HTTP).
#[derive(Clone)]
pub struct HttpSession {
    name: &'static str,
    user_agent: String,
    connect_timeout: Duration,
    read_timeout: Duration,
    timeout: Duration,
    idle_per_host: usize,
    /// As given; it may hold a password or a token.
    probe: Option<String>,
    retry_budget: Duration,
}

impl HttpSession {
    /// A client with the limits above, as a stage named `http-session`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            name: "http-session",
            user_agent: concat!("solostart/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(3),
            read_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            idle_per_host: 8,
            probe: None,
            retry_budget: Duration::from_secs(60),
        }
    }

    /// The same with what the environment says: `<P>_HTTP_PROBE_URL`, `<P>_HTTP_TIMEOUT`,
    /// `<P>_HTTP_RETRY_BUDGET`.
    #[must_use]
    pub fn from_env(env: &Env) -> Self {
        let defaults = Self::new();
        let probe = env
            .var("HTTP_PROBE_URL")
            .describe("What must be answered before the service is ready. Not set: nothing is asked.")
            .example("https://api.example.com/health")
            .url()
            .optional();
        let timeout = env
            .var("HTTP_TIMEOUT")
            .describe("How long one HTTP request may take.")
            .example("10s")
            .duration()
            .within(Duration::from_millis(1)..=Duration::from_hours(24))
            .default(defaults.timeout);
        let retry_budget = env
            .var("HTTP_RETRY_BUDGET")
            .describe("How long the probe is tried again.")
            .example("5m")
            .duration()
            .default(defaults.retry_budget);
        let probe = probe.map(|url| url.expose().to_owned());
        // An operator who asks for more patience means a slow answer, too.
        Self { probe, timeout, read_timeout: timeout, retry_budget, ..defaults }
    }

    /// Names the stage, for a service with more than one client.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// What upstreams see as the caller's name.
    #[must_use]
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// The most that connecting may take, name resolution and TLS included.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The most that may pass without a byte while an answer is read.
    #[must_use]
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// The most that a whole request may take, its body included.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many idle connections to one host are kept for the next request.
    #[must_use]
    pub fn idle_per_host(mut self, connections: usize) -> Self {
        self.idle_per_host = connections;
        self
    }

    /// Makes the start wait until a `GET` of `url` is answered without an error.
    ///
    /// Failures that may pass (no name, no connection, no answer, status 408, 425, 429, 5xx) are tried again
    /// until the retry budget is spent. The others fail at once.
    #[must_use]
    pub fn probe(mut self, url: impl Into<String>) -> Self {
        self.probe = Some(url.into());
        self
    }

    /// How long a probe is tried again; 60 s unless said otherwise, and never longer than the stage's own
    /// time-out, so that the report says what is wrong with the upstream. Zero means one attempt.
    #[must_use]
    pub fn retry_budget(mut self, budget: Duration) -> Self {
        self.retry_budget = budget;
        self
    }

    fn client(&self) -> StageResult<reqwest::Client> {
        Ok(reqwest::Client::builder()
            .tls_backend_preconfigured(tls::config()?)
            .user_agent(&self.user_agent)
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.read_timeout)
            .timeout(self.timeout)
            .pool_max_idle_per_host(self.idle_per_host)
            .redirect(Policy::limited(5))
            // The default tells every redirect's target the URL before, query and all.
            .referer(false)
            .build()?)
    }
}

impl Default for HttpSession {
    fn default() -> Self {
        Self::new()
    }
}

impl Stage for HttpSession {
    type Needs = ();
    type Output = HttpClient;

    fn name(&self) -> &'static str {
        self.name
    }

    async fn start(&self, cx: StageContext, (): ()) -> StageResult<HttpClient> {
        cx.step("build the client");
        let client = self.client()?;
        if let Some(url) = &self.probe {
            let probe = Probe::of(url, self.retry_budget)?;
            tokio::select! {
                answered = probe.until_answered(&client, &cx) => answered?,
                () = cx.cancelled() => {
                    return Err(StageError::new(STARTUP_INTERRUPTED, "stopped while the upstream did not answer"));
                }
            }
        }
        Ok(HttpClient::new(client))
    }

    async fn stop(&self, client: Arc<HttpClient>, cx: StopContext) -> StageResult<()> {
        match client.stop(cx.deadline()).await {
            0 => Ok(()),
            cut => Err(StageError::from(format!("{cut} requests were cut off: the time to stop was over"))
                .kind(ErrorKind::Temporary)),
        }
    }
}

impl fmt::Debug for HttpSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSession")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .field("probe", &self.probe.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
