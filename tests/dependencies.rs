//! What a feature brings into a build: `cargo tree`, on this platform, of what the library itself needs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, process::Command};

/// Everything that graph and engine need. A crate more is paid for by everybody: see `scripts/build-cost`.
const CORE: &[&str] = &[
    "backon",
    "bitflags",
    "bytes",
    "cfg-if",
    "equivalent",
    "fastrand",
    "fixedbitset",
    "foldhash",
    "futures-core",
    "futures-macro",
    "futures-sink",
    "futures-task",
    "futures-util",
    "getrandom",
    "hashbrown",
    "indexmap",
    "libc",
    "linux-raw-sys",
    "once_cell",
    "petgraph",
    "pin-project-lite",
    "proc-macro2",
    "quote",
    "rustix",
    "slab",
    "solostart",
    "strsim",
    "syn",
    "thiserror",
    "thiserror-impl",
    "tokio",
    "tokio-macros",
    "tokio-util",
    "tracing",
    "tracing-core",
    "unicode-ident",
    "uuid",
];

/// The crates in a build with these features and no others.
fn crates(features: &str) -> BTreeSet<String> {
    let told = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges=normal,build", "--prefix=none", "--format={p}"])
        .args(["--no-default-features", "--features", features])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let names = String::from_utf8(told.stdout).unwrap();
    names.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn graph_and_engine_need_no_more_than_is_listed() {
    let allowed: BTreeSet<String> = CORE.iter().map(|&name| name.to_owned()).collect();
    let found = crates("");
    let more: Vec<_> = found.difference(&allowed).collect();
    assert!(more.is_empty(), "not in the list: {more:?}");
    let fewer: Vec<_> = allowed.difference(&found).collect();
    assert!(fewer.is_empty(), "in the list, and not needed any more: {fewer:?}");
}

#[test]
fn a_feature_brings_nothing_that_belongs_to_another() {
    for (feature, foreign) in [
        ("single-worker", &["clap", "signal-hook", "reqwest"][..]),
        ("run", &["reqwest", "indicatif", "moka", "chrono"]),
        ("database", &["clap", "signal-hook", "reqwest"]),
        ("cache", &["rusqlite", "clap", "signal-hook", "reqwest", "jiff"]),
        ("http-session", &["rusqlite", "clap", "signal-hook", "moka"]),
        ("scheduler", &["rusqlite", "clap", "signal-hook", "reqwest"]),
        ("testing", &["rusqlite", "clap", "signal-hook", "reqwest", "serde_json"]),
    ] {
        let found = crates(feature);
        let wrong: Vec<_> = foreign.iter().filter(|&&name| found.contains(name)).collect();
        assert!(wrong.is_empty(), "`{feature}` brings {wrong:?}");
    }
}
