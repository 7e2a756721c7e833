//! An application with a database. `DBAPP_SCHEMA` says how many migrations this version of it knows, and
//! `DBAPP_SCENARIO` what it does then. The tests in `tests/database.rs` look at it from outside.

#![allow(clippy::print_stderr, reason = "it says what it does")]

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use solostart::{
    ServeContext, StageError, StageResult,
    stages::database::{Database, Migration, SqliteDatabase},
};
use tracing_subscriber::EnvFilter;

/// Each changes what the one before it made, and takes long enough to be killed in.
const MIGRATIONS: &[Migration] = &[
    Migration::new("entries", "CREATE TABLE entries (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;"),
    Migration::new(
        "length",
        "ALTER TABLE entries ADD COLUMN length INTEGER; UPDATE entries SET length = length(text);",
    ),
    Migration::new(
        "rebuild",
        "CREATE TABLE rebuilt (
             id INTEGER PRIMARY KEY, text TEXT NOT NULL CHECK (text <> ''), length INTEGER NOT NULL
         ) STRICT;
         INSERT INTO rebuilt SELECT id, text, length FROM entries;
         DROP TABLE entries;
         ALTER TABLE rebuilt RENAME TO entries;",
    ),
    Migration::new(
        "texts",
        "CREATE TABLE texts (entry INTEGER PRIMARY KEY REFERENCES entries, text TEXT NOT NULL) STRICT;
         INSERT INTO texts SELECT id, text FROM entries;",
    ),
    Migration::new("index", "CREATE INDEX by_text ON texts (text);"),
    Migration::new("drop-text", "ALTER TABLE entries DROP COLUMN text;"),
    Migration::new(
        "endless",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000000000)
         INSERT INTO texts SELECT -1, max(i) FROM n;",
    ),
];

/// A sixth migration that does not work.
const BROKEN: &[Migration] = &[
    MIGRATIONS[0],
    MIGRATIONS[1],
    MIGRATIONS[2],
    Migration::new("broken", "DELETE FROM entries; INSERT INTO nowhere VALUES (1);"),
];

const FILL: &str = "
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000)
    INSERT INTO entries SELECT i, printf('entry %d %s', i, hex(zeroblob(i % 50))) FROM n;";

fn main() -> ExitCode {
    let filter = EnvFilter::new("solostart=info");
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    solostart::run("dbapp", |startup| {
        startup.version(env!("CARGO_PKG_VERSION")).allow_unshared_lock("overlay,tmpfs");
        let env = startup.env();
        let known = env.var("SCHEMA").describe("How many migrations it knows.").integer(0..=7).default(6);
        let scenario = env.var("SCENARIO").describe("What it does.").text().default("finish".to_owned());
        let migrations = if scenario == "broken" { BROKEN } else { &MIGRATIONS[..known] };
        let stage = SqliteDatabase::from_env(&env).migrations(migrations).application_id(0x0DBA_0001);
        let database = startup.add(stage);
        startup.serve(database, async move |cx, database| serve(&scenario, cx, database).await);
        Ok(())
    })
}

/// Keeps the database for ever in the scenario `leak`.
static LEAKED: OnceLock<Arc<Database>> = OnceLock::new();

async fn serve(scenario: &str, cx: ServeContext, database: Arc<Database>) -> StageResult<()> {
    let failed =
        |error: solostart::stages::database::DatabaseError| StageError::new(error.failure_code(), error);
    match scenario {
        "fill" => database.write(|tx| Ok(tx.execute_batch(FILL)?)).await.map_err(failed),
        "write" => loop {
            // Between two writes, so that each one that is done is also acknowledged.
            tokio::select! {
                biased;
                () = cx.shutdown_requested() => return Ok(()),
                () = std::future::ready(()) => {}
            }
            let id = database
                .fenced(|tx| {
                    tx.execute("INSERT INTO entries (text) VALUES ('written')", [])?;
                    Ok(tx.last_insert_rowid())
                })
                .await
                .map_err(failed)?;
            eprintln!("acknowledged {id}.");
        },
        "leak" => {
            let _first = LEAKED.set(database);
            Ok(())
        }
        "serve" => {
            cx.shutdown_requested().await;
            Ok(())
        }
        _ => Ok(()),
    }
}
