//! In place of the lock in a program that was built without one. Nothing in here can be mistaken for a lock
//! that is held: neither type has a value.

use std::{sync::Arc, time::Instant};

use super::{Startup, WorkerMode};
use crate::{
    contract::{context::StageContext, guard::WorkerGuard},
    engine::Limits,
    error::StageResult,
};

#[derive(Debug)]
pub(super) enum Held {}

#[derive(Default)]
pub(super) struct Declared {}

pub(crate) enum Lock {}

impl Held {
    pub(super) fn guard(&self) -> WorkerGuard {
        match *self {}
    }

    pub(super) fn release(self, _until: Instant) -> StageResult<()> {
        match self {}
    }
}

impl Lock {
    pub(crate) fn configured(_startup: &Startup) -> Option<Self> {
        None
    }

    pub(super) fn give_time_to_wait(&self, _startup: &mut Startup, _limits: Limits) {
        match *self {}
    }

    pub(super) async fn take(self: Arc<Self>, _cx: &StageContext) -> StageResult<Held> {
        match *self {}
    }
}

impl WorkerMode {
    pub(super) fn reason(&self) -> Option<&str> {
        // This compiles for as long as no mode asks for a lock.
        let Self::Many { reason } = self;
        Some(reason)
    }
}

pub(super) fn note(held: &Held) -> Option<String> {
    match *held {}
}
