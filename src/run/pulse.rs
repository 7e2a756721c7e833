//! What looks at the service while it lives: the service manager and the metrics, where there are any.

use std::sync::Arc;

use super::{deliver::systemd::Notifier, metrics::Metrics};
use crate::{
    engine::running::{Prepared, Pulse},
    startup::{Lock, Startup},
};

/// Those who look.
#[derive(Clone)]
pub(super) struct Observers {
    systemd: Option<Notifier>,
    metrics: Metrics,
}

impl Observers {
    /// Lets them hear of every event, before the application does.
    pub(super) fn hear(startup: &mut Startup, systemd: Option<&Notifier>) -> Self {
        let observers = Self { systemd: systemd.cloned(), metrics: Metrics::default() };
        if observers.are_there() {
            let (application, hearing) = (startup.sink.take(), observers.clone());
            startup.sink = Some(Arc::new(move |event| {
                if let Some(systemd) = &hearing.systemd {
                    systemd.event(event);
                }
                hearing.metrics.event(event);
                if let Some(application) = &application {
                    application(event);
                }
            }));
        }
        observers
    }

    /// Lets them look at each beat of the engine.
    pub(super) fn look_at(self, prepared: &mut Prepared, lock: Option<&Arc<Lock>>) {
        let every = self.systemd.as_ref().map(Notifier::every).into_iter().chain(self.metrics.every()).min();
        let Some(every) = every else { return };
        if let Some(systemd) = &self.systemd {
            systemd.look_at(prepared.board.clone());
        }
        self.metrics.look_at(prepared.board.clone(), lock);
        let beat = move || {
            if let Some(systemd) = &self.systemd {
                systemd.beat();
            }
            self.metrics.beat();
        };
        prepared.pulse = Some(Pulse { every, beat: Box::new(beat) });
    }

    fn are_there(&self) -> bool {
        self.systemd.is_some() || self.metrics.every().is_some()
    }
}
