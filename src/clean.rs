//! Foreign text made safe to print: short, in printable ASCII, and without what URLs carry in secret.
//!
//! Causes, facts, names and actions come from hooks, and through them from files, upstreams and the
//! environment. None of it may drive a terminal, forge a line of a log, or fill one.

use std::{fmt::Write, ops::Range};

/// How many bytes of a text are looked at. More than any place in a report shows; a value of many
/// megabytes costs no more than one of this size.
pub(crate) const WINDOW: usize = 4096;

/// How long what a URL holds in secret may be, where the window's end hides where it ends.
const LONGEST_SECRET: usize = 1024;

/// `text` on one line, at most about `most` characters long.
pub(crate) fn clean(text: &str, most: usize) -> String {
    shorten(text, most, false)
}

/// `text` with its line breaks, at most about `most` characters long.
pub(crate) fn clean_lines(text: &str, most: usize) -> String {
    shorten(text, most, true)
}

/// `text` in printable ASCII, at most about `most` characters long. For what was cleaned before it was stored, or is
/// no sentence: nothing is looked for in it.
pub(crate) fn escaped(text: &str, most: usize, keep_breaks: bool) -> String {
    let mut shown = String::new();
    for each in text.chars() {
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
    shown
}

/// A JSON text that means the same on one line of printable ASCII. JSON allows other characters in strings only, where
/// each has an escape (RFC 8259, section 7), and white space between tokens.
pub(crate) fn json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for each in text.trim().chars() {
        match each {
            ' '..='~' => shown.push(each),
            '\n' | '\r' | '\t' => shown.push(' '),
            _ => {
                for unit in each.encode_utf16(&mut [0; 2]) {
                    // Writing to a `String` cannot fail.
                    let _ = write!(shown, "\\u{unit:04x}");
                }
            }
        }
    }
    shown
}

/// Whether a password could stand in `text`: it has what separates one from a host, or begins like a URL.
pub(crate) fn may_hold_a_password(text: &str) -> bool {
    text.contains("://") || last(text, b'@').is_some()
}

fn shorten(text: &str, most: usize, keep_breaks: bool) -> String {
    let seen = &text[..text.floor_char_boundary(WINDOW)];
    let is_cut = seen.len() < text.len();
    let mut scrubbed = scrub(if is_cut { uncut(seen) } else { seen });
    if is_cut && !scrubbed.ends_with("...") {
        scrubbed.push_str("...");
    }
    escaped(&scrubbed, most, keep_breaks)
}

/// `seen` up to where a password may begin that the window cuts: what ends it would stand behind the cut.
fn uncut(seen: &str) -> &str {
    let near = seen.ceil_char_boundary(seen.len().saturating_sub(LONGEST_SECRET));
    let colon = first(&seen[near..], b':').map(|colon| near + colon.end);
    let end = colon.map_or(seen.len(), |end| end + if seen[end..].starts_with("//") { 2 } else { 0 });
    &seen[..end]
}

/// `text` with every URL reduced to its scheme, host, port and path.
///
/// Connection strings are often not escaped as RFC 3986 asks, or are no URLs (`user:password@tcp(host)/name`), so a
/// password may hold each character that should end it, blanks and quotes too. The question is where one could stand:
/// between the first `:` and the last `@`. Of text in which that is a sentence, less is shown than could be.
fn scrub(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (segment, after) = rest.split_at(next_url(rest));
        rest = after;
        let seen = match separator(segment) {
            Some(at) => Some(without_user_info(segment, &at)),
            None => without_queries(segment),
        };
        match seen {
            Some(seen) => shown.push_str(&seen),
            // `user:pa` that no `@` follows is the beginning of a password that nobody knows the end of.
            None => {
                shown.push_str(&segment[..segment.find("://").map_or(0, |at| at + 3)]);
                shown.push_str("...");
                return shown;
            }
        }
    }
    shown
}

/// Where the next word begins that holds a URL, after the one that `text` may begin with. What stands behind a `:` or
/// `@` may be part of a password instead. A blank and a whole scheme are taken for the beginning of another URL where a
/// text has user info before them, or no scheme: `error: cannot ask https://...`.
fn next_url(text: &str) -> usize {
    let mut from = 0;
    while let Some(at) = text[from..].find("://").map(|at| from + at) {
        let word = text[..at].trim_end_matches(|each: char| !each.is_whitespace()).len();
        let before = &text[word..at];
        let is_word = first(before, b':').is_none() && last(before, b'@').is_none();
        if word > 0 && is_word && !is_open(&text[..word], &text[word..]) {
            return word;
        }
        from = at + 3;
    }
    text.len()
}

/// Whether a password may have begun in `before`, a part that begins with a URL, and may end in what is after it.
fn is_open(before: &str, after: &str) -> bool {
    let url = before.find("://").map(|at| &before[at + 3..]);
    url.is_some_and(|url| first(url, b':').is_some())
        && last(before, b'@').is_none()
        && last(after, b'@').is_some()
}

/// The last `@` that a password may end at.
fn separator(segment: &str) -> Option<Range<usize>> {
    let mut marks = segment.rmatch_indices(['@', '%']).filter_map(|(at, _)| mark(segment, at, b'@'));
    marks.find(|at| !is_text(segment, at))
}

/// Whether the `@` separates nothing: no `:` before it, and a whole host with a path before that, whose part it is
/// (`https://host/@scope/package`) or behind which a sentence goes on. Or it is that of a unit of systemd, which advice
/// names in commands.
fn is_text(segment: &str, at: &Range<usize>) -> bool {
    let before = &segment[..at.start];
    let Some(colon) = first(before, b':') else { return true };
    let Some(url) = before[colon.start..].strip_prefix("://") else { return is_in_unit(segment, at) };
    let (host, path) = authority(url);
    let (words, path) = (url.contains(char::is_whitespace), path.starts_with('/'));
    first(url, b':').is_none()
        && path
        && host.chars().all(is_of_host)
        && if words { host.contains('.') } else { url.ends_with('/') }
}

/// Whether the word around the `@` is the name of a service that systemd makes of a template (systemd.unit(5)).
fn is_in_unit(segment: &str, at: &Range<usize>) -> bool {
    let is_of_name = |each: char| each.is_ascii_alphanumeric() || "-_.\\".contains(each);
    let (before, after) = (&segment[..at.start], &segment[at.end..]);
    let template = before.trim_end_matches(is_of_name);
    let instance = &after[..after.find(|each| !is_of_name(each)).unwrap_or(after.len())];
    template.len() < before.len()
        && (template.is_empty() || template.ends_with(char::is_whitespace))
        && instance.ends_with(".service")
}

/// A part of the text whose `at` ends user info. What may be a password is left out, and the host behind it shown.
fn without_user_info(segment: &str, at: &Range<usize>) -> String {
    let before = &segment[..at.start];
    let (url, tail) = cut_out(&segment[at.end..], opener(before));
    let host = bare(url);
    let colon = first(before, b':').map_or(0, |colon| colon.end);
    let scheme = begins_with_scheme(before);
    let info = &before[scheme.unwrap_or(colon)..];
    let is_plain = info.chars().all(|each| !each.is_whitespace() && !"/?#\\".contains(each)) && info != "...";
    let mark = if scheme.is_some() && is_plain { "" } else { "...@" };
    format!("{}{mark}{host}{tail}", &before[..scheme.unwrap_or(colon)])
}

/// Where a URL's scheme ends that the text begins with, or that stands behind what quotes it.
fn begins_with_scheme(text: &str) -> Option<usize> {
    let colon = first(text, b':')?.start;
    text[colon..].starts_with("://").then_some(colon + 3)
}

/// A part of the text without user info. `None` where it ends within some.
fn without_queries(segment: &str) -> Option<String> {
    let mut shown = String::new();
    let mut rest = segment;
    while let Some(at) = rest.find("://") {
        let (scheme, after) = rest.split_at(at + 3);
        let (url, after) = cut_out(after, opener(scheme));
        if !is_host_and_port(authority(url).0) {
            return None;
        }
        shown.push_str(scheme);
        shown.push_str(&bare(url));
        rest = after;
    }
    Some(shown + rest)
}

/// What quotes the URL whose scheme `before` ends with, as the character that ends it.
fn opener(before: &str) -> Option<char> {
    let scheme = before.find("://").map_or(before, |at| &before[..at]);
    let before = scheme.trim_end_matches(|each: char| each.is_ascii_alphanumeric() || "+-.".contains(each));
    match before.chars().next_back()? {
        quote @ ('"' | '\'' | '`') => Some(quote),
        '<' => Some('>'),
        '(' => Some(')'),
        '[' => Some(']'),
        _ => None,
    }
}

/// Splits off the URL that `text` begins with. White space and control characters end it, or the last of what quotes it.
fn cut_out(text: &str, closer: Option<char>) -> (&str, &str) {
    let ends = |each: char| each.is_whitespace() || each.is_control();
    let word = &text[..text.find(ends).unwrap_or(text.len())];
    let quoted = closer.and_then(|closer| {
        let beyond = || if ")]".contains(closer) { None } else { text.find(closer) };
        word.rfind(closer).or_else(beyond)
    });
    let url = quoted.map_or(word, |end| &text[..end]);
    let url = url.trim_end_matches(['.', ',', ';', ':', '!', ')', '}', '\'', '\u{2026}']);
    text.split_at(url.len())
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
            // What a document writes where a number is to stand is no password.
            let number = port.len() <= 5 && port.bytes().all(|each| each.is_ascii_digit()) || port == "PORT";
            (bracketed && port.ends_with(']')) || (number && (bracketed || !host.contains(':')))
        }
    }
}

/// What hosts are written with, also several, also as `tcp(host)`.
fn is_of_host(each: char) -> bool {
    each.is_alphanumeric() || "-._~[]:%*,()<>{}$".contains(each)
}

/// A URL, from behind its `://` and user info, without parameters, query and fragment.
fn bare(url: &str) -> String {
    let (authority, rest) = authority(url);
    if let Some(end) = authority.find(|each| !is_of_host(each)) {
        return format!("{}...", &authority[..end]);
    }
    let path = rest.split(['?', '#', ';']).next().unwrap_or_default();
    let path = if path.contains('@') || path.contains("://") { "/..." } else { path };
    format!("{authority}{path}")
}

fn first(text: &str, of: u8) -> Option<Range<usize>> {
    text.match_indices([char::from(of), '%']).find_map(|(at, _)| mark(text, at, of))
}

fn last(text: &str, of: u8) -> Option<Range<usize>> {
    text.rmatch_indices([char::from(of), '%']).find_map(|(at, _)| mark(text, at, of))
}

/// The character `of` at `at`, as it is or percent-encoded, also more than once: a URL within another's query.
fn mark(text: &str, at: usize, of: u8) -> Option<Range<usize>> {
    let mut rest = &text.as_bytes()[at..];
    if rest[0] == of {
        return Some(at..at + 1);
    }
    rest = rest.strip_prefix(b"%")?;
    while let Some(deeper) = rest.strip_prefix(b"25") {
        rest = deeper;
    }
    let digits = rest.get(..2)?;
    let found = std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
    (found == Some(of)).then(|| at..text.len() - rest.len() + 2)
}

#[cfg(test)]
mod tests;
