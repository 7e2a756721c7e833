//! What a lock file holds: its identity, and who has the lock, for people.
//!
//! Line 1 is written once in the life of the file and carries the random `lock_uuid`, by which a lease
//! row can say which lock file it belongs to. Line 2 describes the holder and is cleared when the lock
//! is given back. Because line 1 is never written again, no crash can tear it. Nothing is decided by
//! line 2: a process that was killed leaves it behind, and anybody who can write the file can forge it.

use std::{fs::File, io, os::unix::fs::FileExt};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::InstanceId;

/// How much of a lock file is read: ten times what a holder writes.
const READ_MAX: usize = 4096;

/// The longest text of a holder that is written or shown.
const TEXT_MAX: usize = 64;

/// How every lock file begins, whatever the version behind it.
const MAGIC: &[u8] = b"{\"schema\":\"solostart-lock/";

#[derive(Deserialize)]
struct Header<'a> {
    lock_uuid: &'a str,
}

/// The holder of a lock, as it describes itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Holder {
    pub(super) instance: String,
    pub(super) service: String,
    pub(super) version: String,
    pub(super) host: String,
    /// For people alone: in a container it is 1, and in another one, too.
    pub(super) pid: u32,
    pub(super) boot_id: String,
    pub(super) started_at: jiff::Timestamp,
}

/// What was found in a lock file.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// Nothing: the file is new, or the machine lost power before its first line was stored.
    Blank,
    /// A lock file. The identity is missing where the first line is damaged, and the holder where nobody
    /// is described, or not in full yet.
    Lock { lock_uuid: Option<Uuid>, holder: Option<Holder> },
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
            started_at: crate::clock::wall_clock(),
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
    Ok(parse(&bytes))
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
    let holder = lines.next().and_then(Holder::parse);
    let lock_uuid = header.and_then(|header| Uuid::parse_str(header.lock_uuid).ok());
    Content::Lock { lock_uuid, holder }
}

/// The first line of a lock file, with its line feed. It has the same length for every `lock_uuid`.
fn header(lock_uuid: Uuid) -> String {
    format!("{{\"schema\":\"solostart-lock/1\",\"lock_uuid\":\"{lock_uuid}\"}}\n")
}

/// Gives a lock file its identity and stores it. The caller has the lock, and stores the directory.
pub(super) fn mint(file: &File) -> io::Result<Uuid> {
    let lock_uuid = Uuid::new_v4();
    let line = header(lock_uuid);
    file.write_all_at(line.as_bytes(), 0)?;
    file.set_len(line.len() as u64)?;
    file.sync_all()?;
    Ok(lock_uuid)
}

/// Describes the holder, in place. A reader that comes in between sees a line that it cannot parse, and
/// then does not know the holder.
pub(super) fn describe(file: &File, holder: &Holder) -> io::Result<()> {
    let mut line = serde_json::to_vec(holder)?;
    line.push(b'\n');
    let start = header(Uuid::nil()).len() as u64;
    file.write_all_at(&line, start)?;
    // What is left of a longer description goes last, so that the file is never without one.
    file.set_len(start + line.len() as u64)
}

/// Removes the holder's description and keeps the identity.
pub(super) fn clear(file: &File) -> io::Result<()> {
    file.set_len(header(Uuid::nil()).len() as u64)
}

/// The machine's name, which in a container is the beginning of the container's identity.
pub(super) fn host_name() -> String {
    plain(&rustix::system::uname().nodename().to_string_lossy())
}

/// Which start of which machine this is; the same in all its containers.
pub(super) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| plain(id.trim())).unwrap_or_default()
}

/// At most [`TEXT_MAX`] printable ASCII characters.
fn plain(text: &str) -> String {
    let printable = |each: char| if each == ' ' || each.is_ascii_graphic() { each } else { '?' };
    text.chars().take(TEXT_MAX).map(printable).collect()
}

#[cfg(test)]
mod tests;
