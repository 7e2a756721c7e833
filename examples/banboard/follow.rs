//! Follows a log file that others append to, rotate and truncate, across our own restarts.
//!
//! Nothing is kept open and nothing is remembered but a [`Position`], which is stored in the same
//! transaction as what was read before it. So a line is neither lost nor stored twice, whenever this
//! process dies. A file is the one that the position speaks of if the bytes just before the offset are those
//! that were read there; where nothing was read yet, if device and inode are the same.
//!
//! If the file at the path is another one (renamed and created, copied and truncated, replaced), its
//! predecessor is looked for under the names that rotation gives it, and read to its end first. That end is
//! believed once a newer file holds something, because its writer may hold the old one open until then. Then the
//! next one is read, in the order that the names tell, until the file at the path is reached. What is compressed
//! or gone by then is lost, and counted.

use std::{
    cmp::Reverse,
    fs::{File, Metadata, OpenOptions, read_dir},
    io::{self, BufRead},
    mem::discriminant,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::log::{Entry, Millis, parse};

/// How much is read, and stored, at a time.
const CHUNK: usize = 64 * 1024;

/// A longer line is skipped. fail2ban's own are below 300 bytes, but what it quotes is its attackers' choice.
const LINE_LIMIT: usize = 8 * 1024;

/// How much of a line that is too long is passed over at a time: without storing anything in between, but
/// not for so long that a stop would have to wait.
const PASSED_OVER: u64 = 64 * 1024 * 1024;

/// Rotated logs that are looked at; more of them are nobody's habit.
const SIBLINGS: usize = 1000;

/// What the tools that rotate logs compress them to.
const COMPRESSED: [&[u8]; 5] = [b".gz", b".xz", b".zst", b".bz2", b".Z"];

/// How many bytes before the offset are remembered: a line and a half, whose time differs in every file.
const REMEMBERED: usize = 128;

/// Where reading goes on.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Position {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) offset: u64,
    /// The bytes just before the offset.
    pub(crate) before: Vec<u8>,
    /// The offset is in the middle of a line that is too long.
    pub(crate) in_long_line: bool,
    /// The time of the last line that was read.
    pub(crate) log_time: Option<Millis>,
}

/// What one look at the file found.
#[derive(Default, Debug)]
pub(crate) struct Batch {
    pub(crate) entries: Vec<Entry>,
    /// Where the next look begins.
    pub(crate) position: Position,
    /// How many lines were read, the skipped ones included.
    pub(crate) lines: u64,
    /// How many of them are not fail2ban's, or too long.
    pub(crate) skipped: u64,
    /// How many of those came after the last of `entries`.
    pub(crate) strange: u64,
    /// Files between the one that was read last and this one were gone or compressed.
    pub(crate) gap: bool,
    /// There is more to read at once.
    pub(crate) more: bool,
}

/// Reads what was appended to `path` since `from`, at most 64 KiB of it; where it was rotated meanwhile, first
/// what is left of the file before. A last line without its line feed stays for the next time.
///
/// # Errors
/// The file is missing, may not be read, or is not a regular file.
pub(crate) fn read(path: &Path, from: &Position) -> io::Result<Batch> {
    let log = Log::open(path, OFlags::empty())?;
    if from.continues_in(&log)? {
        return Batch::read(&log, from.clone().within(&log));
    }
    if *from == Position::default() {
        return Batch::read(&log, from.clone().within(&log));
    }
    let rotated = Rotated::beside(path);
    let Some((before, age)) = rotated.predecessor(from) else {
        let later = rotated.later(from);
        let log = later.as_ref().unwrap_or(&log);
        let batch = Batch::read(log, from.start_of(log))?;
        return Ok(Batch { gap: true, more: batch.more || later.is_some(), ..batch });
    };
    let mut rest = Batch::read(&before, from.clone().within(&before))?;
    let (next, gap) = age.map(|age| rotated.after(&age)).unwrap_or_default();
    if next.is_none() && log.metadata.len() == 0 {
        return Ok(rest);
    }
    if rest.position.offset == from.offset {
        // What is left is the half of a line whose writer has gone.
        let half_line = u64::from(before.metadata.len() > from.offset && !from.in_long_line);
        (rest.lines, rest.skipped) = (half_line, half_line);
        rest.gap = gap;
        rest.position = from.start_of(next.as_ref().unwrap_or(&log));
    }
    rest.more = true;
    Ok(rest)
}

/// Whether `path` can be read, without reading it.
pub(crate) fn readable(path: &Path) -> io::Result<()> {
    Log::open(path, OFlags::empty()).map(drop)
}

/// A log that is open, or one that it was before.
struct Log {
    file: File,
    metadata: Metadata,
}

impl Log {
    fn open(path: &Path, flags: OFlags) -> io::Result<Self> {
        // Opening a named pipe would wait for its writer.
        let flags = (flags | OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { file, metadata })
    }

    fn is(&self, position: &Position) -> bool {
        (self.metadata.dev(), self.metadata.ino()) == (position.device, position.inode)
    }
}

/// What rotation made of a log, the oldest first.
struct Rotated(Vec<Sibling>);

struct Sibling {
    path: PathBuf,
    /// `None` if the name does not tell it.
    age: Option<Age>,
    is_compressed: bool,
}

/// How a name tells an age: `fail2ban.log.2` is older than `fail2ban.log.1`, `fail2ban.log-20261119` older than
/// `fail2ban.log-20261120`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    Number(Reverse<u64>),
    Date(Vec<u8>),
}

impl Age {
    /// Reads what follows the log's own name.
    fn told_by(rest: &[u8]) -> Option<Self> {
        match rest.split_first()? {
            (b'.', digits) => {
                std::str::from_utf8(digits).ok()?.parse().ok().map(|age| Self::Number(Reverse(age)))
            }
            (b'-', date) => date.first()?.is_ascii_digit().then(|| Self::Date(date.to_owned())),
            _ => None,
        }
    }
}

impl Rotated {
    fn beside(path: &Path) -> Self {
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().as_bytes();
        // Whatever cannot be listed is not found, and told as lost.
        let entries = read_dir(directory).into_iter().flatten().flatten();
        let mut siblings: Vec<_> =
            entries.filter_map(|entry| Sibling::of(name, entry.path())).take(SIBLINGS).collect();
        // A file lies beside its compressed form until that is whole.
        siblings.sort_by(|one, other| {
            (&one.age, one.is_compressed, &one.path).cmp(&(&other.age, other.is_compressed, &other.path))
        });
        siblings.dedup_by(|next, kept| next.age.is_some() && next.age == kept.age);
        Self(siblings)
    }

    /// The file that `from` speaks of.
    fn predecessor(&self, from: &Position) -> Option<(Log, Option<Age>)> {
        self.0
            .iter()
            .filter_map(|sibling| Some((sibling.open()?, sibling.age.clone())))
            .filter(|(log, _)| from.continues_in(log).unwrap_or(false))
            .max_by_key(|(log, _)| (log.is(from), log.metadata.mtime(), log.metadata.mtime_nsec()))
    }

    /// The file that came after the one of that age, if it is not the log itself; and whether others between them
    /// cannot be read.
    fn after(&self, age: &Age) -> (Option<Log>, bool) {
        let is_later = |other: &Age| other > age && discriminant(other) == discriminant(age);
        let mut lost = false;
        for sibling in self.0.iter().filter(|sibling| sibling.age.as_ref().is_some_and(is_later)) {
            match sibling.open() {
                Some(log) => return (Some(log), lost),
                None => lost = true,
            }
        }
        (None, lost)
    }

    /// The oldest file that begins after that which was read last, where nothing else tells what came after it.
    fn later(&self, from: &Position) -> Option<Log> {
        let read_to = from.log_time?;
        let mut aged = self.0.iter().filter(|sibling| sibling.age.is_some()).filter_map(Sibling::open);
        aged.find(|log| {
            let begin = Batch::read(log, Position::default());
            begin.is_ok_and(|begin| begin.entries.first().is_some_and(|entry| entry.at > read_to))
        })
    }
}

impl Sibling {
    fn of(name: &[u8], path: PathBuf) -> Option<Self> {
        let rest = path.file_name()?.as_bytes().strip_prefix(name)?;
        if !rest.starts_with(b".") && !rest.starts_with(b"-") {
            return None;
        }
        let plain = COMPRESSED.iter().find_map(|suffix| rest.strip_suffix(*suffix));
        let (age, is_compressed) = (Age::told_by(plain.unwrap_or(rest)), plain.is_some());
        Some(Self { path, age, is_compressed })
    }

    fn open(&self) -> Option<Log> {
        if self.is_compressed {
            return None;
        }
        Log::open(&self.path, OFlags::NOFOLLOW).ok()
    }
}

fn read_chunk(file: &File, offset: u64) -> io::Result<Vec<u8>> {
    let mut chunk = vec![0; CHUNK];
    let mut filled = 0;
    while let Some(free) = chunk.get_mut(filled..).filter(|free| !free.is_empty()) {
        let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match file.read_at(free, at) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    chunk.truncate(filled);
    Ok(chunk)
}

impl Position {
    /// Whether `log` is the file that this position speaks of, or a copy of it.
    fn continues_in(&self, log: &Log) -> io::Result<bool> {
        if self.offset == 0 {
            return Ok(log.is(self));
        }
        let mut before = vec![0; self.before.len()];
        let begin = self.offset.saturating_sub(u64::try_from(before.len()).unwrap_or(u64::MAX));
        match log.file.read_exact_at(&mut before, begin) {
            Ok(()) => Ok(before == self.before),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn within(self, log: &Log) -> Self {
        Self { device: log.metadata.dev(), inode: log.metadata.ino(), ..self }
    }

    /// The begin of another file, which comes after this one.
    fn start_of(&self, log: &Log) -> Self {
        Self { log_time: self.log_time, ..Self::default() }.within(log)
    }

    fn advance(&mut self, consumed: &[u8]) {
        self.offset += u64::try_from(consumed.len()).unwrap_or(0);
        self.before
            .extend_from_slice(consumed.get(consumed.len().saturating_sub(REMEMBERED)..).unwrap_or(consumed));
        self.before.drain(..self.before.len().saturating_sub(REMEMBERED));
    }
}

impl Batch {
    fn read(log: &Log, mut position: Position) -> io::Result<Self> {
        let begin = position.offset;
        loop {
            let chunk = read_chunk(&log.file, position.offset)?;
            let mut batch = Self { more: chunk.len() == CHUNK, ..Self::default() };
            let consumed = batch.take_lines(&chunk, &mut position.in_long_line);
            position.advance(chunk.get(..consumed).unwrap_or(&chunk));
            // There is nothing to store of the middle of a long line, however long.
            let only_middle = position.in_long_line && batch.lines == 0 && batch.more;
            if !only_middle || position.offset - begin >= PASSED_OVER {
                position.log_time = batch.entries.last().map(|entry| entry.at).or(position.log_time);
                batch.position = position;
                return Ok(batch);
            }
        }
    }

    /// Reads the whole lines of `chunk` and says how many bytes that were.
    fn take_lines(&mut self, chunk: &[u8], in_long_line: &mut bool) -> usize {
        let mut rest = chunk;
        loop {
            let mut after = rest;
            // Reading from memory does not fail; it finds line feeds many bytes at a time.
            let length = after.skip_until(b'\n').unwrap_or(0);
            let Some(piece) = rest.get(..length).filter(|piece| !piece.is_empty()) else { break };
            let line = piece.strip_suffix(b"\n");
            if line.is_none() && !*in_long_line && piece.len() <= LINE_LIMIT {
                break;
            }
            rest = after;
            let continues = std::mem::replace(in_long_line, line.is_none());
            if !continues {
                self.take_line(line.unwrap_or(piece));
            }
        }
        chunk.len() - rest.len()
    }

    fn take_line(&mut self, line: &[u8]) {
        self.lines += 1;
        match Some(line).filter(|line| line.len() <= LINE_LIMIT).and_then(parse) {
            Some(entry) => {
                self.entries.push(entry);
                self.strange = 0;
            }
            None => {
                self.skipped += 1;
                self.strange += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
