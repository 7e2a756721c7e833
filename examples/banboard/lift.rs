//! Lifts a ban that somebody asked to be lifted.

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use rusqlite::{Connection, OptionalExtension};
use solostart::{
    ErrorKind, StageError, StageResult,
    stages::database::{Database, DatabaseError},
};
use tokio::{process::Command, time::timeout};

/// fail2ban answers in a part of a second, or not at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// What lifting needs.
#[derive(Clone, Debug)]
pub(crate) struct Lifter {
    pub(crate) database: Arc<Database>,
    /// Without it, a ban is over on the board alone.
    pub(crate) client: Option<PathBuf>,
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lifted {
    Now,
    /// The ban was over already, or never was.
    Before,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LiftError {
    #[error("the database does not answer")]
    Database(#[from] DatabaseError),
    #[error("fail2ban did not lift the ban: {0}")]
    Fail2ban(String),
}

impl Lifter {
    /// Lifts the ban of that row. The row is changed only after fail2ban has done it; what fail2ban's log then
    /// says replaces what is assumed here.
    ///
    /// # Cancel safety
    /// If it is dropped, fail2ban may have lifted the ban already; its log tells.
    pub(crate) async fn lift(&self, ban: i64) -> Result<Lifted, LiftError> {
        let Some((jail, address)) = self.database.read(move |db| Ok(active(db, ban)?)).await? else {
            return Ok(Lifted::Before);
        };
        if let Some(client) = &self.client {
            unban(client, &jail, &address).await.map_err(LiftError::Fail2ban)?;
        }
        let changed = self.database.fenced(move |tx| Ok(end(tx, ban)?)).await?;
        tracing::info!(jail, address, "a ban was lifted");
        Ok(if changed == 0 { Lifted::Before } else { Lifted::Now })
    }
}

/// Jail and address of a ban that is not over.
fn active(db: &Connection, ban: i64) -> rusqlite::Result<Option<(String, String)>> {
    let sql = "SELECT jail, address FROM bans WHERE id = ?1 AND ended_at IS NULL";
    db.query_row(sql, [ban], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

fn end(db: &Connection, ban: i64) -> rusqlite::Result<usize> {
    db.execute(
        "UPDATE bans SET assumed = 1,
             ended_at = max(banned_at, coalesce((SELECT log_time FROM log_position), banned_at))
         WHERE id = ?1 AND ended_at IS NULL",
        [ban],
    )
}

/// Runs `fail2ban-client set <jail> unbanip <address>`, without a shell and without our environment, in which
/// the password may stand.
async fn unban(client: &PathBuf, jail: &str, address: &str) -> Result<(), String> {
    let mut command = Command::new(client);
    command.args(["set", jail, "unbanip", address]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match timeout(PATIENCE, command.status()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("its client ended with {status}")),
        Ok(Err(error)) => Err(format!("its client cannot be run: {error}")),
        Err(_) => Err(format!("its client took longer than {PATIENCE:?}")),
    }
}

/// Whether fail2ban's client is there, as far as that can be seen without asking it.
pub(crate) fn check(client: Option<&PathBuf>) -> StageResult<()> {
    let Some(client) = client.filter(|client| !client.is_file()) else { return Ok(()) };
    Err(StageError::from(format!("{} is not a file", client.display()))
        .kind(ErrorKind::Config)
        .hint("Set BANBOARD_FAIL2BAN_CLIENT to what this tells: command -v fail2ban-client"))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::store::tests::database;

    #[test]
    fn only_a_ban_that_is_not_over_is_ended_and_only_once() {
        let db = database();
        db.execute_batch(
            "INSERT INTO bans (id, jail, address, network, banned_at, restored)
             VALUES (7, 'sshd', '192.0.2.7', '192.0.2.0/24', 5000, 0), (8, 'sshd', '192.0.2.8', '192.0.2.0/24', 1, 0)",
        )
        .unwrap();
        assert_eq!(active(&db, 7).unwrap(), Some(("sshd".to_owned(), "192.0.2.7".to_owned())));
        assert_eq!((end(&db, 7).unwrap(), end(&db, 7).unwrap(), end(&db, 9).unwrap()), (1, 0, 0));
        assert_eq!(active(&db, 7).unwrap(), None);
        assert!(active(&db, 8).unwrap().is_some());
    }

    #[tokio::test]
    async fn the_client_gets_jail_and_address_as_they_are_and_none_of_our_environment() {
        let dir = tempfile::tempdir().unwrap();
        let (client, said) = (dir.path().join("client"), dir.path().join("said"));
        let script = format!(
            "#!/bin/sh\nprintf '<%s>' \"$@\" > '{0}'\nenv | grep -c CARGO >> '{0}'\nexit 0\n",
            said.display()
        );
        fs::write(&client, script).unwrap();
        fs::set_permissions(&client, fs::Permissions::from_mode(0o700)).unwrap();
        unban(&client, "$(touch x); 'ssh d", "192.0.2.1").await.unwrap();
        assert_eq!(fs::read_to_string(&said).unwrap(), "<set><$(touch x); 'ssh d><unbanip><192.0.2.1>0\n");
        let absent = dir.path().join("absent");
        assert!(unban(&absent, "sshd", "192.0.2.1").await.unwrap_err().contains("cannot be run"));
        assert!(check(Some(&absent)).is_err() && check(Some(&client)).is_ok() && check(None).is_ok());
    }
}
