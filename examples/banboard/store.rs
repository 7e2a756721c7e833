//! What the log says, as rows.
//!
//! Every function here can meet lines that it has met before, because a rotated or copied log is read from
//! its start; then it changes nothing.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    follow::{Batch, Position},
    log::{Event, Millis, Target},
};

/// Within this time after a ban began, a line about it speaks of the same ban: fail2ban writes `Ban` and
/// `Increase Ban` from two threads, in either order.
const SAME_BAN: Millis = 10_000;

/// An hour of the log.
pub(crate) const HOUR: Millis = 3_600_000;

/// Where the log was read to when the last batch was stored.
pub(crate) fn position(db: &Connection) -> rusqlite::Result<Position> {
    let sql = "SELECT device, inode, byte_offset, before, in_long_line, log_time FROM log_position";
    let row = db.query_row(sql, [], |row| {
        Ok(Position {
            device: row.get::<_, i64>(0)?.cast_unsigned(),
            inode: row.get::<_, i64>(1)?.cast_unsigned(),
            offset: row.get::<_, i64>(2)?.cast_unsigned(),
            before: row.get(3)?,
            in_long_line: row.get(4)?,
            log_time: row.get(5)?,
        })
    });
    Ok(row.optional()?.unwrap_or_default())
}

/// Stores what was read together with how far it was read. To be called within a transaction.
/// `ban_time` holds for jails whose own the log did not tell.
pub(crate) fn ingest(db: &Connection, batch: &Batch, ban_time: Duration) -> rusqlite::Result<()> {
    let mut said: Option<String> =
        db.query_row("SELECT jail FROM log_position", [], |row| row.get(0)).optional()?.flatten();
    for entry in &batch.entries {
        match &entry.event {
            Event::Banned(target) => begin(db, target, entry.at, Speaks::Begins, ban_time)?,
            Event::Restored(target) => begin(db, target, entry.at, Speaks::Restores, ban_time)?,
            Event::Prolonged(target, until) => {
                begin(db, target, entry.at, Speaks::Prolongs, ban_time)?;
                prolong(db, target, entry.at, *until)?;
            }
            Event::Unbanned(target) => end(db, target, entry.at)?,
            Event::Configures(jail) => said = Some(jail.clone()),
            Event::BanTime(ban_ms) => set_ban_time(db, said.as_deref(), *ban_ms)?,
            Event::Other => {}
        }
    }
    let Position { device, inode, offset, before, in_long_line, log_time } = &batch.position;
    db.prepare_cached(
        "INSERT INTO log_position VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (only_row) DO UPDATE SET device = ?1, inode = ?2, byte_offset = ?3, before = ?4,
             in_long_line = ?5, jail = ?6, log_time = coalesce(?7, log_time),
             lines = lines + ?8, skipped = skipped + ?9,
             gaps = gaps + ?10, strange = iif(?12, strange + ?11, ?11)",
    )?
    .execute(params![
        device.cast_signed(),
        inode.cast_signed(),
        offset.cast_signed(),
        before,
        in_long_line,
        said,
        batch.entries.last().map(|entry| entry.at).or(*log_time),
        batch.lines.cast_signed(),
        batch.skipped.cast_signed(),
        batch.gap,
        batch.strange.cast_signed(),
        batch.entries.is_empty(),
    ])?;
    Ok(())
}

/// How a line speaks of a ban.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    /// It begins.
    Begins,
    /// It began just before or begins just now, and will be longer.
    Prolongs,
    /// It began before fail2ban stopped, which may have ended it in the log.
    Restores,
}

/// What is known of the latest ban of a target.
struct Latest {
    id: i64,
    banned_at: Millis,
    expires_at: Option<Millis>,
    ended_at: Option<Millis>,
}

/// Makes sure that there is a ban at that time: the one that is known, or a new one.
fn begin(
    db: &Connection,
    target: &Target,
    at: Millis,
    speaks: Speaks,
    ban_time: Duration,
) -> rusqlite::Result<()> {
    if let Some(latest) = latest(db, target, at)? {
        let covers = latest.banned_at == at || latest.ended_at.is_none_or(|ended_at| ended_at > at);
        if covers && (speaks != Speaks::Begins || at - latest.banned_at <= SAME_BAN) {
            return Ok(());
        }
        if speaks == Speaks::Restores && latest.expires_at.is_none_or(|expires_at| expires_at > at) {
            let sql = "UPDATE bans SET ended_at = NULL, assumed = 0 WHERE id = ?1";
            db.prepare_cached(sql)?.execute([latest.id])?;
            return Ok(());
        }
        // fail2ban bans nobody twice, so the earlier ban had ended, at the latest now.
        db.prepare_cached(
            "UPDATE bans SET ended_at = max(banned_at, min(coalesce(expires_at, ?2), ?2)), assumed = 1
             WHERE id = ?1 AND ended_at IS NULL",
        )?
        .execute(params![latest.id, at])?;
    }
    let known: Option<Option<Millis>> = db
        .prepare_cached("SELECT ban_ms FROM jails WHERE name = ?1")?
        .query_row([&target.jail], |row| row.get(0))
        .optional()?;
    let default = || Some(Millis::try_from(ban_time.as_millis()).unwrap_or(Millis::MAX));
    let expires_at = known.unwrap_or_else(default).map(|ban_ms| at.saturating_add(ban_ms));
    let restored = speaks == Speaks::Restores;
    db.prepare_cached(
        "INSERT OR IGNORE INTO bans (jail, address, network, banned_at, expires_at, restored)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        target.jail,
        target.address.to_string(),
        target.address.counted_under().to_string(),
        at,
        expires_at,
        restored
    ])?;
    Ok(())
}

fn latest(db: &Connection, target: &Target, at: Millis) -> rusqlite::Result<Option<Latest>> {
    db.prepare_cached(
        "SELECT id, banned_at, expires_at, ended_at FROM bans WHERE address = ?1 AND jail = ?2 AND banned_at <= ?3
         ORDER BY banned_at DESC LIMIT 1",
    )?
    .query_row(params![target.address.to_string(), target.jail, at], |row| {
        Ok(Latest { id: row.get(0)?, banned_at: row.get(1)?, expires_at: row.get(2)?, ended_at: row.get(3)? })
    })
    .optional()
}

fn prolong(db: &Connection, target: &Target, at: Millis, until: Option<Millis>) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE bans SET expires_at = ?4 WHERE address = ?1 AND jail = ?2 AND banned_at <= ?3 AND ended_at IS NULL",
    )?
    .execute(params![target.address.to_string(), target.jail, at, until])?;
    Ok(())
}

/// A ban ends. What the log says replaces what was assumed; a ban from before the log is not known.
fn end(db: &Connection, target: &Target, at: Millis) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE bans SET ended_at = ?3, assumed = 0
         WHERE id = (SELECT id FROM bans WHERE address = ?1 AND jail = ?2 AND banned_at <= ?3
                     ORDER BY banned_at DESC LIMIT 1)
           AND (ended_at IS NULL OR assumed = 1)",
    )?
    .execute(params![target.address.to_string(), target.jail, at])?;
    Ok(())
}

fn set_ban_time(db: &Connection, jail: Option<&str>, ban_ms: Option<Millis>) -> rusqlite::Result<()> {
    let Some(jail) = jail else { return Ok(()) };
    db.prepare_cached(
        "INSERT INTO jails (name, ban_ms) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET ban_ms = ?2",
    )?
    .execute(params![jail, ban_ms])?;
    Ok(())
}

/// How many bans one transaction of a job changes at most. The log is stored in between, and a stop waits for one.
pub(crate) const AT_ONCE: usize = 2000;

/// Ends bans whose time is over although no line says so, because fail2ban was killed or the line was
/// lost. What counts is the log's time and not the clock's: as long as the log says nothing, nobody knows
/// that fail2ban lifted a ban. Returns how many; if [`AT_ONCE`], there may be more.
pub(crate) fn expire(db: &Connection) -> rusqlite::Result<usize> {
    db.execute(
        "UPDATE bans SET ended_at = max(banned_at, expires_at), assumed = 1 WHERE id IN (
             SELECT id FROM bans
             WHERE ended_at IS NULL AND expires_at <= (SELECT log_time FROM log_position)
             ORDER BY expires_at LIMIT ?1)",
        [AT_ONCE.cast_signed()],
    )
}

/// Adds bans that were not counted yet to the hourly statistics. To be called within a transaction. Returns how many;
/// if [`AT_ONCE`], there may be more.
pub(crate) fn count_hours(db: &Connection) -> rusqlite::Result<usize> {
    const UNCOUNTED: &str = "SELECT id FROM bans WHERE counted = 0 ORDER BY banned_at, id LIMIT ?1";
    let limit = AT_ONCE.cast_signed();
    db.execute(
        &format!(
            "INSERT INTO hourly (hour, jail, bans)
             SELECT banned_at / ?2 * ?2, jail, count(*) FROM bans
             WHERE id IN ({UNCOUNTED}) AND restored = 0 GROUP BY 1, 2
             ON CONFLICT (hour, jail) DO UPDATE SET bans = bans + excluded.bans"
        ),
        params![limit, HOUR],
    )?;
    db.execute(&format!("UPDATE bans SET counted = 1 WHERE id IN ({UNCOUNTED})"), [limit])
}

#[cfg(test)]
pub(crate) mod tests;
