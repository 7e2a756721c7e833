//! Which chain of stages decided how long the start took, and how much slower every other stage could
//! have been without delaying it.

use std::time::Duration;

use super::Sound;
use crate::ids::StageId;

/// When a stage began and ended, counted from the beginning of the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Span {
    pub(crate) began: Duration,
    pub(crate) ended: Duration,
}

/// The result for a whole start.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct CriticalPath {
    /// The chain, first stage first.
    pub(crate) stages: Vec<StageId>,
    /// For each stage, by its index: how much later it could have ended without the whole ending later.
    /// Zero for a stage without a span.
    pub(crate) slack: Vec<Duration>,
}

/// Finds the critical path over measured spans; a stage that never ran has `None`.
///
/// The path is followed backwards from the stage that ended last, each time to the prerequisite that
/// ended last, because that is the one it really waited for. Stages that failed count like any other:
/// the time until a failure is what the operator asks about.
pub(crate) fn critical_path(graph: &Sound, spans: &[Option<Span>]) -> CriticalPath {
    let order = graph.order();
    let ended = |stage: StageId| spans.get(stage.index()).copied().flatten().map(|span| span.ended);
    let Some(last) =
        order.iter().copied().filter(|&stage| ended(stage).is_some()).max_by_key(|&stage| ended(stage))
    else {
        return CriticalPath { stages: Vec::new(), slack: vec![Duration::ZERO; graph.len()] };
    };

    let mut stages = vec![last];
    let mut at = last;
    while let Some(waited_for) = graph
        .prerequisites(at)
        .iter()
        .copied()
        .filter(|&each| ended(each).is_some())
        .max_by_key(|&each| ended(each))
    {
        stages.push(waited_for);
        at = waited_for;
    }
    stages.reverse();

    // The latest end that delays nothing: the whole's end, or the latest beginning of any dependant.
    let total = ended(last).unwrap_or_default();
    let mut latest_end = vec![total; graph.len()];
    let mut slack = vec![Duration::ZERO; graph.len()];
    for &stage in order.iter().rev() {
        let Some(span) = spans.get(stage.index()).copied().flatten() else { continue };
        let own = span.ended.saturating_sub(span.began);
        slack[stage.index()] = latest_end[stage.index()].saturating_sub(span.ended);
        let latest_begin = latest_end[stage.index()].saturating_sub(own);
        for &prerequisite in graph.prerequisites(stage) {
            let bound = &mut latest_end[prerequisite.index()];
            *bound = (*bound).min(latest_begin);
        }
    }
    CriticalPath { stages, slack }
}
