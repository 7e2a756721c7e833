//! Rules that no service can be made to show from outside: an engine that is driven by hand.

use std::sync::Arc;

use tokio::time::advance;

use super::{Log, Plan, limits, secs, start};
use crate::{
    StageContext, StageResult, codes,
    contract::{
        board::Board,
        cell::Cell,
        state::{Change, StageState},
    },
    engine::{Engine, Hooks, health::Checks, tasks::Told},
    ids::StageId,
};

const STAGE: StageId = StageId(0);

async fn up(_: StageContext, (): ()) -> StageResult<u32> {
    Ok(1)
}

fn engine(plan: Plan) -> Engine {
    let graph = plan.graph.sound().unwrap();
    let cells = plan.specs.iter().map(|spec| Cell::new(spec.optional, limits().stage)).collect();
    let board = Board::new(graph, cells, None, false);
    let hooks = Hooks {
        specs: plan.specs,
        serve: plan.serve,
        serve_needs: plan.serve_needs,
        analysers: plan.analysers,
    };
    Engine::new(board, limits(), hooks)
}

#[tokio::test]
async fn a_change_that_is_not_legal_changes_nothing_and_is_told_as_a_defect() {
    let mut plan = Plan::new();
    plan.builder("base", (), up).required();
    let mut engine = engine(plan);
    engine.change(STAGE, Change::Released);
    assert_eq!(engine.state(STAGE), StageState::Pending);
    let [problem] = engine.summary.problems.as_slice() else { panic!("{:?}", engine.summary.problems) };
    assert_eq!((problem.stage.as_ref(), problem.error.failure_code()), ("base", codes::ROLLBACK_INCOMPLETE));
    assert!(problem.error.to_string().contains("Released is not legal while pending"), "{problem:?}");
}

#[tokio::test]
async fn a_stage_is_not_checked_again_while_its_last_check_still_runs() {
    // Checks have a limit below the interval between them, so only one that keeps its thread still runs.
    let (mut plan, asked) = (Plan::new(), Log::default());
    let seen = asked.clone();
    let health = move |_output| {
        seen.say("asked");
        async { Ok(()) }
    };
    plan.builder("base", (), up).health(health).required();
    let (mut engine, mut checks) = (engine(plan), Checks::default());
    engine.change(STAGE, Change::Launch);
    engine.change(STAGE, Change::Acquired);
    engine.outputs.lock().unwrap()[0] = Some(Arc::new(1_u32));
    engine.launch_checks(&mut checks);
    engine.launch_checks(&mut checks);
    assert!(checks.next().await.is_some_and(|(_, answer)| answer.is_ok()));
    assert!(checks.next().await.is_none(), "the second call launched nothing");
    assert_eq!(asked.lines().len(), 1);
    engine.launch_checks(&mut checks);
    assert!(checks.next().await.is_some(), "the last one is over");
}

#[tokio::test]
async fn a_task_that_ends_without_a_word_is_a_failure_of_its_stage_at_once() {
    let mut plan = Plan::new();
    plan.builder("base", (), up).required();
    let mut engine = engine(plan);
    engine.change(STAGE, Change::Launch);
    assert_eq!(engine.hear(Told::Lost(STAGE)), None, "the stage has not settled");
    let [failure] = engine.failures.as_slice() else { panic!("{:?}", engine.failures) };
    assert_eq!(failure.stage, "base");
    assert!(failure.error.to_string().contains("engine defect"), "{}", failure.error);
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_blocks_has_its_whole_limit_and_not_more() {
    let mut plan = Plan::new();
    plan.builder("base", (), up).required();
    let mut engine = engine(plan);
    engine.change(STAGE, Change::Launch);
    advance(limits().stage).await;
    engine.stage_blocks(STAGE);
    assert_eq!((engine.state(STAGE), engine.failures.len()), (StageState::Starting, 0));
    advance(secs(1)).await;
    engine.stage_blocks(STAGE);
    assert_eq!((engine.state(STAGE), engine.failures.len()), (StageState::Interrupting, 1));
}

#[test]
fn a_stage_that_names_what_it_needs_waits_for_nothing_else() {
    let mut plan = Plan::new();
    let root = plan.builder("root", (), up).required();
    plan.set_root(root);
    let base = plan.builder("base", (), up).required();
    let user = plan.builder("user", base, async |_: StageContext, _: Arc<u32>| Ok(())).required();
    let later = plan.builder("later", (), up).after(base).required();
    for stage in [user.key.id, later.key.id] {
        assert_eq!(plan.graph.prerequisites(stage).collect::<Vec<_>>(), [base.key.id]);
    }
}

#[tokio::test]
async fn what_is_printed_for_debugging_says_which_stage_and_how_far() {
    let (log, mut plan) = (Log::default(), Plan::new());
    assert_eq!(format!("{:?}", plan.builder::<(), u32, _>("base", (), up)), "StageBuilder(base)");
    plan.builder("base", (), up).required();
    let running = start(plan, &log).await.unwrap();
    assert!(format!("{running:?}").contains("stages: 1, phase: Ready"), "{running:?}");
}
