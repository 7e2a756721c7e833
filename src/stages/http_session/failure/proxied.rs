//! Failures of requests that went through a proxy: who is to blame, and the commands that go the same way.

use std::{borrow::Cow, fmt};

use reqwest::Url;
use rustls::Error as TlsError;

use super::HttpFailure;
use crate::stages::http_session::{
    fault::{DOWN, NO_SUCH_NAME, NO_TUNNEL, PROXY_SILENT, find},
    proxies::{Proxies, Road, Through},
};

impl HttpFailure {
    /// The same, once it is known through which of `proxies` the request went. The client connects to that one alone, so
    /// what kept it from connecting is the proxy's, or what the proxy says of the upstream.
    pub(in crate::stages::http_session) fn on_its_way(mut self, proxies: &Proxies) -> Self {
        let Some(target) = self.target.as_deref().and_then(|target| Url::parse(target).ok()) else {
            return self;
        };
        let road = proxies.road(&target);
        let error = self.source.as_ref().and_then(|source| source.downcast_ref::<reqwest::Error>());
        if let (Road::Proxy(_), Some(error)) = (&road, error.filter(|error| error.is_connect())) {
            // Within the tunnel, TLS is spoken with the upstream.
            self.fault = if find::<TlsError>(error).is_some() {
                self.fault
            } else if error.is_dns() {
                &NO_SUCH_NAME
            } else if error.is_timeout() {
                &PROXY_SILENT
            } else if find::<std::io::Error>(error).is_some() {
                &DOWN
            } else {
                &NO_TUNNEL
            };
        }
        self.road = Some(road);
        self
    }

    /// The proxy first: it is what the operator has to look at.
    pub(super) fn write_blame(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target.as_deref().unwrap_or_default();
        match &self.road {
            Some(Road::Proxy(through)) => write!(f, "{} for {target}: {}", through.url, self.fault.what),
            Some(Road::Direct(_)) | None => write!(f, "{target}: {}", self.fault.what),
        }
    }

    /// The proxy that the request went through.
    pub(in crate::stages::http_session) fn proxy(&self) -> Option<&Through> {
        match &self.road {
            Some(Road::Proxy(through)) => Some(through),
            Some(Road::Direct(_)) | None => None,
        }
    }
}

/// A hint whose command goes the way that the request went, whatever the shell's own variables say. The proxy's password
/// is left out.
pub(super) fn by_road<'h>(hint: &'h str, road: Option<&Road>) -> Cow<'h, str> {
    match road {
        Some(Road::Proxy(Through { url, variable })) => {
            // The parts of such a URL are letters, digits and `-_.:[]`: words that need no quotes, but for brackets.
            let quote = if url.host().contains(':') { "'" } else { "" };
            let address = url.to_string();
            let place = address.split_once("://").map_or("", |(_, place)| place);
            hint.replace("curl ", &format!("curl --proxy {quote}{address}{quote} "))
                .replace("openssl s_client ", &format!("openssl s_client -proxy {quote}{place}{quote} "))
                .replace("<VARIABLE>", variable.as_deref().unwrap_or("the program"))
                .replace("<PROXYHOST>", url.host())
                .into()
        }
        Some(Road::Direct(true)) => hint.replace("curl ", "curl --noproxy '*' ").into(),
        Some(Road::Direct(false)) | None => hint.into(),
    }
}
