//! The proof that this process is the only worker, as stages and applications see it.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

pub use super::lost::{LockLost, Loss};
use crate::{clock::boot_time, error::StageResult, ids::InstanceId};

/// The number of one acquisition of the right to be the only worker. A later acquisition has a higher one,
/// also across restarts, crashes and lost lease files.
///
/// Whoever writes to something that several workers can reach stores the token there, and refuses the
/// write if a higher one is stored already: then somebody else has the right.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FencingToken(u64);

impl FencingToken {
    /// The token of a process that opted out of the single-worker rule: it fences nothing.
    pub(crate) const NONE: Self = Self(0);

    /// The token of this number. More than `i64::MAX` counts as `i64::MAX`.
    pub(crate) const fn new(number: u64) -> Self {
        Self(if number > i64::MAX as u64 { i64::MAX as u64 } else { number })
    }

    /// The number, which is 0 only where the application lets several workers run.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number as databases store it.
    #[must_use]
    pub const fn as_i64(self) -> i64 {
        // `new` sees to it that it fits.
        self.0.cast_signed()
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Proof that this process is the only worker, for as long as [`check`](Self::check) says so.
///
/// Clones share one state. A guard cannot be made by an application: it comes from
/// `StageContext::worker`.
///
/// # Guarantees
/// `check` compares the clock and the verified state at each call; there is no cached "still mine".
/// Once lost, the right never comes back in the same process.
///
/// # Not promised
/// What a process does between `check()` and its effect can overlap with the next holder. Only a fenced
/// database transaction closes that gap.
#[derive(Clone)]
pub struct WorkerGuard(Arc<Shared>);

struct Shared {
    lost: CancellationToken,
    reason: OnceLock<LockLost>,
    /// Nanoseconds of [`boot_time`] up to which the right holds; [`NEVER`] where no lease limits it.
    valid_until: AtomicU64,
    /// The same for when the process must have ended.
    hard_limit: AtomicU64,
    token: AtomicU64,
    /// When a thread that keeps the right was last seen to run.
    seen: AtomicU64,
    /// What kept the last renewal from being acknowledged.
    trouble: Mutex<Option<Trouble>>,
    raise: OnceLock<Raise>,
    protect: OnceLock<Protect>,
    /// Which start of which process this is: two holders can have one token where every memory of it was lost.
    holder: InstanceId,
    exclusive: bool,
}

/// What keeps the right from being renewed, and what can be done about it.
struct Trouble {
    what: String,
    actions: Vec<String>,
    /// Whether it is an answer, and not the want of one.
    answered: bool,
}

/// Why a right ends that is given up on purpose.
pub(crate) const GIVEN_BACK: &str = "it was given back";

/// Who notices the end of the right's time later than this stood still meanwhile: the threads that wait for it are
/// woken by the kernel's timer.
const STOOD_STILL: Duration = Duration::from_millis(500);

/// A time that no clock reaches.
const NEVER: u64 = u64::MAX;

/// Raises the token above a number, where the lease is kept.
type Raise = Box<dyn Fn(FencingToken) -> Result<FencingToken, LockLost> + Send + Sync>;

/// Puts a file under the right, where the locks are kept.
type Protect = Box<dyn Fn(&Path) -> StageResult<()> + Send + Sync>;

impl WorkerGuard {
    /// Whether this process still is the only worker, at this instant.
    ///
    /// It costs less than a tenth of a microsecond: ask before each effect, and not once for many.
    ///
    /// # Errors
    /// [`LockLost`] once the right is lost or can no longer be shown to hold.
    pub fn check(&self) -> Result<(), LockLost> {
        if let Some(lost) = self.0.reason.get() {
            return Err(lost.clone());
        }
        let valid_until = self.0.valid_until.load(Ordering::Acquire);
        if valid_until == NEVER || nanos(boot_time()) <= valid_until {
            return Ok(());
        }
        // Whoever sees it first settles it: a renewal that is acknowledged later revives nothing.
        Err(self.end(self.ran_out(Duration::from_nanos(valid_until))))
    }

    /// Declares that somebody took the right. Returns how it was lost first.
    pub(crate) fn lose(&self, reason: String) -> LockLost {
        self.end(LockLost::taken(reason))
    }

    fn end(&self, lost: LockLost) -> LockLost {
        // A second loss changes nothing: whoever looks wants to know what happened first.
        let lost = self.0.reason.get_or_init(|| lost).clone();
        self.0.lost.cancel();
        lost
    }

    /// What the right's time was lost with, which ended at `valid_until`.
    fn ran_out(&self, valid_until: Duration) -> LockLost {
        let now = boot_time();
        let late = now.saturating_sub(valid_until);
        let trouble = self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
        if late < STOOD_STILL {
            let Some(Trouble { what, actions, .. }) = trouble else {
                return LockLost::expired("it was not renewed in time", Vec::new());
            };
            return LockLost::expired(format!("it was not renewed in time: {what}"), actions);
        }
        let seen = Duration::from_nanos(self.0.seen.load(Ordering::Acquire));
        let still = now.saturating_sub(seen).max(late).as_secs_f64().round().max(1.0);
        let before = trouble.filter(|trouble| trouble.answered);
        let before = before.map_or_else(String::new, |trouble| format!("; before that, {}", trouble.what));
        LockLost::expired(format!("this process stood still for about {still} s{before}"), Vec::new())
    }

    /// The number of this acquisition, which fences off every earlier one.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        FencingToken(self.0.token.load(Ordering::Acquire))
    }

    /// Who has the right: the one whom the lease names.
    #[cfg_attr(
        not(any(test, feature = "database")),
        expect(dead_code, reason = "the fence is the database's")
    )]
    pub(crate) fn holder(&self) -> InstanceId {
        self.0.holder
    }

    /// Raises the token above one that was found stored by another holder, where the lease is kept, and returns
    /// the token that counts from now on.
    ///
    /// Another holder's token can be as high as that of the present one, or higher, only if the memory of it
    /// was lost: an older copy of both lock and lease was restored, and the clock was set back. The holder
    /// then holds all the same, and must not be locked out of its own data for ever. It may block for as
    /// long as one renewal.
    ///
    /// # Errors
    /// The right is lost, or it cannot be told whether the token was raised.
    #[cfg_attr(
        not(any(test, feature = "database")),
        expect(dead_code, reason = "the fence is the database's")
    )]
    pub(crate) fn raise(&self, above: FencingToken) -> Result<FencingToken, LockLost> {
        self.check()?;
        match self.0.raise.get() {
            Some(raise) if self.token() <= above => raise(above),
            Some(_) | None => Ok(self.token()),
        }
    }

    /// Puts a data file under the right: no other worker can have it, whatever path leads to it there.
    ///
    /// The file is locked until the right is given back, and made private (mode 0600); it is created, empty, if it is
    /// missing. One that is replaced or removed later ends the right within 3 s.
    /// [`SqliteDatabase`](crate::stages::database::SqliteDatabase) calls this itself; call it for other databases *before*
    /// they are opened: a file that SQLite has open in this process must not be opened or closed by anybody else.
    ///
    /// ```
    /// async fn open_queue(cx: solostart::StageContext) -> solostart::StageResult<()> {
    ///     cx.worker().protect("/data/queue.db").await
    ///     // ... and then, for instance, `SqlitePool::connect("sqlite:/data/queue.db")`.
    /// }
    /// ```
    ///
    /// # Not promised
    /// On a file system whose locks cannot be trusted (NFS, SMB, FUSE) the file is not locked: there the lease excludes.
    /// Where the application lets several workers run, this does nothing.
    ///
    /// # Cancel safety
    /// If the future is dropped, the file may be under the right all the same.
    ///
    /// # Errors
    /// `lock.held` or `lock.holder-unresponsive` where another instance has the file, `lock.busy` where another program
    /// has, `lock.unsupported` where it has a second name; [`LockLost`] where the right is lost.
    pub async fn protect(&self, file: impl Into<PathBuf>) -> StageResult<()> {
        let (guard, file) = (self.clone(), file.into());
        tokio::task::spawn_blocking(move || guard.protect_blocking(&file)).await?
    }

    /// The same where blocking is allowed. It waits for a second at most.
    pub(crate) fn protect_blocking(&self, file: &Path) -> StageResult<()> {
        if !self.0.exclusive {
            return Ok(());
        }
        self.check().map_err(LockLost::into_error)?;
        match self.0.protect.get() {
            Some(protect) => protect(file),
            None => Ok(()),
        }
    }

    #[cfg(test)]
    pub(crate) fn hard_limit_passed(&self) -> bool {
        self.until_hard_limit() == Some(Duration::ZERO)
    }

    /// How long until the process must have ended, whatever it still has to do, because somebody else may then
    /// be the only worker; unless the lease is renewed before. `None` where nothing limits it.
    pub(crate) fn until_hard_limit(&self) -> Option<Duration> {
        let limit = self.0.hard_limit.load(Ordering::Acquire);
        (limit != NEVER).then(|| Duration::from_nanos(limit).saturating_sub(boot_time()))
    }

    /// Why the right ended, where it was not given up on purpose.
    pub(crate) fn taken_away(&self) -> Option<LockLost> {
        self.check().err().filter(|lost| lost.loss != Loss::NotHeld)
    }

    /// Waits until the right is lost; for ever where it never is.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost when the future is dropped.
    pub async fn lost(&self) -> LockLost {
        self.0.lost.cancelled().await;
        self.0.reason.get().cloned().unwrap_or_else(|| LockLost::new(Loss::NotHeld, GIVEN_BACK))
    }

    /// Whether a lock stands behind this guard. It is `false` only where the application decided, by
    /// name, that several workers may run.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.0.exclusive
    }
}

impl fmt::Debug for WorkerGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerGuard")
            .field("exclusive", &self.0.exclusive)
            .field("held", &self.check().is_ok())
            .finish()
    }
}

/// The other end of a [`WorkerGuard`]: whoever holds the locks keeps it and says when they are lost.
#[derive(Debug)]
pub(crate) struct GuardKeeper(WorkerGuard);

impl GuardKeeper {
    /// A guard backed by the locks of `holder`, valid until [`lose`](Self::lose) is called or a limit passes.
    pub(crate) fn held_by(holder: InstanceId) -> Self {
        Self::new(holder, true)
    }

    /// The same for a holder that no lock names.
    pub(crate) fn exclusive() -> Self {
        Self::held_by(InstanceId::mint())
    }

    /// A guard for an application that opted out of the single-worker rule.
    pub(crate) fn unrestricted(process: InstanceId) -> Self {
        Self::new(process, false)
    }

    fn new(holder: InstanceId, exclusive: bool) -> Self {
        // Without a lease every acquisition has the same number, which is not the one that fences nothing.
        let token = if exclusive { FencingToken(1) } else { FencingToken::NONE };
        Self(WorkerGuard(Arc::new(Shared {
            lost: CancellationToken::new(),
            reason: OnceLock::new(),
            valid_until: AtomicU64::new(NEVER),
            hard_limit: AtomicU64::new(NEVER),
            token: AtomicU64::new(token.0),
            seen: AtomicU64::new(nanos(boot_time())),
            trouble: Mutex::new(None),
            raise: OnceLock::new(),
            protect: OnceLock::new(),
            holder,
            exclusive,
        })))
    }

    pub(crate) fn guard(&self) -> WorkerGuard {
        self.0.clone()
    }

    /// Declares that somebody took the right, or what it rests on. The first reason stays.
    pub(crate) fn lose(&self, reason: impl Into<String>) {
        let _how_it_was_lost_first = self.0.lose(reason.into());
    }

    /// Declares the right ended in whichever way. The first one stays.
    pub(crate) fn end(&self, lost: LockLost) {
        let _how_it_was_lost_first = self.0.end(lost);
    }

    /// The right is given up on purpose.
    pub(crate) fn give_back(&self) {
        self.end(LockLost::new(Loss::NotHeld, GIVEN_BACK));
    }

    /// Limits the right, by [`boot_time`]: until when it holds, and when the process must have ended.
    pub(crate) fn limit(&self, valid_until: Duration, hard_limit: Duration) {
        let shared = &self.0.0;
        shared.hard_limit.store(nanos(hard_limit), Ordering::Release);
        shared.valid_until.store(nanos(valid_until), Ordering::Release);
        *shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Until when the right holds unless it is renewed, by [`boot_time`].
    pub(crate) fn valid_until(&self) -> Duration {
        Duration::from_nanos(self.0.0.valid_until.load(Ordering::Acquire))
    }

    /// Notes what keeps the right from being renewed, and what can be done about it, for a later loss.
    pub(crate) fn trouble(&self, what: impl Into<String>, actions: Vec<String>) {
        let trouble = Trouble { what: what.into(), actions, answered: true };
        *self.0.0.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }

    /// Notes that something was asked, for a loss before it answers. An answer that is known says more.
    pub(crate) fn asked(&self, what: &str, actions: impl FnOnce() -> Vec<String>) {
        let mut trouble = self.0.0.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.get_or_insert_with(|| Trouble { what: what.to_owned(), actions: actions(), answered: false });
    }

    /// Notes that a thread that keeps the right runs.
    pub(crate) fn runs(&self) {
        self.0.0.seen.fetch_max(nanos(boot_time()), Ordering::AcqRel);
    }

    /// Says which acquisition this is. It only ever grows.
    pub(crate) fn issue(&self, token: FencingToken) {
        self.0.0.token.fetch_max(token.0, Ordering::AcqRel);
    }

    /// Says how the token can be raised. Only the first way counts.
    pub(crate) fn raise_with(
        &self,
        raise: impl Fn(FencingToken) -> Result<FencingToken, LockLost> + Send + Sync + 'static,
    ) {
        let _there_is_one = self.0.0.raise.set(Box::new(raise));
    }

    /// Says how a file is put under the right. Only the first way counts.
    pub(crate) fn protect_with(&self, protect: impl Fn(&Path) -> StageResult<()> + Send + Sync + 'static) {
        let _there_is_one = self.0.0.protect.set(Box::new(protect));
    }

    /// The right was given up, and nothing needs to be ended for its sake any more.
    pub(crate) fn retire(&self) {
        self.give_back();
        self.0.0.hard_limit.store(NEVER, Ordering::Release);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
