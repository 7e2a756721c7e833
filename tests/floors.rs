//! The floors of `ARCHITECTURE.md`: a file imports only from lower floors, or sideways inside its own
//! folder.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use quote::ToTokens;
use syn::{
    Attribute, ItemMod, Path as SynPath, UsePath, UseTree,
    visit::{self, Visit},
};

/// Each top module of `src`, and its floor. Modules of one floor do not know each other, unless they
/// stand on the ground.
const FLOORS: &[(&str, u8)] = &[
    ("clean", 0),
    ("clock", 0),
    ("files", 0),
    ("recorder", 0),
    ("codes", 0),
    ("contain", 0),
    ("control_group", 0),
    ("error", 0),
    ("ids", 0),
    ("kind", 0),
    ("limits", 0),
    ("owned", 0),
    ("settings", 0),
    ("graph", 1),
    ("contract", 2),
    ("engine", 3),
    ("instance", 3),
    ("report", 3),
    ("stages", 4),
    ("http", 4),
    ("startup", 5),
    ("run", 5),
    ("cli", 5),
    ("compose", 5),
    ("bin", 5),
    ("testing", 5),
];

const MAX_LINES: usize = 400;

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

fn all_sources() -> Vec<PathBuf> {
    let mut paths = Vec::new();
    sources(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").as_path(), &mut paths);
    assert!(paths.len() > 30, "the sources were not found");
    paths
}

/// A subscriber may wait, or panic: only the thread of `contract/tell.rs` tells it anything.
#[test]
fn nobody_but_the_one_who_tells_calls_a_subscriber() {
    let tellers = ["contract/tell.rs", "contract/event.rs"];
    for path in all_sources().iter().filter(|path| !tellers.iter().any(|teller| path.ends_with(teller))) {
        let source = fs::read_to_string(path).unwrap();
        let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found = code.filter(|line| {
            ["error", "warn", "info", "debug", "trace"]
                .iter()
                .any(|level| line.contains(&format!("tracing::{level}!")))
        });
        assert_eq!(found.count(), 0, "{}", path.display());
    }
}

/// The module of `src` that a file belongs to.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The top modules that a source names after `crate::`, tests left out.
#[derive(Default)]
struct Named(BTreeSet<String>);

fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .any(|each| each.path().is_ident("cfg") && each.to_token_stream().to_string().contains("test"))
}

impl<'ast> Visit<'ast> for Named {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_test_only(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_use_path(&mut self, path: &'ast UsePath) {
        if path.ident != "crate" {
            return;
        }
        if let UseTree::Group(group) = &*path.tree {
            self.0.extend(group.items.iter().filter_map(first_name));
        }
        self.0.extend(first_name(&path.tree));
    }

    fn visit_path(&mut self, path: &'ast SynPath) {
        if path.segments.first().is_some_and(|first| first.ident == "crate") {
            self.0.extend(path.segments.iter().nth(1).map(|second| second.ident.to_string()));
        }
        visit::visit_path(self, path);
    }
}

fn first_name(tree: &UseTree) -> Option<String> {
    match tree {
        UseTree::Path(path) => Some(path.ident.to_string()),
        UseTree::Name(name) => Some(name.ident.to_string()),
        UseTree::Rename(rename) => Some(rename.ident.to_string()),
        UseTree::Glob(_) | UseTree::Group(_) => None,
    }
}

fn named_modules(source: &str) -> BTreeSet<String> {
    let mut named = Named::default();
    named.visit_file(&syn::parse_file(source).unwrap());
    named.0
}

#[test]
fn no_file_imports_from_a_higher_floor_or_from_a_neighbour() {
    let floors: BTreeMap<_, _> = FLOORS.iter().copied().collect();
    let mut wrong = Vec::new();
    for path in all_sources() {
        let module = module_of(&path);
        if module == "lib" || path.ends_with("tests.rs") || path.iter().any(|part| part == "tests") {
            continue;
        }
        let own = *floors.get(module.as_str()).unwrap_or_else(|| panic!("`{module}` has no floor"));
        let source = fs::read_to_string(&path).unwrap();
        for name in named_modules(&source) {
            let Some(&floor) = floors.get(name.as_str()) else {
                wrong.push(format!("{}: imports `{name}` from the crate's root", path.display()));
                continue;
            };
            let on_the_ground_or_on_top = own == floor && (own == 0 || own == 5);
            if name != module && floor >= own && !on_the_ground_or_on_top {
                wrong.push(format!("{}: floor {own} imports `{name}` of floor {floor}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_sees_groups_and_paths() {
    let names = named_modules(
        "use crate::{codes, contract::{board::Board, x}, error::E};\nfn f() { crate::run::x(); }\n#[cfg(test)] mod tests { use crate::engine; }",
    );
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["codes", "contract", "error", "run"]);
}

#[test]
fn no_file_is_longer_than_a_person_reads_at_once() {
    let long: Vec<_> = all_sources()
        .into_iter()
        .filter(|path| fs::read_to_string(path).unwrap().lines().count() > MAX_LINES)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}
