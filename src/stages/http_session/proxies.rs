//! Through whom requests go.

use std::fmt;

use reqwest::{NoProxy, Proxy};

use crate::{
    error::StageResult,
    settings::{Env, HttpUrl, Secret},
};

/// The proxies of one client. None by default: nothing but the environment layer reads the environment, so
/// the client's own search for `HTTP_PROXY` is switched off.
#[derive(Clone, Default)]
pub(super) struct Proxies {
    /// For URLs that begin with `http://`. All of these may hold a password.
    http: Option<HttpUrl>,
    https: Option<HttpUrl>,
    /// Hosts that are asked directly, as `NO_PROXY` lists them.
    direct: Option<String>,
}

impl Proxies {
    pub(super) fn all(url: HttpUrl) -> Self {
        Self { http: Some(url.clone()), https: Some(url), direct: None }
    }

    /// `<P>_HTTP_PROXY` for everything, or else `HTTP_PROXY` and `HTTPS_PROXY`; `NO_PROXY` holds for both.
    pub(super) fn from_env(env: &Env) -> Self {
        let own = env
            .var("HTTP_PROXY")
            .describe("The proxy for every request. Not set: HTTP_PROXY and HTTPS_PROXY.")
            .example("http://proxy.example.com:3128")
            .url()
            .optional();
        let http = standard(env, ["HTTP_PROXY", "http_proxy"], "The proxy for http:// URLs.");
        let https = standard(env, ["HTTPS_PROXY", "https_proxy"], "The proxy for https:// URLs.");
        let direct = ["NO_PROXY", "no_proxy"].map(|name| {
            env.foreign(name).describe("Hosts that are asked without a proxy.").text().optional()
        });
        Self { http: own.clone().or(http), https: own.or(https), direct: direct.into_iter().flatten().next() }
    }

    /// What reqwest makes of them.
    pub(super) fn build(&self) -> StageResult<Vec<Proxy>> {
        let direct = || self.direct.as_deref().and_then(NoProxy::from_string);
        let mut proxies = Vec::new();
        if let Some(url) = &self.http {
            proxies.push(Proxy::http(url.expose())?.no_proxy(direct()));
        }
        if let Some(url) = &self.https {
            proxies.push(Proxy::https(url.expose())?.no_proxy(direct()));
        }
        Ok(proxies)
    }

    /// The proxy that requests to such a URL go through, unless its host is among those asked directly.
    pub(super) fn shown(&self, is_https: bool) -> Option<String> {
        let proxy = if is_https { &self.https } else { &self.http };
        proxy.as_ref().map(HttpUrl::to_string)
    }
}

/// A variable that other programs read too, in either case, and without a scheme: `proxy:3128`.
fn standard(env: &Env, names: [&'static str; 2], what: &'static str) -> Option<HttpUrl> {
    let found = names.map(|name| env.foreign(name).describe(what).secret().optional().map(|url| (name, url)));
    let (name, url) = found.into_iter().flatten().next()?;
    parse(&url).or_else(|| {
        // Passing over it would send requests where the operator does not want them to go.
        env.problem(name, "the value is not the address of an HTTP proxy", "write http://HOST:PORT");
        None
    })
}

fn parse(url: &Secret) -> Option<HttpUrl> {
    let url = url.expose().trim();
    if url.contains("://") { url.parse().ok() } else { format!("http://{url}").parse().ok() }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies")
            .field("http", &self.http)
            .field("https", &self.https)
            .finish_non_exhaustive()
    }
}
