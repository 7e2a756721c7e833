//! 6. The database stage: a SQLite file whose schema is up to date before anyone uses it.
//!
//! `cargo run --example 06_database` counts how often it was started.
//!
//! To try
//! - Run it twice: `start 1`, `start 2`. The data is in `./guestbook-data`.
//! - Add a third migration and run it again. Then take it away: a file that is newer than the program is refused and
//!   left as it is, exit code 65.
//! - `chmod -w guestbook-data/guestbook.db` (not as root): refused, with what to do, exit code 77.
//! - `echo nonsense > guestbook-data/guestbook.db`: refused; nothing is overwritten.

#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{process::ExitCode, sync::Arc};

use solostart::{
    ServeContext, StageContext,
    stages::database::{Database, Migration, SqliteDatabase},
};

/// Oldest first. Each is applied once, whole or not at all. A published one is never changed, only followed.
const MIGRATIONS: &[Migration] = &[
    Migration::new("starts", "CREATE TABLE starts (at INTEGER NOT NULL) STRICT;"),
    Migration::new("notes", "ALTER TABLE starts ADD COLUMN note TEXT NOT NULL DEFAULT '';"),
];

fn main() -> ExitCode {
    solostart::run("guestbook", |startup| {
        startup.allow_unshared_lock("overlay,tmpfs");
        let database = startup.add(SqliteDatabase::from_env(&startup.env()).migrations(MIGRATIONS));

        let count = startup
            .stage("count", database, async |_cx: StageContext, database: Arc<Database>| {
                // Closures go in, results come out; no async thread waits for the disk. `fenced` is a transaction
                // that the database refuses to a process which is no longer the only worker.
                let count: i64 = database
                    .fenced(|tx| {
                        tx.execute("INSERT INTO starts (at, note) VALUES (unixepoch(), 'hello')", [])?;
                        Ok(tx.query_row("SELECT count(*) FROM starts", [], |row| row.get(0))?)
                    })
                    .await?;
                Ok(count)
            })
            .required();

        startup.serve(
            (database, count),
            async |cx: ServeContext, (database, count): (Arc<Database>, Arc<i64>)| {
                println!("start {count}, in {}", database.path().display());
                cx.shutdown_requested().await;
                Ok(())
            },
        );
        Ok(())
    })
}
