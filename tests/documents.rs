//! What the documents say of the code is there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// What stands in backticks.
fn quoted(document: &str) -> impl Iterator<Item = &str> {
    document.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_the_documents_on_locking_and_testing_name_is_there() {
    let mut paths = Vec::new();
    for dir in ["src", "tests"] {
        sources(&root().join(dir), &mut paths);
    }
    let code: String = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    // A test is named by the rule that it holds, in more words than anything else has.
    let is_test = |name: &&str| {
        name.matches('_').count() >= 4
            && name.bytes().all(|byte| b"_0123456789".contains(&byte) || byte.is_ascii_lowercase())
    };
    for document in ["docs/locking.md", "docs/testing.md"] {
        let document = fs::read_to_string(root().join(document)).unwrap();
        let names: Vec<&str> = quoted(&document).filter(is_test).collect();
        assert!(names.len() > 20, "{names:?}");
        let missing: Vec<_> = names.iter().filter(|name| !code.contains(&format!("fn {name}()"))).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

#[test]
fn every_file_that_the_document_on_locking_names_is_there() {
    let document = fs::read_to_string(root().join("docs/locking.md")).unwrap();
    let paths: Vec<&str> =
        quoted(&document).filter(|name| name.ends_with(".rs") && name.contains('/')).collect();
    assert!(paths.len() > 2, "{paths:?}");
    for path in paths {
        assert!(root().join(path).is_file(), "{path}");
    }
}
