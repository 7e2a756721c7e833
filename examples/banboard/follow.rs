//! Follows a log file that others append to, rotate and truncate, across our own restarts.
//!
//! Nothing is kept open and nothing is remembered but a [`Position`], which is stored in the same
//! transaction as what was read before it. So a line is neither lost nor stored twice, whenever this
//! process dies. Whether the file still is the one that the position speaks of is asked each time: it is
//! if device and inode are the same and the bytes just before the offset are those that were read there.
//! Otherwise (renamed, replaced, truncated, or truncated and grown again) reading begins at its start.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use crate::log::{Entry, parse};

/// How much is read, and stored, at a time.
const CHUNK: usize = 64 * 1024;

/// A longer line is skipped. fail2ban's own are below 300 bytes, but what it quotes is its attackers' choice.
const LINE_LIMIT: usize = 8 * 1024;

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
    /// There is more to read at once.
    pub(crate) more: bool,
}

/// Reads what was appended to `path` since `from`, at most 64 KiB of it. A last line without its line feed
/// stays for the next time.
///
/// # Errors
/// The file is missing, may not be read, or is not a regular file.
pub(crate) fn read(path: &Path, from: &Position) -> io::Result<Batch> {
    let (file, metadata) = open(path)?;
    let mut position = resume(&file, &metadata, from)?;
    let chunk = read_chunk(&file, position.offset)?;
    let mut batch = Batch { more: chunk.len() == CHUNK, ..Batch::default() };
    let consumed = batch.take_lines(&chunk, &mut position.in_long_line);
    position.advance(chunk.get(..consumed).unwrap_or(&chunk));
    batch.position = position;
    Ok(batch)
}

fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // Opening a named pipe would wait for its writer.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok((file, metadata))
}

fn resume(file: &File, metadata: &Metadata, from: &Position) -> io::Result<Position> {
    let beginning = Position { device: metadata.dev(), inode: metadata.ino(), ..Position::default() };
    let same_file = (from.device, from.inode) == (beginning.device, beginning.inode);
    if !same_file || metadata.len() < from.offset {
        return Ok(beginning);
    }
    let mut before = vec![0; from.before.len()];
    let begin = from.offset.saturating_sub(u64::try_from(before.len()).unwrap_or(u64::MAX));
    match file.read_exact_at(&mut before, begin) {
        Ok(()) if before == from.before => Ok(from.clone()),
        Ok(()) => Ok(beginning),
        // Truncated since its length was asked for.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(beginning),
        Err(error) => Err(error),
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
    fn advance(&mut self, consumed: &[u8]) {
        self.offset += u64::try_from(consumed.len()).unwrap_or(0);
        self.before
            .extend_from_slice(consumed.get(consumed.len().saturating_sub(REMEMBERED)..).unwrap_or(consumed));
        self.before.drain(..self.before.len().saturating_sub(REMEMBERED));
    }
}

impl Batch {
    /// Reads the whole lines of `chunk` and says how many bytes that were.
    fn take_lines(&mut self, chunk: &[u8], in_long_line: &mut bool) -> usize {
        let mut consumed = 0;
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            let line = piece.strip_suffix(b"\n");
            if line.is_none() && !*in_long_line && piece.len() <= LINE_LIMIT {
                break;
            }
            consumed += piece.len();
            let continues = std::mem::replace(in_long_line, line.is_none());
            if !continues {
                self.take_line(line.unwrap_or(piece));
            }
        }
        consumed
    }

    fn take_line(&mut self, line: &[u8]) {
        self.lines += 1;
        match Some(line).filter(|line| line.len() <= LINE_LIMIT).and_then(parse) {
            Some(entry) => self.entries.push(entry),
            None => self.skipped += 1,
        }
    }
}

#[cfg(test)]
mod tests;
