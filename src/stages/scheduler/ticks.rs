//! Jobs that are started from outside: `POST /tick/<job>`, in whatever serves HTTP.

use std::{fmt, sync::Arc};

use subtle::ConstantTimeEq;

use super::job::{Job, Triggered};
use crate::settings::Secret;

/// The answer to a request for a tick.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum TickAnswer {
    /// 202: a run of the job has begun. How it ends is told by the service's events.
    Begun,
    /// 401: the secret is missing or wrong.
    Unauthorized,
    /// 404: there is no such job, or no such endpoint.
    NotFound,
    /// 405: a tick changes something, so it is a `POST`.
    MethodNotAllowed,
    /// 409: the run before is not over. This one is skipped and counted.
    Running,
    /// 503: the service stops, or is not the only worker any more.
    Unavailable,
}

impl TickAnswer {
    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Begun => 202,
            Self::Unauthorized => 401,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Running => 409,
            Self::Unavailable => 503,
        }
    }

    /// The HTTP body: one line for whoever reads the log of the caller.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Begun => "begun\n",
            Self::Unauthorized => "unauthorized\n",
            Self::NotFound => "not found\n",
            Self::MethodNotAllowed => "use POST\n",
            Self::Running => "still running\n",
            Self::Unavailable => "stopping\n",
        }
    }
}

/// Starts jobs for whoever proves to be allowed to. Made by
/// [`JobScheduler::ticks`](super::JobScheduler::ticks). Clones are the same.
///
/// It knows nothing of any web framework: hand it the parts of a request, and answer what it says.
/// With the feature `http-routes`, `Ticks::router` does that for axum.
///
/// A cron on another machine then needs one line, and `curl` exits with 22 where the job did not begin:
///
/// ```sh
/// curl -fsS -X POST -H "Authorization: Bearer $TICK_SECRET" https://shop.example/tick/nightly-report
/// ```
///
/// # Guarantees
/// - Unless `<P>_SCHEDULER` is `external` and `<P>_TICK_SECRET` is set, every request is answered 404, as if there
///   were no such endpoint.
/// - The secret is compared in a time that does not depend on what it has in common with what was sent; only
///   its length shows. Neither of them is ever logged.
/// - A caller who does not know the secret cannot find out which jobs there are.
#[derive(Clone)]
pub struct Ticks(Option<Arc<Endpoint>>);

struct Endpoint {
    secret: Secret,
    jobs: Vec<Arc<Job>>,
}

impl Ticks {
    pub(super) fn new(secret: Option<&Secret>, jobs: &[Arc<Job>]) -> Self {
        Self(secret.map(|secret| Arc::new(Endpoint { secret: secret.clone(), jobs: jobs.to_vec() })))
    }

    /// Whether there is an endpoint at all.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Answers a request: its method, its path without the query, and its `Authorization` header, which must be
    /// `Bearer` and the secret. It never waits: a run that begins goes on when the caller is gone.
    #[must_use]
    pub fn handle(&self, method: &str, path: &str, authorization: Option<&[u8]>) -> TickAnswer {
        let name = path.strip_prefix("/tick/").filter(|name| !name.is_empty() && !name.contains('/'));
        let (Some(endpoint), Some(name)) = (&self.0, name) else { return TickAnswer::NotFound };
        if method != "POST" {
            return TickAnswer::MethodNotAllowed;
        }
        if !authorization.is_some_and(|header| endpoint.admits(header)) {
            return TickAnswer::Unauthorized;
        }
        let Some(job) = endpoint.jobs.iter().find(|job| job.name() == name) else {
            return TickAnswer::NotFound;
        };
        match job.tick() {
            Triggered::Begun => TickAnswer::Begun,
            Triggered::Running => TickAnswer::Running,
            Triggered::Over => TickAnswer::Unavailable,
        }
    }
}

impl Endpoint {
    /// Whether the header holds the secret (RFC 6750, section 2.1; RFC 9110, section 11.1: the scheme's case
    /// does not matter).
    fn admits(&self, header: &[u8]) -> bool {
        let Some((scheme, token)) = header.split_at_checked("Bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"Bearer ") && token.ct_eq(self.secret.expose().as_bytes()).into()
    }
}

impl fmt::Debug for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticks").field("open", &self.is_open()).finish()
    }
}
