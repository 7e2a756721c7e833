//! Files that are broken, or made to break the reader: each ends in a report of one screen, and soon.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use super::{GOOD, ask_with, check};

#[test]
fn broken_yaml_is_told_with_its_line() {
    for (file, line) in [
        ("services:\n  app: [1, 2\n", "compose.yaml:"),
        ("services:\n\tapp: x\n", "compose.yaml:2"),
        ("services: {app: *nothing}\n", "compose.yaml:1"),
        ("services:\n  a: {}\n  a: {}\n", "compose.yaml:3: `a` stands twice; it stands in line 2, too"),
        ("services:\n  [a, b]: {}\n", "compose.yaml:2: a key must be a text"),
        ("services:\n  a: &a [*a]\n", "compose.yaml:2: an alias stands inside the value that it repeats"),
        ("services:\n  a:\n    <<: 5\n", "compose.yaml:3: `<<` takes mappings only"),
        ("services: [a]\n", "compose.yaml:1: `services` must be a mapping, but is a list"),
        ("services:\n  a: 5\n", "compose.yaml:2: `a` must be a mapping"),
        ("services: {a: {deploy: 5}}\n", "`deploy` must be a mapping"),
        ("5\n", "`a Compose file` must be a mapping"),
        ("", "there are no `services` in it"),
        ("volumes: {}\n", "there are no `services` in it"),
        ("services: {a: {environment: 5}}", "`environment` must be a mapping or a list"),
        ("services: {a: {environment: {A: [1]}}}", "the variable A is a list, which is no value"),
        ("services: {a: {volumes: [{type: bind}]}}", "a volume needs at least a `target`"),
    ] {
        check(&[("compose.yaml", file)]).refuses(&["[compose.invalid]", line]);
    }
}

#[test]
fn bytes_that_are_no_text_are_told_with_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("compose.yaml");
    for (bytes, told) in [
        (&b"services:\n  a: \xff\n"[..], "compose.yaml:2: is not text in UTF-8"),
        (b"services:\n\n  a: \x1b[2J\n", "compose.yaml:3: holds the control character U+001B"),
        (b"services: \x00\n", "compose.yaml:1: holds the control character U+0000"),
    ] {
        fs::write(&path, bytes).unwrap();
        ask_with(dir.path(), &["check", "--compose", "compose.yaml"], &[]).refuses(&[told]).omits("\u{1b}");
    }
    fs::write(&path, format!("\u{feff}{GOOD}").replace('\n', "\r\n")).unwrap();
    ask_with(dir.path(), &["check", "--compose", "compose.yaml"], &[]).accepts(&[]);
}

#[test]
fn aliases_nesting_and_size_are_bounded() {
    let mut bomb = "x0: &x0 [a, a, a, a, a, a, a, a, a, a]\n".to_owned();
    for level in 1..12 {
        let below = format!("*x{}, ", level - 1).repeat(10);
        bomb += &format!("x-{level}: &x{level} [{below}]\n");
    }
    let deep = format!("x-deep: {}{}\n", "[".repeat(10_000), "]".repeat(10_000));
    let block: String = (0..500).map(|depth| " ".repeat(depth) + "a:\n").collect();
    let wide = format!("x-wide: [{}]\n", "a, ".repeat(30_000));
    let large = format!("# {}\n", "x".repeat(2 * 1024 * 1024));
    let variables = format!("x-v: '{}{}'\n", "${A:-".repeat(5_000), "}".repeat(5_000));
    let mut chain = String::from("services:\n  s0: {}\n");
    for link in 1..100 {
        chain += &format!("  s{link}: {{extends: s{}}}\n", link - 1);
    }
    let before = Instant::now();
    for (file, told) in [
        (bomb.as_str(), "unfolds to more than 20000 values"),
        (&deep, "compose.yaml:1: "),
        (&block, "nested more than 64 deep"),
        (&wide, "unfolds to more than 20000 values"),
        (&large, "larger than 1048576 bytes"),
        (&variables, "variables are nested more than 8 deep"),
        (&chain, "more than 32 services extend each other in a row"),
    ] {
        check(&[("compose.yaml", file)]).refuses(&["[compose.invalid]", told]);
    }
    assert!(before.elapsed() < Duration::from_secs(60), "{:?}", before.elapsed());
}

#[test]
fn what_is_no_regular_file_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Command::new("mkfifo").arg(dir.path().join("compose.yaml")).status().unwrap().success());
    let said = ask_with(dir.path(), &["check", "--compose", "compose.yaml"], &[]);
    said.refuses(&["compose.yaml: compose.yaml cannot be read: it is no regular file"]);
    ask_with(dir.path(), &["check", "--compose", "."], &[]).refuses(&["it is no regular file"]);
    ask_with(dir.path(), &["check", "--compose", "none.yaml"], &[])
        .refuses(&["none.yaml cannot be read: No such file"]);
}

#[test]
fn endless_names_do_not_fill_the_report() {
    let key = "k".repeat(1_000);
    let file = format!("{key}: 1\n\"\u{202e}x\": 1\n{GOOD}");
    let said = check(&[("compose.yaml", &file)]);
    said.refuses(&["2 things"]).omits("\u{202e}");
    assert!(
        said.text.lines().count() <= 40 && said.text.lines().all(|line| line.len() <= 80),
        "{}",
        said.text
    );
}
