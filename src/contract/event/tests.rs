use std::sync::{Arc, Mutex};

use tracing::{Metadata, Subscriber, span, subscriber::with_default};

use super::*;
use crate::codes::STAGE_FAILED;

/// Records the level of each event.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Level>>>);

impl Subscriber for Heard {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        self.0.lock().unwrap().push(*event.metadata().level());
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn every_event() -> Vec<Event> {
    let (stage, took, error) = (StageName::from("base"), Duration::ZERO, || "no luck".to_owned());
    let failed =
        |optional| Event::StageFailed { stage: "base".into(), code: STAGE_FAILED, error: error(), optional };
    let health = |healthy| Event::HealthChanged { stage: "base".into(), healthy, error: None };
    let ended = |pause| Event::TaskEnded {
        stage: "base".into(),
        task: "t".to_owned(),
        error: error(),
        pause,
        held_back: 0,
    };
    let back = |requested| Event::RollingBack { error: error(), requested };
    vec![
        Event::StageStarting { stage: stage.clone() },
        Event::StageRetrying { stage: stage.clone(), attempt: 1, delay: took, error: error() },
        Event::StageUp { stage: stage.clone(), took },
        failed(true),
        failed(false),
        Event::StageCancelled { stage: stage.clone() },
        Event::StageBlocking { stage: stage.clone(), step: None },
        health(true),
        health(false),
        Event::JobFailed { stage: stage.clone(), job: "j".to_owned(), error: error(), held_back: 0 },
        ended(None),
        ended(Some(took)),
        Event::Ready { took },
        back(true),
        back(false),
        Event::Draining { reason: StopReason::Finished },
        Event::StageStopping { stage: stage.clone() },
        Event::StageStopped { stage: stage.clone(), took },
        Event::StopFailed { stage: stage.clone(), error: error() },
        Event::Leaked { stage, clones: 1 },
        Event::Stopped { took },
    ]
}

#[test]
fn each_event_is_told_at_its_level_and_a_failure_that_a_report_has_at_debug() {
    for event in every_event() {
        let heard = Heard::default();
        with_default(heard.clone(), || {
            event.trace(false);
            event.trace(true);
        });
        let [alone, reported] = heard.0.lock().unwrap()[..] else {
            panic!("{event:?} is not told once each time")
        };
        assert_eq!(alone, event.level(), "{event:?} would be lost under a filter of another level");
        let is_in_the_report = matches!(
            event,
            Event::StageFailed { optional: false, .. }
                | Event::RollingBack { requested: false, .. }
                | Event::StopFailed { .. }
        );
        assert_eq!(reported, if is_in_the_report { Level::DEBUG } else { alone }, "{event:?}");
    }
}
