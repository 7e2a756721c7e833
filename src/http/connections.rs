//! Who is connected, and who waits for whom: what decides which connection ends when there are too many, when one is
//! silent, and when the service stops.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::HttpLimits;

/// No head has begun.
const NEVER: u64 = u64::MAX;

/// How long a client may be silent while the service stops.
const SILENCE_WHILE_STOPPING: Duration = Duration::from_secs(1);

/// All connections of a server. Dropping it cuts them.
pub(super) struct Connections(Arc<Shared>);

struct Shared {
    began: Instant,
    limits: HttpLimits,
    /// By their numbers, which grow. A connection is here until its stream is closed, upgraded or not.
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    stopping: CancellationToken,
    cut_while_stopping: AtomicU64,
}

/// What is known of one connection while its stream is open. Dropping the stream takes it off the list. Times are
/// milliseconds since the server began.
pub(super) struct Connection {
    number: u64,
    shared: Arc<Shared>,
    /// When its client last said or took something, or its turn began.
    heard: AtomicU64,
    /// Since when its client is to send the head of a request; `NEVER` between two requests.
    head_since: AtomicU64,
    /// Whether a request is in hand: from its head to the end of its answer.
    in_hand: AtomicBool,
    /// Whether the handler waits for more of the request.
    body_awaited: AtomicBool,
    /// Whether what was written waits for the client to take it.
    unread: AtomicBool,
    /// Whether it is no HTTP any more, but for instance a WebSocket: then it is the application's turn for ever.
    upgraded: AtomicBool,
    cut: CancellationToken,
}

impl Connections {
    pub(super) fn new(limits: HttpLimits) -> Self {
        Self(Arc::new(Shared {
            began: Instant::now(),
            limits,
            open: Mutex::default(),
            next: AtomicU64::new(0),
            stopping: CancellationToken::new(),
            cut_while_stopping: AtomicU64::new(0),
        }))
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        self.0.held()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held().is_empty()
    }

    /// One that was just taken.
    pub(super) fn open(&self) -> Arc<Connection> {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let now = self.0.now();
        let connection = Arc::new(Connection {
            number,
            shared: self.0.clone(),
            heard: AtomicU64::new(now),
            head_since: AtomicU64::new(now),
            in_hand: AtomicBool::new(false),
            body_awaited: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            upgraded: AtomicBool::new(false),
            cut: CancellationToken::new(),
        });
        self.held().insert(number, connection.clone());
        connection
    }

    /// Whether there are more than there may be, beside those that are about to end.
    pub(super) fn is_beyond_the_limit(&self) -> bool {
        self.held().values().filter(|each| !each.is_cut()).count() > self.0.limits.connections
    }

    /// Cuts the connection that has waited longest for its client, but not `this`. `false` where none waits.
    pub(super) fn end_the_most_silent(&self, this: Option<&Connection>) -> bool {
        let open = self.held();
        let waiting = open.values().filter(|each| {
            let is_this = this.is_some_and(|this| this.number == each.number);
            each.waits_for_its_client() && !each.is_cut() && !is_this
        });
        let longest = waiting.min_by_key(|each| each.heard.load(Ordering::Relaxed));
        longest.map(|longest| longest.cut.cancel()).is_some()
    }

    /// Cuts those whose clients have been silent for too long.
    pub(super) fn end_the_silent(&self) {
        let now = self.0.now();
        let stopping = self.0.stopping.is_cancelled();
        for each in self.held().values().filter(|each| each.is_silent_for_too_long(now, stopping)) {
            self.cut(each);
        }
    }

    pub(super) fn begin_to_stop(&self) {
        self.0.stopping.cancel();
    }

    pub(super) fn cut_all(&self) {
        self.held().values().for_each(|each| self.cut(each));
    }

    /// How many were cut since the stop began.
    pub(super) fn cut_while_stopping(&self) -> u64 {
        self.0.cut_while_stopping.load(Ordering::Relaxed)
    }

    fn cut(&self, connection: &Connection) {
        if !connection.cut.is_cancelled() && self.0.stopping.is_cancelled() {
            self.0.cut_while_stopping.fetch_add(1, Ordering::Relaxed);
        }
        connection.cut.cancel();
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.held().values().for_each(|each| each.cut.cancel());
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }
}

impl Connection {
    pub(super) fn limits(&self) -> &HttpLimits {
        &self.shared.limits
    }

    /// Resolves when it is to end at once.
    pub(super) fn cut(&self) -> WaitForCancellationFutureOwned {
        self.cut.clone().cancelled_owned()
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }

    /// Resolves when it is to end with what it has in hand.
    pub(super) fn stopping(&self) -> WaitForCancellationFutureOwned {
        self.shared.stopping.clone().cancelled_owned()
    }

    /// Its turn begins.
    pub(super) fn is_served(&self) {
        self.turn();
        self.head_since.store(self.now(), Ordering::Relaxed);
    }

    /// The head of a request has come.
    pub(super) fn begin_request(&self) {
        self.in_hand.store(true, Ordering::Relaxed);
        self.head_since.store(NEVER, Ordering::Relaxed);
    }

    /// The answer was handed over in full, or nobody wants it any more.
    pub(super) fn end_request(&self) {
        self.body_awaited.store(false, Ordering::Relaxed);
        self.in_hand.store(false, Ordering::Relaxed);
        self.turn();
    }

    /// Whether the handler waits for more of the request.
    pub(super) fn body_is_awaited(&self, awaited: bool) {
        if awaited != self.body_awaited.swap(awaited, Ordering::Relaxed) {
            self.turn();
        }
    }

    /// The client has sent something.
    pub(super) fn has_read(&self) {
        self.turn();
        let between = !self.in_hand.load(Ordering::Relaxed) && !self.upgraded.load(Ordering::Relaxed);
        if between && self.head_since.load(Ordering::Relaxed) == NEVER {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Whether the client has taken what was written.
    pub(super) fn has_written(&self, taken: bool) {
        if taken {
            self.turn();
        }
        if self.unread.swap(!taken, Ordering::Relaxed) == taken {
            self.turn();
        }
    }

    /// HTTP is over here. If the stream lives on, it is the application's.
    pub(super) fn hand_over(&self) {
        self.upgraded.store(true, Ordering::Relaxed);
    }

    /// The stream is closed.
    pub(super) fn close(&self) {
        self.shared.held().remove(&self.number);
    }

    /// From now on it counts how long the client is silent.
    fn turn(&self) {
        self.heard.store(self.now(), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.shared.now()
    }

    fn waits_for_its_client(&self) -> bool {
        let is_its_turn = || {
            !self.in_hand.load(Ordering::Relaxed) && !self.upgraded.load(Ordering::Relaxed)
                || self.body_awaited.load(Ordering::Relaxed)
        };
        self.unread.load(Ordering::Relaxed) || is_its_turn()
    }

    fn is_silent_for_too_long(&self, now: u64, stopping: bool) -> bool {
        let since =
            |time: &AtomicU64| Duration::from_millis(now.saturating_sub(time.load(Ordering::Relaxed)));
        if !self.waits_for_its_client() {
            return false;
        }
        let idle = if stopping { SILENCE_WHILE_STOPPING } else { self.limits().idle_timeout };
        // What never began is no time ago.
        let head_is_late = since(&self.head_since) >= self.limits().head_timeout;
        since(&self.heard) >= idle || head_is_late
    }
}
