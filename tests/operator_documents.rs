//! The documents for operators agree with the code and with each other. A code or a variable that is added shows
//! here, by name, where it is missing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use solostart::codes;

#[allow(dead_code, reason = "this file uses its own part of it")]
mod support;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// Every document of the project.
fn documents() -> Vec<PathBuf> {
    let mut documents =
        vec![root().join("README.md"), root().join("ARCHITECTURE.md"), root().join("CONTRIBUTING.md")];
    for dir in ["docs", "docs/adr", "docs/deploy"] {
        let Ok(entries) = fs::read_dir(root().join(dir)) else { continue };
        let paths = entries.map(|entry| entry.unwrap().path());
        documents.extend(paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    documents
}

/// The text outside of blocks of code, where brackets mean something else.
fn prose(document: &str) -> String {
    let parts = document.split("```").step_by(2);
    parts.collect::<Vec<_>>().join("\n")
}

/// The name that a heading gets as an anchor.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|each| each.is_alphanumeric() || "-_ ".contains(*each));
    kept.map(|each| if each == ' ' { '-' } else { each }).collect()
}

fn anchors(document: &str) -> Vec<String> {
    let headings = document
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#')));
    let named =
        document.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned);
    headings.chain(named).collect()
}

#[test]
fn every_link_inside_the_documents_leads_somewhere() {
    let mut broken = Vec::new();
    let mut links = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for target in prose(&text).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let linked = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let leads = linked.exists()
                && (anchor.is_empty()
                    || anchors(&fs::read_to_string(&linked).unwrap()).iter().any(|each| each == anchor));
            if !leads {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(links > 10, "the links were not found");
}

#[test]
fn every_code_stands_beside_its_exit_code() {
    let document = read("docs/exit-codes.md");
    for code in codes::ALL {
        let exit = format!("| {} | {} |", code.kind.exit_code(), code.kind.exit_name());
        let row =
            document.lines().find(|line| line.starts_with(&exit)).unwrap_or_else(|| panic!("no row {exit}"));
        assert!(
            row.contains(&format!("`{}`", code.name)),
            "docs/exit-codes.md: {} is missing in: {row}",
            code.name
        );
    }
}

#[test]
fn the_runbook_tries_a_dozen_failures_and_names_only_codes_that_there_are() {
    let document = read("docs/runbook.md");
    let tried = document.split("## Tried").nth(1).unwrap();
    let rows: Vec<&str> =
        tried.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(rows.len() >= 12, "{rows:?}");
    for code in rows {
        assert!(codes::ALL.iter().any(|known| known.name == code), "{code} is no code");
    }
}

#[test]
fn every_report_that_is_shown_says_what_to_do() {
    let document = read("docs/failures.md");
    for code in codes::ALL {
        let section = document.split(&format!("\n## {}\n", code.name)).nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        for part in ["[TITLE]", "\nDo this\n  1. "].map(|part| part.replace("TITLE", code.name)) {
            assert!(section.contains(&part), "{}: no {part:?}", code.name);
        }
        let commands = section.lines().filter(|line| line.starts_with("    "));
        assert!(commands.count() >= 2, "{}: nothing to paste", code.name);
    }
}

#[test]
fn sections_of_failures_can_be_read_in_a_terminal() {
    for (at, line) in read("docs/failures.md").lines().enumerate() {
        assert!(line.chars().count() <= 80, "docs/failures.md:{}: {line}", at + 1);
        assert!(line.is_ascii(), "docs/failures.md:{}: {line}", at + 1);
    }
}

#[test]
fn the_table_of_variables_is_what_the_reference_service_reads() {
    const BEGIN: &str = "--test operator_documents -->\n";
    const END: &str = "<!-- end of the generated table -->";
    let mut banboard = std::process::Command::new(support::example("banboard"));
    let answer = banboard.args(["env", "--markdown"]).env_clear().stdin(Stdio::null()).output().unwrap();
    assert!(answer.status.success(), "{answer:?}");
    // The sample log lies in the checkout.
    let table = String::from_utf8(answer.stdout).unwrap().replace(env!("CARGO_MANIFEST_DIR"), ".");
    let document = read("docs/configuration.md");
    let begin = document.find(BEGIN).unwrap() + BEGIN.len();
    let end = document.find(END).unwrap();
    if document[begin..end] != table {
        let how = "UPDATE_GOLDEN=1 cargo test --all-features --test operator_documents";
        assert!(std::env::var_os("UPDATE_GOLDEN").is_some(), "docs/configuration.md is out of date: {how}");
        let new = format!("{}{table}{}", &document[..begin], &document[end..]);
        fs::write(root().join("docs/configuration.md"), new).unwrap();
    }
}

#[test]
fn an_anchor_is_made_as_the_viewers_of_markdown_do() {
    assert_eq!(anchor(" Exited (73) or (77): data directory"), "exited-73-or-77-data-directory");
    assert_eq!(anchors("# A b\n<a id=\"c-d\"></a>\n"), ["a-b", "c-d"]);
}

/// The block that lists the scenarios, which a test here reads.
const LISTED: &str = "compose: tested";

/// The names above the fenced blocks of a document in `docs/deploy`, and how many blocks have none.
fn blocks(document: &str) -> (Vec<String>, usize) {
    let lines: Vec<_> = document.lines().collect();
    let (mut names, mut nameless, mut inside) = (Vec::new(), 0, false);
    for (at, line) in lines.iter().enumerate() {
        if !line.trim_start().starts_with("```") {
            continue;
        }
        inside = !inside;
        if !inside {
            continue;
        }
        let above = at.checked_sub(1).map_or("", |above| lines[above]);
        match above.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) {
            Some(name) => names.push(name.to_owned()),
            None => nameless += 1,
        }
    }
    (names, nameless)
}

/// The sources of what runs against the documents in `docs/deploy`.
fn tests_of_deployment() -> String {
    let mut text = String::new();
    for dir in ["scripts/docker", "scripts/systemd", "scripts/documents", "tests/compose"] {
        for entry in fs::read_dir(root().join(dir)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                text += &fs::read_to_string(path).unwrap();
            }
        }
    }
    text
}

#[test]
fn every_block_of_a_document_for_deployment_has_a_test_that_takes_it() {
    let tests = tests_of_deployment();
    let mut seen = 0;
    for entry in fs::read_dir(root().join("docs/deploy")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let shown = path.display();
        let text = fs::read_to_string(&path).unwrap();
        let (names, nameless) = blocks(&text);
        assert_eq!(nameless, 0, "{shown}: blocks without a name above them");
        assert!(!text.contains("\n\n    "), "{shown}: a block that is only indented has no name");
        for name in names.into_iter().filter(|name| name != LISTED) {
            seen += 1;
            // `systemd: install` is asked for as `document("install")`.
            let last = name.rsplit(": ").next().unwrap();
            let taken =
                [format!("\"{name}\""), format!("document(\"{last}\")"), format!("document('{last}')")];
            assert!(
                taken.iter().any(|each| tests.contains(each)),
                "{shown}: no test takes the block `{name}`"
            );
        }
    }
    assert!(seen >= 15, "only {seen} blocks were found");
}

#[test]
fn the_scenarios_that_the_document_lists_are_those_that_there_are() {
    let document = read("docs/deploy/compose.md");
    let (_, listed) = document.split_once(&format!("<!-- {LISTED} -->")).unwrap();
    let listed: std::collections::BTreeSet<_> = listed
        .lines()
        .skip_while(|line| !line.starts_with("```"))
        .skip(1)
        .take_while(|line| !line.starts_with("```"))
        .filter_map(|line| line.split_once("  ok      ").map(|(_time, name)| name.to_owned()))
        .collect();
    let mut there = std::collections::BTreeSet::new();
    for entry in fs::read_dir(root().join("scripts/docker")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let names = text.split("\n@scenario(\"").skip(1).filter_map(|rest| rest.split("\")\ndef ").next());
        there.extend(names.map(str::to_owned));
    }
    assert_eq!(listed, there);
}
