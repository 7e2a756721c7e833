//! All of these use real files, and the stage's hooks as the engine calls them.

mod backups;
mod elsewhere;
mod faults;
mod fencing;
mod migrating;
mod opening;
mod soundness;
mod stopping;
mod using;

use std::{path::PathBuf, sync::Arc, time::Duration};

use rusqlite::Connection;
use tempfile::TempDir;

use super::{Database, Integrity, Migration, SqliteDatabase};
use crate::{
    Stage, StageResult,
    stages::testing::{Start, stop_within},
};

const NUMBERS: &[Migration] = &[Migration::new("numbers", "CREATE TABLE numbers (value INTEGER) STRICT;")];

/// A statement that runs for minutes unless it is interrupted.
const ENDLESS: &str =
    "INSERT INTO numbers WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000000000)
     SELECT max(i) FROM n;";

/// A directory, and the stage whose file is in it.
struct Site {
    dir: TempDir,
    stage: SqliteDatabase,
}

impl Site {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let stage = SqliteDatabase::at(dir.path().join("app.db")).migrations(NUMBERS);
        Self { dir, stage }
    }

    fn migrations(mut self, migrations: &'static [Migration]) -> Self {
        self.stage = self.stage.migrations(migrations);
        self
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }

    /// The names of the files in the directory.
    fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Another program's connection.
    fn outsider(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }

    async fn start(&self) -> StageResult<Arc<Database>> {
        self.stage.start(Start::unhurried().cx, ()).await.map(Arc::new)
    }

    async fn up(&self) -> Arc<Database> {
        self.start().await.unwrap()
    }

    async fn stop(&self, database: &Arc<Database>) -> StageResult<()> {
        self.stage.stop(database.clone(), stop_within(Duration::from_secs(10))).await
    }

    /// Fails unless nobody has the file open: only then does SQLite give it to one connection alone.
    fn assert_let_go(&self) {
        let outsider = self.outsider();
        outsider.busy_timeout(Duration::ZERO).unwrap();
        outsider.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT;").unwrap();
    }
}

async fn count(database: &Database) -> i64 {
    database
        .read(|connection| Ok(connection.query_row("SELECT count(*) FROM numbers", [], |row| row.get(0))?))
        .await
        .unwrap()
}

async fn insert(database: &Database, value: i64) {
    database.write(move |tx| Ok(tx.execute("INSERT INTO numbers VALUES (?1)", [value])?)).await.unwrap();
}
