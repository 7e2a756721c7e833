use super::*;

fn table(rows: usize, value: &str) -> Table {
    Table::new((0..rows).map(|at| (format!("name-{at}"), value.to_owned())))
}

#[test]
fn words_break_at_blanks_and_only_longer_ones_are_cut() {
    assert_eq!(wrap("one two three", 9), ["one two", "three"]);
    assert_eq!(wrap("one abcdefghijkl", 6), ["one", "abcdef", "ghijkl"]);
    assert_eq!(wrap("a\nb", 6), ["a", "b"]);
    assert_eq!(wrap("", 6), [""]);
}

#[test]
fn a_quoted_command_stays_on_one_line() {
    assert_eq!(wrap("now run `docker ps -a` here", 16), ["now run", "`docker ps -a`", "here"]);
    assert_eq!(wrap("a stray ` and more text", 12), ["a stray `", "and more", "text"]);
}

#[test]
fn long_values_wrap_under_their_column_and_long_names_stand_above() {
    let long_name = "N".repeat(NAME_COLUMN + 1);
    let rows = [("size".to_owned(), "word ".repeat(20)), (long_name.clone(), "missing".to_owned())];
    let lines = Table::new(rows).fit(10);
    assert_eq!(lines[0], format!("  size  {}", "word ".repeat(14).trim_end()));
    assert_eq!(lines[1], format!("        {}", "word ".repeat(6).trim_end()));
    assert_eq!(lines[2..], [format!("  {long_name}"), "        missing".to_owned()]);
}

#[test]
fn rows_lose_their_second_lines_before_any_row_is_dropped() {
    let value = "word ".repeat(20);
    assert_eq!(table(3, &value).fit(6).len(), 6);
    let squeezed = table(3, &value).fit(4);
    assert_eq!(squeezed.len(), 4);
    assert!(squeezed[2].starts_with("  name-1  word") && squeezed[2].ends_with("..."));
    assert!(squeezed[3].starts_with("  name-2  word") && squeezed[3].ends_with("..."));
}

#[test]
fn rows_that_do_not_fit_are_counted_and_named() {
    let lines = table(20, "x").fit(8);
    assert_eq!(lines.len(), 8);
    assert_eq!(lines[5], "  name-5   x");
    assert!(lines[6].starts_with("  ... and 14 more: name-6, name-7,"), "{lines:?}");
    assert!(lines[7].ends_with("name-19"));
    let lines = table(5000, "x").fit(6);
    assert_eq!(lines.len(), 6);
    assert!(lines[0].starts_with("  5000 in all: name-0, name-1"), "{lines:?}");
    assert!(lines[5].ends_with("..."));
}

#[test]
fn items_are_shown_whole_or_counted() {
    let items = || Table::numbered((0..4).map(|at| format!("item {at}:\ncommand {at}")));
    assert_eq!(items().fit(4), ["  1. item 0:", "     command 0", "  ... and 3 more"]);
    assert_eq!(items().fit(2), ["  1. item 0:...", "  ... and 3 more"]);
    assert_eq!(items().fit(8).len(), 8);
}

#[test]
fn the_parts_that_matter_most_keep_their_lines() {
    let many = |rank| Part::table(rank, Some("Title"), table(60, "x"));
    let parts: Vec<Part> = [many(3), many(1), many(2)].into_iter().flatten().collect();
    let text = block(&verdict("LEFT", "RIGHT"), &parts);
    assert_eq!(text.lines().count(), HEIGHT);
    let lengths: Vec<usize> = text.split("Title").skip(1).map(|part| part.lines().count()).collect();
    assert!(lengths[1] > lengths[0] && lengths[1] > lengths[2], "{lengths:?}");
}

#[test]
fn a_verdict_that_does_not_fit_on_a_line_has_its_exit_code_below() {
    assert_eq!(verdict("FAILED", "exit 1"), [format!("FAILED{:>74}", "exit 1")]);
    let lines = verdict(&format!("FAILED {}", "x".repeat(75)), "exit 1");
    assert_eq!(lines, ["FAILED".to_owned(), "x".repeat(75), format!("{:>80}", "exit 1")]);
}
