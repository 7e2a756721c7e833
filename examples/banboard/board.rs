//! What the page and the API show, read from the database.
//!
//! "Now" is the time of the log's last line. A log that ended yesterday is shown as it stood yesterday,
//! and the page says so.

use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

use crate::{
    figures::Figures,
    log::Millis,
    networks::{Countries, Network, country_of},
    text,
};

/// How many active bans the page lists.
pub(crate) const LISTED: usize = 100;

/// How many the API lists; beyond that, only their number is known.
pub(crate) const API_LIMIT: usize = 10_000;

/// How far the log was read.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct LogState {
    /// The time of its last line.
    pub(crate) as_of: Option<Millis>,
    pub(crate) lines: u64,
    pub(crate) skipped: u64,
    /// How often files of the log were gone or compressed before they were read.
    pub(crate) gaps: u64,
    /// How many lines were skipped since the last one that was fail2ban's.
    pub(crate) strange: u64,
}

/// Lines that are not fail2ban's, one after another, which no traceback between its lines explains.
const STRANGE: u64 = 100;

impl LogState {
    /// Why what the log says now is not understood, in a line.
    pub(crate) fn unreadable(&self) -> Option<String> {
        let is_strange = self.strange >= STRANGE || (self.strange > 0 && self.lines == self.skipped);
        is_strange.then(|| {
            let none = match self.strange {
                1 => "its last line is not fail2ban's".to_owned(),
                strange => format!("none of its last {} lines is fail2ban's", text::number(strange)),
            };
            none + "; see: fail2ban-client get logtarget"
        })
    }

    /// What of the log is not on the board, in a line.
    pub(crate) fn lost(&self) -> Option<String> {
        let times = match self.gaps {
            0 => return None,
            1 => "once".to_owned(),
            gaps => format!("{} times", text::number(gaps)),
        };
        Some(format!("lines may be lost; {times}, a rotated file was compressed or gone before it was read"))
    }
}

/// A ban that has not ended.
#[derive(Serialize, Debug)]
pub(crate) struct ActiveBan {
    /// The row, for whoever lifts the ban.
    #[serde(skip)]
    pub(crate) id: i64,
    /// Or a network.
    pub(crate) address: String,
    pub(crate) jail: String,
    pub(crate) network: String,
    pub(crate) country: Option<String>,
    #[serde(serialize_with = "text::serialize_instant")]
    pub(crate) banned_at: Millis,
    /// `None` if the ban has no end.
    #[serde(serialize_with = "text::serialize_optional_instant")]
    pub(crate) expires_at: Option<Millis>,
    /// How often the address was banned so far, in any jail, this time included.
    pub(crate) times: u32,
}

/// Everything of one page.
#[derive(Default, Debug)]
pub(crate) struct Board {
    pub(crate) log: LogState,
    /// At most [`LISTED`].
    pub(crate) active: Vec<ActiveBan>,
    /// `None` until they are counted.
    pub(crate) figures: Option<Figures>,
}

impl Board {
    /// Reads the board, without countries.
    pub(crate) fn load(db: &Connection, figures: Option<Figures>) -> rusqlite::Result<Self> {
        Ok(Self { log: log_state(db)?, active: active(db, LISTED)?, figures })
    }

    /// Adds the countries of the networks that are known.
    pub(crate) async fn locate(&mut self, countries: &Countries) {
        locate(&mut self.active, countries).await;
        for tally in self.figures.iter_mut().flat_map(|figures| &mut figures.networks) {
            if let Ok(network) = tally.name.parse() {
                tally.country = country_of(countries, network).await;
            }
        }
    }
}

pub(crate) fn log_state(db: &Connection) -> rusqlite::Result<LogState> {
    let row = db.query_row("SELECT log_time, lines, skipped, gaps, strange FROM log_position", [], |row| {
        let count = |column: usize| row.get::<_, i64>(column).map(i64::cast_unsigned);
        Ok(LogState {
            as_of: row.get(0)?,
            lines: count(1)?,
            skipped: count(2)?,
            gaps: count(3)?,
            strange: count(4)?,
        })
    });
    Ok(row.optional()?.unwrap_or_default())
}

/// The active bans, the latest first, at most so many.
pub(crate) fn active(db: &Connection, limit: usize) -> rusqlite::Result<Vec<ActiveBan>> {
    let mut query = db.prepare_cached(
        "SELECT id, address, jail, network, banned_at, expires_at,
                (SELECT count(*) FROM bans AS every WHERE every.address = bans.address)
         FROM bans WHERE ended_at IS NULL ORDER BY banned_at DESC, id DESC LIMIT ?1",
    )?;
    let rows = query.query_map([limit.cast_signed()], |row| {
        Ok(ActiveBan {
            id: row.get(0)?,
            address: row.get(1)?,
            country: None,
            jail: row.get(2)?,
            network: row.get(3)?,
            banned_at: row.get(4)?,
            expires_at: row.get(5)?,
            times: row.get(6)?,
        })
    })?;
    rows.collect()
}

/// The networks of the bans that the page lists, each once.
pub(crate) fn listed_networks(db: &Connection) -> rusqlite::Result<Vec<Network>> {
    let mut query = db.prepare_cached(
        "SELECT DISTINCT network FROM (
             SELECT network FROM bans WHERE ended_at IS NULL ORDER BY banned_at DESC, id DESC LIMIT ?1)",
    )?;
    let names = query.query_map([LISTED.cast_signed()], |row| row.get::<_, String>(0))?;
    // A database that others wrote to may hold something else; it is shown without a country.
    names.filter_map(|name| name.map(|name| name.parse().ok()).transpose()).collect()
}

/// Adds the countries of the networks that are known.
pub(crate) async fn locate(bans: &mut [ActiveBan], countries: &Countries) {
    for ban in bans {
        if let Some(banned) = Network::banned(&ban.address) {
            ban.country = country_of(countries, banned).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        figures::NETWORK_LIMIT,
        networks::tests::countries,
        store::tests::{SAMPLE, database, follow_to_end},
    };

    #[test]
    fn an_empty_database_gives_an_empty_board() {
        let board = Board::load(&database(), None).unwrap();
        assert!(board.active.is_empty() && board.log.as_of.is_none());
    }

    #[tokio::test]
    async fn the_sample_fills_every_part() {
        let mut db = database();
        follow_to_end(&mut db, Path::new(SAMPLE));
        let mut board = Board::load(&db, Some(Figures::load(&db).unwrap())).unwrap();
        board.locate(&countries(&db).await).await;
        let Board { figures: Some(figures), .. } = &board else { panic!("no figures") };
        assert!(board.active.len() > 10);
        assert!(board.active.is_sorted_by_key(|ban| std::cmp::Reverse(ban.banned_at)));
        assert!(board.active.iter().all(|ban| ban.times >= 1));
        assert!(board.active.iter().any(|ban| ban.country.as_deref() == Some("NL")));
        assert!(figures.networks.iter().all(|network| network.country.is_some()));
        assert_eq!(figures.networks.len(), NETWORK_LIMIT);
        assert!(figures.networks.is_sorted_by_key(|network| std::cmp::Reverse(network.week)));
        let active: u32 = figures.jails.iter().map(|jail| jail.active).sum();
        assert_eq!(active, figures.active);
    }
}
