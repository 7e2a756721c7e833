//! In place of the metrics in a program that was built without them.

use std::{sync::Arc, time::Duration};

use crate::{
    contract::{board::Board, event::Event},
    startup::About,
};

#[derive(Clone, Default)]
pub(super) struct Metrics;

impl Metrics {
    #[expect(clippy::unused_self, reason = "the same shape as with the feature")]
    pub(super) fn every(&self) -> Option<Duration> {
        None
    }

    #[expect(clippy::unused_self, reason = "the same shape as with the feature")]
    pub(super) fn look_at(&self, _board: Arc<Board>, _about: &About) {}

    #[expect(clippy::unused_self, reason = "the same shape as with the feature")]
    pub(super) fn event(&self, _event: &Event) {}

    #[expect(clippy::unused_self, reason = "the same shape as with the feature")]
    pub(super) fn beat(&self) {}
}
