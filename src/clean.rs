//! Foreign text made safe to print: short, in printable ASCII, and without what URLs carry in secret.
//!
//! Causes, facts, names and actions come from hooks, and through them from files, upstreams and the
//! environment. None of it may drive a terminal, forge a line of a log, or fill one.

use std::fmt::{self, Write};

/// How many bytes of a text are looked at. More than any place in a report shows; a value of many
/// megabytes costs no more than one of this size.
const WINDOW: usize = 4096;

/// `text` on one line, at most about `most` characters long.
pub(crate) fn clean(text: &str, most: usize) -> String {
    escape(text, most, false)
}

/// `text` with its line breaks, at most about `most` characters long.
pub(crate) fn clean_lines(text: &str, most: usize) -> String {
    escape(text, most, true)
}

/// What `value` displays, on one line. It is not asked to go on once enough is written.
pub(crate) fn clean_display(value: &dyn fmt::Display, most: usize) -> String {
    let mut written = Bounded(String::new());
    // An error means that the window is full, or that `value` cannot say more: both end the text here.
    let _ended_early = write!(written, "{value}");
    clean(&written.0, most)
}

struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One character more than the window, so that `escape` sees that something is missing.
        let room = (WINDOW + 4).saturating_sub(self.0.len());
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

fn escape(text: &str, most: usize, keep_breaks: bool) -> String {
    let seen = &text[..text.floor_char_boundary(WINDOW)];
    let is_cut = seen.len() < text.len();
    let mut shown = String::new();
    for each in scrub(seen, is_cut).chars() {
        if shown.len() >= most {
            shown.push_str("...");
            return shown;
        }
        match each {
            '\n' if keep_breaks => shown.push(each),
            ' '..='~' => shown.push(each),
            _ if each.is_whitespace() => shown.push(' '),
            _ => shown.extend(each.escape_default()),
        }
    }
    if is_cut && !shown.ends_with("...") {
        shown.push_str("...");
    }
    shown
}

/// `text` with every URL reduced to its scheme, host, port and path.
///
/// Best effort: connection strings are often not escaped as RFC 3986 asks, so a password may hold the
/// very characters that should end it. Where that is possible, less is shown rather than more.
fn scrub(text: &str, is_cut: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (scheme, after) = rest.split_at(at + 3);
        shown.push_str(scheme);
        let (token, after) = after.split_at(after.find(ends_url).unwrap_or(after.len()));
        let url = token.trim_end_matches(['.', ',', ';', ':', '!', ')', '}', '\'']);
        let runs_over = is_cut && after.is_empty();
        // `user:pa` that no `@` follows is the beginning of a password with a blank or a quote in it.
        if runs_over || (!url.contains('@') && !is_host_and_port(authority(url).0)) {
            shown.push_str("...");
            return shown;
        }
        shown.push_str(&bare(url));
        shown.push_str(&token[url.len()..]);
        rest = after;
    }
    shown.push_str(rest);
    shown
}

/// Characters that no URL contains and that texts put around one.
fn ends_url(each: char) -> bool {
    each.is_whitespace() || each.is_control() || ['"', '<', '>', '`'].contains(&each)
}

/// What stands between `://` and the path, and the rest.
fn authority(url: &str) -> (&str, &str) {
    url.split_at(url.find(['/', '?', '#']).unwrap_or(url.len()))
}

fn is_host_and_port(authority: &str) -> bool {
    match authority.rsplit_once(':') {
        None => true,
        Some((host, port)) => {
            let bracketed = host.starts_with('[');
            let digits = port.bytes().all(|each| each.is_ascii_digit());
            (bracketed && port.ends_with(']')) || (digits && (bracketed || !host.contains(':')))
        }
    }
}

/// A URL, from behind its `://`, without user info, query and fragment.
fn bare(url: &str) -> String {
    let (authority, rest) = authority(url);
    // A password with a raw `/` or `?` in it makes `user:pa` look like a host with a port.
    if authority.contains(':') && rest.contains('@') {
        return "...".to_owned();
    }
    let host = authority.rsplit('@').next().unwrap_or_default();
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let path = if path.contains('@') || path.contains("://") { "/..." } else { path };
    format!("{host}{path}")
}

#[cfg(test)]
mod tests {
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
    fn a_display_is_stopped_once_enough_is_written() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("again ")?;
                }
            }
        }
        assert_eq!(clean_display(&Endless, 11), "again again...");
    }
}
