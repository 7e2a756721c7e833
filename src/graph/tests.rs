use std::time::Duration;

use proptest::prelude::*;

use super::{
    Edge, Graph, GraphProblem,
    critical_path::{CriticalPath, Span, critical_path},
};
use crate::ids::StageId;

fn graph(stages: &[(&'static str, &[u32])]) -> Graph {
    let mut graph = Graph::default();
    for (name, _) in stages {
        graph.add((*name).into());
    }
    for (index, (_, needs)) in stages.iter().enumerate() {
        for &need in *needs {
            graph.depend(StageId(u32::try_from(index).unwrap()), StageId(need), Edge::Data);
        }
    }
    graph
}

#[test]
fn every_problem_of_a_graph_is_listed_at_once() {
    let problems = graph(&[("a", &[]), ("a", &[]), ("B", &[])]).sound().unwrap_err();
    assert_eq!(
        problems,
        [GraphProblem::DuplicateName("a".into()), GraphProblem::InvalidName("B".to_owned())]
    );
}

#[test]
fn an_edge_that_carries_data_stays_one_and_is_said_once() {
    for (edges, kept) in [
        ([Edge::Data, Edge::Order], Edge::Data),
        ([Edge::Order, Edge::Data], Edge::Data),
        ([Edge::Order, Edge::Order], Edge::Order),
    ] {
        let mut graph = graph(&[("a", &[]), ("b", &[])]);
        for edge in edges {
            graph.depend(StageId(1), StageId(0), edge);
        }
        assert_eq!(graph.inner.edge_weights().collect::<Vec<_>>(), [&kept]);
    }
}

#[test]
fn a_cycle_is_told_with_its_whole_path() {
    let problems = graph(&[("root", &[]), ("a", &[0, 3]), ("b", &[1]), ("c", &[2])]).sound().unwrap_err();
    let [GraphProblem::Cycle(path)] = problems.as_slice() else { panic!("{problems:?}") };
    assert_eq!(path.first(), path.last());
    let mut members = path[1..].to_vec();
    members.sort();
    assert_eq!(members, ["a", "b", "c"]);
}

#[test]
fn an_edge_said_twice_counts_once() {
    let twice = graph(&[("a", &[]), ("b", &[0, 0])]);
    assert_eq!(twice.prerequisites(StageId(1)).count(), 1);
    assert_eq!(twice.sound().unwrap().dependants(StageId(0)), [StageId(1)]);
}

fn ms(began: u64, ended: u64) -> Option<Span> {
    Some(Span { began: Duration::from_millis(began), ended: Duration::from_millis(ended) })
}

#[test]
fn the_critical_path_follows_what_was_really_waited_for() {
    // database and http both need worker-mode; scheduler waits for both, and database is the slow one.
    let graph = graph(&[("worker-mode", &[]), ("database", &[0]), ("http", &[0]), ("scheduler", &[1, 2])]);
    let sound = graph.sound().unwrap();
    let found = critical_path(&sound, &[ms(0, 2), ms(2, 600), ms(2, 50), ms(600, 610)]);
    assert_eq!(found.stages, [StageId(0), StageId(1), StageId(3)]);
    assert_eq!(found.slack, [0, 0, 550, 0].map(Duration::from_millis));
}

#[test]
fn a_start_in_which_nothing_ran_has_no_critical_path() {
    let graph = graph(&[("a", &[])]);
    let sound = graph.sound().unwrap();
    let empty = CriticalPath { stages: vec![], slack: vec![Duration::ZERO] };
    assert_eq!(critical_path(&sound, &[None]), empty);
}

prop_compose! {
    /// Edges go from a lower to a higher index, so the graph has no cycle.
    fn acyclic()(size in 1usize..40)(
        size in Just(size),
        pairs in prop::collection::vec((0..size, 0..size), 0..size * 3),
    ) -> Graph {
        let mut graph = Graph::default();
        for index in 0..size {
            graph.add(format!("s{index}").into());
        }
        for (one, other) in pairs.into_iter().filter(|(one, other)| one != other) {
            let (low, high) = (one.min(other), one.max(other));
            let id = |index: usize| StageId(u32::try_from(index).unwrap());
            graph.depend(id(high), id(low), Edge::Order);
        }
        graph
    }
}

proptest! {
    #[test]
    fn the_order_names_every_stage_once_and_after_its_prerequisites(graph in acyclic()) {
        let sound = graph.sound().unwrap();
        let mut place = vec![None; graph.len()];
        for (at, stage) in sound.order().iter().enumerate() {
            prop_assert!(place[stage.index()].replace(at).is_none());
        }
        for stage in graph.ids() {
            for prerequisite in graph.prerequisites(stage) {
                prop_assert!(place[prerequisite.index()] < place[stage.index()]);
            }
        }
    }

    #[test]
    fn a_sound_graph_has_the_same_stages_and_edges_in_the_order_in_which_they_were_said(graph in acyclic()) {
        let sound = graph.sound().unwrap();
        prop_assert_eq!(sound.len(), graph.len());
        for stage in graph.ids() {
            prop_assert_eq!(sound.name(stage), graph.name(stage));
            let needs: Vec<_> = graph.prerequisites(stage).collect();
            prop_assert_eq!(sound.prerequisites(stage), needs);
            let dependants: Vec<_> =
                graph.ids().filter(|&each| sound.prerequisites(each).contains(&stage)).collect();
            let mut found = sound.dependants(stage).to_vec();
            found.sort();
            prop_assert_eq!(found, dependants);
        }
    }
}
