//! Waiting for a lock that another program holds on the file.
//!
//! SQLite's own busy time-out cannot be cut short: `sqlite3_interrupt` is noticed between the steps of a
//! statement, not while it waits for a lock. A start that is cancelled or a stop whose time is up must not
//! sit through it, so the connections wait here.

use std::{
    cell::RefCell,
    thread::sleep,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

/// Short beside any time-out, long beside the system call that asks for the lock again.
const POLL: Duration = Duration::from_millis(5);

struct Patience {
    limit: Duration,
    cut: CancellationToken,
    since: Instant,
}

thread_local! {
    /// A callback of rusqlite's is a plain function, so what it must know belongs to the thread. A
    /// connection is used by one thread at a time, and all connections of one thread wait alike.
    static PATIENCE: RefCell<Option<Patience>> = const { RefCell::new(None) };
}

/// Says how long the connections that this thread uses wait, and what ends the waiting at once.
pub(super) fn wait_at_most(limit: Duration, cut: CancellationToken) {
    PATIENCE.set(Some(Patience { limit, cut, since: Instant::now() }));
}

/// Makes `connection` wait as its thread says.
pub(super) fn govern(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(wait))
}

/// Whether SQLite shall try again. `tries` is how often it was told so for the same lock.
fn wait(tries: i32) -> bool {
    let go_on = PATIENCE.with_borrow_mut(|patience| {
        let Some(patience) = patience else { return false };
        if tries == 0 {
            patience.since = Instant::now();
        }
        !patience.cut.is_cancelled() && patience.since.elapsed() < patience.limit
    });
    if go_on {
        sleep(POLL);
    }
    go_on
}
