use proptest::prelude::*;

use super::*;

#[test]
fn urls_lose_user_info_query_and_fragment_and_keep_the_rest() {
    for (given, shown) in [
        ("GET https://u:p@api.test:8443/v1/x?token=t#f failed", "GET https://api.test:8443/v1/x failed"),
        (
            "error for url (https://api.test/?key=k): timed out",
            "error for url (https://api.test/): timed out",
        ),
        ("postgres://app:pw@db/app, then redis://:pw@cache", "postgres://db/app, then redis://cache"),
        (
            "see `http://[::1]:80/a` and http://localhost:80: refused",
            "see `http://[::1]:80/a` and http://localhost:80: refused",
        ),
        ("https://host/@scope/package", "https://host/..."),
    ] {
        assert_eq!(clean(given, 400), shown);
    }
}

#[test]
fn a_password_that_is_not_escaped_is_never_shown_in_part() {
    for given in [
        "postgres://app:pw/pw@db/app",
        "postgres://app:pw?pw@db/app",
        "postgres://app:pw pw@db/app",
        "postgres://app:pw\"pw@db/app",
        "postgres://app:p@pw@db/app",
        "proxy://https://app:pw@db",
        "a://b/https://app:pw@db",
        "redis://:pw",
    ] {
        assert!(!clean(given, 400).contains("pw"), "{given} became {}", clean(given, 400));
    }
}

#[test]
fn a_url_that_the_window_cuts_shows_nothing_behind_its_scheme() {
    for secret in ["user:pw", "token"] {
        let text = format!("{}https://{secret}{}@host", " ".repeat(WINDOW - 20), "s".repeat(80));
        assert!(clean(&text, WINDOW).ends_with("https://..."));
    }
}

#[test]
fn what_is_not_printable_ascii_is_escaped_and_breaks_become_blanks() {
    assert_eq!(clean("a\u{1b}[31mb\u{0}\u{202e}\u{e9}", 80), "a\\u{1b}[31mb\\u{0}\\u{202e}\\u{e9}");
    assert_eq!(clean("a\r\nb\tc\u{a0}d", 80), "a  b c d");
    assert_eq!(clean_lines("a\nb", 80), "a\nb");
}

#[test]
fn where_a_password_could_stand_nothing_is_shown() {
    for (given, shown) in [
        ("postgres://app:\"pw@db/x", "postgres://db/x"),
        ("postgres://app: pw@db/x", "postgres://...@db/x"),
        ("postgres://app:12`pw@db/x", "postgres://db/x"),
        ("https://u:<pw@h", "https://h"),
        ("app:pw@tcp(db:3306)/x?timeout=1s", "app:...@tcp(db:3306)/x"),
        ("app: p w@tcp(db)/x", "app:...@tcp(db)/x"),
        ("app: pw@tcp(db)/x in shop@1.service", "app:...@tcp(db)/x in shop@1.service"),
        ("https:u:pw@h", "https:...@h"),
        ("dsn=jdbc:mysql://app:pw@db/x", "dsn=jdbc:...@db/x"),
        ("jdbc:sqlserver://db;user=sa;password=pw", "jdbc:sqlserver://db..."),
        ("https://db/x;password=pw", "https://db/x"),
        ("https://db/?password=\"pw", "https://db/"),
        ("url=postgres%3A%2F%2Fapp%3Apw%40db", "url=postgres%3A...@db"),
        ("https://proxy/?u=postgres%253A%252F%252Fapp%253Apw%2540db", "https://...@db"),
        ("https://to/pw@host", "https://...@host"),
        ("postgres://app:12\"pw", "postgres://..."),
        ("postgres://app:x\n@pw\n@db/x", "postgres://...@db/x"),
        ("\"https://u:\"pw\"@h/?k=p w\" failed", "\"https://h/\" failed"),
    ] {
        assert_eq!(clean(given, 400), shown, "{given}");
        assert_eq!(clean(shown, 400), shown, "what was cleaned stays as it is");
    }
}

#[test]
fn sentences_in_which_no_password_can_stand_are_whole() {
    for text in [
        "tell root@localhost that the disk is full: /data",
        "cannot open /etc/systemd/system/getty@.service",
        "2026-11-20T09:27:52Z error: [::1]:80 refused (os error 111)",
        "GET https://api.example.com/a/b; ask ops@example.com",
        "tried http://a:80, http://b:81 and \"http://c\": no answer",
        "See its log: journalctl -u shop@eu-1.service --since -10min",
        "write http://HOST:PORT",
        "see <https://docs.example.com/a#> and (https://[::1]:8080/b).",
    ] {
        assert_eq!(clean(text, 400), text.replace('#', ""));
    }
}

#[cfg(feature = "run")]
#[test]
fn json_keeps_its_meaning_in_printable_ascii() {
    let given = "{ \"a\":\n\"\u{9b}\u{202e}\u{feff}\u{7f}\u{1f600}\u{e9}\" }\n";
    let shown = json(given);
    assert_eq!(shown, r#"{ "a": "\u009b\u202e\ufeff\u007f\ud83d\ude00\u00e9" }"#);
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(given), value(&shown));
}

/// What no password of the generator is without, and no text around it has.
const MARK: &str = "Zq7";

/// What people put into passwords, and what their shells, editors and languages make of it.
fn odd() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "\"", "'", "`", "<", ">", " ", "\n", "\r\n", "\t", "/", "?", "#", "@", ":", ";", ",", "=", "&", "%",
        "\\", "(", ")", "[", "]", "{", "}", "|", "!", "$", "12", "8", "a", "%40", "%3A", "%2f", "%25",
        "\u{e9}", "\u{1b}", "\u{0}", "\u{a0}", "\u{202e}", "\u{feff}", "//", ".", "...", "-", "http",
    ]);
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn password() -> impl Strategy<Value = String> {
    (odd(), odd(), odd()).prop_map(|(a, b, c)| format!("{a}{MARK}{b}{MARK}{c}"))
}

/// A URL with a password, rarely a well-formed one.
fn url() -> impl Strategy<Value = String> {
    let scheme = prop::sample::select(vec![
        "postgres://",
        "https://",
        "redis+tls://",
        "jdbc:mysql://",
        "https:",
        "http:/",
        "http:\\\\",
        "//",
        "://",
        "",
        "mysql%3A%2F%2F",
        "amqp:\\/\\/",
    ]);
    let user =
        prop::sample::select(vec!["", "app", "a.b", "o'neil", "us er", "a/b", "a%40b", "12", "a@b", "a:b"]);
    let host = prop::sample::select(vec![
        "@db",
        "@db:5432/x",
        "@tcp(db:3306)/x?tls=true",
        "@[::1]:80/",
        "@",
        "%40db/x",
        "@h1:1,h2:2/x#f",
        "@unix(/s)/x",
    ]);
    let colon = prop::sample::select(vec![":", ":", ":", "%3A", ": "]);
    (scheme, user, colon, password(), host)
        .prop_map(|(scheme, user, colon, password, host)| format!("{scheme}{user}{colon}{password}{host}"))
        // What looks like two URLs is taken for two.
        .prop_filter("another URL", |url| !url.split_whitespace().skip(1).any(|word| word.contains("://")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Where the URL stands, what quotes it, and what else the text says makes no difference.
    #[test]
    fn a_password_in_a_url_of_whatever_form_is_not_shown(
        before in "[a-z0-9 .,:;(\\[{<\"'`=@/-]{0,20}", url in url(), after in "([\"'`)>\\]} .,:;]{1,2}[ -~]{0,30})?", lines in any::<bool>(),
    ) {
        let given = format!("{before}{url}{after}");
        let shown = if lines { clean_lines(&given, 400) } else { clean(&given, 400) };
        prop_assert!(!shown.contains(MARK), "{given:?} became {shown:?}");
        let again = clean(&shown, 400);
        prop_assert!(!again.contains(MARK));
    }

    #[test]
    fn a_password_that_the_window_cuts_is_not_shown(url in url(), room in 0_usize..120) {
        let given = format!("{}{url}{}", " ".repeat(WINDOW - room), "x".repeat(200));
        let shown = clean(&given, WINDOW + 200);
        prop_assert!(room >= url.len() || !shown.contains(MARK), "{url:?} became {shown:?}");
    }

    #[test]
    fn text_without_a_separator_is_only_escaped(text in "[ -9;-?A-~]{0,80}") {
        prop_assert_eq!(clean(&text, 400), text);
    }
}
