//! What two reports of the same failure have in common, and where a report stands in the document.

/// Whether two reports say the same, but for what differs from run to run: times, identities, numbers of processes
/// and ports, and where lines break because one of these is longer.
pub(crate) fn same(one: &str, other: &str) -> bool {
    gist(one) == gist(other)
}

fn gist(report: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut exit = false;
    for word in report.split_whitespace() {
        let name = word.trim_matches(|each: char| !each.is_ascii_alphanumeric());
        let identity = name.len() == 8 && name.bytes().all(|each| each.is_ascii_hexdigit());
        let unit = ["ms", "s", "min", "m", "h", "KiB", "MiB", "GiB"].contains(&name);
        let after_number = words.last().is_some_and(|before| before.ends_with('#'));
        if unit && after_number {
            continue;
        }
        let word = if identity || (word.bytes().any(|each| each.is_ascii_digit()) && !exit) {
            numberless(word, identity)
        } else {
            word.to_owned()
        };
        exit = word == "exit";
        // 4 min 02 s is as long as 70 ms.
        if word == "#" && after_number {
            continue;
        }
        words.push(word);
    }
    words
}

/// The word with one `#` for each of its numbers, or for all of it.
fn numberless(word: &str, whole: bool) -> String {
    if whole {
        return "#".to_owned();
    }
    let mut shown = String::new();
    for each in word.chars() {
        let number = each.is_ascii_digit();
        let inside = shown.ends_with('#') && each == '.';
        match () {
            () if !number && !inside => shown.push(each),
            () if number && !shown.ends_with('#') => shown.push('#'),
            () => {}
        }
    }
    let shown = shown.trim_end_matches(['.', ';', ',']);
    // `278ms` and `1.20s` are both a time.
    let time =
        shown.strip_suffix("ms").or_else(|| shown.strip_suffix('s')).filter(|time| time.ends_with('#'));
    time.unwrap_or(shown).to_owned()
}

/// The report that the document shows for a code.
pub(crate) fn example<'d>(document: &'d str, code: &str) -> Option<&'d str> {
    let (begin, end) = place(document, code)?;
    Some(&document[begin..end])
}

/// The document with another report for a code.
pub(crate) fn with_example(document: &str, code: &str, report: &str) -> String {
    let (begin, end) =
        place(document, code).unwrap_or_else(|| panic!("no `### Example` with a block under {code}"));
    format!("{}{report}{}", &document[..begin], &document[end..])
}

fn place(document: &str, code: &str) -> Option<(usize, usize)> {
    const OPEN: &str = "\n### Example\n\n```text\n";
    let section = document.find(&format!("\n## {code}\n"))? + 1;
    let next = document[section..].find("\n## ").map_or(document.len(), |next| section + next);
    let begin = section + document[section..next].find(OPEN)? + OPEN.len();
    let end = begin + document[begin..next].find("```")?;
    Some((begin, end))
}

#[test]
fn only_what_differs_from_run_to_run_is_left_out_of_a_comparison() {
    let report = "exit 78 (CONFIG)\nheld by  process 4711, state S\nFailed after 51 ms.\nshop 1.4.2  instance 7f3c19d2";
    let later =
        "exit 78 (CONFIG) held by process 8, state S Failed after 2 min 05 s. shop 1.4.2 instance 00aa11bb";
    assert!(same(report, later));
    for other in [("78", "77"), ("state S", "state T"), ("shop", "app"), ("CONFIG", "NOPERM")] {
        assert!(!same(report, &later.replace(other.0, other.1)), "{other:?}");
    }
}

#[test]
fn an_example_is_found_in_its_own_section_and_replaced_there() {
    let document = "# F\n\n## a.b\n\n## c.d\n\n### Example\n\n```text\nold\n```\n\n## e.f\n";
    assert_eq!(example(document, "c.d"), Some("old\n"));
    assert_eq!((example(document, "a.b"), example(document, "e.f")), (None, None));
    assert_eq!(with_example(document, "c.d", "new\n"), document.replace("old", "new"));
}
