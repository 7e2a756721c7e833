//! Saving a cache when its stage stops, and loading it when the next process starts.

use std::{
    fmt,
    hash::Hash,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::task::spawn_blocking;

use super::{
    file::{self, Draft, Unusable},
    handle::CacheHandle,
    life::{Age, Held},
};
use crate::{clock::wall_clock, contain::contain, contract::guard::WorkerGuard};

/// How often the time is looked at while entries are written.
const BATCH: usize = 256;

type Write<K, V> = fn(Age, &K, &V) -> Option<Vec<u8>>;
type Read<K, V> = fn(&[u8]) -> Option<(Age, K, V)>;

/// What a stop saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Saved {
    pub(super) entries: u64,
    /// How many cannot be put into words, or not be read again.
    pub(super) left_out: u64,
    /// Whether the file was full before all the others were in it.
    pub(super) is_full: bool,
}

/// Where a cache is saved, and how its entries are put into words.
///
/// The functions keep the bounds on keys and values here, so that a cache that is not saved has none.
pub(super) struct Store<K, V> {
    path: Arc<Path>,
    write: Write<K, V>,
    read: Read<K, V>,
}

/// The parser's own message can hold what it has read, so nothing but whether it can be read is told.
fn read<K: DeserializeOwned, V: DeserializeOwned>(line: &[u8]) -> Option<(Age, K, V)> {
    let (left, idle, key, value) = serde_json::from_slice(line).ok()?;
    Some((Age { left, idle }, key, value))
}

impl<K, V> Store<K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    pub(super) fn at(path: PathBuf) -> Self {
        Self {
            path: path.into(),
            // What can be written cannot always be read: JSON has no number for NaN, and no depth above 128. One
            // such line would cost the next start the whole file.
            write: |age, key, value| {
                let line = file::line(&(age.left, age.idle, key, value)).ok()?;
                read::<K, V>(&line).map(|_| line)
            },
            read,
        }
    }
}

impl<K, V> Store<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fills `cache` with what was saved; returns how many entries that was.
    pub(super) async fn load(&self, cache: &CacheHandle<K, V>, name: &'static str) -> Result<u64, Unusable> {
        let (path, read, life) = (self.path.clone(), self.read, *cache.life());
        let entries = spawn_blocking(move || {
            let Some(saved) = file::take(&path, name)? else { return Ok(Vec::new()) };
            let age = now_ms().saturating_sub(saved.saved_at);
            // Where entries have an end, it has to be known how old they are.
            let away = match u64::try_from(age) {
                Ok(age) => Duration::from_millis(age),
                Err(_) if life.is_limited() => return Err(Unusable::Future),
                Err(_) => Duration::ZERO,
            };
            let mut entries: Vec<(K, Held<V>)> = Vec::new();
            for (at, line) in saved.entries.split_inclusive(|byte| *byte == b'\n').enumerate() {
                let entry = contain(|| read(line)).ok().flatten();
                let (age, key, value) = entry.ok_or(Unusable::Entry(at as u64 + 2))?;
                entries.extend(life.resume(value, age, away).map(|held| (key, held)));
            }
            Ok(entries)
        });
        let entries = entries.await.map_err(io::Error::other)??;
        let count = entries.len() as u64;
        for (key, held) in entries {
            cache.restore(key, held).await;
        }
        Ok(count)
    }

    /// Saves what `cache` holds, if that is done by `until`, nothing was changed in between, and `worker` still has
    /// its right then.
    pub(super) async fn save(
        &self,
        cache: &CacheHandle<K, V>,
        name: &'static str,
        worker: WorkerGuard,
        until: Instant,
    ) -> io::Result<Saved> {
        let (path, write, cache) = (self.path.clone(), self.write, cache.clone());
        let in_time = move || match Instant::now() {
            now if now < until => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::TimedOut, "the time to stop was over")),
        };
        let saving = spawn_blocking(move || {
            in_time()?;
            let (changes, now) = (cache.changes(), cache.life().now());
            let mut draft = Draft::begin(&path, name, now_ms())?;
            let mut saved = Saved { entries: 0, left_out: 0, is_full: false };
            for (at, (key, held)) in cache.living().enumerate() {
                if at % BATCH == 0 {
                    in_time()?;
                }
                let age = cache.life().age(&held, now);
                let Some(line) = contain(|| write(age, &key, held.value()?)).ok().flatten() else {
                    saved.left_out += 1;
                    continue;
                };
                saved.is_full = !draft.add(&line)?;
                if saved.is_full {
                    break;
                }
            }
            saved.entries = draft.finish(|| {
                in_time()?;
                // What was forgotten meanwhile is in the file, and would be back after the next start.
                if cache.changes() != changes {
                    return Err(io::Error::other("it was changed while it was saved"));
                }
                // Another process may have the file already, and must not find ours in its place.
                worker.check().map_err(io::Error::other)
            })?;
            Ok(saved)
        });
        saving.await.map_err(io::Error::other)?
    }
}

/// Milliseconds since 1970, by the wall clock: between two starts nothing else tells how long a file lay there.
pub(super) fn now_ms() -> i64 {
    let since = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl<K, V> fmt::Debug for Store<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}
