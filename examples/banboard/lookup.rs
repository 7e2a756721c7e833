//! Asks an upstream for the country of networks that the table does not know.
//!
//! The page never waits for this: it shows what is known by then. However the upstream behaves, it gets
//! [`AT_ONCE`] requests at a time and [`PER_ROUND`] in [`ROUND`], each with an end and an answer of bounded
//! size. What it cannot tell is not asked for again for a while.

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use serde::Deserialize;
use solostart::{
    HttpUrl, StageResult,
    stages::{
        RunContext,
        cache::CacheHandle,
        database::{Database, DatabaseError},
        http_session::{HttpClient, HttpError, json_limited, reqwest::Url},
    },
};
use tokio::time::sleep;

use crate::{
    board,
    networks::{Countries, Network, country_of},
};

const AT_ONCE: usize = 4;
const PER_ROUND: usize = 20;
const ROUND: Duration = Duration::from_secs(5);

/// A country's code needs two bytes; upstreams like to tell more.
const ANSWER_LIMIT: usize = 16 * 1024;

/// How long a network is left alone that the upstream could not tell.
pub(crate) const UNKNOWN_FOR: Duration = Duration::from_mins(10);

/// The networks that the upstream could not tell.
pub(crate) type Unknown = CacheHandle<Network, ()>;

/// What looking up needs.
#[derive(Clone, Debug)]
pub(crate) struct Lookups {
    pub(crate) database: Arc<Database>,
    pub(crate) http: Arc<HttpClient>,
    pub(crate) countries: Arc<Countries>,
    pub(crate) unknown: Arc<Unknown>,
    pub(crate) upstream: HttpUrl,
}

/// What the upstream answers, among other things.
#[derive(Deserialize)]
struct Answer {
    country: Option<String>,
}

/// Looks up what the page lists until the service stops.
pub(crate) async fn look_up(cx: RunContext, lookups: Lookups) -> StageResult<()> {
    loop {
        tokio::select! {
            () = cx.cancelled() => return Ok(()),
            looked = lookups.round() => looked?,
        }
        tokio::select! {
            () = cx.cancelled() => return Ok(()),
            () = sleep(ROUND) => {}
        }
    }
}

impl Lookups {
    async fn round(&self) -> Result<(), DatabaseError> {
        let listed = self.database.read(|db| Ok(board::listed_networks(db)?)).await?;
        let mut wanted = Vec::new();
        for network in listed {
            // The country of one of its customers would be shown for all that a wide network holds.
            let may_be_told = !network.is_wide() && is_public(network.first());
            if wanted.len() < PER_ROUND && may_be_told && self.is_unheard_of(network).await {
                wanted.push(network);
            }
        }
        stream::iter(wanted).for_each_concurrent(AT_ONCE, |network| self.ask(network)).await;
        Ok(())
    }

    async fn is_unheard_of(&self, network: Network) -> bool {
        country_of(&self.countries, network).await.is_none() && self.unknown.get(&network).await.is_none()
    }

    async fn ask(&self, network: Network) {
        match self.answer(network).await {
            Ok(Some(country)) => self.countries.insert(network, country).await,
            Ok(None) => self.unknown.insert(network, ()).await,
            Err(error) => {
                tracing::info!(error = &error as &dyn std::error::Error, "a network was not looked up");
                self.unknown.insert(network, ()).await;
            }
        }
    }

    async fn answer(&self, network: Network) -> Result<Option<String>, HttpError> {
        let Some(url) = url_of(&self.upstream, network.first()) else { return Ok(None) };
        let answer: Answer = self
            .http
            .request(async |client| {
                let answer = client.get(url).send().await?.error_for_status()?;
                json_limited(answer, ANSWER_LIMIT).await
            })
            .await?;
        Ok(answer.country.filter(|code| is_code(code)))
    }
}

/// The upstream's own words are shown to people, so nothing but a code is believed.
fn is_code(country: &str) -> bool {
    country.len() == 2 && country.bytes().all(|each| each.is_ascii_uppercase())
}

/// The upstream's path with the address behind it; a query, which may hold a key, stays.
fn url_of(upstream: &HttpUrl, address: IpAddr) -> Option<Url> {
    let mut url = Url::parse(upstream.expose()).ok()?;
    url.path_segments_mut().ok()?.pop_if_empty().push(&address.to_string());
    Some(url)
}

/// Nobody elsewhere knows an address that is only of use here, or should hear of it.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()),
        IpAddr::V6(v6) => {
            !(v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback() || v6.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests;
