//! The threads that own the connections: one that writes, a few that read.
//!
//! They are threads of our own, not `spawn_blocking` nor a pool crate, because a start that is cancelled
//! and a stop must interrupt a running statement and then wait until its thread has let go of the file
//! (docs/adr/0006).
//!
//! The writer's thread opens everything and is the last to go: it joins the readers before the final
//! checkpoint, which needs to be alone.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use rusqlite::{Connection, InterruptHandle};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    SqliteDatabase, busy,
    errors::sqlite_failed,
    open,
    opening::{Opened, Place, Plan, open_all},
    queue::Queue,
};
use crate::{
    codes::STAGE_PANICKED,
    contain::contain,
    contract::tell::{shown, tell},
    error::{ErrorKind, StageError, StageResult},
    limits::no_thread,
    stages::in_flight::soft_deadline,
};

/// How long the end waits for others that read, at most. Nothing is lost if they go on.
const PATIENCE_TO_TIDY: Duration = Duration::from_secs(1);

pub(super) struct Shared {
    writes: Queue,
    reads: Queue,
    /// One for each open connection.
    interrupts: Mutex<Vec<InterruptHandle>>,
    /// Cancelled when nothing is to be waited for any more.
    pub(super) cut: CancellationToken,
    /// Cancelled when the last connection is closed.
    done: CancellationToken,
}

/// The side of the threads that stays in the async world. Dropped without a stop, it closes the queues, and
/// the threads end by themselves once these are empty.
pub(super) struct Threads {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<StageResult<()>>>>,
}

impl Threads {
    /// Starts the writer's thread, which then opens the database and answers how that went.
    pub(super) fn start(plan: Plan) -> StageResult<(Self, oneshot::Receiver<StageResult<Place>>)> {
        let (opened, answer) = oneshot::channel();
        let shared = Arc::new(Shared {
            writes: Queue::new(),
            reads: Queue::new(),
            interrupts: Mutex::new(Vec::new()),
            cut: CancellationToken::new(),
            done: CancellationToken::new(),
        });
        let for_thread = shared.clone();
        let writer = Builder::new()
            .name("solostart-db-writer".to_owned())
            .spawn(move || {
                // Set off by the end of the thread, however that comes.
                let _done = for_thread.done.clone().drop_guard();
                write_until_closed(&for_thread, plan, opened)
            })
            .map_err(|error| no_thread(&error, "the database"))?;
        Ok((Self { shared, writer: Mutex::new(Some(writer)) }, answer))
    }

    pub(super) fn writes(&self) -> &Queue {
        &self.shared.writes
    }

    pub(super) fn reads(&self) -> &Queue {
        &self.shared.reads
    }

    /// Refuses new work, lets what waits be done, and closes the file. What is not done in time is dropped,
    /// interrupted and rolled back.
    pub(super) async fn stop(&self, deadline: Instant) -> StageResult<()> {
        self.shared.close();
        if timeout_at(soft_deadline(deadline), self.shared.done.cancelled()).await.is_ok() {
            return self.join();
        }
        let dropped = self.shared.writes.discard() + self.shared.reads.discard();
        if timeout_at(soft_deadline(deadline), self.interrupt()).await.is_err() {
            return Err(StageError::from(
                "a closure still uses the database, and SQLite cannot interrupt it",
            )
            .fact("calls dropped", dropped.to_string()));
        }
        self.join()?;
        Err(StageError::from("the time to stop was over: the calls under way were interrupted")
            .kind(ErrorKind::Temporary)
            .fact("calls dropped", dropped.to_string()))
    }

    /// Ends the opening or whatever else runs, and waits until the file is let go of.
    pub(super) async fn abandon(&self) -> StageResult<()> {
        self.shared.close();
        self.interrupt().await;
        // How the opening ended was told to the start hook already.
        let _known = self.join();
        Ok(())
    }

    /// Interrupts again and again until every connection is closed: an interrupt that comes between two
    /// statements is lost (<https://sqlite.org/c3ref/interrupt.html>).
    pub(super) async fn interrupt(&self) {
        self.shared.cut.cancel();
        while !self.shared.done.is_cancelled() {
            for each in self.shared.interrupts.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                each.interrupt();
            }
            let pause = sleep(Duration::from_millis(10));
            tokio::select! {
                () = self.shared.done.cancelled() => {}
                () = pause => {}
            }
        }
    }

    /// Takes the result of a thread whose work is done. It only has to return, so joining it takes
    /// microseconds and may be done on an async thread.
    fn join(&self) -> StageResult<()> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        match writer.map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(StageError::from("the thread of the database panicked")),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    fn close(&self) {
        self.writes.close();
        self.reads.close();
    }

    pub(super) fn watch(&self, connection: &Connection) {
        self.interrupts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection.get_interrupt_handle());
    }
}

/// Readers that end, and are waited for, when this is dropped.
pub(super) struct Readers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// One for each thread, which opens nothing before it is told to.
    sound: Vec<Sender<()>>,
    opened: Receiver<StageResult<()>>,
}

impl Readers {
    /// Starts the threads, which takes some time, before it is known whether the file may be opened.
    pub(super) fn start(shared: &Arc<Shared>, settings: &SqliteDatabase, file: &Path) -> StageResult<Self> {
        let (answer, opened) = channel();
        let (threads, sound) = (Vec::with_capacity(settings.readers), Vec::with_capacity(settings.readers));
        let mut readers = Self { shared: shared.clone(), threads, sound, opened };
        for number in 0..settings.readers {
            let (shared, answer, file) = (shared.clone(), answer.clone(), file.to_owned());
            let (told, sound) = channel();
            let busy_timeout = settings.busy_timeout;
            let thread = Builder::new()
                .name(format!("solostart-db-reader-{number}"))
                .spawn(move || {
                    busy::wait_at_most(busy_timeout, shared.cut.clone());
                    if sound.recv().is_ok() {
                        read_until_closed(&shared, &file, answer);
                    }
                })
                .map_err(|error| no_thread(&error, "the database"))?;
            readers.threads.push(thread);
            readers.sound.push(told);
        }
        Ok(readers)
    }

    /// Lets each open a connection to a file that is sound, while the writer goes on with what it has to do.
    pub(super) fn open(&mut self) {
        for told in self.sound.drain(..) {
            // A thread that has ended is missed where its answer is.
            let _ended = told.send(());
        }
    }

    /// Waits until all of them are open.
    pub(super) fn ready(&self) -> StageResult<()> {
        let ended_early = || Err(StageError::from("the thread of a reader panicked"));
        self.threads.iter().try_for_each(|_| self.opened.recv().unwrap_or_else(|_| ended_early()))
    }
}

/// A reader's thread, from its first to its last breath.
fn read_until_closed(shared: &Shared, file: &Path, answer: Sender<StageResult<()>>) {
    let mut connection = match open::reader(file) {
        Ok(connection) => connection,
        Err(error) => {
            // A writer that failed meanwhile does not wait for the answer any more.
            let _unheard = answer.send(Err(error));
            return;
        }
    };
    shared.watch(&connection);
    let _unheard = answer.send(Ok(()));
    // Whoever waits for all answers hears of a thread that ends without one.
    drop(answer);
    shared.reads.serve(&mut connection);
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.sound.clear();
        self.shared.reads.close();
        for thread in self.threads.drain(..) {
            // A reader contains the panics of its closures, and has nothing else to tell.
            let _ended = thread.join();
        }
    }
}

/// The writer's thread, from its first to its last breath.
fn write_until_closed(
    shared: &Arc<Shared>,
    plan: Plan,
    opened: oneshot::Sender<StageResult<Place>>,
) -> StageResult<()> {
    busy::wait_at_most(plan.settings.busy_timeout, shared.cut.clone());
    let result = contain(|| open_all(shared, &plan))
        .unwrap_or_else(|panicked| Err(StageError::new(STAGE_PANICKED, panicked)));
    // It holds the start's context, which is of no use once the start has its answer.
    drop(plan.step);
    let Opened { readers, mut connection, claim, place } = match result {
        Ok(all) => all,
        Err(error) => {
            // A start hook that went away has registered an undo, which only waits for this thread.
            let _unheard = opened.send(Err(error));
            return Ok(());
        }
    };
    let stamp = place.stamp.clone();
    let _unheard = opened.send(Ok(place));
    shared.writes.serve(&mut connection);
    drop(readers);
    busy::wait_at_most(plan.settings.busy_timeout.min(PATIENCE_TO_TIDY), shared.cut.clone());
    // Closing moves the log into the database.
    stamp.iter().for_each(|stamp| stamp.clear());
    let closed = close(connection, &shared.cut);
    stamp.iter().for_each(|stamp| stamp.end());
    drop(claim);
    closed.map_err(|error| sqlite_failed(&error, "close the database", &plan.path))
}

/// Leaves a file that needs no write-ahead log: a copy of it alone is a whole backup.
fn close(connection: Connection, cut: &CancellationToken) -> rusqlite::Result<()> {
    if !cut.is_cancelled() {
        // Both are a service to the next start; without them the file and its log are just as sound.
        match tidy(&connection) {
            Ok(0) => {}
            Ok(_) => tell!(
                warn,
                "another program reads the database: what was written last stays in the log beside it"
            ),
            Err(error) => {
                tell!(warn, "the database was closed without a checkpoint", error = shown(error));
            }
        }
    }
    connection.close().map_err(|(_, error)| error)
}

/// Returns 0 unless somebody kept the log from being emptied
/// (<https://sqlite.org/pragma.html#pragma_wal_checkpoint>).
fn tidy(connection: &Connection) -> rusqlite::Result<i64> {
    connection.execute_batch("PRAGMA optimize;")?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
}
