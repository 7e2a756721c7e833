//! The tape of one service, sorted by stage: what the oracle's rules are about.

use std::time::Duration;

use super::{
    generate::Case,
    play::Played,
    tape::{Entry, How, What},
};
use crate::Event;

/// A place on the tape, and the time there.
pub(super) type At = (usize, Duration);

/// One run of a hook, from its beginning to its end.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) what: What,
    pub(super) began: At,
    pub(super) cancelled_before: bool,
    /// The start's time limit, for start hooks.
    pub(super) deadline: Duration,
    /// When and how it ended, and whether it had been asked to.
    pub(super) ended: Option<(At, How, bool)>,
}

impl Run {
    pub(super) fn how(&self) -> Option<How> {
        self.ended.map(|(_, how, _)| how)
    }

    pub(super) fn end(&self) -> At {
        self.ended.map_or((usize::MAX, Duration::MAX), |(at, ..)| at)
    }
}

/// What was seen of one stage.
#[derive(Clone, Default, Debug)]
pub(super) struct Seen {
    pub(super) runs: Vec<Run>,
    pub(super) registered: Vec<(u32, usize)>,
    pub(super) received: Vec<Vec<bool>>,
    pub(super) acquired: Vec<At>,
    pub(super) dropped: Vec<At>,
    /// What was told.
    pub(super) launched: Vec<At>,
    pub(super) up: Vec<At>,
    pub(super) failed: Vec<At>,
    pub(super) cancelled: Vec<At>,
    pub(super) stopping: Vec<At>,
    pub(super) stopped: Vec<At>,
    pub(super) stop_failed: usize,
    /// Where the last of its hooks and its resource were over.
    pub(super) last: usize,
}

impl Seen {
    pub(super) fn of(&self, wanted: impl Fn(What) -> bool) -> impl DoubleEndedIterator<Item = &Run> {
        self.runs.iter().filter(move |run| wanted(run.what))
    }

    pub(super) fn starts(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.of(|what| matches!(what, What::Start { .. }))
    }

    pub(super) fn undos(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.of(|what| matches!(what, What::Undo { .. }))
    }

    pub(super) fn stops(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.of(|what| what == What::Stop)
    }

    pub(super) fn checks(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.of(|what| what == What::Check)
    }

    pub(super) fn began(&self) -> Option<At> {
        self.starts().next().map(|run| run.began)
    }
}

#[derive(Default)]
pub(super) struct Story {
    pub(super) stages: Vec<Seen>,
    pub(super) serve: Option<Run>,
    pub(super) ready: Option<At>,
    /// When the start was given up.
    pub(super) rolling_back: Option<At>,
    /// When everything was stopped.
    pub(super) over: Option<At>,
    /// For how long hooks kept the thread to themselves.
    pub(super) blocked: Duration,
}

pub(super) fn read(case: &Case, played: &Played) -> Story {
    let mut story = Story { stages: vec![Seen::default(); case.stages.len()], ..Story::default() };
    for (place, (time, entry)) in played.tape.iter().enumerate() {
        let at = (place, *time);
        match entry {
            Entry::Told(event) => {
                hear(&mut story, at, event);
                let stage = event.stage().and_then(|name| story.stages.get_mut(index_of(name)?));
                if let Some(seen) = stage {
                    hear_of(seen, at, event);
                }
            }
            Entry::Blocked(time) => story.blocked += *time,
            Entry::Meddled(_) => {}
            Entry::Began { stage, what, cancelled, deadline } => {
                let run = Run {
                    what: *what,
                    began: at,
                    cancelled_before: *cancelled,
                    deadline: *deadline,
                    ended: None,
                };
                match story.stages.get_mut(*stage) {
                    Some(seen) => seen.runs.push(run),
                    None => story.serve = Some(run),
                }
            }
            Entry::Ended { stage, what, cancelled, how } => {
                let run = match story.stages.get_mut(*stage) {
                    Some(seen) => seen.runs.iter_mut().rfind(|run| run.what == *what && run.ended.is_none()),
                    None => story.serve.as_mut(),
                };
                run.unwrap().ended = Some((at, *how, *cancelled));
            }
            Entry::Received { stage, some } => story.stages[*stage].received.push(some.clone()),
            Entry::Registered { stage, attempt, nth } => {
                story.stages[*stage].registered.push((*attempt, *nth));
            }
            Entry::Acquired { stage } => story.stages[*stage].acquired.push(at),
            Entry::Dropped { stage } => story.stages[*stage].dropped.push(at),
        }
        if let Entry::Began { stage, .. }
        | Entry::Ended { stage, .. }
        | Entry::Registered { stage, .. }
        | Entry::Dropped { stage } = entry
            && let Some(seen) = story.stages.get_mut(*stage)
        {
            seen.last = place;
        }
    }
    story
}

pub(super) fn index_of(name: &str) -> Option<usize> {
    name.strip_prefix('s')?.parse().ok()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the oracle looks at some events only")]
fn hear(story: &mut Story, at: At, event: &Event) {
    match event {
        Event::Ready { .. } => story.ready = Some(at),
        Event::RollingBack { .. } => story.rolling_back = Some(at),
        Event::Stopped { .. } => story.over = Some(at),
        _ => {}
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the oracle looks at some events only")]
fn hear_of(seen: &mut Seen, at: At, event: &Event) {
    match event {
        Event::StageStarting { .. } => seen.launched.push(at),
        Event::StageUp { .. } => seen.up.push(at),
        Event::StageFailed { .. } => seen.failed.push(at),
        Event::StageCancelled { .. } => seen.cancelled.push(at),
        Event::StageStopping { .. } => seen.stopping.push(at),
        Event::StageStopped { .. } => seen.stopped.push(at),
        Event::StopFailed { .. } => seen.stop_failed += 1,
        _ => {}
    }
}
