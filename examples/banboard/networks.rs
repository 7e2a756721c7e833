//! Which country a network is in: the table that the `cache` stage keeps in memory.

use std::{fmt, net::IpAddr, str::FromStr};

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

    /// What fail2ban bans: an address, or a network. Written in another way, it is still the same one: bits behind
    /// the length count for nothing, and IPv4 within IPv6 (RFC 4291, 2.5.5.2) is IPv4.
    pub(crate) fn banned(text: &str) -> Option<Self> {
        let Some((first, length)) = text.split_once('/') else {
            return Some(Self::host(text.parse::<IpAddr>().ok()?.to_canonical()));
        };
        let written = Self::host(first.parse().ok()?);
        let digits = length.bytes().all(|each| each.is_ascii_digit());
        let length: u8 = length.parse().ok().filter(|length| digits && *length <= written.length)?;
        let host = Self::host(written.first.to_canonical());
        // What reaches beyond the IPv4 addresses is IPv6.
        let shorter_by = written.length - host.length;
        Some(
            length.checked_sub(shorter_by).map_or(written.shortened(length), |length| host.shortened(length)),
        )
    }

    /// The network that this one is counted under: what one customer of a provider usually has, or itself if it is
    /// larger.
    pub(crate) fn counted_under(self) -> Self {
        self.shortened(self.customers_length())
    }

    /// Whether this is more than one customer of a provider usually has.
    pub(crate) fn is_wide(self) -> bool {
        self.length < self.customers_length()
    }

    fn customers_length(self) -> u8 {
        if self.first.is_ipv4() { 24 } else { 48 }
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

/// An address stands without a length.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::host(self.first) {
            return self.first.fmt(f);
        }
        write!(f, "{}/{}", self.first, self.length)
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
    fn what_is_banned_has_one_form_however_it_is_written() {
        for (written, one) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8:1:0::/48", "2001:db8:1::/48"),
            ("2001:db8::1/128", "2001:db8::1"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
            ("::ffff:192.0.2.7/95", "::fffe:0:0/95"),
        ] {
            let network = Network::banned(written).unwrap();
            assert_eq!(network.to_string(), one, "{written}");
            assert_eq!(Network::banned(one), Some(network), "{written}");
        }
        for wrong in
            ["192.0.2.0/33", "192.0.2.0/+8", "192.0.2.0/", "/8", "192.0.2/24", "::/129", "192.0.2.0/8/8"]
        {
            assert_eq!(Network::banned(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn addresses_are_counted_under_what_one_customer_has_and_larger_networks_as_themselves() {
        for (banned, counted, is_wide) in [
            ("203.0.113.45", "203.0.113.0/24", false),
            ("203.0.113.64/26", "203.0.113.0/24", false),
            ("203.0.0.0/16", "203.0.0.0/16", true),
            ("2001:db8:12:ff::1", "2001:db8:12::/48", false),
            ("2001:db8::/32", "2001:db8::/32", true),
        ] {
            let network = Network::banned(banned).unwrap();
            assert_eq!((&*network.counted_under().to_string(), network.is_wide()), (counted, is_wide));
        }
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
