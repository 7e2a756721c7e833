//! Serving: until there is a reason to stop, and from there to the stop of the first stage.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span};

use super::{
    Command, Engine, defect,
    health::{CHECK_INTERVAL, Checks},
    hook::panicked,
};
use crate::{
    contract::{
        context::ServeContext,
        event::Event,
        guard::LockLost,
        outcome::{FailurePhase, StageFailure, StopHook, StopProblem, StopReport},
        panic::Contained,
        state::{Phase, StopReason, format_elapsed},
        status::Status,
        tell::settled,
    },
    error::{StageError, StageResult},
};

/// The `serve` hook while it runs.
type Serving = JoinSet<StageResult<()>>;

/// Why serving ended.
struct Ended {
    reason: StopReason,
    /// The first one is the cause.
    failures: Vec<StageFailure>,
}

impl Ended {
    /// Nothing has failed.
    fn well(reason: StopReason) -> Self {
        Self { reason, failures: Vec::new() }
    }
}

impl Engine {
    /// Serves until there is a reason to stop, then stops everything.
    pub(super) async fn serve(mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> StopReport {
        let shutdown = CancellationToken::new();
        let mut serving = Serving::new();
        let mut checks = Checks::default();
        let ended = match self.launch_serve(&mut serving, &shutdown) {
            Ok(()) => self.until_asked(commands, &mut serving, &mut checks).await,
            Err(error) => self.serve_failed(error),
        };
        let Ended { reason, mut failures } = self.drain(ended, &mut serving).await;
        self.note_what_else_failed(&mut failures, &mut serving);
        self.board.set_phase(Phase::Stopping);
        shutdown.cancel();
        let began = Instant::now();
        self.begin_stop();
        // What the last checks found changes nothing any more.
        let _found = self.end_checks(checks).await;
        self.end_serving(&mut serving, &mut failures).await;
        if let Some(Err(lost)) = self.board.published_worker().map(|guard| guard.check())
            && reason != StopReason::LockLost
        {
            failures.push(self.lock_lost(&lost));
        }
        let span = info_span!(target: "solostart", "shutdown", %reason);
        let mut summary = self.down(&reason).instrument(span).await;
        summary.elapsed = began.elapsed();
        settled().await;
        let mut failures = failures.into_iter();
        let (failure, also) = (failures.next(), failures.collect());
        StopReport { reason, failure, also, summary, timeline: Status(self.board.clone()).timeline() }
    }

    /// Serves on for a while, no longer ready, where the service was asked to stop: with or without a `serve` hook,
    /// because stages serve, too.
    async fn drain(&mut self, ended: Ended, serving: &mut Serving) -> Ended {
        let finished = ended.reason == StopReason::Finished || !ended.failures.is_empty();
        if self.limits.drain.is_zero() || finished {
            return ended;
        }
        self.board.set_phase(Phase::Draining);
        self.board.emit(&Event::Draining { reason: ended.reason.clone() });
        tokio::select! {
            () = sleep(self.limits.drain) => ended,
            Some(served) = serving.join_next() => self.served(ended.reason, served),
            lost = self.board.lost() => self.lost(&lost),
            () = self.board.failed() => Ended { reason: StopReason::Failed, failures: self.gave_up() },
        }
    }

    /// Whatever had failed when the stop began is in the report, and not the first alone.
    fn note_what_else_failed(&self, failures: &mut Vec<StageFailure>, serving: &mut Serving) {
        failures.extend(self.gave_up());
        if let Some(served) = serving.try_join_next() {
            failures.extend(self.served(StopReason::Finished, served).failures);
        }
    }

    fn launch_serve(&mut self, serving: &mut Serving, shutdown: &CancellationToken) -> StageResult<()> {
        let Some(serve) = self.serve.take() else { return Ok(()) };
        let cx = ServeContext {
            shutdown: shutdown.clone(),
            status: Status(self.board.clone()),
            stop_budget: self.serve_budget(),
        };
        let future = self
            .with_outputs(|outputs| serve(outputs, cx))
            .ok_or_else(|| defect("serve was launched without its prerequisites"))?;
        let mut contained = Contained::new(future);
        serving.spawn(async move {
            match (&mut contained).await {
                Ok(result) => result,
                Err(panic) => Err(panicked(panic)),
            }
        });
        Ok(())
    }

    async fn until_asked(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        serving: &mut Serving,
        checks: &mut Checks,
    ) -> Ended {
        let mut ticks = interval_at(Instant::now() + CHECK_INTERVAL, CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let has_checks = self.specs.iter().any(|spec| spec.health.is_some());
        loop {
            tokio::select! {
                biased;
                lost = self.board.lost() => return self.lost(&lost),
                () = self.board.failed() => {
                    return Ended { reason: StopReason::Failed, failures: self.gave_up() };
                }
                command = commands.recv() => match command {
                    Some(Command::Stop(reason)) => return Ended::well(reason),
                    Some(Command::Blocking(id)) => self.stage_blocks(id),
                    None => return Ended::well(StopReason::Requested("every handle was dropped".to_owned())),
                },
                Some(ended) = serving.join_next() => return self.served(StopReason::Finished, ended),
                Some((id, result)) = checks.next() => {
                    // While serving, a failed check makes the service unready; it does not end it.
                    let _unready = self.book_check(id, result);
                }
                _ = ticks.tick(), if has_checks => self.launch_checks(checks),
            }
        }
    }

    /// The `serve` hook has ended.
    fn served(&self, reason: StopReason, ended: Result<StageResult<()>, tokio::task::JoinError>) -> Ended {
        match ended.unwrap_or_else(|error| Err(defect(&error.to_string()))) {
            Ok(()) => Ended::well(reason),
            Err(error) => self.serve_failed(error),
        }
    }

    fn serve_failed(&self, error: StageError) -> Ended {
        let failure = self.failure_of("serve", FailurePhase::Serve, error);
        Ended { reason: StopReason::Failed, failures: vec![failure] }
    }

    fn lost(&self, lost: &LockLost) -> Ended {
        Ended { reason: StopReason::LockLost, failures: vec![self.lock_lost(lost)] }
    }

    /// Waits for the `serve` hook to finish, for at most half of the stop budget, then drops it.
    async fn end_serving(&mut self, serving: &mut Serving, failures: &mut Vec<StageFailure>) {
        let limit = self.serve_budget();
        match timeout(limit, serving.join_next()).await {
            Ok(None) => {}
            Ok(Some(ended)) => {
                let found = self.served(StopReason::Finished, ended).failures;
                if failures.is_empty() {
                    failures.extend(found);
                } else {
                    // What went wrong first stays the failure; this may be what came of it.
                    found.into_iter().for_each(|found| self.serve_problem(found.error));
                }
            }
            Err(_elapsed) => {
                let text = format!("did not finish within {}", format_elapsed(limit));
                self.serve_problem(StageError::from(text));
                serving.abort_all();
                if timeout(self.grace(), serving.join_next()).await.is_err() {
                    self.hold_what_serve_uses();
                }
            }
        }
    }

    fn serve_budget(&self) -> Duration {
        self.limits.shutdown / 2
    }

    fn serve_problem(&mut self, error: StageError) {
        self.record_problem(StopProblem { stage: "serve".into(), hook: StopHook::Serve, error });
    }

    /// The hook keeps its thread, so that it cannot even be dropped.
    fn hold_what_serve_uses(&mut self) {
        self.summary.stuck.push(("serve".into(), None));
        let used = std::mem::take(&mut self.serve_needs);
        self.in_use.extend(used.into_iter().map(|id| (id, "serve".into())));
    }
}
