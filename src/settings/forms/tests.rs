use std::{fmt::Debug, num::NonZeroU8};

use super::*;

/// Checks a form against values and the texts that it refuses, and that each value's own text reads back.
fn check<T: PartialEq + Debug + 'static>(form: Form<T>, good: &[(&str, T)], bad: &[(&str, &'static str)]) {
    for (text, value) in good {
        assert_eq!((form.parse)(text).as_ref(), Ok(value), "{text}");
        assert_eq!((form.parse)(&(form.show)(value)).as_ref(), Ok(value), "{text}, shown");
    }
    for (text, what) in bad {
        assert_eq!((form.parse)(text), Err(Fault::new(what)), "{text}");
    }
}

#[test]
fn a_boolean_is_one_of_four_words() {
    let no = "is none of the choices";
    check(
        boolean(),
        &[("true", true), ("false", false), ("1", true), ("0", false)],
        &[("yes", no), ("True", no), ("", no), ("01", no), ("on", no), ("true ", no)],
    );
    assert_eq!((boolean().show)(&true), "true");
    assert_eq!(boolean().shape, "true, false, 1 or 0");
}

#[test]
fn a_choice_is_one_of_its_words() {
    let form = || choice([("text", 'a'), ("json", 'b')]);
    check(form(), &[("text", 'a'), ("json", 'b')], &[("JSON", "is none of the choices")]);
    assert_eq!((form().shape.as_str(), form().stand_in), ("text or json", 'a'));
    assert_eq!(choice([("only", ())]).shape, "only");
}

#[test]
fn an_integer_is_decimal_digits_within_its_type() {
    let no = "is not a whole number";
    let far = "is out of range";
    check(
        integer(0..=u8::MAX),
        &[("0", 0), ("255", 255), ("007", 7)],
        &[
            ("256", far),
            ("-1", far),
            ("+1", no),
            ("1.0", no),
            ("1e3", no),
            ("0x1", no),
            ("1_000", no),
            ("", no),
            ("-", no),
            ("--1", no),
            ("٣", no),
            ("1 ", no),
            ("999999999999999999999999999999999999999999", far),
        ],
    );
    check(
        integer(i64::MIN..=i64::MAX),
        &[("-9223372036854775808", i64::MIN)],
        &[("9223372036854775808", far)],
    );
    check(integer(0..=u64::MAX), &[("18446744073709551615", u64::MAX)], &[]);
}

#[test]
fn a_range_is_part_of_the_form() {
    let form = integer(1..=64_u16);
    assert_eq!((form.shape.as_str(), form.stand_in), ("a whole number from 1 to 64", 1));
    check(form, &[("1", 1), ("64", 64)], &[("0", "is out of range"), ("65", "is out of range")]);
}

#[test]
fn a_number_that_is_not_zero_is_one_of_its_type() {
    let form = || integer(NonZeroU8::MIN..=NonZeroU8::MAX);
    let far = "is out of range";
    check(form(), &[("1", NonZeroU8::MIN)], &[("0", far), ("256", far), ("x", "is not a whole number")]);
    assert_eq!(form().shape, "a whole number from 1 to 255");
}

#[test]
fn a_list_has_each_value_in_its_form_and_nothing_empty() {
    let empty = "has nothing between two commas";
    check(
        integer(1..=9_u8).list(),
        &[("1", vec![1]), ("1,2", vec![1, 2]), (" 1 ,\t9 ", vec![1, 9])],
        &[
            ("1,,2", empty),
            (",", empty),
            ("1,", empty),
            ("1,10", "is out of range"),
            ("1;2", "is not a whole number"),
        ],
    );
    assert_eq!((integer(1..=9_u8).list().show)(&vec![1, 2]), "1,2");
    assert!(secret().list().secret && text().list().takes_file());
}

#[test]
fn a_socket_address_is_numeric() {
    let no = "is not an IP address with a port";
    check(
        socket_address(),
        &[
            ("0.0.0.0:8080", SocketAddr::from(([0, 0, 0, 0], 8080))),
            ("[::1]:80", SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 80))),
        ],
        &[
            ("8080", no),
            (":8080", no),
            ("localhost:80", no),
            ("::1:80", no),
            ("1.2.3.4", no),
            ("1.2.3.4:65536", no),
        ],
    );
}

#[test]
fn text_and_paths_are_taken_as_they_are() {
    check(text(), &[(" a\u{1b} ", " a\u{1b} ".to_owned())], &[]);
    check(path(), &[("/data/a b", PathBuf::from("/data/a b"))], &[]);
}

#[test]
fn a_secret_shows_neither_as_default_nor_otherwise() {
    let value = (secret().parse)("hunter2").unwrap();
    assert_eq!(value.expose(), "hunter2");
    assert_eq!(
        format!("{value} {value:?} {}", (secret().show)(&value)),
        "[redacted] Secret([redacted]) [redacted]"
    );
}
