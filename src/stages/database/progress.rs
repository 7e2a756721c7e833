//! Asking, while SQLite works, whether it shall go on.

use rusqlite::Connection;

/// What setting a handler returns: nothing in older versions of rusqlite, in newer ones whether it could be set.
trait Set {
    fn done(self) -> rusqlite::Result<()>;
}

impl Set for () {
    fn done(self) -> rusqlite::Result<()> {
        Ok(())
    }
}

impl Set for rusqlite::Result<()> {
    fn done(self) -> rusqlite::Result<()> {
        self
    }
}

/// Has `is_over` asked after each so many instructions of SQLite's virtual machine; `true` interrupts the statement
/// (<https://sqlite.org/c3ref/progress_handler.html>). It takes the place of the one before.
pub(super) fn ask_after(
    steps: i32,
    connection: &mut Connection,
    is_over: impl FnMut() -> bool + Send + std::panic::RefUnwindSafe + 'static,
) -> rusqlite::Result<()> {
    Set::done(connection.progress_handler(steps, Some(is_over)))
}

/// Asks nobody any more.
pub(super) fn ask_nobody(connection: &mut Connection) -> rusqlite::Result<()> {
    Set::done(connection.progress_handler(0, None::<fn() -> bool>))
}
