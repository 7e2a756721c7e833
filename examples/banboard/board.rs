//! What the page and the API show, read from the database.
//!
//! "Now" is the time of the log's last line. A log that ended yesterday is shown as it stood yesterday,
//! and the page says so.

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use crate::{
    log::Millis,
    networks::{Countries, Network, country_of},
    store::HOUR,
    text,
};

/// How much the chart and the tables look back.
pub(crate) const HOURS: usize = 7 * 24;
const DAY: Millis = 24 * HOUR;
const WEEK: Millis = 7 * DAY;

/// How many active bans the page lists.
pub(crate) const LISTED: usize = 100;

/// How many the API lists; beyond that, only their number is known.
pub(crate) const API_LIMIT: usize = 10_000;

/// How many networks are listed.
const NETWORK_LIMIT: usize = 12;

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

/// How much one jail, or one network, had to do.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) name: String,
    /// Networks only.
    pub(crate) country: Option<String>,
    pub(crate) active: u32,
    pub(crate) day: u32,
    pub(crate) week: u32,
}

/// Everything of one page.
#[derive(Default, Debug)]
pub(crate) struct Board {
    pub(crate) log: LogState,
    pub(crate) active: Vec<ActiveBan>,
    /// Also those that `active` has no room for.
    pub(crate) active_total: u32,
    /// Bans and different addresses of the last 24 hours.
    pub(crate) day: (u32, u32),
    pub(crate) jails: Vec<Tally>,
    pub(crate) networks: Vec<Tally>,
    /// When the first hour of `hours` begins.
    pub(crate) first_hour: Millis,
    /// Bans that began in each of the last hours, the one that has just begun included.
    pub(crate) hours: Vec<u32>,
}

impl Board {
    /// Reads the board, without countries.
    pub(crate) fn load(db: &Connection) -> rusqlite::Result<Self> {
        let log = log_state(db)?;
        let as_of = log.as_of.unwrap_or(0);
        let first_hour = as_of.div_euclid(HOUR) * HOUR - WEEK + HOUR;
        let day = db.query_row(
            "SELECT count(*), count(DISTINCT address) FROM bans WHERE banned_at > ?1 AND restored = 0",
            [as_of - DAY],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(Self {
            log,
            active: active(db, LISTED)?,
            active_total: db
                .query_row("SELECT count(*) FROM bans WHERE ended_at IS NULL", [], |row| row.get(0))?,
            day,
            jails: jails(db, as_of)?,
            networks: networks(db, as_of)?,
            first_hour,
            hours: hours(db, first_hour)?,
        })
    }

    /// Adds the countries of the networks that are known.
    pub(crate) async fn locate(&mut self, countries: &Countries) {
        locate(&mut self.active, countries).await;
        for tally in &mut self.networks {
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

/// Every jail that the log named, the busiest first.
fn jails(db: &Connection, as_of: Millis) -> rusqlite::Result<Vec<Tally>> {
    let mut query = db.prepare_cached(
        "SELECT name, coalesce(active, 0), coalesce(day, 0), coalesce(week, 0)
         FROM (SELECT name FROM jails UNION SELECT jail FROM hourly UNION SELECT jail FROM bans WHERE counted = 0)
         LEFT JOIN (
             SELECT jail, sum(active) AS active, sum(new AND banned_at > ?1) AS day, sum(new) AS week
             FROM (
                 SELECT jail, banned_at, ended_at IS NULL AS active, restored = 0 AS new
                 FROM bans WHERE banned_at > ?2
                 UNION ALL SELECT jail, banned_at, 1, 0 FROM bans WHERE banned_at <= ?2 AND ended_at IS NULL)
             GROUP BY jail) ON jail = name
         ORDER BY 4 DESC, 1",
    )?;
    let rows = query.query_map(params![as_of - DAY, as_of - WEEK], Tally::read)?;
    rows.collect()
}

fn networks(db: &Connection, as_of: Millis) -> rusqlite::Result<Vec<Tally>> {
    let mut query = db.prepare_cached(
        "SELECT network, count(*) FILTER (WHERE ended_at IS NULL),
                count(*) FILTER (WHERE banned_at > ?1 AND restored = 0),
                count(*) FILTER (WHERE restored = 0)
         FROM bans WHERE banned_at > ?2 GROUP BY network ORDER BY 4 DESC, 1 LIMIT ?3",
    )?;
    let limit = NETWORK_LIMIT.cast_signed();
    query.query_map(params![as_of - DAY, as_of - WEEK, limit], Tally::read)?.collect()
}

impl Tally {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            name: row.get(0)?,
            country: None,
            active: row.get(1)?,
            day: row.get(2)?,
            week: row.get(3)?,
        })
    }
}

/// The statistics, with what the job has not added to them yet.
fn hours(db: &Connection, first_hour: Millis) -> rusqlite::Result<Vec<u32>> {
    let mut hours = vec![0; HOURS];
    let mut query = db.prepare_cached(
        "SELECT hour, sum(bans) FROM (
             SELECT hour, bans FROM hourly WHERE hour >= ?1
             UNION ALL SELECT banned_at / ?2 * ?2, 1 FROM bans
                       WHERE counted = 0 AND restored = 0 AND banned_at >= ?1)
         GROUP BY hour",
    )?;
    let mut rows = query.query([first_hour, HOUR])?;
    while let Some(row) = rows.next()? {
        let index = usize::try_from((row.get::<_, Millis>(0)? - first_hour) / HOUR).ok();
        if let Some(bans) = index.and_then(|index| hours.get_mut(index)) {
            *bans = row.get(1)?;
        }
    }
    Ok(hours)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        networks::tests::countries,
        store::{
            count_hours,
            tests::{SAMPLE, database, follow_to_end},
        },
    };

    #[test]
    fn an_empty_database_gives_an_empty_board() {
        let board = Board::load(&database()).unwrap();
        assert_eq!((board.active.len(), board.active_total, board.day), (0, 0, (0, 0)));
        assert_eq!(board.hours, [0; HOURS]);
        assert!(board.jails.is_empty() && board.networks.is_empty() && board.log.as_of.is_none());
    }

    #[tokio::test]
    async fn the_sample_fills_every_part() {
        let mut db = database();
        follow_to_end(&mut db, Path::new(SAMPLE));
        let mut board = Board::load(&db).unwrap();
        board.locate(&countries(&db).await).await;
        assert!(board.active.len() > 10);
        assert!(board.active.is_sorted_by_key(|ban| std::cmp::Reverse(ban.banned_at)));
        assert!(board.active.iter().all(|ban| ban.times >= 1));
        assert!(board.active.iter().any(|ban| ban.country.as_deref() == Some("NL")));
        assert!(board.networks.iter().all(|network| network.country.is_some()));
        assert_eq!(board.networks.len(), NETWORK_LIMIT);
        assert!(board.networks.is_sorted_by_key(|network| std::cmp::Reverse(network.week)));
        let active: u32 = board.jails.iter().map(|jail| jail.active).sum();
        assert_eq!(active, board.active_total);
    }

    #[test]
    fn the_chart_is_the_same_before_and_after_the_statistics_are_written() {
        let mut db = database();
        follow_to_end(&mut db, Path::new(SAMPLE));
        let before = Board::load(&db).unwrap().hours;
        count_hours(&db).unwrap();
        assert_eq!(Board::load(&db).unwrap().hours, before);
        let week: u32 = before.iter().sum();
        assert!(week > 500);
    }
}
