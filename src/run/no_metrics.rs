//! In place of the metrics in a program that was built without them.

use std::{sync::Arc, time::Duration};

use crate::{
    contract::{board::Board, event::Event},
    startup::Lock,
};

#[derive(Clone, Default)]
pub(super) struct Metrics {}

impl Metrics {
    pub(super) fn every(&self) -> Option<Duration> {
        None
    }

    pub(super) fn look_at(&self, _board: Arc<Board>, _lock: Option<&Arc<Lock>>) {}

    pub(super) fn event(&self, _event: &Event) {}

    pub(super) fn beat(&self) {}
}
