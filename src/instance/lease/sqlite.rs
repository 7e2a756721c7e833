//! A lease in a file of `SQLite`'s, on a connection of its own: in the application's own file a long
//! transaction would keep renewals waiting (19 to 129 ms beside a writer, where this takes 0.1 ms).
//!
//! An acquisition is on the disk before it counts (`synchronous=FULL`). A renewal is not: it is visible to
//! all processes at once, and a power failure, which alone could lose it, ends its holder as well. What
//! is left then is an older sequence under the same token, which says no more than that the holder is gone.
//!
//! No statement needs to be interrupted: the schema must be exactly [`SCHEMA`], so none of them can loop, and
//! `sqlite3_interrupt` ends neither the wait for a lock, which has its own limit, nor a system call.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row as SqlRow, ToSql, TransactionBehavior,
    config::DbConfig, named_params, types::ValueRef,
};

use super::{
    file::{self, Beside, OpenFiles},
    protocol::Version,
    record::{INFO_MAX, LeaseRecord, Now},
    store::{Claim, LeaseStore, Said, StoreError},
};
use crate::instance::holder::Holder;

/// Every object that the file holds, as `SQLite` stores its text. Anything else is not a lease.
const SCHEMA: [(&str, &str); 3] = [
    (
        "solostart_lease",
        "CREATE TABLE solostart_lease(
  name TEXT PRIMARY KEY NOT NULL,
  token INTEGER NOT NULL CHECK(token >= 1),
  seq INTEGER NOT NULL CHECK(seq >= 0),
  holder TEXT,
  holder_info TEXT,
  boot_id TEXT NOT NULL,
  lock TEXT NOT NULL,
  ttl_ms INTEGER NOT NULL CHECK(ttl_ms > 0),
  expires_boot_ns INTEGER NOT NULL CHECK(expires_boot_ns >= 0),
  changed_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID",
    ),
    (
        "solostart_lease_is_kept",
        "CREATE TRIGGER solostart_lease_is_kept BEFORE DELETE ON solostart_lease
BEGIN SELECT RAISE(ABORT, 'a lease row is never deleted'); END",
    ),
    (
        "solostart_lease_token_grows",
        "CREATE TRIGGER solostart_lease_token_grows BEFORE UPDATE OF token ON solostart_lease
WHEN NEW.token < OLD.token
BEGIN SELECT RAISE(ABORT, 'the token of a lease never falls'); END",
    ),
];

/// How many pages the write-ahead log holds before they are moved into the database, after which the
/// log is written from its beginning again. A renewal is one page, so the log has its full size after
/// about six minutes, and from then on a full disk does not keep a holder from renewing.
const LOG_PAGES: u32 = 128;

/// A lease file that is open for writing.
#[derive(Debug)]
pub(crate) struct SqliteStore {
    connection: Connection,
    files: OpenFiles,
}

impl SqliteStore {
    /// Opens the lease at `path`, and creates it if there is none. Waiting for another program's lock on
    /// the file is limited by `patience`, here and in every later call.
    pub(crate) fn open(path: &Path, patience: Duration) -> Result<Self, StoreError> {
        let resolved = file::resolve(path)?;
        file::require_one_mount(&resolved)?;
        file::create(&resolved)?;
        let mut connection = connect(&resolved, OpenFlags::SQLITE_OPEN_READ_WRITE, patience)?;
        // Before anything is written, because the path may lead to somebody's data.
        let blank = is_blank(&connection)?;
        let mode: String =
            connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if mode != "wal" {
            let text = format!("cannot have a write-ahead log, only the mode `{mode}`");
            return Err(StoreError::Unsupported(text));
        }
        connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
        if blank {
            create_schema(&mut connection)?;
        }
        // Others look at the path that was given, whatever it leads to.
        let files = OpenFiles::note(path)?;
        Ok(Self { connection, files })
    }

    /// The row in the lease at `path`, without creating anything; `None` also where there is no file.
    pub(crate) fn look(
        path: &Path,
        name: &str,
        patience: Duration,
    ) -> Result<Option<LeaseRecord>, StoreError> {
        let resolved = match file::resolve(path) {
            Ok(resolved) if file::exists(&resolved)? => resolved,
            Ok(_) => return Ok(None),
            Err(error) => return Err(error),
        };
        let connection = match file::beside(&resolved)? {
            Beside::All => connect(&resolved, OpenFlags::SQLITE_OPEN_READ_ONLY, patience)?,
            Beside::NoLog => connect(
                &file::as_immutable(&resolved),
                OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
                patience,
            )?,
            Beside::NoIndex => {
                let text = "has a log without its index, which the next start makes".to_owned();
                return Err(StoreError::Unsupported(text));
            }
        };
        if is_blank(&connection)? {
            return Ok(None);
        }
        read(&connection, name)
    }

    /// The file system that the lease is on.
    pub(crate) fn device(&self) -> u64 {
        self.files.device()
    }

    /// Changes the row so that it survives a power failure.
    fn durably(
        &self,
        change: impl FnOnce(&Connection) -> rusqlite::Result<usize>,
    ) -> Result<bool, StoreError> {
        self.connection.pragma_update(None, "synchronous", "full")?;
        let changed = change(&self.connection);
        self.connection.pragma_update(None, "synchronous", "normal")?;
        Ok(changed? == 1)
    }
}

impl LeaseStore for SqliteStore {
    fn read(&mut self, name: &str) -> Result<Option<LeaseRecord>, StoreError> {
        read(&self.connection, name)
    }

    fn swap(&mut self, seen: Option<Version>, next: &LeaseRecord) -> Result<bool, StoreError> {
        let info = next.info.as_ref().and_then(|info| serde_json::to_string(info).ok());
        let (ttl, expires) = (millis(next.ttl), nanos(next.expires));
        let (token, seq) = (int(next.version.token), int(next.version.seq));
        let mut values: Vec<(&str, &dyn ToSql)> = vec![
            (":name", &next.name),
            (":token", &token),
            (":seq", &seq),
            (":holder", &next.holder),
            (":info", &info),
            (":boot_id", &next.boot_id),
            (":lock", &next.lock),
            (":ttl", &ttl),
            (":expires", &expires),
            (":changed", &next.changed_unix_ms),
        ];
        let Some(seen) = seen else {
            return self.durably(|connection| connection.prepare_cached(INSERT)?.execute(values.as_slice()));
        };
        let (seen_token, seen_seq) = (int(seen.token), int(seen.seq));
        values.push((":seen_token", &seen_token));
        values.push((":seen_seq", &seen_seq));
        self.durably(|connection| connection.prepare_cached(REPLACE)?.execute(values.as_slice()))
    }

    fn renew(&mut self, claim: &Claim, now: Now) -> Result<bool, StoreError> {
        let changed = self.connection.prepare_cached(RENEW)?.execute(named_params! {
            ":name": claim.name,
            ":holder": claim.holder,
            ":token": int(claim.token),
            ":acknowledged": int(claim.window.acknowledged),
            ":attempted": int(claim.window.attempted),
            ":expires": nanos(now.boot.saturating_add(claim.ttl)),
            ":changed": now.unix_ms(),
        })?;
        Ok(changed == 1)
    }

    fn raise(&mut self, claim: &Claim, token: u64) -> Result<bool, StoreError> {
        self.durably(|connection| {
            connection.prepare_cached(RAISE)?.execute(named_params! {
                ":name": claim.name, ":holder": claim.holder, ":token": int(claim.token), ":raised": int(token),
                ":acknowledged": int(claim.window.acknowledged), ":attempted": int(claim.window.attempted),
            })
        })
    }

    fn release(&mut self, claim: &Claim, now: Now) -> Result<bool, StoreError> {
        let changed = self.connection.prepare_cached(RELEASE)?.execute(named_params! {
            ":name": claim.name, ":holder": claim.holder, ":token": int(claim.token), ":changed": now.unix_ms(),
            ":acknowledged": int(claim.window.acknowledged), ":attempted": int(claim.window.attempted),
        })?;
        Ok(changed == 1)
    }

    fn verify(&mut self) -> Result<(), StoreError> {
        self.files.verify()
    }

    fn place(&self) -> &Path {
        self.files.database()
    }
}

const INSERT: &str =
    "INSERT INTO solostart_lease(name, token, seq, holder, holder_info, boot_id, lock, ttl_ms,
    expires_boot_ns, changed_unix_ms)
  VALUES(:name, :token, :seq, :holder, :info, :boot_id, :lock, :ttl, :expires, :changed)
  ON CONFLICT(name) DO NOTHING";

const REPLACE: &str =
    "UPDATE solostart_lease SET token = :token, seq = :seq, holder = :holder, holder_info = :info,
    boot_id = :boot_id, lock = :lock, ttl_ms = :ttl, expires_boot_ns = :expires, changed_unix_ms = :changed
  WHERE name = :name AND token = :seen_token AND seq = :seen_seq";

const RENEW: &str =
    "UPDATE solostart_lease SET seq = :attempted, expires_boot_ns = :expires, changed_unix_ms = :changed
  WHERE name = :name AND holder = :holder AND token = :token AND seq >= :acknowledged AND seq < :attempted";

const RAISE: &str = "UPDATE solostart_lease SET token = :raised
  WHERE name = :name AND holder = :holder AND token = :token AND :raised > token
    AND seq BETWEEN :acknowledged AND :attempted";

const RELEASE: &str = "UPDATE solostart_lease SET holder = NULL, holder_info = NULL, seq = seq + 1,
    expires_boot_ns = 0, changed_unix_ms = :changed
  WHERE name = :name AND holder = :holder AND token = :token
    AND seq BETWEEN :acknowledged AND :attempted";

fn connect(path: &Path, access: OpenFlags, patience: Duration) -> Result<Connection, StoreError> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(patience)?;
    // Anybody who can write the file can write its schema, too.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // A clean stop leaves the files as a crash does. Tidying the log away costs two or three writes to the
    // disk at the stop, and as many at the next start.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// Whether the file holds nothing yet: it is new, or its creator was interrupted.
fn is_blank(connection: &Connection) -> Result<bool, StoreError> {
    let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema LIMIT 9")?;
    let found = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    if found.is_empty() {
        return Ok(true);
    }
    let expected = |(name, sql): &(String, Option<String>)| {
        SCHEMA.iter().any(|(known, text)| known == name && sql.as_deref() == Some(*text))
    };
    if found.len() == SCHEMA.len() && found.iter().all(expected) {
        return Ok(false);
    }
    Err(StoreError::Damaged("holds something else than a lease, which was not touched".to_owned()))
}

fn create_schema(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another instance may have been quicker.
    if is_blank(&transaction)? {
        for (_, text) in SCHEMA {
            transaction.execute_batch(text)?;
        }
    }
    Ok(transaction.commit()?)
}

fn read(connection: &Connection, name: &str) -> Result<Option<LeaseRecord>, StoreError> {
    // Texts are cut before they are read, because the file may hold anything.
    let sql = format!(
        "SELECT token, seq, substr(holder, 1, 200), CASE WHEN octet_length(holder_info) <= {INFO_MAX} THEN
           holder_info END, substr(boot_id, 1, 200), substr(lock, 1, 200), ttl_ms, expires_boot_ns, changed_unix_ms
         FROM solostart_lease WHERE name = ?1"
    );
    let record = connection.prepare_cached(&sql)?.query_row([name], |row| parse(name, row)).optional()?;
    if let Some(record) = &record {
        record.validate(Now::read()).map_err(|what| StoreError::Damaged(format!("is damaged: {what}")))?;
    }
    Ok(record)
}

fn parse(name: &str, row: &SqlRow<'_>) -> rusqlite::Result<LeaseRecord> {
    let info = match row.get_ref(3)? {
        ValueRef::Text(text) => Holder::parse(text),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => None,
    };
    Ok(LeaseRecord {
        name: name.to_owned(),
        version: Version { token: unsigned(row, 0)?, seq: unsigned(row, 1)? },
        holder: row.get(2)?,
        info,
        boot_id: row.get(4)?,
        lock: row.get(5)?,
        ttl: Duration::from_millis(unsigned(row, 6)?),
        expires: Duration::from_nanos(unsigned(row, 7)?),
        changed_unix_ms: row.get(8)?,
    })
}

fn unsigned(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        // The text of SQLite alone: rusqlite adds the statement to some.
        let text = if let rusqlite::Error::SqliteFailure(_, Some(text)) = &error {
            text.clone()
        } else {
            error.to_string()
        };
        let number = error.sqlite_error().map(|error| error.extended_code);
        let numbered =
            number.map_or_else(|| text.clone(), |number| format!("{text} (SQLite's code {number})"));
        let said = Said { text: numbered.clone(), sqlite: number, errno: None };
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged(format!("is damaged: {numbered}"))
            }
            Some(
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed,
            ) => Self::Busy,
            Some(ErrorCode::DiskFull) => Self::Full(said),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::NotWritable(said),
            // "Unable to open" has many reasons, and SQLite tells none of them.
            Some(_) => Self::Failed(said),
            // A value of the wrong type or range, which only a foreign or damaged row has.
            None => Self::Damaged(format!("is damaged: {text}")),
        }
    }
}

/// The path of the lease that belongs to a lock file: beside it, so that whoever sees one sees the other.
pub(crate) fn path_beside(lock: &Path) -> PathBuf {
    lock.with_extension("lease.db")
}

#[cfg(test)]
mod tests;
