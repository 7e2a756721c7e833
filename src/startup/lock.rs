//! The lock behind `worker-mode`: how the environment wants it taken, and taking it.

use std::{ffi::OsStr, path::PathBuf, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Startup, WorkerMode};
use crate::{
    contract::context::StageContext,
    engine::Limits,
    error::StageResult,
    instance::worker_mode::{HeldWorker, Timings, WorkerConfig, acquire},
    settings::paths::{database_path, resolved},
};

/// The lock while it is held.
pub(super) type Held = HeldWorker;

/// What the application says about its lock.
#[derive(Default)]
pub(super) struct Declared {
    worker_variables: Vec<String>,
    allow_unshared: String,
}

/// A lock that is to be taken.
pub(crate) struct Lock {
    pub(crate) config: WorkerConfig,
    /// Ends a wait for it.
    given_up: CancellationToken,
}

impl Lock {
    /// The lock as it is configured; `None` where several workers are allowed. Its variables have no effect then.
    pub(crate) fn configured(startup: &Startup) -> Option<Self> {
        if startup.mode.reason().is_some() {
            return None;
        }
        let given_up = CancellationToken::new();
        Some(Self { config: startup.worker_config(given_up.clone()), given_up })
    }

    /// The root's limit must not end a wait that was asked for.
    pub(super) fn give_time_to_wait(&self, startup: &mut Startup, limits: Limits) {
        let longest = self.config.longest();
        if longest >= limits.startup {
            // To tell a dead holder from one that runs takes as long as its lease lasts.
            let name = if self.config.wait.is_some() { "LOCK_WAIT" } else { "LEASE_TTL" };
            let above = longest.as_secs() + 1;
            let remedy = format!("set {} to {above}s or more", startup.env.full_name("STARTUP_TIMEOUT"));
            let what = "waiting for the lock would take longer than the whole start may";
            startup.env.problem(&startup.env.full_name(name), what, remedy);
        }
        if let Some(root) = startup.plan.specs.first_mut() {
            root.timeout = Some(root.timeout.unwrap_or(limits.stage) + longest);
        }
    }

    /// Takes it, and gives up early where the start does.
    pub(super) async fn take(self: Arc<Self>, cx: &StageContext) -> StageResult<Held> {
        let lock = self.clone();
        let mut taking = tokio::task::spawn_blocking(move || acquire(&lock.config));
        tokio::select! {
            taken = &mut taking => taken?,
            () = cx.cancelled() => {
                self.given_up.cancel();
                taking.await?
            }
        }
    }
}

/// What whoever reads that the service is ready should know of the lock.
pub(super) fn note(held: &Held) -> Option<String> {
    let lock = held.lock();
    (!lock.shared).then(|| {
        format!("the lock is on {}: instances in other containers are not excluded", lock.file_system)
    })
}

impl WorkerMode {
    /// Why several workers are allowed, where they are.
    pub(super) fn reason(&self) -> Option<&str> {
        match self {
            Self::Single => None,
            Self::Many { reason } => Some(reason),
        }
    }
}

impl Startup {
    /// Adds a variable that holds a number of workers: more than one is refused.
    pub fn worker_variable(&mut self, name: &str) -> &mut Self {
        self.declared.worker_variables.push(name.to_owned());
        self
    }

    /// Accepts a lock on file systems that other containers may not see, unless `<P>_ALLOW_UNSHARED_LOCK`
    /// says otherwise: types as the kernel names them, separated by commas, for instance `overlay,tmpfs`.
    /// The line that says the service is ready then says so, too.
    pub fn allow_unshared_lock(&mut self, types: &str) -> &mut Self {
        types.clone_into(&mut self.declared.allow_unshared);
        self
    }

    /// Where the lock file is, or would be.
    pub(crate) fn lock_path(&self) -> PathBuf {
        let default = resolved(&database_path(&self.env)).with_extension("lock");
        self.env
            .var("LOCK_PATH")
            .describe("The lock file. It must be where every instance of the service sees it.")
            .example("/data/app.lock")
            .path()
            .default(default)
    }

    /// What the locks need to know. `given_up` ends a wait for them.
    pub(crate) fn worker_config(&self, given_up: CancellationToken) -> WorkerConfig {
        let env = self.env.clone();
        let wait = self.lock_wait();
        let data_dir = self.data_dir();
        let lock_path = self.lock_path();
        let allow_unshared = env
            .var("ALLOW_UNSHARED_LOCK")
            .describe("File system types on which the lock is accepted although it may exclude nobody.")
            .example("overlay")
            .text()
            .default(self.declared.allow_unshared.clone());
        // What is declared is read and judged by the lock layers; reading it here makes it known.
        let _judged_later = env
            .var("WORKERS")
            .describe("How many workers run. Only 1 is accepted.")
            .example("1")
            .text()
            .optional();
        WorkerConfig {
            instance: self.instance,
            service: self.name.clone(),
            version: self.version.clone().unwrap_or_else(|| "unknown".to_owned()),
            prefix: env.prefix().to_owned(),
            data_dir,
            lock_path,
            allow_unshared,
            worker_variables: self.declared.worker_variables.clone(),
            timings: Timings::from_env(&env),
            wait,
            cancelled: Box::new(move || given_up.is_cancelled()),
            lookup: Box::new(move |name| env.raw(name).map(OsStr::to_owned)),
        }
    }

    /// How long to wait for another instance to go; `None` refuses at once.
    fn lock_wait(&self) -> Option<Duration> {
        let waits = self
            .env
            .var("INSTANCE_MODE")
            .describe("What to do while another instance runs: refuse to start, or wait for it to go.")
            .choice([("refuse", false), ("wait", true)])
            .default(false);
        let wait = self
            .env
            .var("LOCK_WAIT")
            .describe("How long to wait for another instance to go, with INSTANCE_MODE=wait.")
            .example("30s")
            .duration()
            .default(Duration::from_secs(15));
        waits.then_some(wait)
    }
}
