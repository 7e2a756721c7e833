//! The tables, as migrations in the order in which they were written. A migration is never changed once
//! it was released; the next one changes what it made.

use solostart::stages::database::Migration;

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration::new("bans", BANS),
    Migration::new("log-position", LOG_POSITION),
    Migration::new("hourly", HOURLY),
    Migration::new("networks", NETWORKS),
    Migration::new("log-troubles", LOG_TROUBLES),
    Migration::new("expiry", EXPIRY),
];

/// The same for tests that need no stage.
#[cfg(test)]
pub(crate) const ALL: [&str; 6] = [BANS, LOG_POSITION, HOURLY, NETWORKS, LOG_TROUBLES, EXPIRY];

/// Times are milliseconds since 1970 on the log's clock. `expires_at` is null for a ban without end.
/// `ended_at` is null as long as the ban is active; `assumed` says that no line told its end. A ban that the
/// log only saw `restored` began earlier than `banned_at`, so it belongs into no statistics.
pub(crate) const BANS: &str = "
CREATE TABLE bans (
    id         INTEGER PRIMARY KEY,
    jail       TEXT    NOT NULL,
    address    TEXT    NOT NULL,
    network    TEXT    NOT NULL,
    banned_at  INTEGER NOT NULL,
    expires_at INTEGER,
    ended_at   INTEGER CHECK (ended_at >= banned_at),
    assumed    INTEGER NOT NULL DEFAULT 0 CHECK (assumed IN (0, 1)),
    restored   INTEGER NOT NULL CHECK (restored IN (0, 1)),
    counted    INTEGER NOT NULL DEFAULT 0 CHECK (counted IN (0, 1)),
    UNIQUE (address, jail, banned_at)
) STRICT;
CREATE INDEX bans_by_time ON bans (banned_at);
CREATE INDEX bans_active ON bans (banned_at) WHERE ended_at IS NULL;
CREATE INDEX bans_uncounted ON bans (banned_at) WHERE counted = 0;
CREATE TABLE jails (
    name   TEXT PRIMARY KEY,
    ban_ms INTEGER
) STRICT, WITHOUT ROWID;
";

/// One row: how far the log was read. It changes in the same transaction as the bans. `jail` is the one
/// whose settings the log was telling.
pub(crate) const LOG_POSITION: &str = "
CREATE TABLE log_position (
    only_row     INTEGER PRIMARY KEY CHECK (only_row = 1),
    device       INTEGER NOT NULL,
    inode        INTEGER NOT NULL,
    byte_offset  INTEGER NOT NULL,
    before       BLOB    NOT NULL,
    in_long_line INTEGER NOT NULL,
    jail         TEXT,
    log_time     INTEGER,
    lines        INTEGER NOT NULL,
    skipped      INTEGER NOT NULL
) STRICT;
";

pub(crate) const HOURLY: &str = "
CREATE TABLE hourly (
    hour INTEGER NOT NULL,
    jail TEXT    NOT NULL,
    bans INTEGER NOT NULL,
    PRIMARY KEY (hour, jail)
) STRICT, WITHOUT ROWID;
";

/// Which country a network is in. The rows are made up: these networks are reserved for documentation
/// (RFC 5737, RFC 3849), benchmarks (RFC 2544) and shared address space (RFC 6598) and belong to no
/// country. They make the sample log look like a real one; replace them by a table of your own.
pub(crate) const NETWORKS: &str = "
CREATE TABLE networks (
    prefix  TEXT PRIMARY KEY,
    country TEXT NOT NULL CHECK (length(country) = 2)
) STRICT, WITHOUT ROWID;
INSERT INTO networks (prefix, country) VALUES
    ('192.0.2.0/24',     'US'), ('192.0.2.128/25',   'CA'),
    ('198.51.100.0/24',  'DE'), ('203.0.113.0/24',   'NL'), ('203.0.113.192/26', 'BE'),
    ('198.18.0.0/19',    'CN'), ('198.18.32.0/19',   'VN'), ('198.18.64.0/19',   'BR'),
    ('198.18.96.0/19',   'IN'), ('198.18.128.0/19',  'ID'), ('198.18.160.0/19',  'KR'),
    ('198.18.192.0/19',  'SG'), ('198.18.224.0/19',  'HK'), ('198.19.0.0/19',    'RO'),
    ('198.19.32.0/19',   'FR'), ('198.19.64.0/19',   'GB'), ('198.19.128.0/18',  'UA'),
    ('198.19.192.0/19',  'BG'), ('100.64.0.0/12',    'MX'), ('100.80.0.0/12',    'TR'),
    ('100.96.0.0/12',    'ZA'), ('2001:db8::/36',    'NL'), ('2001:db8:1000::/36', 'FI'),
    ('2001:db8:4000::/36', 'US'), ('2001:db8:9000::/36', 'JP');
";

/// How often files of the log were lost unread, and how many lines were skipped since the last one that was
/// understood.
pub(crate) const LOG_TROUBLES: &str = "
ALTER TABLE log_position ADD COLUMN gaps INTEGER NOT NULL DEFAULT 0;
ALTER TABLE log_position ADD COLUMN strange INTEGER NOT NULL DEFAULT 0;
";

/// Finds the bans whose time is over among a million that are active.
pub(crate) const EXPIRY: &str = "
CREATE INDEX bans_by_expiry ON bans (expires_at) WHERE ended_at IS NULL;
";
