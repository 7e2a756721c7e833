//! An HTTP client as a stage: one connection pool and one set of root certificates for the whole service.
//!
//! Loading the platform's certificate store takes milliseconds and is paid by every client that is
//! built; the roots that are compiled in take microseconds. So the service shares this client.

mod body;
mod client;
mod failure;
mod fault;
mod no_proxy;
mod probe;
mod proxies;
mod redirects;
mod tls;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

/// The crate whose client [`HttpClient`] lends, so that applications use the same version of it.
pub use reqwest;
use tokio::task::spawn_blocking;

pub use self::{
    body::{json_limited, read_limited},
    client::HttpClient,
    failure::{HttpError, HttpFailure},
};
use self::{probe::Probe, proxies::Proxies};
use crate::{
    codes::STARTUP_INTERRUPTED,
    contract::{
        context::{StageContext, StopContext},
        stage::Stage,
    },
    error::{ErrorKind, StageError, StageResult},
    settings::{Env, HttpUrl},
};

/// One HTTP client that the whole service shares; the stage's output is an [`HttpClient`].
///
/// With a [`probe`](Self::probe), the stage is up once the upstream has answered. Without one, it touches no
/// network. It has no health check of its own: a service that works is not restarted because somebody else's
/// does not.
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
///   for the single request. How long an answer may be is said by whoever reads it: [`read_limited`].
/// - At most five redirects are followed, none in a circle, none from https to http, none to another host or port unless
///   [allowed](Self::redirects_anywhere), and none is told where the request came from.
/// - Certificates are checked against Mozilla's roots as compiled in (`webpki-roots`) and the authorities in
///   `<P>_HTTP_CA_FILE`, not the system's. There is no switch that turns the check off.
/// - A proxy is used where one is named, here or in the environment, and nowhere else.
/// - No error, report or log line shows a URL beyond its scheme, host and port.
///
/// # Failure codes
/// `http.dns`, `http.connect` (also no answer, or not in time), `http.tls`, `http.status` (also an answer that is not
/// HTTP, and redirects that lead nowhere).
#[derive(Clone)]
pub struct HttpSession {
    name: &'static str,
    /// Of the environment's variables, for advice.
    prefix: Option<String>,
    user_agent: String,
    connect_timeout: Duration,
    read_timeout: Duration,
    timeout: Duration,
    idle_per_host: usize,
    idle_timeout: Duration,
    redirects: usize,
    anywhere: bool,
    proxies: Proxies,
    ca_file: Option<PathBuf>,
    /// As given; it may hold a password or a token.
    probe: Option<String>,
    required: bool,
    retry_budget: Duration,
}

impl HttpSession {
    /// A client with the limits above, as a stage named `http-session`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            name: "http-session",
            prefix: None,
            user_agent: concat!("solostart/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(3),
            read_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            idle_per_host: 8,
            idle_timeout: Duration::from_secs(90),
            redirects: 5,
            anywhere: false,
            proxies: Proxies::default(),
            ca_file: None,
            probe: None,
            required: true,
            retry_budget: Duration::from_secs(60),
        }
    }

    /// The same with what the environment says: `<P>_HTTP_PROBE_URL`, `<P>_HTTP_REQUIRED`,
    /// `<P>_HTTP_RETRY_BUDGET`, `<P>_HTTP_CONNECT_TIMEOUT`, `<P>_HTTP_TIMEOUT`, `<P>_HTTP_CA_FILE`,
    /// `<P>_HTTP_REDIRECTS`, `<P>_HTTP_PROXY`.
    ///
    /// Without the last, `HTTP_PROXY` and `HTTPS_PROXY` count as for other programs, in capitals or small
    /// letters; `NO_PROXY` always does, as curl and Go read it (`docs/configuration.md`). `ALL_PROXY` and SOCKS are not supported, nor is `SSL_CERT_FILE`, which
    /// replaces what is trusted instead of adding to it.
    #[must_use]
    pub fn from_env(env: &Env) -> Self {
        let defaults = Self::new();
        let limits = Duration::from_millis(1)..=Duration::from_hours(24);
        let probe = env
            .var("HTTP_PROBE_URL")
            .describe("What must be answered before the service is ready. Not set: nothing is asked.")
            .example("https://api.example.com/health")
            .url()
            .optional();
        let required = env
            .var("HTTP_REQUIRED")
            .describe(
                "Whether the service needs that answer. If not, it is asked for once, and starts degraded.",
            )
            .boolean()
            .default(defaults.required);
        let connect_timeout = env
            .var("HTTP_CONNECT_TIMEOUT")
            .describe("How long connecting may take, name resolution and TLS included.")
            .example("1s")
            .duration()
            .within(limits.clone())
            .default(defaults.connect_timeout);
        let timeout = env
            .var("HTTP_TIMEOUT")
            .describe("How long one HTTP request may take.")
            .example("10s")
            .duration()
            .within(limits)
            .default(defaults.timeout);
        let retry_budget = env
            .var("HTTP_RETRY_BUDGET")
            .describe("How long the probe is tried again.")
            .example("5m")
            .duration()
            .default(defaults.retry_budget);
        let ca_file = env
            .var("HTTP_CA_FILE")
            .describe("A PEM file of certificate authorities that are trusted beside the public ones.")
            .example("/etc/ssl/private-ca.pem")
            .path()
            .optional();
        let anywhere = env
            .var("HTTP_REDIRECTS")
            .describe("Which redirects are followed: to the same host and port (https may be added), or any.")
            .choice([("same-host", false), ("any", true)])
            .default(defaults.anywhere);
        Self {
            prefix: Some(env.prefix().to_owned()),
            probe: probe.map(|url| url.expose().to_owned()),
            required,
            connect_timeout,
            timeout,
            // An operator who asks for more patience means a slow answer, too.
            read_timeout: timeout,
            retry_budget,
            ca_file,
            anywhere,
            proxies: Proxies::from_env(env),
            ..defaults
        }
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

    /// How long such a connection is kept; 90 s unless said otherwise.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// How many redirects of one request are followed; five unless said otherwise. With zero, the redirect
    /// itself is the answer.
    #[must_use]
    pub fn redirects(mut self, most: usize) -> Self {
        self.redirects = most;
        self
    }

    /// Follows redirects to other hosts and ports, too. Unless this is said, whoever answers cannot send the service
    /// elsewhere: such a redirect fails with `http.status`.
    #[must_use]
    pub fn redirects_anywhere(mut self, allowed: bool) -> Self {
        self.anywhere = allowed;
        self
    }

    /// Sends every request through this proxy. Replaces what the environment says.
    #[must_use]
    pub fn proxy(mut self, url: HttpUrl) -> Self {
        self.proxies = Proxies::all(url);
        self
    }

    /// Trusts the certificate authorities in this PEM file beside the public ones. It is read at the start; if
    /// it cannot be used, the start fails with `http.ca-file`.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
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

    /// Whether the service can do without the probed upstream: then it is asked once, and where it does not
    /// answer as it should, the stage is up all the same and [degraded](StageContext::degraded).
    ///
    /// A stage that is added as optional is something else: there, the client is missing too.
    #[must_use]
    pub fn probe_required(mut self, required: bool) -> Self {
        self.required = required;
        self
    }

    fn client(&self) -> StageResult<reqwest::Client> {
        Ok(reqwest::Client::builder()
            // Found in the environment by us, or not at all.
            .no_proxy()
            .proxy(self.proxies.build()?)
            .tls_backend_preconfigured(tls::config(self.ca_file.as_deref())?)
            .user_agent(&self.user_agent)
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.read_timeout)
            .timeout(self.timeout)
            .pool_max_idle_per_host(self.idle_per_host)
            .pool_idle_timeout(self.idle_timeout)
            .redirect(redirects::policy(self.redirects, self.anywhere))
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

    /// Builds the client as the start does, and asks nobody.
    fn check(&self) -> StageResult<()> {
        self.client()?;
        self.probe.as_deref().map_or(Ok(()), |url| Probe::of(self, url).map(drop))
    }

    async fn start(&self, cx: StageContext, (): ()) -> StageResult<HttpClient> {
        cx.step("build the client");
        // Reading certificates takes time and, where a file is read, the disk; meanwhile others start.
        let settings = self.clone();
        let client = spawn_blocking(move || settings.client()).await??;
        if let Some(url) = &self.probe {
            let probe = Probe::of(self, url)?;
            let answered = tokio::select! {
                answered = probe.until_answered(&client, &cx) => answered,
                () = cx.cancelled() => {
                    return Err(StageError::new(STARTUP_INTERRUPTED, "stopped while the upstream did not answer"));
                }
            };
            match answered {
                Err(error) if !self.required => cx.degraded(error.to_string()),
                answered => answered?,
            }
        }
        Ok(HttpClient::new(client, self.proxies.clone()))
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
