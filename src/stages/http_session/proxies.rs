//! Through whom requests go.

use std::fmt;

use reqwest::{Proxy, Url};

use super::no_proxy::NoProxy;
use crate::{
    error::StageResult,
    settings::{Env, HttpUrl, Secret},
};

/// The proxies of one client. None by default: nothing but the environment layer reads the environment, so
/// the client's own search for `HTTP_PROXY` is switched off.
#[derive(Clone, Default)]
pub(super) struct Proxies {
    /// For URLs that begin with `http://`. All of these may hold a password.
    http: Option<Through>,
    https: Option<Through>,
    /// Hosts that are asked directly.
    direct: NoProxy,
}

/// One proxy.
#[derive(Clone, Debug)]
pub(super) struct Through {
    /// It prints as scheme, host and port.
    pub(super) url: HttpUrl,
    /// The variable that names it; `None` where the program does.
    pub(super) variable: Option<String>,
}

/// The way that a request goes.
#[derive(Clone, Debug)]
pub(super) enum Road {
    Proxy(Through),
    /// `true` where other requests of its kind go through a proxy.
    Direct(bool),
}

impl Proxies {
    pub(super) fn all(url: HttpUrl) -> Self {
        let through = Through { url, variable: None };
        Self { http: Some(through.clone()), https: Some(through), direct: NoProxy::default() }
    }

    /// `<P>_HTTP_PROXY` for everything, or else `HTTP_PROXY` and `HTTPS_PROXY`; `NO_PROXY` holds for both.
    pub(super) fn from_env(env: &Env) -> Self {
        let own = env
            .var("HTTP_PROXY")
            .describe("The proxy for every request. Not set: HTTP_PROXY and HTTPS_PROXY.")
            .example("http://proxy.example.com:3128")
            .url()
            .optional()
            .map(|url| Through { url, variable: Some(env.full_name("HTTP_PROXY")) });
        let http = standard(env, ["HTTP_PROXY", "http_proxy"], "The proxy for http:// URLs.");
        let https = standard(env, ["HTTPS_PROXY", "https_proxy"], "The proxy for https:// URLs.");
        Self { http: own.clone().or(http), https: own.or(https), direct: direct(env) }
    }

    /// What reqwest makes of them.
    pub(super) fn build(&self) -> StageResult<Proxy> {
        let parsed = |through: &Option<Through>| {
            through.as_ref().map(|through| Url::parse(through.url.expose())).transpose()
        };
        let (http, https, all) = (parsed(&self.http)?, parsed(&self.https)?, self.clone());
        Ok(Proxy::custom(move |to| match all.road(to) {
            Road::Proxy(_) if to.scheme() == "https" => https.clone(),
            Road::Proxy(_) => http.clone(),
            Road::Direct(_) => None,
        }))
    }

    /// The way that requests to this URL go.
    pub(super) fn road(&self, to: &Url) -> Road {
        let through = if to.scheme() == "https" { &self.https } else { &self.http };
        match through {
            Some(through) if !self.direct.covers(to) => Road::Proxy(through.clone()),
            through => Road::Direct(through.is_some()),
        }
    }
}

/// `NO_PROXY`, or `no_proxy`.
fn direct(env: &Env) -> NoProxy {
    let given = ["NO_PROXY", "no_proxy"].map(|name| {
        let text = env.foreign(name).describe("Hosts that are asked without a proxy.").text().optional();
        text.map(|text| (name, text))
    });
    let Some((name, text)) = given.into_iter().flatten().next() else { return NoProxy::default() };
    let direct = NoProxy::parse(&text);
    for each in &direct.unknown {
        // What is not made like a host may be a URL, with a password in it.
        let is_like_one =
            each.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._*:/[]".contains(&byte));
        let named =
            if is_like_one && !each.contains("//") { format!("`{each}`") } else { "an entry".to_owned() };
        env.warning(name, format!("{named} is no host, network or `*`, and stands for nothing"));
    }
    direct
}

/// A variable that other programs read too, in either case, and without a scheme: `proxy:3128`.
fn standard(env: &Env, names: [&'static str; 2], what: &'static str) -> Option<Through> {
    let found = names.map(|name| env.foreign(name).describe(what).secret().optional().map(|url| (name, url)));
    let (name, url) = found.into_iter().flatten().next()?;
    let url = parse(&url).or_else(|| {
        // Passing over it would send requests where the operator does not want them to go.
        env.problem(name, "the value is not the address of an HTTP proxy", "write http://HOST:PORT");
        None
    })?;
    Some(Through { url, variable: Some(name.to_owned()) })
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
