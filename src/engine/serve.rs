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

impl Engine {
    /// Serves until there is a reason to stop, then stops everything.
    pub(super) async fn serve(mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> StopReport {
        let shutdown = CancellationToken::new();
        let mut serving = Serving::new();
        let mut checks = Checks::default();
        let (mut reason, mut failure) = match self.launch_serve(&mut serving, &shutdown) {
            Ok(()) => self.until_asked(commands, &mut serving, &mut checks).await,
            Err(error) => (StopReason::Failed, Some(self.failure_of("serve", FailurePhase::Serve, error))),
        };
        if self.limits.drain > Duration::ZERO && !serving.is_empty() && failure.is_none() {
            self.board.set_phase(Phase::Draining);
            self.board.emit(&Event::Draining { reason: reason.clone() });
            tokio::select! {
                () = sleep(self.limits.drain) => {}
                Some(ended) = serving.join_next() => (reason, failure) = self.served(reason, ended),
                lost = self.board.lost() => {
                    (reason, failure) = (StopReason::LockLost, Some(self.lock_lost(&lost)));
                }
                (id, error) = self.board.failed() => {
                    (reason, failure) = (StopReason::Failed, Some(self.gave_up(id, error)));
                }
            }
        }
        self.board.set_phase(Phase::Stopping);
        shutdown.cancel();
        let began = Instant::now();
        self.begin_stop();
        // What the last checks found changes nothing any more.
        let _found = self.end_checks(checks).await;
        self.end_serving(&mut serving, &mut failure).await;
        if let Some(Err(lost)) = self.board.published_worker().map(|guard| guard.check()) {
            failure.get_or_insert_with(|| self.lock_lost(&lost));
        }
        let span = info_span!(target: "solostart", "shutdown", %reason);
        let mut summary = self.down(&reason).instrument(span).await;
        summary.elapsed = began.elapsed();
        settled().await;
        StopReport { reason, failure, summary, timeline: Status(self.board.clone()).timeline() }
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
    ) -> (StopReason, Option<StageFailure>) {
        let mut ticks = interval_at(Instant::now() + CHECK_INTERVAL, CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let has_checks = self.specs.iter().any(|spec| spec.health.is_some());
        loop {
            tokio::select! {
                biased;
                lost = self.board.lost() => return (StopReason::LockLost, Some(self.lock_lost(&lost))),
                (id, error) = self.board.failed() => return (StopReason::Failed, Some(self.gave_up(id, error))),
                command = commands.recv() => match command {
                    Some(Command::Stop(reason)) => return (reason, None),
                    Some(Command::Blocking(id)) => self.stage_blocks(id),
                    None => return (StopReason::Requested("every handle was dropped".to_owned()), None),
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
    fn served(
        &self,
        reason: StopReason,
        ended: Result<StageResult<()>, tokio::task::JoinError>,
    ) -> (StopReason, Option<StageFailure>) {
        match ended.unwrap_or_else(|error| Err(defect(&error.to_string()))) {
            Ok(()) => (reason, None),
            Err(error) => (StopReason::Failed, Some(self.failure_of("serve", FailurePhase::Serve, error))),
        }
    }

    /// Waits for the `serve` hook to finish, for at most half of the stop budget, then drops it.
    async fn end_serving(&mut self, serving: &mut Serving, failure: &mut Option<StageFailure>) {
        let limit = self.serve_budget();
        match timeout(limit, serving.join_next()).await {
            Ok(None) => {}
            Ok(Some(ended)) => match (&failure, self.served(StopReason::Finished, ended).1) {
                (_, None) => {}
                (None, found) => *failure = found,
                // What went wrong first stays the failure; this is told beside it.
                (Some(_), Some(found)) => self.serve_problem(found.error),
            },
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
