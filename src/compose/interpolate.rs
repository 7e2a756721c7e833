//! `${VAR}` in values, as Compose fills it in.
//!
//! <https://docs.docker.com/reference/compose-file/interpolation/>

use super::fault::{Fault, Place};

/// A default may hold further variables, so many deep.
const DEPTH_MOST: usize = 8;
/// Filled in, a value is no longer than this: each level may repeat a long variable.
const LENGTH_MOST: usize = 256 * 1024;

/// Where variables come from, and what was noticed on the way.
pub(super) struct Filling<'l> {
    pub(super) lookup: &'l dyn Fn(&str) -> Option<String>,
    /// Variables that are not set and have no default: Compose makes them empty, and warns.
    pub(super) unset: Vec<(Place, String)>,
}

impl Filling<'_> {
    pub(super) fn fill(&mut self, text: &str, at: &Place) -> Result<String, Fault> {
        if text.contains('$') { self.fill_to_depth(text, at, 0) } else { Ok(text.to_owned()) }
    }

    fn fill_to_depth(&mut self, text: &str, at: &Place, depth: usize) -> Result<String, Fault> {
        if depth > DEPTH_MOST {
            return Err(Fault::new(at, format!("variables are nested more than {DEPTH_MOST} deep")));
        }
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            filled.push_str(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                filled.push('$');
                rest = after;
            } else if let Some(inside) = rest.strip_prefix('{') {
                let end = closing(inside).ok_or_else(|| malformed(at))?;
                filled.push_str(&self.braced(&inside[..end], at, depth)?);
                rest = &inside[end + 1..];
            } else {
                let (name, after) = split_name(rest).ok_or_else(|| malformed(at))?;
                filled.push_str(&self.value_or_empty(name, at));
                rest = after;
            }
            if filled.len() > LENGTH_MOST {
                return Err(Fault::new(at, format!("a value is longer than {LENGTH_MOST} bytes")));
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// What stands between `${` and `}`.
    fn braced(&mut self, inside: &str, at: &Place, depth: usize) -> Result<String, Fault> {
        let (name, modifier) = split_name(inside).ok_or_else(|| malformed(at))?;
        if modifier.is_empty() {
            return Ok(self.value_or_empty(name, at));
        }
        let colon = modifier.starts_with(':');
        let mut rest = modifier.trim_start_matches(':').chars();
        let kind = rest.next();
        let word = rest.as_str();
        // With a colon, an empty variable counts as one that is not set.
        let value = (self.lookup)(name).filter(|value| !colon || !value.is_empty());
        match (kind, value) {
            (Some('-' | '?'), Some(value)) => Ok(value),
            (Some('-'), None) => self.fill_to_depth(word, at, depth + 1),
            (Some('+'), Some(_)) => self.fill_to_depth(word, at, depth + 1),
            (Some('+'), None) => Ok(String::new()),
            (Some('?'), None) => {
                let why = if word.is_empty() { "it is required" } else { word };
                let text = format!("the variable {name} is not set: {why}");
                Err(Fault::new(at, text).hint(format!("Set {name} in `.env` or in the environment")))
            }
            (Some(_) | None, _) => Err(malformed(at)),
        }
    }

    fn value_or_empty(&mut self, name: &str, at: &Place) -> String {
        (self.lookup)(name).unwrap_or_else(|| {
            if !self.unset.iter().any(|(_, noted)| noted == name) {
                self.unset.push((at.clone(), name.to_owned()));
            }
            String::new()
        })
    }
}

fn malformed(at: &Place) -> Fault {
    Fault::new(at, "a `$` begins no variable that Compose understands")
        .hint("Write `$$` for a plain dollar sign")
}

/// A name, and what follows it.
fn split_name(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|each: char| !each.is_ascii_alphanumeric() && each != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (!name.is_empty() && !name.starts_with(|each: char| each.is_ascii_digit())).then_some((name, rest))
}

/// Where the brace closes that is already open.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if at > 0 && bytes[at - 1] == b'$' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}
