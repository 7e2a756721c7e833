//! What the service manager is told: `sd_notify(3)`, without its library.
//!
//! The protocol is one datagram of `NAME=value` lines. It is spoken here and not through the crate `sd-notify`,
//! because that one takes its address from the process's environment and waits where the receiver does not
//! read; nothing here may wait.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc::Receiver},
    time::{Duration, Instant},
};

use super::{PATIENCE, start};

use crate::{
    contract::{
        board::Board,
        event::Event,
        state::{Phase, StageState},
        tell::{shown, tell},
    },
    error::{ErrorKind, StageError},
    report::{Report, printable},
    run::notifying::Systemd,
};

/// How often the manager hears how far a start or a stop is.
const BEAT: Duration = Duration::from_secs(1);

/// How long the manager shall wait for the next word while the service starts or stops: many beats, because a
/// busy machine is no reason to kill a start. That the start ends is our own watchdog's concern.
const EXTENSION: Duration = Duration::from_secs(15);

/// How many stages one line names.
const NAMED_MOST: usize = 3;

/// How long one line is at most.
const LINE_MOST: usize = 200;

/// The way to the service manager. Clones share it.
#[derive(Clone)]
pub(in crate::run) struct Notifier(Arc<Shared>);

struct Shared {
    socket: UnixDatagram,
    manager: SocketAddr,
    watchdog: Option<Duration>,
    said: Mutex<Said>,
    board: OnceLock<Arc<Board>>,
}

/// What was said, so that nothing is said twice.
#[derive(Default)]
struct Said {
    status: String,
    stopping: bool,
    /// That it failed is the last word.
    failed: bool,
    pinged: Option<Instant>,
}

impl Notifier {
    /// `None` where there is no manager to tell, or no way to it.
    pub(in crate::run) fn connect(systemd: &Systemd) -> Option<Self> {
        let told = open(systemd.socket.as_deref()?);
        let (socket, manager) = told
            .inspect_err(|error| {
                tell!(warn, "the service manager of NOTIFY_SOCKET is not told", error = shown(error));
            })
            .ok()?;
        let (watchdog, said, board) = (systemd.watchdog, Mutex::default(), OnceLock::new());
        Some(Self(Arc::new(Shared { socket, manager, watchdog, said, board })))
    }

    /// How often [`beat`](Self::beat) must be called.
    pub(in crate::run) fn every(&self) -> Duration {
        self.0.watchdog.map_or(BEAT, |watchdog| BEAT.min(watchdog / 2)).max(Duration::from_millis(1))
    }

    /// Says where to look. Only the first board counts.
    pub(in crate::run) fn look_at(&self, board: Arc<Board>) {
        let _looks_already = self.0.board.set(board);
    }

    /// The engine works at this moment: says how far it is, and that it is alive.
    pub(in crate::run) fn beat(&self) {
        let Some(board) = self.0.board.get() else { return };
        let mut said = self.said();
        let mut state = String::new();
        // The last beat may have come a little late; without the allowance every second one would be left out.
        let is_due = |every: Duration| said.pinged.is_none_or(|at| at.elapsed() + every / 8 >= every / 2);
        if self.0.watchdog.is_some_and(is_due) {
            said.pinged = Some(Instant::now());
            state.push_str("WATCHDOG=1\n");
        }
        if board.phase() != Phase::Ready {
            state.push_str(&format!("EXTEND_TIMEOUT_USEC={}\n", EXTENSION.as_micros()));
        }
        let status = status(board);
        if status != said.status && !said.failed {
            state.push_str(&format!("STATUS={status}\n"));
            said.status = status;
        }
        drop(said);
        let _next_beat_says_it = self.send(&state);
    }

    /// Says when the service begins to stop.
    pub(in crate::run) fn event(&self, event: &Event) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "every other event is part of how far it is")]
        let begins = match event {
            Event::RollingBack { .. } | Event::Draining { .. } => true,
            // A stage that came up too late is stopped while the others go on.
            Event::StageStopping { .. } => {
                self.0.board.get().is_some_and(|board| board.phase() == Phase::Stopping)
            }
            _ => false,
        };
        if begins && !std::mem::replace(&mut self.said().stopping, true) {
            let _best_effort = self.send("STOPPING=1\n");
        }
    }

    /// Says what the operator is told. Returns what must be waited for, where the manager is busy.
    pub(in crate::run) fn report(&self, report: &Report, errno: Option<i32>) -> Option<Receiver<()>> {
        let document = report.document();
        let state = if report.is_ready() {
            let took = Duration::from_millis(document.elapsed_ms.unwrap_or_default());
            format!("READY=1\nSTATUS=ready in {took:?}\n")
        } else {
            let code = document.code.as_ref()?;
            let stage = document.stage.as_deref().unwrap_or("startup");
            let mut said = self.said();
            let stopping = if std::mem::replace(&mut said.stopping, true) { "" } else { "STOPPING=1\n" };
            said.failed = true;
            let errno = errno.map_or_else(String::new, |errno| format!("ERRNO={errno}\n"));
            let status = line(&format!("failed: {stage} [{code}]"));
            format!("{stopping}STATUS={status}\n{errno}")
        };
        let refused = self.send(&state).err()?;
        let (shared, is_busy) = (self.0.clone(), refused.kind() == io::ErrorKind::WouldBlock);
        // A service that is not said to be ready is killed, so this is worth a thread that waits.
        is_busy.then(|| start(move || insist(&shared.manager, &state)))?
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends without waiting.
    fn send(&self, state: &str) -> io::Result<()> {
        if state.is_empty() {
            return Ok(());
        }
        let sent = self.0.socket.send_to_addr(state.as_bytes(), &self.0.manager);
        sent.map(|_length| ())
            .inspect_err(|error| tell!(debug, "the service manager was not told", error = shown(error)))
    }
}

/// Sends, and waits while the manager is busy, but not for long.
fn insist(manager: &SocketAddr, state: &str) {
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.send_to_addr(state.as_bytes(), manager)
    });
    if let Err(error) = sent {
        tell!(warn, "the service manager was not told", error = shown(error));
    }
}

fn open(address: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let manager = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(address)?,
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, manager))
}

/// How far the service is: `starting 2/6: database (migration 7/12)`.
fn status(board: &Board) -> String {
    let cells = || board.graph.ids().map(|id| (id, board.cell(id)));
    let in_state = |state| cells().filter(move |(_, cell)| cell.state() == state);
    let (up, all) = (in_state(StageState::Up).count(), board.graph.len());
    let named = |stages: Vec<String>| stages.into_iter().take(NAMED_MOST).collect::<Vec<_>>().join(", ");
    line(&match board.phase() {
        Phase::Starting => {
            let starting = in_state(StageState::Starting).map(|(id, cell)| match cell.current_step() {
                Some(step) => format!("{} ({step})", board.graph.name(id)),
                None => board.graph.name(id).to_string(),
            });
            format!("starting {up}/{all}: {}", named(starting.collect()))
        }
        Phase::Ready => {
            let unhealthy = cells().filter(|(_, cell)| !cell.is_healthy());
            let unhealthy: Vec<_> = unhealthy.map(|(id, _)| board.graph.name(id).to_string()).collect();
            if unhealthy.is_empty() {
                format!("ready: {up}/{all} stages")
            } else {
                format!("unhealthy: {}", named(unhealthy))
            }
        }
        Phase::Draining => "draining".to_owned(),
        Phase::Stopping | Phase::Stopped => format!("stopping: {up} stages still up"),
    })
}

/// A step is the application's text: it must not forge a line of the protocol.
fn line(text: &str) -> String {
    let mut line = printable(text).replace('\n', " ");
    line.truncate(line.floor_char_boundary(LINE_MOST));
    line
}

/// The error number that the operating system gave, or the one that says the same as the exit code.
pub(in crate::run) fn errno(error: &StageError, kind: ErrorKind) -> Option<i32> {
    use rustix::io::Errno;
    let said = error.causes().find_map(|each| each.downcast_ref::<io::Error>()?.raw_os_error());
    if said.is_some() {
        return said;
    }
    let errno = match kind {
        ErrorKind::Permission => Errno::ACCESS,
        ErrorKind::Io => Errno::IO,
        ErrorKind::Temporary => Errno::AGAIN,
        ErrorKind::Config | ErrorKind::Usage => Errno::INVAL,
        ErrorKind::Data
        | ErrorKind::Unavailable
        | ErrorKind::Software
        | ErrorKind::OsLimit
        | ErrorKind::CannotCreate => {
            return None;
        }
    };
    Some(errno.raw_os_error())
}

#[cfg(test)]
mod tests;
