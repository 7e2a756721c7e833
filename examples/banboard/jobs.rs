//! What happens by itself: the log is followed, bans expire, hours are counted.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use solostart::{
    ErrorKind, FailureCode, StageContext, StageError, StageResult,
    stages::database::{Database, DatabaseError},
};
use tokio::task::spawn_blocking;

use crate::{
    config::Config,
    follow::{self, Position},
    store,
};

const LOG_UNREADABLE: FailureCode =
    FailureCode::new("banboard.log", ErrorKind::Config, "The log of fail2ban cannot be read");

/// How much of a long log is read before the service is ready, in batches of 64 KiB. The rest follows while
/// it serves.
const FIRST_BATCHES: usize = 32;

/// Follows the log into the database.
#[derive(Debug)]
pub(crate) struct Follower {
    database: Arc<Database>,
    log: PathBuf,
    ban_time: Duration,
    position: Position,
}

/// Why the log could not be followed for the moment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error("cannot read {}: {cause}", log.display())]
    Log { log: PathBuf, cause: io::Error },
    #[error("cannot store what was read")]
    Store(#[from] DatabaseError),
    #[error("the thread that reads the log ended early")]
    Thread(#[from] tokio::task::JoinError),
}

impl Follower {
    /// Goes on where the last process ended, and reads the first part of what is new, so that the board is
    /// not empty when it is first shown.
    ///
    /// # Errors
    /// The log cannot be read, or the database not be used.
    pub(crate) async fn begin(
        cx: &StageContext,
        database: Arc<Database>,
        config: &Config,
    ) -> StageResult<Self> {
        let position = database.read(|db| Ok(store::position(db)?)).await?;
        let mut follower = Self { database, log: config.log.clone(), ban_time: config.ban_time, position };
        for batch in 1..=FIRST_BATCHES {
            cx.step(format!("read {}, part {batch}", config.log.display()));
            let more = follower.read_on().await.map_err(|error| explain(error, &config.log))?;
            if !more || cx.is_cancelled() {
                break;
            }
        }
        Ok(follower)
    }

    /// Reads and stores one batch. Says whether there is more to read at once.
    ///
    /// # Cancel safety
    /// Cancel safe: what was stored but not noticed is read again and changes nothing.
    pub(crate) async fn read_on(&mut self) -> Result<bool, FollowError> {
        let (log, from) = (self.log.clone(), self.position.clone());
        let batch = spawn_blocking(move || follow::read(&log, &from))
            .await?
            .map_err(|cause| FollowError::Log { log: self.log.clone(), cause })?;
        let (position, more) = (batch.position.clone(), batch.more);
        if position != self.position {
            let ban_time = self.ban_time;
            self.database.write(move |tx| Ok(store::ingest(tx, &batch, ban_time)?)).await?;
            self.position = position;
        }
        Ok(more)
    }
}

/// What the operator can do about a log that cannot be read.
fn explain(error: FollowError, log: &Path) -> StageError {
    let FollowError::Log { cause, .. } = &error else { return error.into() };
    let kind = cause.kind();
    let path = log.display();
    let failed = StageError::new(LOG_UNREADABLE, error).fact("BANBOARD_FAIL2BAN_LOG", path.to_string());
    if kind == io::ErrorKind::PermissionDenied {
        let hint = format!("see who may read it, mostly root and the group adm: ls -l {path}");
        return failed.kind(ErrorKind::Permission).hint(hint);
    }
    if matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) {
        return failed.hint("set BANBOARD_FAIL2BAN_LOG to what this tells: fail2ban-client get logtarget");
    }
    failed.kind(ErrorKind::Io)
}

/// Ends the bans whose time is over and adds the new ones to the hourly statistics.
///
/// # Errors
/// The database cannot be written.
pub(crate) async fn tidy(database: &Database) -> Result<(), DatabaseError> {
    let (expired, counted) = database.write(|tx| Ok((store::expire(tx)?, store::count_hours(tx)?))).await?;
    tracing::debug!(expired, counted, "bans tidied");
    Ok(())
}
