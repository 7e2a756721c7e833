//! What happens by itself: the log is followed, bans expire, hours are counted.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::Connection;
use solostart::{
    Env, ErrorKind, FailureCode, HttpUrl, Stage, StageContext, StageError, StageResult, StopContext,
    stages::{
        RunContext,
        database::{Database, DatabaseError},
        http_session::HttpClient,
        scheduler::Scheduler,
        tasks::{Tasks, TasksHandle},
    },
};
use tokio::{task::spawn_blocking, time::sleep};

use crate::{
    board::{self, LogState},
    config::Config,
    figures::{self, Counted},
    follow::{self, Position},
    lookup::{self, Lookups, Unknown},
    networks::Countries,
    store,
};

const LOG_UNREADABLE: FailureCode =
    FailureCode::new("banboard.log", ErrorKind::Config, "The log of fail2ban cannot be read");

/// How much of a long log is read before the service is ready, in batches of 64 KiB. The rest follows while
/// it serves.
const FIRST_BATCHES: usize = 32;

/// How long to wait for more when all was read.
const PAUSE: Duration = Duration::from_secs(1);

/// How often in a row the log may be missing, a pause apart, before that counts as a failure: whoever
/// rotates it moves it away first.
const MISSING_TIMES: u32 = 10;

/// How late a ban without an `Unban` may be taken for over.
const EXPIRE_EVERY: Duration = Duration::from_secs(30);

/// Just after each full hour. Until then the page counts the bans that are new itself.
const COUNT_AT: &str = "10 0 * * * *";

/// What the background tasks work with.
#[derive(Clone, Debug)]
struct Work {
    follower: Follower,
    /// To tell what is wrong with the log.
    stage: StageContext,
    database: Arc<Database>,
    counted: Arc<Counted>,
    /// Nothing is looked up without an upstream.
    lookups: Option<Lookups>,
}

/// The `tasks` stage: the library's own, with a first look at the log before it. So a log that cannot be
/// read is a failed start, and the board is not empty when it is first shown.
#[derive(Debug)]
pub(crate) struct FollowLog {
    log: PathBuf,
    ban_time: Duration,
    upstream: Option<HttpUrl>,
    counted: Arc<Counted>,
    tasks: Tasks<Work>,
}

impl FollowLog {
    pub(crate) fn new(config: &Config, counted: Arc<Counted>) -> Self {
        // However long the log stays away, it is followed when it is back.
        let mut tasks = Tasks::new()
            .restarts(u32::MAX)
            .task("follow-log", async |cx, work: Work| follow_on(cx, work).await)
            .task("count", async |cx, work: Work| figures::count_on(cx, work.database, work.counted).await);
        if config.upstream.is_some() {
            tasks = tasks.task("look-up", async |cx, work: Work| match work.lookups {
                Some(lookups) => lookup::look_up(cx, lookups).await,
                None => Ok(()),
            });
        }
        let upstream = config.upstream.clone();
        Self { log: config.log.clone(), ban_time: config.ban_time, upstream, counted, tasks }
    }
}

impl Stage for FollowLog {
    type Needs = (Arc<Database>, Arc<HttpClient>, Arc<Countries>, Arc<Unknown>);
    type Output = TasksHandle;

    fn name(&self) -> &'static str {
        "tasks"
    }

    fn check(&self) -> StageResult<()> {
        let readable = follow::readable(&self.log);
        readable.map_err(|cause| explain(FollowError::Log { log: self.log.clone(), cause }, &self.log))
    }

    async fn start(&self, cx: StageContext, needs: Self::Needs) -> StageResult<TasksHandle> {
        let (database, http, countries, unknown) = needs;
        let mut follower = Follower::new(database.clone(), self.log.clone(), self.ban_time);
        for batch in 1..=FIRST_BATCHES {
            cx.step(format!("read {}, part {batch}", self.log.display()));
            let more = follower.read_on().await.map_err(|error| explain(error, &self.log))?;
            self.counted.set_behind(more);
            if !more || cx.is_cancelled() {
                break;
            }
        }
        follower.tell(&cx);
        // A task that is begun again goes on where the last one ended.
        follower.position = None;
        // The job does the rest, if there are very many.
        database.fenced(|tx| Ok(store::expire(tx)?)).await?;
        let lookups = |upstream| Lookups { database: database.clone(), http, countries, unknown, upstream };
        let lookups = self.upstream.clone().map(lookups);
        let work = Work { follower, stage: cx.clone(), database, counted: self.counted.clone(), lookups };
        self.tasks.start(cx, work).await
    }

    async fn stop(&self, tasks: Arc<TasksHandle>, cx: StopContext) -> StageResult<()> {
        self.tasks.stop(tasks, cx).await
    }

    async fn health(&self, tasks: Arc<TasksHandle>) -> StageResult<()> {
        self.tasks.health(tasks).await
    }
}

/// Reads a log into the database, from where the last one who did so ended.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    database: Arc<Database>,
    log: PathBuf,
    ban_time: Duration,
    /// `None` until it was read from the database.
    position: Option<Position>,
    /// As of that position.
    state: LogState,
    /// What the operator knows of it. `None` until anything was read.
    told: Option<LogState>,
}

/// Why the log could not be followed for the moment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error("cannot read {}", log.display())]
    Log {
        log: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("cannot store what was read")]
    Store(#[from] DatabaseError),
    #[error("the thread that reads the log ended early")]
    Thread(#[from] tokio::task::JoinError),
}

impl FollowError {
    fn is_missing(&self) -> bool {
        matches!(self, Self::Log { cause, .. } if cause.kind() == io::ErrorKind::NotFound)
    }
}

impl Follower {
    pub(crate) fn new(database: Arc<Database>, log: PathBuf, ban_time: Duration) -> Self {
        Self { database, log, ban_time, position: None, state: LogState::default(), told: None }
    }

    /// Reads and stores one batch. Says whether there is more to read at once.
    ///
    /// # Cancel safety
    /// Cancel safe: what was stored but not noticed is read again, and storing it again changes no ban.
    pub(crate) async fn read_on(&mut self) -> Result<bool, FollowError> {
        let from = match self.position.take() {
            Some(position) => position,
            None => {
                let read = self.database.read(|db| Ok((store::position(db)?, board::log_state(db)?)));
                let (position, state) = read.await?;
                self.state = state;
                // What was lost earlier was told by whoever lost it.
                self.told.get_or_insert(LogState { gaps: state.gaps, ..LogState::default() });
                position
            }
        };
        let (log, begin) = (self.log.clone(), from.clone());
        let batch = spawn_blocking(move || follow::read(&log, &begin))
            .await?
            .map_err(|cause| FollowError::Log { log: self.log.clone(), cause })?;
        let (position, more, ban_time) = (batch.position.clone(), batch.more, self.ban_time);
        if position != from {
            let stored = self.database.fenced(move |tx| {
                store::ingest(tx, &batch, ban_time)?;
                Ok(board::log_state(tx)?)
            });
            self.state = stored.await?;
        }
        self.position = Some(position);
        Ok(more)
    }

    /// Says once what is wrong with the log. The page says it as long as it is.
    fn tell(&mut self, stage: &StageContext) {
        let Some(told) = self.told.replace(self.state) else { return };
        let is_new =
            self.state.gaps > told.gaps || (self.state.unreadable().is_some() && told.unreadable().is_none());
        if is_new {
            let troubles: Vec<_> = self.state.unreadable().into_iter().chain(self.state.lost()).collect();
            let name = self.log.file_name().unwrap_or_default().to_string_lossy();
            stage.degraded(format!("{name}: {}", troubles.join("; ")));
        }
    }
}

/// Follows the log until the service stops.
async fn follow_on(cx: RunContext, work: Work) -> StageResult<()> {
    let Work { mut follower, stage, counted, .. } = work;
    // Only a log that was there before gets the patience.
    let mut missing = MISSING_TIMES;
    while !cx.is_cancelled() {
        let read = follower.read_on().await;
        counted.set_behind(matches!(read, Ok(true)));
        let more = match read {
            Err(error) if error.is_missing() && missing < MISSING_TIMES => {
                missing += 1;
                false
            }
            read => {
                missing = 0;
                read?
            }
        };
        follower.tell(&stage);
        if !more {
            tokio::select! {
                () = cx.cancelled() => {}
                () = sleep(PAUSE) => {}
            }
        }
    }
    Ok(())
}

/// What the operator can do about a log that cannot be read.
fn explain(error: FollowError, log: &Path) -> StageError {
    let FollowError::Log { cause, .. } = &error else { return error.into() };
    let kind = cause.kind();
    let path = log.display();
    let failed = StageError::new(LOG_UNREADABLE, error).fact("BANBOARD_FAIL2BAN_LOG", path.to_string());
    if kind == io::ErrorKind::PermissionDenied {
        let hint = format!("See who may read it, mostly root and the group adm: ls -l {path}");
        return failed.kind(ErrorKind::Permission).hint(hint);
    }
    if matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) {
        return failed.hint("Set BANBOARD_FAIL2BAN_LOG to what this tells: fail2ban-client get logtarget");
    }
    failed.kind(ErrorKind::Io)
}

/// The `scheduler` stage.
pub(crate) fn scheduler(env: &Env) -> Scheduler<Arc<Database>> {
    Scheduler::from_env(env)
        .every("expire-bans", EXPIRE_EVERY, async |cx, database| by_parts(cx, database, store::expire).await)
        .cron("count-hours", COUNT_AT, async |cx, database| by_parts(cx, database, store::count_hours).await)
}

/// Has a job's transactions run until one has less to change than it may, or the service stops.
async fn by_parts(
    cx: RunContext,
    database: Arc<Database>,
    part: fn(&Connection) -> rusqlite::Result<usize>,
) -> StageResult<()> {
    while !cx.is_cancelled() && database.fenced(move |tx| Ok(part(tx)?)).await? == store::AT_ONCE {}
    Ok(())
}
