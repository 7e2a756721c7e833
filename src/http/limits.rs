//! What clients may hold.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};

/// Descriptors that are left for everything but connections.
const OTHER_DESCRIPTORS: u64 = 64;

/// How many connections there may be at most where nothing else is said.
const CONNECTIONS: usize = 4096;

/// The least that hyper takes as the size of a buffer.
const LEAST_HEAD: usize = 8 * 1024;

/// What the clients of [`serve_http`](crate::ServeContext::serve_http) may hold, together and each.
///
/// Memory: a connection holds at most `head_size` twice and about 20 KiB more, beside what the application makes of its
/// request and the answer that it has not sent. With the defaults that is 52 KiB for each of 4,096 connections, 208 MiB
/// where all of them send the longest head that is taken; one that is idle holds about 10 KiB.
///
/// ```
/// use std::time::Duration;
/// use solostart::HttpLimits;
///
/// let limits = HttpLimits::default().connections(500).head_timeout(Duration::from_secs(3));
/// ```
#[derive(Clone, Debug)]
pub struct HttpLimits {
    pub(super) connections: usize,
    pub(super) head_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) head_size: usize,
    pub(super) headers: usize,
}

impl Default for HttpLimits {
    /// As many connections as the process may have descriptors, less 64, but at most 4,096; 10 s for the head of a
    /// request, 60 s for a client that says and takes nothing; heads of 16 KiB and 64 fields.
    fn default() -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let connections =
            usize::try_from(descriptors.saturating_sub(OTHER_DESCRIPTORS)).unwrap_or(usize::MAX);
        Self {
            connections: connections.clamp(1, CONNECTIONS),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            head_size: 16 * 1024,
            headers: 64,
        }
    }
}

impl HttpLimits {
    /// How many connections there may be at once; at least one.
    #[must_use]
    pub fn connections(self, most: usize) -> Self {
        Self { connections: most.max(1), ..self }
    }

    /// How long a client may take to send the head of its request: from the connection on, or from the first byte of a
    /// further request.
    #[must_use]
    pub fn head_timeout(self, limit: Duration) -> Self {
        Self { head_timeout: limit, ..self }
    }

    /// How long a client may say and take nothing while it is its turn: between two requests, within a body, or while
    /// an answer waits to be read.
    #[must_use]
    pub fn idle_timeout(self, limit: Duration) -> Self {
        Self { idle_timeout: limit, ..self }
    }

    /// How many bytes the head of a request may have: at least 8 KiB. A longer one is answered with 431 (RFC 6585).
    #[must_use]
    pub fn head_size(self, bytes: usize) -> Self {
        Self { head_size: bytes.max(LEAST_HEAD), ..self }
    }

    /// How many fields the head of a request may have.
    #[must_use]
    pub fn headers(self, most: usize) -> Self {
        Self { headers: most, ..self }
    }
}
