//! What the operator can set.

use std::time::Duration;

use super::{Integrity, SqliteDatabase};
use crate::settings::{Env, paths::database_path};

impl SqliteDatabase {
    /// The same as the environment says: the file is `<P>_DATABASE_PATH`, or `<name>.db` in `<P>_DATA_DIR`, where
    /// `<name>` is the application's. The lock lies beside it.
    ///
    /// | variable | default | |
    /// |---|---|---|
    /// | `<P>_DATABASE_READERS` | 2 | [`readers`](Self::readers) |
    /// | `<P>_DATABASE_BUSY_TIMEOUT` | 5s | [`busy_timeout`](Self::busy_timeout) |
    /// | `<P>_DATABASE_INTEGRITY` | quick | [`integrity`](Self::integrity): `off`, `quick` or `full` |
    /// | `<P>_DATABASE_INTEGRITY_LIMIT` | 5s | how long that may take |
    /// | `<P>_DATABASE_BACKUPS` | 3 | [`backups`](Self::backups) |
    ///
    /// Give it [`Startup::env`](crate::Startup::env): that one knows the application's name.
    #[must_use]
    pub fn from_env(env: &Env) -> Self {
        let default = Self::at(database_path(env));
        let minute = Duration::from_mins(1);
        Self {
            readers: env
                .var("DATABASE_READERS")
                .describe("How many reads of the database can run at the same time.")
                .integer(1..=64)
                .default(default.readers),
            busy_timeout: env
                .var("DATABASE_BUSY_TIMEOUT")
                .describe("How long to wait for a lock that another program holds on the database.")
                .example("15s")
                .duration()
                .within(Duration::ZERO..=10 * minute)
                .default(default.busy_timeout),
            integrity: env
                .var("DATABASE_INTEGRITY")
                .describe("How thoroughly the database is checked for damage at each start.")
                .choice([("off", Integrity::Off), ("quick", Integrity::Quick), ("full", Integrity::Full)])
                .default(default.integrity),
            integrity_limit: env
                .var("DATABASE_INTEGRITY_LIMIT")
                .describe("How long that check may take. After it the database is used unchecked.")
                .example("1m")
                .duration()
                .within(Duration::from_millis(1)..=24 * 60 * minute)
                .default(default.integrity_limit),
            backups: env
                .var("DATABASE_BACKUPS")
                .describe(
                    "How many backups from before migrations are kept beside the database. 0 makes none.",
                )
                .integer(0..=1000)
                .default(default.backups),
            prefix: Some(env.prefix().to_owned()),
            ..default
        }
    }

    /// The full name of a variable that changes this database, where it was read from the environment.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.prefix.as_ref().map(|prefix| format!("{prefix}_{name}"))
    }
}
