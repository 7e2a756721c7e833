//! The waits that a start need not repeat in full, because they were in vain the last time.
//!
//! Docker doubles its pause between restarts, up to a minute, but begins anew once a container lived for ten
//! seconds; a failure that takes longer than that is therefore repeated several hundred times an hour
//! (moby, `restartmanager.go`). Where the last start waited long for what no restart can bring, the next one
//! waits less for the same thing, and ends in less than eight seconds.

use std::time::Duration;

use super::Startup;
use crate::{
    codes::{DB_MIGRATION_TIMEOUT, LOCK_HELD, STAGE_BLOCKED_EXECUTOR},
    contract::outcome::StageFailure,
    engine::Limits,
    graph::StageName,
    instance::worker_mode::WorkerConfig,
    settings::EnvWarning,
};

/// What is left of a wait that was in vain, so that the whole start ends in less than eight seconds.
const SHORT: Duration = Duration::from_secs(5);

/// How long each stage may take, as configured; for `worker-mode`, how long it waits for another instance.
pub(crate) struct Waits(Vec<(StageName, Duration)>);

/// A wait that is shorter than configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Shortened {
    pub(crate) stage: String,
    /// As configured.
    pub(crate) from: Duration,
}

impl Waits {
    /// What to remember of a failure that a time limit ended and that a restart cannot help: the stage and
    /// the limit. With another limit, the next start waits in full.
    pub(crate) fn in_vain(&self, failure: &StageFailure) -> Option<String> {
        let code = failure.error.failure_code().name;
        let timed = [LOCK_HELD, DB_MIGRATION_TIMEOUT, STAGE_BLOCKED_EXECUTOR].map(|code| code.name);
        let (name, limit) = self.0.iter().find(|(name, _)| *name == failure.stage)?;
        (timed.contains(&code) && *limit > SHORT).then(|| key(name, *limit))
    }
}

impl Startup {
    /// How long each stage may take, as configured.
    pub(super) fn waits(&self, limits: Limits, config: &WorkerConfig) -> Waits {
        let root = ("worker-mode".into(), config.wait.unwrap_or_default());
        let limit = |id: crate::ids::StageId| self.plan.specs[id.index()].timeout.unwrap_or(limits.stage);
        let stages = self.plan.graph.ids().skip(1).map(|id| (self.plan.graph.name(id).clone(), limit(id)));
        Waits([root].into_iter().chain(stages).collect())
    }

    /// Shortens the wait that was `in_vain`, if it still is as long as it was then.
    pub(super) fn shorten(
        &mut self,
        in_vain: Option<&str>,
        waits: &Waits,
        config: &mut WorkerConfig,
    ) -> Option<Shortened> {
        let in_vain = in_vain?;
        let at = waits.0.iter().position(|(name, limit)| key(name, *limit) == in_vain)?;
        let (name, from) = &waits.0[at];
        if at == 0 {
            config.wait = Some(SHORT);
        } else {
            self.plan.specs.get_mut(at)?.timeout = Some(SHORT);
        }
        Some(Shortened { stage: name.to_string(), from: *from })
    }
}

impl Shortened {
    /// What the operator should know of it.
    pub(crate) fn warning(&self) -> EnvWarning {
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
            let first = startup("15s").prepare().unwrap();
            assert_eq!(first.about.shortened, None);
            let in_vain = first.about.waits.in_vain(&failure(stage, code));
            let mut again = startup("15s");
            again.in_vain.clone_from(&in_vain);
            let again = again.prepare().unwrap();
            assert_eq!(again.about.shortened, Some(Shortened { stage: stage.to_owned(), from }));
            assert_eq!(again.about.waits.in_vain(&failure(stage, code)), in_vain, "it stays shortened");
            let vars =
                [("SHOP_LOCK_WAIT", "16s"), ("SHOP_INSTANCE_MODE", "wait"), ("SHOP_STAGE_TIMEOUT", "1m")];
            let mut changed = Startup::new("shop", Env::from_vars("SHOP", vars), WorkerMode::Single);
            changed.stage("database", (), async |_cx, ()| Ok(())).required();
            changed.in_vain = in_vain;
            assert_eq!(changed.prepare().unwrap().about.shortened, None);
        }
    }

    #[test]
    fn a_failure_that_a_restart_may_cure_or_that_was_quick_shortens_nothing() {
        let ready = startup("3s").prepare().unwrap();
        assert_eq!(ready.about.waits.in_vain(&failure("worker-mode", LOCK_HELD)), None);
        assert_eq!(ready.about.waits.in_vain(&failure("database", codes::DB_CORRUPT)), None);
        assert_eq!(ready.about.waits.in_vain(&failure("database", codes::STAGE_TIMEOUT)), None);
    }
}
