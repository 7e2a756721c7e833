//! What has to be counted over all bans. With a million of them that takes seconds, so no request waits for it: a
//! task counts when somebody asks, and a request that finds it slow shows what was counted last.

use std::{sync::Arc, time::Duration};

use rusqlite::{Connection, params};
use solostart::{
    StageResult,
    stages::{RunContext, database::Database},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{board::log_state, log::Millis, store::HOUR};

/// How much the chart and the tables look back.
pub(crate) const HOURS: usize = 7 * 24;
const DAY: Millis = 24 * HOUR;
const WEEK: Millis = 7 * DAY;

/// How many networks are listed.
pub(crate) const NETWORK_LIMIT: usize = 12;

/// How long a request waits for figures that are as new as itself.
const PATIENCE: Duration = Duration::from_millis(100);

/// Whatever takes longer to count is counted again only after twenty times the excess.
const QUICK: Duration = Duration::from_millis(50);

/// More are not counted while the log is caught up with: for all the time that it takes, the write-ahead log would grow.
const MANY: i64 = 100_000;

/// How much one jail, or one network, had to do.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) name: String,
    /// Networks only.
    pub(crate) country: Option<String>,
    pub(crate) active: u32,
    pub(crate) day: u32,
    pub(crate) week: u32,
}

/// What was counted at one moment.
#[derive(Clone, Default, Debug)]
pub(crate) struct Figures {
    /// The time of the log's last line then.
    pub(crate) as_of: Option<Millis>,
    pub(crate) active: u32,
    /// Bans and different addresses of the last 24 hours.
    pub(crate) day: (u32, u32),
    pub(crate) jails: Vec<Tally>,
    pub(crate) networks: Vec<Tally>,
    /// When the first hour of `hours` begins.
    pub(crate) first_hour: Millis,
    /// Bans that began in each of the last hours, the one that has just begun included.
    pub(crate) hours: Vec<u32>,
}

/// What is counted by itself. A query keeps the write-ahead log from beginning anew, so each is as short as can be.
const PARTS: [fn(&mut Figures, &Connection) -> rusqlite::Result<()>; 4] =
    [Figures::count_bans, Figures::count_by_jail, Figures::count_by_network, Figures::count_by_hour];

impl Figures {
    fn count_bans(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.as_of = log_state(db)?.as_of;
        self.active =
            db.query_row("SELECT count(*) FROM bans WHERE ended_at IS NULL", [], |row| row.get(0))?;
        self.day = db.query_row(
            "SELECT count(*), count(DISTINCT address) FROM bans WHERE banned_at > ?1 AND restored = 0",
            [self.now() - DAY],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(())
    }

    fn count_by_jail(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.jails = jails(db, self.now())?;
        Ok(())
    }

    fn count_by_network(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.networks = networks(db, self.now())?;
        Ok(())
    }

    fn count_by_hour(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.first_hour = self.now().div_euclid(HOUR) * HOUR - WEEK + HOUR;
        self.hours = hours(db, self.first_hour)?;
        Ok(())
    }

    fn now(&self) -> Millis {
        self.as_of.unwrap_or(0)
    }

    #[cfg(test)]
    pub(crate) fn load(db: &Connection) -> rusqlite::Result<Self> {
        let mut figures = Self::default();
        PARTS.iter().try_for_each(|part| part(&mut figures, db))?;
        Ok(figures)
    }
}

/// Every jail that the log named, the busiest first.
fn jails(db: &Connection, now: Millis) -> rusqlite::Result<Vec<Tally>> {
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
    query.query_map(params![now - DAY, now - WEEK], Tally::read)?.collect()
}

fn networks(db: &Connection, now: Millis) -> rusqlite::Result<Vec<Tally>> {
    let mut query = db.prepare_cached(
        "SELECT network, count(*) FILTER (WHERE ended_at IS NULL),
                count(*) FILTER (WHERE banned_at > ?1 AND restored = 0),
                count(*) FILTER (WHERE restored = 0)
         FROM bans WHERE banned_at > ?2 GROUP BY network ORDER BY 4 DESC, 1 LIMIT ?3",
    )?;
    let limit = NETWORK_LIMIT.cast_signed();
    query.query_map(params![now - DAY, now - WEEK, limit], Tally::read)?.collect()
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

/// Between those who ask and the task that counts.
#[derive(Default, Debug)]
pub(crate) struct Counted {
    /// How often somebody has asked.
    asked: watch::Sender<u64>,
    latest: watch::Sender<Latest>,
    /// The log is being caught up with.
    behind: watch::Sender<bool>,
}

#[derive(Default, Debug)]
struct Latest {
    /// All who had asked by then find their answer in `figures`.
    asked: u64,
    figures: Option<Figures>,
}

impl Counted {
    /// The figures of this moment, or older ones if counting takes longer than a request should. `None` if nothing
    /// was counted yet.
    pub(crate) async fn get(&self) -> Option<Figures> {
        let mut own = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            own = *asked;
        });
        let mut latest = self.latest.subscribe();
        let answered = latest.wait_for(|latest| latest.asked >= own);
        // Too late is as good as the one before.
        let _late = timeout(PATIENCE, answered).await.is_err();
        self.latest.borrow().figures.clone()
    }

    /// Tells whether much of the log is still to be read.
    pub(crate) fn set_behind(&self, behind: bool) {
        self.behind.send_if_modified(|before| std::mem::replace(before, behind) != behind);
    }

    /// Counts when somebody asks. Returns how long it took, which decides when it is done again.
    async fn count(&self, database: &Database, took_before: Duration) -> StageResult<Duration> {
        let answered = self.latest.borrow().asked;
        sleep(took_before.saturating_sub(QUICK) * 20).await;
        let asked = *self.asked.subscribe().wait_for(|asked| *asked > answered).await?;
        let bans: Option<i64> =
            database.read(|db| Ok(db.query_row("SELECT max(id) FROM bans", [], |row| row.get(0))?)).await?;
        if bans > Some(MANY) {
            self.behind.subscribe().wait_for(|behind| !behind).await?;
        }
        let began = Instant::now();
        let mut figures = Figures::default();
        for part in PARTS {
            let counted = database.read(move |db| {
                part(&mut figures, db)?;
                Ok(figures)
            });
            figures = counted.await?;
        }
        self.latest.send_replace(Latest { asked, figures: Some(figures) });
        Ok(began.elapsed())
    }
}

/// Counts once, for the first who will ask, and then whenever somebody does, until the service stops.
pub(crate) async fn count_on(
    cx: RunContext,
    database: Arc<Database>,
    counted: Arc<Counted>,
) -> StageResult<()> {
    counted.asked.send_modify(|asked| *asked += 1);
    let counting = async {
        let mut took = Duration::ZERO;
        loop {
            took = counted.count(&database, took).await?;
        }
    };
    tokio::select! {
        () = cx.cancelled() => Ok(()),
        failed = counting => failed,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::{
        count_hours,
        tests::{SAMPLE, database, follow_to_end},
    };

    #[test]
    fn an_empty_database_has_empty_figures() {
        let figures = Figures::load(&database()).unwrap();
        assert_eq!((figures.active, figures.day, figures.hours), (0, (0, 0), vec![0; HOURS]));
        assert!(figures.jails.is_empty() && figures.networks.is_empty() && figures.as_of.is_none());
    }

    #[test]
    fn the_chart_is_the_same_before_and_after_the_statistics_are_written() {
        let mut db = database();
        follow_to_end(&mut db, Path::new(SAMPLE));
        let before = Figures::load(&db).unwrap().hours;
        count_hours(&db).unwrap();
        assert_eq!(Figures::load(&db).unwrap().hours, before);
        let week: u32 = before.iter().sum();
        assert!(week > 500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_does_not_wait_for_a_count_that_takes_long_and_shows_the_one_before() {
        let counted = Counted::default();
        let began = Instant::now();
        assert!(counted.get().await.is_none());
        let figures = Some(Figures { active: 7, ..Figures::default() });
        counted.latest.send_replace(Latest { asked: 1, figures });
        assert_eq!(counted.get().await.unwrap().active, 7);
        assert_eq!(began.elapsed().as_millis() / 10, 2 * PATIENCE.as_millis() / 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_the_figures_of_its_own_time_and_not_for_older_ones() {
        let counted = Counted::default();
        let mut asked = counted.asked.subscribe();
        let answer = async {
            for active in 1..=2 {
                let round = *asked.wait_for(|asked| *asked == u64::from(active)).await.unwrap();
                sleep(PATIENCE / 2).await;
                let figures = Some(Figures { active, ..Figures::default() });
                counted.latest.send_replace(Latest { asked: round, figures });
            }
        };
        let ask = async {
            assert_eq!(counted.get().await.unwrap().active, 1);
            assert_eq!(counted.get().await.unwrap().active, 2);
        };
        tokio::join!(answer, ask);
    }
}
