//! Which country a network is in: the table that the `cache` stage keeps in memory.

use std::{net::IpAddr, str::FromStr};

use rusqlite::{Connection, types::Type};
use solostart::stages::cache::CacheHandle;

/// Each known network with its country's code (ISO 3166).
pub(crate) type Countries = CacheHandle<Network, String>;

/// An address prefix, such as `203.0.113.0/24`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Network {
    first: IpAddr,
    length: u8,
}

/// Something else stands where a network should.
#[derive(PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not a network such as 203.0.113.0/24")]
pub(crate) struct NotANetwork(String);

impl Network {
    /// The network of one address.
    pub(crate) fn host(address: IpAddr) -> Self {
        Self { first: address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Its first address.
    pub(crate) fn first(self) -> IpAddr {
        self.first
    }

    /// The network of that length around this one; of its own length, this one.
    pub(crate) fn shortened(self, length: u8) -> Self {
        let first = match self.first {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32_u32.saturating_sub(length.into())).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128_u32.saturating_sub(length.into())).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
        };
        Self { first, length: length.min(self.length) }
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let parse = || {
            let (first, length) = text.split_once('/')?;
            let host = Self::host(first.parse().ok()?);
            let length = length.parse().ok().filter(|length| *length <= host.length)?;
            let network = host.shortened(length);
            (network.first == host.first).then_some(network)
        };
        parse().ok_or_else(|| NotANetwork(text.to_owned()))
    }
}

/// Reads the whole table.
///
/// # Errors
/// The database cannot be read, or a row is not a network.
pub(crate) fn load(db: &Connection) -> rusqlite::Result<Vec<(Network, String)>> {
    let mut query = db.prepare("SELECT prefix, country FROM networks")?;
    let rows = query.query_map([], |row| {
        let network = row.get::<_, String>(0)?.parse();
        let cause =
            |error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::<NotANetwork>::new(error));
        Ok((network.map_err(cause)?, row.get(1)?))
    })?;
    rows.collect()
}

/// The country of the smallest known network that holds `network`.
pub(crate) async fn country_of(countries: &Countries, network: Network) -> Option<String> {
    for length in (0..=network.length).rev() {
        if let Some(country) = countries.get(&network.shortened(length)).await {
            return Some(country);
        }
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::store::tests::database;

    /// The cache as its stage fills it.
    pub(crate) async fn countries(db: &Connection) -> Countries {
        let countries = Countries::detached(1000);
        for (network, country) in load(db).unwrap() {
            countries.insert(network, country).await;
        }
        countries
    }

    #[tokio::test]
    async fn the_smallest_known_network_decides() {
        let db = database();
        db.execute("INSERT INTO networks VALUES ('0.0.0.0/0', 'ZZ'), ('192.0.2.7/32', 'YY')", []).unwrap();
        let countries = countries(&db).await;
        for (address, country) in [
            ("203.0.113.45", Some("NL")),
            ("203.0.113.200", Some("BE")),
            ("192.0.2.7", Some("YY")),
            ("8.8.8.8", Some("ZZ")),
            ("2001:db8:4a0c::1", Some("US")),
            ("2a00::1", None),
        ] {
            let network = Network::host(address.parse().unwrap());
            assert_eq!(country_of(&countries, network).await.as_deref(), country, "{address}");
        }
        let whole: Network = "203.0.113.0/24".parse().unwrap();
        assert_eq!(country_of(&countries, whole).await.as_deref(), Some("NL"), "not that of a part of it");
    }

    #[test]
    fn what_is_not_a_network_is_refused_and_named() {
        for wrong in ["203.0.113.1/24", "203.0.113.0/33", "203.0.113.0", "x/8", "::/129"] {
            assert_eq!(wrong.parse::<Network>(), Err(NotANetwork(wrong.to_owned())));
            let db = database();
            db.execute("INSERT INTO networks VALUES (?1, 'ZZ')", [wrong]).unwrap();
            let error = load(&db).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
    }
}
