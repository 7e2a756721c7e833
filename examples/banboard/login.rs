//! Who may lift a ban: whoever knows the password, for as long as their session lasts.
//!
//! A session is a random token in a cookie. What is kept of it, in the stage `sessions`, is its digest, so
//! that nobody who reads the memory or a dump of it can use it. It belongs to this process: a restart ends it.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use argon2::Argon2;
use axum::http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use solostart::{Secret, StageError, StageResult, stages::cache::CacheHandle};
use subtle::ConstantTimeEq;
use tokio::{sync::Semaphore, task::spawn_blocking};
use uuid::Uuid;

use crate::attempts::Attempts;

/// The cookie's name, with the sign behind it.
const COOKIE: &str = "banboard_session=";

/// The sessions, each by the digest of its token.
pub(crate) type Sessions = CacheHandle<Digest, Session>;

/// SHA-256 of a session's token. The token is random and long, so nothing slower is needed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Digest([u8; 32]);

/// What is known of a session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Stands in each of its forms, where no other site can know it.
    form_token: Secret,
}

impl Session {
    pub(crate) fn form_token(&self) -> &str {
        self.form_token.expose()
    }

    /// Whether a form was one of this session's.
    pub(crate) fn has_made(&self, form_token: &str) -> bool {
        self.form_token.expose().as_bytes().ct_eq(form_token.as_bytes()).into()
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Visitor {
    /// There is no password, so nobody can log in.
    ReadOnly,
    /// Somebody who has not logged in.
    Guest,
    /// Somebody whose session is over.
    Ended,
    /// Somebody who may lift bans.
    Admin(Session),
}

/// Why somebody was not let in.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    WrongPassword,
    /// Too many attempts; in so long they may try again.
    TooOften(Duration),
}

/// Lets people in.
#[derive(Debug)]
pub(crate) struct Login {
    password: Option<Arc<Password>>,
    sessions: Arc<Sessions>,
    attempts: Mutex<Attempts>,
    /// Hashing takes 19 MiB, so one at a time.
    turn: Semaphore,
    secure_cookie: bool,
}

impl Login {
    /// Hashes the password; without one, nobody can log in.
    ///
    /// # Errors
    /// The hash cannot be made.
    pub(crate) async fn new(
        password: Option<Secret>,
        sessions: Arc<Sessions>,
        secure_cookie: bool,
    ) -> StageResult<Self> {
        let password = match password {
            Some(password) => Some(Arc::new(spawn_blocking(move || Password::of(&password)).await??)),
            None => None,
        };
        let attempts = Mutex::default();
        Ok(Self { password, sessions, attempts, turn: Semaphore::new(1), secure_cookie })
    }

    /// Whether there is a password.
    pub(crate) fn is_offered(&self) -> bool {
        self.password.is_some()
    }

    /// Who sent these headers.
    pub(crate) async fn visitor(&self, headers: &HeaderMap) -> Visitor {
        if !self.is_offered() {
            return Visitor::ReadOnly;
        }
        let Some(token) = token(headers) else { return Visitor::Guest };
        self.sessions.get(&digest(token)).await.map_or(Visitor::Ended, Visitor::Admin)
    }

    /// Begins a session, and returns the value of `Set-Cookie`.
    ///
    /// # Errors
    /// The password is wrong, or nobody may try at the moment.
    pub(crate) async fn enter(&self, from: IpAddr, given: String) -> Result<String, Refused> {
        let Some(password) = self.password.clone() else { return Err(Refused::WrongPassword) };
        self.attempts().admit(from, Instant::now()).map_err(Refused::TooOften)?;
        // The semaphore is never closed.
        let _turn = self.turn.acquire().await;
        let right = spawn_blocking(move || password.is(&given)).await.unwrap_or(false);
        if !right {
            tracing::warn!(%from, "a wrong password");
            return Err(Refused::WrongPassword);
        }
        self.attempts().forgive(from);
        let token = random();
        let session = Session { form_token: Secret::from(random()) };
        self.sessions.insert(digest(&token), session).await;
        Ok(self.cookie(&token, ""))
    }

    /// Ends the session, and returns the value of `Set-Cookie` that makes the browser forget it.
    pub(crate) async fn leave(&self, headers: &HeaderMap) -> String {
        if let Some(token) = token(headers) {
            self.sessions.remove(&digest(token)).await;
        }
        self.forget()
    }

    /// The value of `Set-Cookie` that makes a browser forget a session that is over.
    pub(crate) fn forget(&self) -> String {
        self.cookie("", "; Max-Age=0")
    }

    fn cookie(&self, token: &str, more: &str) -> String {
        let secure = if self.secure_cookie { "; Secure" } else { "" };
        format!("{COOKIE}{token}; Path=/; HttpOnly; SameSite=Strict{secure}{more}")
    }

    fn attempts(&self) -> std::sync::MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A password as it is kept.
struct Password {
    salt: [u8; 16],
    hash: [u8; 32],
}

impl Password {
    fn of(password: &Secret) -> StageResult<Self> {
        let salt = Uuid::new_v4().into_bytes();
        let hash = hash(password.expose(), &salt).map_err(|error| StageError::from(error.to_string()))?;
        Ok(Self { salt, hash })
    }

    /// Takes the same time for every password.
    fn is(&self, given: &str) -> bool {
        hash(given, &self.salt).is_ok_and(|hash| hash.ct_eq(&self.hash).into())
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password([redacted])")
    }
}

/// Argon2id with 19 MiB and two passes, the first of the settings that OWASP's password storage cheat sheet names.
fn hash(password: &str, salt: &[u8]) -> argon2::Result<[u8; 32]> {
    let mut hash = [0; 32];
    Argon2::default().hash_password_into(password.as_bytes(), salt, &mut hash)?;
    Ok(hash)
}

/// 244 random bits.
fn random() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

fn digest(token: &str) -> Digest {
    Digest(Sha256::digest(token.as_bytes()).into())
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let token = cookies.flat_map(|each| each.split(';')).find_map(|each| each.trim().strip_prefix(COOKIE))?;
    (!token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests;
