//! Which country a network is in: the table that the `cache` stage keeps in memory.

use std::{collections::HashMap, net::IpAddr};

use rusqlite::{Connection, types::Type};

/// A row of the table `networks` that is not a network.
#[derive(Debug, thiserror::Error)]
#[error("the table `networks` holds {0:?}, which is not a network")]
pub(crate) struct NotANetwork(String);

/// Networks by prefix length, the longest first, each with its country's code (ISO 3166).
#[derive(Default, Debug)]
pub(crate) struct NetworkTable {
    by_length: Vec<(u8, HashMap<IpAddr, String>)>,
}

impl NetworkTable {
    /// Reads the whole table.
    ///
    /// # Errors
    /// The database cannot be read, or a row is not a network.
    pub(crate) fn load(db: &Connection) -> rusqlite::Result<Self> {
        let mut by_length: HashMap<u8, HashMap<IpAddr, String>> = HashMap::new();
        let mut rows = db.prepare("SELECT prefix, country FROM networks")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let prefix: String = row.get(0)?;
            let Some((network, length)) = parse_prefix(&prefix) else {
                let cause = Box::new(NotANetwork(prefix));
                return Err(rusqlite::Error::FromSqlConversionFailure(0, Type::Text, cause));
            };
            by_length.entry(length).or_default().insert(network, row.get(1)?);
        }
        let mut by_length: Vec<_> = by_length.into_iter().collect();
        by_length.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        Ok(Self { by_length })
    }

    /// The country of the smallest known network that holds `address`.
    pub(crate) fn country(&self, address: IpAddr) -> Option<&str> {
        let countries = self.by_length.iter();
        countries
            .filter_map(|(length, networks)| networks.get(&mask(address, *length)?))
            .map(String::as_str)
            .next()
    }

    /// How many networks are known.
    pub(crate) fn len(&self) -> usize {
        self.by_length.iter().map(|(_, networks)| networks.len()).sum()
    }
}

fn parse_prefix(prefix: &str) -> Option<(IpAddr, u8)> {
    let (network, length) = prefix.split_once('/')?;
    let (network, length) = (network.parse().ok()?, length.parse().ok()?);
    (mask(network, length)? == network).then_some((network, length))
}

/// The network of that length, or `None` where such an address has no such length.
fn mask(address: IpAddr, length: u8) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => {
            let host = 32_u32.checked_sub(length.into())?;
            IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(host).unwrap_or(0)).into())
        }
        IpAddr::V6(v6) => {
            let host = 128_u32.checked_sub(length.into())?;
            IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(host).unwrap_or(0)).into())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::database;

    #[test]
    fn the_smallest_known_network_decides() {
        let table = NetworkTable::load(&database()).unwrap();
        let country = |address: &str| table.country(address.parse().unwrap());
        assert_eq!(country("203.0.113.45"), Some("NL"));
        assert_eq!(country("203.0.113.200"), Some("BE"));
        assert_eq!(country("2001:db8:4a0c::1"), Some("US"));
        assert_eq!(country("8.8.8.8"), None);
        assert!(table.len() > 20);
    }

    #[test]
    fn the_shortest_and_the_longest_prefix_work() {
        let db = database();
        db.execute("INSERT INTO networks VALUES ('0.0.0.0/0', 'ZZ'), ('192.0.2.7/32', 'YY')", []).unwrap();
        let table = NetworkTable::load(&db).unwrap();
        assert_eq!(table.country("8.8.8.8".parse().unwrap()), Some("ZZ"));
        assert_eq!(table.country("192.0.2.7".parse().unwrap()), Some("YY"));
        assert_eq!(table.country("2a00::1".parse().unwrap()), None);
    }

    #[test]
    fn a_row_that_is_not_a_network_is_named() {
        for wrong in ["203.0.113.1/24", "203.0.113.0/33", "203.0.113.0", "x/8"] {
            let db = database();
            db.execute("INSERT INTO networks VALUES (?1, 'ZZ')", [wrong]).unwrap();
            let error = NetworkTable::load(&db).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
    }
}
