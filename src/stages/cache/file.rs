//! The file in which a cache waits for the next start: one line that says what it is, one for each entry,
//! and one that says that it is whole.
//!
//! It is looked at once and removed before anything of it is used. So after a crash the cache is empty, and
//! nothing comes back that was forgotten in between, such as a session that was ended.
//!
//! What is read may have been written by anyone. A symbolic link is not followed, the file must be ours and
//! writable for nobody else, and it is believed whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
    process::geteuid,
};
use serde::{Deserialize, Serialize};

/// The most that is written and read. It bounds how long a stop and a start take, and how much memory a
/// file that somebody else made can cost.
pub(super) const MOST: u64 = 64 * 1024 * 1024;

const FORMAT: &str = "solostart-cache";
const VERSION: u32 = 1;

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
    /// The stage's name, because two caches may be given one path.
    cache: String,
    /// Milliseconds since 1970 on the wall clock: no other clock goes on across a reboot.
    saved_at: i64,
}

/// The last line.
#[derive(Serialize, Deserialize)]
struct Foot {
    entries: u64,
    /// Of all bytes before this line. It finds damage, not forgery: who can write the file, owns it.
    sum: String,
}

/// What a file held that is whole.
pub(super) struct Saved {
    pub(super) saved_at: i64,
    /// The lines of the entries, each with its line break.
    pub(super) entries: Vec<u8>,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it is {0}")]
    NotAFile(&'static str),
    #[error("it belongs to uid {0}, or others may write it")]
    NotOurs(u32),
    #[error("it is larger than {} MiB", MOST / 1024 / 1024)]
    TooLarge,
    #[error("it is not a saved cache")]
    Foreign,
    #[error("it was written by a newer version")]
    Newer,
    #[error("it was saved by another cache")]
    OtherCache,
    #[error("it is cut short or damaged")]
    Damaged,
    #[error("its line {0} is not an entry of this cache")]
    Entry(u64),
    #[error("it was saved in the future: the clock was set back")]
    Future,
    #[error("it cannot be removed, and so could be loaded twice: {0}")]
    Stays(io::Error),
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads the file and removes it; `None` where there is none.
pub(super) fn take(path: &Path, cache: &str) -> Result<Option<Saved>, Unusable> {
    // A pipe without a writer would keep the start waiting for ever (open(2), `O_NONBLOCK`).
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err(Unusable::NotAFile("a symbolic link")),
        Err(error) => return Err(Unusable::Io(error.into())),
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Unusable::NotAFile(if found.is_dir() { "a directory" } else { "not a regular file" }));
    }
    if found.uid() != geteuid().as_raw() || found.mode() & 0o022 != 0 {
        return Err(Unusable::NotOurs(found.uid()));
    }
    let mut bytes = Vec::new();
    // The size is not asked for first: the file may grow while it is read.
    let read = file.take(MOST + 1).read_to_end(&mut bytes);
    fs::remove_file(path).and_then(|()| sync_directory(path)).map_err(Unusable::Stays)?;
    read?;
    if bytes.len() as u64 > MOST {
        return Err(Unusable::TooLarge);
    }
    parse(bytes, cache).map(Some)
}

fn parse(mut bytes: Vec<u8>, cache: &str) -> Result<Saved, Unusable> {
    let head_ends = line_end(&bytes).ok_or(Unusable::Foreign)?;
    let head: Head = serde_json::from_slice(&bytes[..head_ends]).map_err(|_| Unusable::Foreign)?;
    if head.format != FORMAT {
        return Err(Unusable::Foreign);
    }
    if head.version > VERSION {
        return Err(Unusable::Newer);
    }
    if head.cache != cache {
        return Err(Unusable::OtherCache);
    }
    if bytes.pop() != Some(b'\n') {
        return Err(Unusable::Damaged);
    }
    let foot_begins = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if foot_begins < head_ends {
        return Err(Unusable::Damaged);
    }
    let foot: Foot = serde_json::from_slice(&bytes[foot_begins..]).map_err(|_| Unusable::Damaged)?;
    bytes.truncate(foot_begins);
    let counted = bytes[head_ends..].iter().filter(|byte| **byte == b'\n').count() as u64;
    if foot.sum != shown(checksum(CHECKSUM_OF_NOTHING, &bytes)) || foot.entries != counted {
        return Err(Unusable::Damaged);
    }
    bytes.drain(..head_ends);
    Ok(Saved { saved_at: head.saved_at, entries: bytes })
}

/// Where the first line ends, its line break included.
fn line_end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1)
}

/// FNV-1a, 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>).
fn checksum(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

const CHECKSUM_OF_NOTHING: u64 = 0xcbf2_9ce4_8422_2325;

fn shown(sum: u64) -> String {
    format!("{sum:016x}")
}

/// A file that is being written beside the one that it will replace. Dropped before it is
/// [finished](Self::finish), it leaves nothing behind.
pub(super) struct Draft {
    path: PathBuf,
    beside: PathBuf,
    file: Option<io::BufWriter<File>>,
    written: u64,
    most: u64,
    entries: u64,
    sum: u64,
}

impl Draft {
    pub(super) fn begin(path: &Path, cache: &str, saved_at: i64) -> io::Result<Self> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        // What an earlier process left when it was killed, or a link that somebody put there: the name goes,
        // and `O_EXCL` then follows none (open(2)).
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = open(&beside, flags, Mode::RUSR | Mode::WUSR)?;
        let mut draft = Self {
            path: path.to_owned(),
            beside,
            file: Some(io::BufWriter::new(File::from(file))),
            written: 0,
            most: MOST,
            entries: 0,
            sum: CHECKSUM_OF_NOTHING,
        };
        let head = Head { format: FORMAT.to_owned(), version: VERSION, cache: cache.to_owned(), saved_at };
        draft.write(&line(&head)?)?;
        Ok(draft)
    }

    /// Adds one entry, as [`line()`] has it; `false` where the file is full.
    pub(super) fn add(&mut self, line: &[u8]) -> io::Result<bool> {
        /// Room for the last line.
        const FOOT: u64 = 128;
        if self.written + line.len() as u64 + FOOT > self.most {
            return Ok(false);
        }
        self.write(line)?;
        self.entries += 1;
        Ok(true)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum = checksum(self.sum, bytes);
        self.written += bytes.len() as u64;
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }

    /// Puts the file into its place, whole and stored, if `may_replace` allows it then; returns how many
    /// entries it holds.
    pub(super) fn finish(mut self, may_replace: impl FnOnce() -> io::Result<()>) -> io::Result<u64> {
        let foot = Foot { entries: self.entries, sum: shown(self.sum) };
        self.write(&line(&foot)?)?;
        if let Some(file) = self.file.take() {
            file.into_inner()?.sync_all()?;
        }
        may_replace()?;
        // It replaces a link, and does not follow it (rename(2)).
        fs::rename(&self.beside, &self.path)?;
        sync_directory(&self.path)?;
        Ok(self.entries)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After the renaming there is nothing of that name any more.
        let _gone = fs::remove_file(&self.beside);
    }
}

/// A line of JSON has no line break but its last byte.
pub(super) fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests;
