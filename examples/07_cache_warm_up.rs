//! 7. The cache stage: filled from the database before anyone asks it.
//!
//! `cargo run --example 07_cache_warm_up` looks words up without touching the database.
//!
//! To try
//! - See the `READY` line: the cache starts after the database, because that is what it needs.
//! - Start a second one: refused. Two of these caches would each have its own truth; that is why one worker matters.
//! - Let `load` sleep for a minute: a warm-up that takes too long does not keep the service from starting.

#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{process::ExitCode, sync::Arc, time::Duration};

use solostart::{
    ServeContext, StageContext, StageResult,
    stages::{
        cache::{Cache, CacheHandle},
        database::{Database, Migration, SqliteDatabase},
    },
};

const MIGRATIONS: &[Migration] = &[Migration::new(
    "words",
    "CREATE TABLE words (word TEXT PRIMARY KEY, meaning TEXT NOT NULL) STRICT;
     INSERT INTO words VALUES ('solo', 'alone'), ('start', 'begin');",
)];

type Words = CacheHandle<String, String>;

async fn load(cx: StageContext, database: Arc<Database>, cache: Words) -> StageResult<()> {
    let words: Vec<(String, String)> = database
        .read(|connection| {
            let mut all = connection.prepare("SELECT word, meaning FROM words")?;
            Ok(all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
        })
        .await?;
    cx.step(format!("{} words", words.len()));
    cache.insert_all(words).await;
    Ok(())
}

fn main() -> ExitCode {
    solostart::run("dictionary", |startup| {
        startup.allow_unshared_lock("overlay,tmpfs");
        let database = startup.add(SqliteDatabase::from_env(&startup.env()).migrations(MIGRATIONS));
        let words = Cache::holding(10_000).time_to_live(Duration::from_secs(3600)).warm_up(load);
        let words = startup.add_with(words, database);

        startup.serve(words, async |cx: ServeContext, words: Arc<Words>| {
            for word in ["solo", "start", "stop"] {
                println!("{word}: {}", words.get(word).await.as_deref().unwrap_or("(not known)"));
            }
            cx.shutdown_requested().await;
            Ok(())
        });
        Ok(())
    })
}
