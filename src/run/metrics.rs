//! The service as numbers, through the `metrics` facade: whatever recorder the application installs gets them.
//! Their names are an interface; `docs/observability.md` lists them.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::{
    contract::{
        board::Board,
        event::Event,
        state::{Phase, StageState},
        status::Status,
    },
    startup::Lock,
};

/// How often numbers that change by themselves are set anew.
const EVERY: Duration = Duration::from_secs(5);

/// Sets the numbers. Clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Metrics(Arc<Shared>);

#[derive(Default)]
struct Shared {
    board: OnceLock<Arc<Board>>,
    lock: OnceLock<Arc<Lock>>,
    set_at: Mutex<Option<Instant>>,
}

impl Metrics {
    /// How often [`beat`](Self::beat) must be called; `None` where it need not be.
    pub(super) fn every(&self) -> Option<Duration> {
        Some(EVERY)
    }

    /// Says where to look. Only the first time counts.
    pub(super) fn look_at(&self, board: Arc<Board>, lock: Option<&Arc<Lock>>) {
        let _looks_already = self.0.board.set(board);
        if let Some(lock) = lock {
            let _looks_already = self.0.lock.set(lock.clone());
        }
        describe();
    }

    pub(super) fn event(&self, event: &Event) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "what else happens shows in the states")]
        match event {
            Event::StageRetrying { stage, .. } => {
                counter!("solostart_stage_retries_total", "stage" => stage.to_string()).increment(1);
            }
            Event::JobFailed { stage, job, held_back, .. } => {
                let labels = [("stage", stage.to_string()), ("job", job.clone())];
                counter!("solostart_job_failures_total", &labels).increment(held_back + 1);
            }
            Event::HealthChanged { .. } | Event::Ready { .. } | Event::RollingBack { .. } => self.set(),
            Event::Draining { .. } | Event::Stopped { .. } => self.set(),
            _ => {}
        }
    }

    /// Sets every number anew, unless that was done a moment ago.
    pub(super) fn beat(&self) {
        let set_at = *self.0.set_at.lock().unwrap_or_else(PoisonError::into_inner);
        if set_at.is_none_or(|at| at.elapsed() + EVERY / 8 >= EVERY) {
            self.set();
        }
    }

    fn set(&self) {
        let Some(board) = self.0.board.get() else { return };
        *self.0.set_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let status = Status(board.clone());
        gauge!("solostart_ready").set(f64::from(u8::from(status.is_ready())));
        let took = board.ready_after().unwrap_or_else(|| board.now());
        if board.phase() == Phase::Starting || board.ready_after().is_some() {
            gauge!("solostart_start_duration_seconds").set(took.as_secs_f64());
        }
        for (id, span) in board.graph.ids().zip(board.spans()) {
            let (cell, name) = (board.cell(id), board.graph.name(id).to_string());
            let healthy = cell.state() == StageState::Up && cell.is_healthy();
            gauge!("solostart_stage_healthy", "stage" => name.clone()).set(f64::from(u8::from(healthy)));
            if let Some(span) = span {
                let took = span.ended.saturating_sub(span.began).as_secs_f64();
                gauge!("solostart_stage_duration_seconds", "stage" => name.clone()).set(took);
            }
            for state in StageState::ALL {
                let labels = [("stage", name.clone()), ("state", state.word().to_owned())];
                gauge!("solostart_stage_state", &labels).set(f64::from(u8::from(state == cell.state())));
            }
        }
        self.set_lock(board);
    }

    fn set_lock(&self, board: &Board) {
        let Some(guard) = board.published_worker().filter(|guard| guard.is_exclusive()) else { return };
        gauge!("solostart_lock_held").set(f64::from(u8::from(guard.check().is_ok())));
        // A token is microseconds since 1970, which a float holds exactly until 2255.
        gauge!("solostart_lock_token").set(guard.token().get() as f64);
        if let (Some(left), Some(lock)) = (guard.until_hard_limit(), self.0.lock.get()) {
            let age = lock.config.timings.hard.saturating_sub(left).as_secs_f64();
            gauge!("solostart_lock_renewal_age_seconds").set(age);
        }
    }
}

fn describe() {
    describe_gauge!("solostart_ready", "1 while the service is ready.");
    describe_gauge!("solostart_start_duration_seconds", "How long the start took, or takes so far.");
    describe_gauge!("solostart_stage_duration_seconds", "How long the start of a stage took.");
    describe_gauge!("solostart_stage_state", "1 for the state that a stage is in, 0 for every other one.");
    describe_gauge!("solostart_stage_healthy", "1 while a stage is up and its last health check succeeded.");
    describe_gauge!("solostart_lock_held", "1 while this process is shown to be the only worker.");
    describe_gauge!("solostart_lock_token", "The fencing token.");
    describe_gauge!("solostart_lock_renewal_age_seconds", "How long ago the lease was renewed.");
    describe_counter!("solostart_stage_retries_total", "Attempts of a stage that another one followed.");
    describe_counter!("solostart_job_failures_total", "Failed runs of a scheduled job.");
}

#[cfg(test)]
mod tests;
