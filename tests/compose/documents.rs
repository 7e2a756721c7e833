//! The files in `docs/deploy` are what they say: YAML, and what the check asks for.

use std::{fs, path::Path};

use saphyr_parser::Parser;

use super::{check, check_with};

/// The block of a document with this name above it.
fn block(document: &str, name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploy").join(document);
    let text = fs::read_to_string(&path).unwrap();
    let (_, rest) = text.split_once(&format!("<!-- {name} -->\n```")).unwrap();
    let (_language, rest) = rest.split_once('\n').unwrap();
    rest.split("```").next().unwrap().to_owned()
}

/// Each block of YAML of a document.
fn blocks(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploy").join(name);
    let text = fs::read_to_string(&path).unwrap();
    text.split("```yaml\n").skip(1).map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn every_block_of_yaml_parses() {
    for name in ["swarm.md", "kubernetes.md"] {
        let blocks = blocks(name);
        assert!(!blocks.is_empty(), "{name} has no file");
        for block in blocks {
            for event in Parser::new_from_str(&block) {
                event.unwrap_or_else(|error| panic!("{name}: {error}\n{block}"));
            }
        }
    }
}

#[test]
fn the_stack_file_passes_the_check() {
    let blocks = blocks("swarm.md");
    let stack = blocks.iter().find(|block| block.contains("services:")).unwrap();
    check(&[("compose.yaml", stack)]).accepts(&["service app"]);
    let wrong = stack.replace("order: stop-first", "order: start-first");
    check(&[("compose.yaml", &wrong)]).refuses(&["start-first"]);
}

#[test]
fn what_the_document_shows_of_the_check_is_what_it_says() {
    let shown = block("swarm.md", "swarm: check");
    let (prompt, said) = shown.split_once('\n').unwrap();
    assert_eq!(prompt, "$ solostart check --compose stack.yaml");
    let words = |line: &str| line.trim_end_matches("...").split_whitespace().collect::<Vec<_>>().join(" ");
    let expected: Vec<_> = said.lines().map(words).collect();
    let stack = block("swarm.md", "swarm: stack");
    let said = check_with(&[("stack.yaml", &stack)], &["stack.yaml"], &[]);
    said.accepts(&expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn the_deployment_is_one_replica_and_never_two() {
    let text = blocks("kubernetes.md").join("---\n");
    for part in [
        "replicas: 1\n",
        "type: Recreate\n",
        "enableServiceLinks: false\n",
        "terminationMessagePath: /dev/termination-log\n",
    ] {
        assert!(text.contains(part), "no {part}");
    }
    assert!(!text.contains("RollingUpdate") && !text.contains("HorizontalPodAutoscaler"));
}
