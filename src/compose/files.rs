//! The files that the operator names, and those that these name.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

use rustix::fs::OFlags;

use super::fault::{Fault, Place};

/// How large a file may be. The largest Compose files of public projects have some hundred kilobytes.
const BYTES_MOST: u64 = 1024 * 1024;

/// The text of a file. `named` is where its name stands, or the file itself for one from the command line.
///
/// Symbolic links are followed, because the operator places these files; a pipe in place of a file is not
/// waited for.
pub(super) fn read(path: &Path, file: &Arc<str>, named: &Place) -> Result<String, Fault> {
    let bytes = bytes(path).map_err(|error| {
        let text = format!("{} cannot be read: {error}", path.display());
        let fault = Fault::new(named, text);
        if error.kind() == io::ErrorKind::NotFound {
            fault.hint("Correct the path, or create the file")
        } else {
            fault
        }
    })?;
    let line_of = |at: usize| bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    let place = |at: usize| Place { file: Arc::clone(file), line: line_of(at) };
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| Fault::new(&place(error.valid_up_to()), "is not text in UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let offset = bytes.len() - text.len();
    let control =
        text.char_indices().find(|(_, each)| each.is_control() && !matches!(each, '\t' | '\n' | '\r'));
    match control {
        Some((at, each)) => {
            let text = format!("holds the control character U+{:04X}", u32::from(each));
            Err(Fault::new(&place(at + offset), text))
        }
        None => Ok(text.to_owned()),
    }
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut content = Vec::new();
    file.take(BYTES_MOST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > BYTES_MOST {
        return Err(io::Error::other(format!("it is larger than {BYTES_MOST} bytes")));
    }
    Ok(content)
}
