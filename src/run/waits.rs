//! The waits that a start need not repeat in full, because they were in vain the last time.
//!
//! Docker doubles its pause between restarts, up to a minute, but begins anew once a container lived for ten
//! seconds; a failure that takes longer than that is therefore repeated several hundred times an hour
//! (moby, `restartmanager.go`). Where the last start waited long for what no restart can bring, the next one
//! waits less for the same thing, and ends in less than eight seconds.

use std::{sync::Arc, time::Duration};

use crate::{
    codes::{DB_MIGRATION_TIMEOUT, LOCK_HELD, STAGE_BLOCKED_EXECUTOR},
    contract::outcome::{StageFailure, StartupError},
    graph::StageName,
    ids::StageId,
    settings::EnvWarning,
    startup::{Configured, Lock, Ready, Startup},
};

/// What is left of a wait that was in vain, so that the whole start ends in less than eight seconds.
const SHORT: Duration = Duration::from_secs(5);

/// What a report may need to know of how the start was configured.
pub(super) struct About {
    pub(super) waits: Waits,
    pub(super) shortened: Option<Shortened>,
    /// `None` where several workers are allowed.
    pub(super) lock: Option<Arc<Lock>>,
}

/// Reads the settings and checks everything, with the wait shortened that was `in_vain` in the last start.
pub(super) fn prepare(startup: Startup, in_vain: Option<&str>) -> Result<(Ready, About), Box<StartupError>> {
    let mut configured = startup.configured();
    let waits = Waits::of(&configured);
    let shortened = waits.shorten(in_vain, &mut configured);
    let ready = configured.prepare()?;
    let lock = ready.lock.clone();
    Ok((ready, About { waits, shortened, lock }))
}

/// How long each stage may take, as configured; for `worker-mode`, how long it waits for another instance.
pub(super) struct Waits(Vec<(StageName, Duration)>);

/// A wait that is shorter than configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Shortened {
    pub(super) stage: String,
    /// As configured.
    pub(super) from: Duration,
}

impl Waits {
    fn of(configured: &Configured) -> Self {
        let Configured { startup, limits, lock } = configured;
        let waits = lock.as_ref().and_then(|lock| lock.config.wait).unwrap_or_default();
        let (graph, specs) = (&startup.plan.graph, &startup.plan.specs);
        let limit = |id: StageId| specs[id.index()].timeout.unwrap_or(limits.stage);
        let stages = graph.ids().skip(1).map(|id| (graph.name(id).clone(), limit(id)));
        Self([("worker-mode".into(), waits)].into_iter().chain(stages).collect())
    }

    /// Shortens the wait that was `in_vain`, if it still is as long as it was then.
    fn shorten(&self, in_vain: Option<&str>, configured: &mut Configured) -> Option<Shortened> {
        let in_vain = in_vain?;
        let at = self.0.iter().position(|(name, limit)| key(name, *limit) == in_vain)?;
        let (name, from) = &self.0[at];
        if at == 0 {
            configured.lock.as_mut()?.config.wait = Some(SHORT);
        } else {
            configured.startup.plan.specs.get_mut(at)?.timeout = Some(SHORT);
        }
        Some(Shortened { stage: name.to_string(), from: *from })
    }

    /// What to remember of a failure that a time limit ended and that a restart cannot help: the stage and
    /// the limit. With another limit, the next start waits in full.
    pub(super) fn in_vain(&self, failure: &StageFailure) -> Option<String> {
        let code = failure.error.failure_code().name;
        let timed = [LOCK_HELD, DB_MIGRATION_TIMEOUT, STAGE_BLOCKED_EXECUTOR].map(|code| code.name);
        let (name, limit) = self.0.iter().find(|(name, _)| *name == failure.stage)?;
        (timed.contains(&code) && *limit > SHORT).then(|| key(name, *limit))
    }
}

impl Shortened {
    /// What the operator should know of it.
    pub(super) fn warning(&self) -> EnvWarning {
        let Self { stage, from } = self;
        EnvWarning {
            variable: stage.clone(),
            text: format!(
                "waits {SHORT:?} at most in this start, because {from:?} were in vain in the last one; \
                 with another limit it waits in full again"
            ),
        }
    }
}

fn key(stage: &str, limit: Duration) -> String {
    format!("{stage} {}ms", limit.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Env, StageError, WorkerMode, codes, contract::outcome::FailurePhase};

    fn startup(lock_wait: &'static str) -> Startup {
        let vars = [("SHOP_INSTANCE_MODE", "wait"), ("SHOP_LOCK_WAIT", lock_wait)];
        let mut startup = Startup::new("shop", Env::from_vars("SHOP", vars), WorkerMode::Single);
        startup.stage("database", (), async |_cx, ()| Ok(())).required();
        startup
    }

    fn failure(stage: &'static str, code: codes::FailureCode) -> StageFailure {
        StageFailure {
            stage: stage.into(),
            phase: FailurePhase::Start,
            step: None,
            steps: Vec::new(),
            error: StageError::new(code, "x"),
            elapsed: Duration::ZERO,
            attempts: 1,
            at: Duration::ZERO,
        }
    }

    #[test]
    fn a_wait_that_was_in_vain_is_shortened_until_its_limit_changes() {
        for (stage, code, from) in [
            ("worker-mode", LOCK_HELD, Duration::from_secs(15)),
            ("database", DB_MIGRATION_TIMEOUT, Duration::from_secs(30)),
        ] {
            let first = prepare(startup("15s"), None).unwrap().1;
            assert_eq!(first.shortened, None);
            let in_vain = first.waits.in_vain(&failure(stage, code));
            let again = prepare(startup("15s"), in_vain.as_deref()).unwrap().1;
            assert_eq!(again.shortened, Some(Shortened { stage: stage.to_owned(), from }));
            assert_eq!(again.waits.in_vain(&failure(stage, code)), in_vain, "it stays shortened");
            let vars =
                [("SHOP_LOCK_WAIT", "16s"), ("SHOP_INSTANCE_MODE", "wait"), ("SHOP_STAGE_TIMEOUT", "1m")];
            let mut changed = Startup::new("shop", Env::from_vars("SHOP", vars), WorkerMode::Single);
            changed.stage("database", (), async |_cx, ()| Ok(())).required();
            assert_eq!(prepare(changed, in_vain.as_deref()).unwrap().1.shortened, None);
        }
    }

    #[test]
    fn a_failure_that_a_restart_may_cure_or_that_was_quick_shortens_nothing() {
        let about = prepare(startup("3s"), None).unwrap().1;
        assert_eq!(about.waits.in_vain(&failure("worker-mode", LOCK_HELD)), None);
        assert_eq!(about.waits.in_vain(&failure("database", codes::DB_CORRUPT)), None);
        assert_eq!(about.waits.in_vain(&failure("database", codes::STAGE_TIMEOUT)), None);
    }
}
