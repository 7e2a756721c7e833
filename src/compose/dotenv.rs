//! `.env` and `env_file`: `NAME=value` in lines, as Compose reads them.
//!
//! <https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/#env-file-syntax>

use std::{collections::BTreeMap, sync::Arc};

use super::{
    fault::{Fault, Place},
    interpolate::Filling,
};

/// Each variable's value, and where it stands. No value where the file only names it, and so passes on what
/// Compose itself was given.
pub(super) type Variables = BTreeMap<String, (Place, Option<String>)>;

/// Reads the text of a file. `lookup` is for the variables in its values; those that stand earlier in the file
/// serve, too.
pub(super) fn parse(
    text: &str,
    file: &Arc<str>,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Variables, Fault> {
    let mut variables = Variables::new();
    let (mut rest, mut number) = (text, 1);
    while !rest.is_empty() {
        let at = Place { file: Arc::clone(file), line: number };
        let line = rest.lines().next().unwrap_or_default();
        let entry = line.trim_start();
        let mut used = line.len();
        if !entry.is_empty() && !entry.starts_with('#') {
            let end = line.find('=').unwrap_or(line.len());
            let name = line[..end].trim();
            let name = check_name(name.strip_prefix("export ").unwrap_or(name).trim_start(), &at)?;
            let mut value = None;
            if end < line.len() {
                let (raw, length) = raw_value(&rest[end + 1..], &at)?;
                used = end + 1 + length;
                let known = |name: &str| {
                    lookup(name).or_else(|| variables.get(name).and_then(|(_, value)| value.clone()))
                };
                value = Some(raw.fill(&at, &known)?);
            }
            variables.insert(name.to_owned(), (at, value));
        }
        let next = rest[used..].find('\n').map_or(rest.len(), |found| used + found + 1);
        number += rest[..next].matches('\n').count();
        rest = &rest[next..];
    }
    Ok(variables)
}

/// The lines of a file of which nothing is interpreted: `env_file: [{path: …, format: raw}]`.
pub(super) fn parse_raw(text: &str, file: &Arc<str>) -> Result<Variables, Fault> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(number, line)| {
            let at = Place { file: Arc::clone(file), line: number + 1 };
            let (name, value) =
                line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value)));
            Ok((check_name(name, &at)?.to_owned(), (at, value.map(str::to_owned))))
        })
        .collect()
}

/// The name itself, if it is one. What is none is not repeated: it may be half of a secret.
fn check_name<'n>(name: &'n str, at: &Place) -> Result<&'n str, Fault> {
    let is_name = |each: char| each.is_alphanumeric() || matches!(each, '_' | '.' | '-' | '[' | ']');
    if !name.is_empty() && name.chars().all(is_name) {
        return Ok(name);
    }
    Err(Fault::new(at, "is not of the form NAME=value"))
}

/// A value as it stands in the file.
enum Raw<'t> {
    Plain(&'t str),
    Single(&'t str),
    Double(&'t str),
}

/// The value that `text` begins with, and its length in the file. Quoted ones may run over many lines.
fn raw_value<'t>(text: &'t str, at: &Place) -> Result<(Raw<'t>, usize), Fault> {
    let line = text.lines().next().unwrap_or_default();
    let blanks = line.len() - line.trim_start().len();
    let inside = text.get(blanks + 1..).unwrap_or_default();
    let quote = match line.trim_start().chars().next() {
        Some(quote @ ('\'' | '"')) => quote,
        Some(_) | None => {
            let commented = line.find(" #").map_or(line, |comment| &line[..comment]);
            return Ok((Raw::Plain(commented.trim()), line.len()));
        }
    };
    let mut escaped = false;
    let end = inside.find(|each| {
        let closes = each == quote && !escaped;
        escaped = each == '\\' && !escaped;
        closes
    });
    let end = end.ok_or_else(|| Fault::new(at, "a quotation mark is not closed"))?;
    let raw = if quote == '\'' { Raw::Single(&inside[..end]) } else { Raw::Double(&inside[..end]) };
    Ok((raw, blanks + end + 2))
}

impl Raw<'_> {
    fn fill(&self, at: &Place, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, Fault> {
        let mut filling = Filling { lookup, unset: Vec::new() };
        match self {
            Self::Single(text) => Ok((*text).to_owned()),
            Self::Plain(text) => filling.fill(text, at),
            Self::Double(text) => filling.fill(&unescape(text), at),
        }
    }
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(each) = rest.next() {
        if each != '\\' {
            plain.push(each);
            continue;
        }
        match rest.next() {
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('t') => plain.push('\t'),
            // An escaped dollar begins no variable.
            Some('$') => plain.push_str("$$"),
            Some(other) => plain.push(other),
            None => plain.push('\\'),
        }
    }
    plain
}
