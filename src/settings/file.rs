//! Where a variable's text comes from: the variable itself, or the file that its `_FILE` twin names.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags, open},
    process::geteuid,
};

use super::{
    Env,
    invisible::{self, Unseen},
    problems::{EnvProblem, printable},
};

/// Larger than every key and certificate chain, small enough to be read before anything else happens.
const SIZE_LIMIT: u64 = 64 * 1024;
const PATH_ECHO_LIMIT: usize = 200;
const SECRETS_DIR: &str = "/run/secrets";

/// A variable's text before any form judged it.
pub(super) struct Found {
    pub(super) text: String,
    /// Which variable gave it: the name itself, or its `_FILE` twin.
    pub(super) source: String,
    pub(super) from_file: bool,
}

/// What is wrong with a file, and what to do about it.
type Refusal = (String, String);

/// The name of the variable that holds the path of a file instead of the value.
pub(super) fn twin(name: &str) -> String {
    format!("{name}_FILE")
}

/// The name of the variable whose twin `name` would be.
pub(super) fn plain(name: &str) -> Option<&str> {
    name.strip_suffix("_FILE")
}

/// Looks `name` up, and its `_FILE` twin if the form takes one. `None` means unset.
pub(super) fn lookup(env: &Env, name: &str, takes_file: bool) -> Result<Option<Found>, EnvProblem> {
    let twin = takes_file.then(|| twin(name));
    let path = match &twin {
        Some(twin) => env.text(twin)?.map(|path| (twin, path)),
        None => None,
    };
    match (env.text(name)?, path) {
        (None, None) => Ok(None),
        (Some(text), None) => {
            Ok(Some(Found { text: text.to_owned(), source: name.to_owned(), from_file: false }))
        }
        (None, Some((source, path))) => {
            let text = read(path).map_err(|(what, remedy)| EnvProblem::new(source, what, remedy))?;
            Ok(Some(Found { text, source: source.clone(), from_file: true }))
        }
        // Which of the two is meant cannot be known, and an old secret would go unnoticed
        // (the rule of docker-library's `file_env`).
        (Some(_), Some((source, _))) => {
            Err(EnvProblem::new(name, format!("set, and {source} too"), "remove one of the two"))
        }
    }
}

/// The content of the file without the mark at its beginning and its final line break.
fn read(path: &str) -> Result<String, Refusal> {
    let path = path.trim();
    if let Some((1, each)) = Unseen::None.first_in(path) {
        let what = format!("the path begins with {}", invisible::name(each));
        return Err((what, "write it without what cannot be seen".into()));
    }
    // A relative path is more often the secret itself, put into the wrong variable, so it is not shown.
    if !path.starts_with('/') {
        return Err((
            "not an absolute path".into(),
            format!("write the path of the file, for instance {SECRETS_DIR}/<name>"),
        ));
    }
    let shown = printable(path, PATH_ECHO_LIMIT);
    let content = read_limited(path).map_err(|error| refusal(&shown, &error))?;
    if content.len() as u64 > SIZE_LIMIT {
        return Err((
            format!("{shown} is larger than 64 KiB"),
            "name the file that holds only the value".into(),
        ));
    }
    // What PowerShell's `>` and "Unicode" in Notepad write.
    if content.starts_with(b"\xff\xfe") || content.starts_with(b"\xfe\xff") {
        return Err((format!("{shown} is UTF-16"), "save it as UTF-8".into()));
    }
    let mut text = String::from_utf8(content)
        .map_err(|_| (format!("{shown} is not valid UTF-8"), "write the value as plain text".into()))?;
    // At the beginning, editors put it there and nobody means it (The Unicode Standard, 23.8).
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    // Editors and `echo` end a file with one line break that nobody means. More than one is content.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.trim().is_empty() {
        return Err((format!("{shown} is empty"), "write the value into the file".into()));
    }
    Ok(text)
}

/// At most one byte more than the limit, so that a larger file shows as such.
///
/// Symbolic links are followed, because that is how Kubernetes mounts every secret. Opening does not
/// block, because a FIFO without a writer would hang the start for ever (open(2), `O_NONBLOCK`).
fn read_limited(path: &str) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut content = Vec::new();
    file.take(SIZE_LIMIT + 1).read_to_end(&mut content)?;
    Ok(content)
}

fn refusal(shown: &str, error: &io::Error) -> Refusal {
    let is = |kind| error.kind() == kind;
    if is(ErrorKind::NotFound) {
        let dir = if Path::new(SECRETS_DIR).is_dir() { "exists" } else { "does not exist" };
        let what = format!("{shown} does not exist ({SECRETS_DIR} {dir})");
        (what, "declare it under `secrets:` of this service too".into())
    } else if is(ErrorKind::PermissionDenied) {
        let remedy = format!("make it readable for uid {}", geteuid().as_raw());
        (format!("{shown} cannot be read by this process"), remedy)
    } else if is(ErrorKind::IsADirectory) {
        (format!("{shown} is a directory"), "write the path of the file in it".into())
    } else {
        (format!("{shown} cannot be read: {error}"), "write the path of a regular file".into())
    }
}

#[cfg(test)]
mod tests;
