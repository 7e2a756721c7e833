//! What a lock file holds: its identity, and who has the lock, for people.
//!
//! Line 1 is written once in the life of the file and carries the random `lock_uuid`, by which a lease
//! row can say which lock file it belongs to. Because it is never written again, no crash can tear it.
//! Line 2 remembers the highest token of a lease, in case the lease is lost; it always has the same length
//! and is written in place. Line 3 describes the holder and is cleared when the lock is given back.
//! Nothing is decided by line 3: a process that was killed leaves it behind, and anybody who can write the
//! file can forge it. Line 4 is there only while it is being found out whether the holder of a lease lives: it
//! says since when that lease has not changed, for the next start to go on with.

use std::{fs::File, io, os::unix::fs::FileExt};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{clock, ids::InstanceId};

/// How much of a lock file is read: ten times what a holder writes.
const READ_MAX: usize = 4096;

/// What stands for a memory that cannot be read: a number that is no token (`Protocol::credible`).
const UNREADABLE: u64 = u64::MAX;

/// The longest text of a holder that is written or shown.
const TEXT_MAX: usize = 64;

/// How every lock file begins, whatever the version behind it.
const MAGIC: &[u8] = b"{\"schema\":\"solostart-lock/";

#[derive(Deserialize)]
struct Header<'a> {
    lock_uuid: &'a str,
}

#[derive(Deserialize)]
struct Memory<'a> {
    highest_token: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Observation<T> {
    observed: T,
}

/// A row of a lease that does not change, and since when.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Observed {
    /// Who observes: the lock, of which a copy has another name, and the clock that `since_ns` is of. See
    /// `lease::record`.
    pub(crate) lock: String,
    pub(crate) clock: String,
    /// What is observed: the row, in this state.
    pub(crate) holder: String,
    pub(crate) token: u64,
    pub(crate) seq: u64,
    /// When the row was first seen so, in nanoseconds since boot.
    pub(crate) since_ns: u64,
}

/// The holder of a lock, as it describes itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) instance: String,
    pub(crate) service: String,
    pub(crate) version: String,
    pub(crate) host: String,
    /// For people alone: in a container it is 1, and in another one, too.
    pub(crate) pid: u32,
    pub(crate) boot_id: String,
    pub(crate) started_at: jiff::Timestamp,
}

/// What was found in a lock file.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// Nothing: the file is new, or the machine lost power before its first line was stored.
    Blank,
    /// A lock file. The identity is missing where the first line is damaged, the token is 0 where none is
    /// remembered and [`UNREADABLE`] where its line is damaged, and the holder is missing where nobody is described, or not in full yet.
    Lock { lock_uuid: Option<Uuid>, highest_token: u64, holder: Option<Holder> },
    /// Something else. The path of the lock is wrong, and this file is not ours to write.
    Foreign,
}

impl Holder {
    /// This process.
    pub(super) fn this_process(instance: InstanceId, service: &str, version: &str) -> Self {
        Self {
            instance: instance.to_string(),
            service: plain(service),
            version: plain(version),
            host: host_name(),
            pid: std::process::id(),
            boot_id: boot_id(),
            started_at: jiff::Timestamp::now(),
        }
    }

    /// The first eight digits of the instance, as in [`InstanceId::short`].
    pub(super) fn short(&self) -> &str {
        self.instance.get(..8).unwrap_or(&self.instance)
    }

    /// A holder's description, which may hold anything.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok().map(Self::cleaned)
    }

    /// The same with nothing in its texts that a terminal could obey.
    fn cleaned(self) -> Self {
        Self {
            instance: plain(&self.instance),
            service: plain(&self.service),
            version: plain(&self.version),
            host: plain(&self.host),
            boot_id: plain(&self.boot_id),
            ..self
        }
    }
}

/// Reads a lock file, which may hold anything.
pub(super) fn read(file: &File) -> io::Result<Content> {
    Ok(parse(&read_bytes(file)?))
}

/// The row that was being observed when the lock was last given back or its holder ended, if any.
pub(super) fn observed(file: &File) -> io::Result<Option<Observed>> {
    let bytes = read_bytes(file)?;
    let line = bytes.split(|&byte| byte == b'\n').nth(3);
    Ok(line.and_then(|line| serde_json::from_slice(line).ok()).map(|Observation { observed }| observed))
}

fn read_bytes(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; READ_MAX];
    let mut length = 0;
    while length < READ_MAX {
        match file.read_at(&mut bytes[length..], length as u64) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Content {
    // A file that got its length but not its bytes before a power cut reads as zeros.
    if bytes.iter().all(|&byte| byte == 0) || MAGIC.starts_with(bytes) {
        return Content::Blank;
    }
    if !bytes.starts_with(MAGIC) {
        return Content::Foreign;
    }
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let header = lines.next().and_then(|line| serde_json::from_slice::<Header<'_>>(line).ok());
    let highest_token = lines.next().filter(|line| !line.is_empty()).map_or(0, token);
    let holder = lines.next().and_then(Holder::parse);
    let lock_uuid = header.and_then(|header| Uuid::parse_str(header.lock_uuid).ok());
    Content::Lock { lock_uuid, highest_token, holder }
}

fn token(line: &[u8]) -> u64 {
    let memory = serde_json::from_slice::<Memory<'_>>(line).ok();
    memory.and_then(|memory| memory.highest_token.parse().ok()).unwrap_or(UNREADABLE)
}

/// The first line of a lock file, with its line feed. It has the same length for every `lock_uuid`.
fn header(lock_uuid: Uuid) -> String {
    format!("{{\"schema\":\"solostart-lock/1\",\"lock_uuid\":\"{lock_uuid}\"}}\n")
}

/// The second line, with its line feed. It has the same length for every token.
fn memory(highest_token: u64) -> String {
    format!("{{\"highest_token\":\"{highest_token:020}\"}}\n")
}

/// Where the holder's description begins.
fn description_start() -> u64 {
    (header(Uuid::nil()).len() + memory(0).len()) as u64
}

/// Gives a lock file its identity and stores it. The caller has the lock, and stores the directory.
pub(super) fn mint(file: &File, highest_token: u64) -> io::Result<Uuid> {
    let lock_uuid = Uuid::new_v4();
    let lines = header(lock_uuid) + &memory(highest_token);
    file.write_all_at(lines.as_bytes(), 0)?;
    file.set_len(lines.len() as u64)?;
    file.sync_all()?;
    Ok(lock_uuid)
}

/// Remembers the highest token, whose lease is observed no more. It is not forced to the disk: it only matters when
/// the lease is lost and the clock was set back, and the application's database remembers the token, too.
pub(super) fn remember(file: &File, highest_token: u64) -> io::Result<()> {
    file.write_all_at(memory(highest_token).as_bytes(), header(Uuid::nil()).len() as u64)?;
    if observed(file)?.is_some() { write_rest(file, described(file)?.as_ref(), None) } else { Ok(()) }
}

/// Describes the holder, in place. A reader that comes in between sees a line that it cannot parse, and
/// then does not know the holder.
pub(super) fn describe(file: &File, holder: &Holder) -> io::Result<()> {
    write_rest(file, Some(holder), observed(file)?.as_ref())
}

/// Stores an observation for the next process that has the lock.
pub(super) fn observe(file: &File, observed: &Observed) -> io::Result<()> {
    write_rest(file, described(file)?.as_ref(), Some(observed))
}

/// Removes the holder's description and keeps the rest.
pub(super) fn clear(file: &File) -> io::Result<()> {
    write_rest(file, None, observed(file)?.as_ref())
}

fn described(file: &File) -> io::Result<Option<Holder>> {
    Ok(match read(file)? {
        Content::Lock { holder, .. } => holder,
        Content::Blank | Content::Foreign => None,
    })
}

/// Writes the lines after the second one.
fn write_rest(file: &File, holder: Option<&Holder>, observed: Option<&Observed>) -> io::Result<()> {
    let mut rest = holder.map(serde_json::to_vec).transpose()?.unwrap_or_default();
    if holder.is_some() || observed.is_some() {
        rest.push(b'\n');
    }
    if let Some(observed) = observed {
        rest.extend(serde_json::to_vec(&Observation { observed })?);
        rest.push(b'\n');
    }
    let start = description_start();
    file.write_all_at(&rest, start)?;
    // What is left of longer lines goes last, so that the file is never without a description.
    file.set_len(start + rest.len() as u64)
}

/// The machine's name, which in a container is the beginning of the container's identity.
pub(super) fn host_name() -> String {
    plain(&rustix::system::uname().nodename().to_string_lossy())
}

/// Which start of which machine this is; the same in all its containers.
pub(super) fn boot_id() -> String {
    plain(&clock::boot_id())
}

/// At most [`TEXT_MAX`] printable ASCII characters.
pub(super) fn plain(text: &str) -> String {
    let printable = |each: char| if each == ' ' || each.is_ascii_graphic() { each } else { '?' };
    text.chars().take(TEXT_MAX).map(printable).collect()
}

#[cfg(test)]
mod tests;
