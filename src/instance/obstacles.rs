//! Everything in the service's directory that this process may not use, in one report: files that were left by
//! another user come together, and are given back together.

use std::{
    ffi::OsStr,
    fs::{self, Metadata},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::Access,
    io::Errno,
    process::{getegid, geteuid},
};

use super::{
    evidence::{around, chattr, denied, mount_at, owner_and_mode, path_facts, quoted, sudo, type_name},
    id_map::IdMap,
    sharing::Surroundings,
};
use crate::{codes, error::StageError};

/// The files of a service that are written in place, by how their names end. All others are replaced whole, for which
/// the directory is enough.
const WRITTEN: [&str; 6] = [".lock", ".db", ".db-wal", ".db-shm", ".db-journal", "-journal"];

/// Something that cannot be used, although it is there.
struct Obstacle {
    path: PathBuf,
    found: Metadata,
    /// What chattr(1) would take from it.
    attribute: Option<&'static str>,
}

/// The refusal for `path`, which this process may not use: `error` is what the operating system said.
pub(super) fn refusal(path: &Path, error: &io::Error) -> StageError {
    if let Some((blocked, found)) = blocked_on_the_way(path) {
        return not_to_be_entered(path, error, blocked, &found);
    }
    let dir = if fs::metadata(path).is_ok_and(|found| found.is_dir()) { path } else { around(path) };
    let all = obstacles(dir, path);
    let Some(first) = all.iter().find(|each| each.path == path).or(all.first()) else {
        return refused(path, path, error)
            .fact("modes", "allow it; a security module may forbid it (SELinux, AppArmor)")
            .hint("See what forbade it: dmesg | tail")
            .hint(format!(
                "SELinux? See the labels: ls -dZ {0}; for a volume of a container add `:Z`",
                quoted(path)
            ));
    };
    let mut refused = refused(path, &first.path, error);
    let others: Vec<_> = all.iter().filter(|each| each.path != first.path).collect();
    if !others.is_empty() {
        refused = refused.fact("as well", named(&others));
    }
    if all.iter().any(|each| each.attribute.is_some()) {
        return unlock(refused, dir, &all);
    }
    let whole = dir_is_ours(dir) || all.iter().any(|each| each.path == dir);
    let targets: Vec<&Path> =
        if whole { vec![dir] } else { all.iter().map(|each| each.path.as_path()).collect() };
    give(refused, &targets, &all)
}

/// The first thing that keeps the database at `path` from being used, and how the kernel refuses it.
pub(super) fn first(path: &Path) -> Option<(PathBuf, Errno)> {
    let all = obstacles(around(path), path);
    let refused =
        |each: &Obstacle| denied(&each.path, wanted(&each.found)).map(|error| (each.path.clone(), error));
    // What can only be appended to is refused when it is opened.
    let append_only = |each: &&Obstacle| each.attribute.is_some() && !each.found.is_dir();
    all.iter()
        .find_map(refused)
        .or_else(|| all.iter().find(append_only).map(|each| (each.path.clone(), Errno::PERM)))
}

fn refused(path: &Path, at_fault: &Path, error: &io::Error) -> StageError {
    let cause = format!("{} cannot be written by this process: {error}", path.display());
    let refused = StageError::new(codes::DB_NOT_WRITABLE, cause);
    path_facts(at_fault).into_iter().fold(refused, |refused, fact| refused.fact(fact.name, fact.value))
}

/// The names of the others, as many as a report has room for.
fn named(others: &[&Obstacle]) -> String {
    const SHOWN: usize = 4;
    let name =
        |each: &&Obstacle| each.path.file_name().unwrap_or(each.path.as_os_str()).display().to_string();
    let names: Vec<String> = others.iter().take(SHOWN).map(name).collect();
    match others.len().saturating_sub(SHOWN) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// The directory, what is at `path`, and every file beside it that the same service writes.
fn obstacles(dir: &Path, path: &Path) -> Vec<Obstacle> {
    let mut paths = vec![dir.to_owned()];
    paths.extend((path != dir).then(|| path.to_owned()));
    let stem = (path != dir).then(|| stem(path)).flatten();
    let mut beside: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|each| each != path && is_written(each, stem))
        .collect();
    beside.sort();
    paths.extend(beside);
    paths.into_iter().filter_map(obstacle).collect()
}

/// What the names of a service's files begin with.
fn stem(path: &Path) -> Option<&str> {
    path.file_name().and_then(OsStr::to_str)?.split('.').next().filter(|stem| !stem.is_empty())
}

fn is_written(path: &Path, stem: Option<&str>) -> bool {
    let Some(name) = path.file_name().and_then(OsStr::to_str) else { return false };
    let ours = stem.is_none_or(|stem| name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('.')));
    ours && WRITTEN.iter().any(|ending| name.ends_with(ending))
}

fn obstacle(path: PathBuf) -> Option<Obstacle> {
    let found = fs::metadata(&path).ok()?;
    let attribute = chattr(&path);
    (attribute.is_some() || denied(&path, wanted(&found)).is_some()).then_some(Obstacle {
        path,
        found,
        attribute,
    })
}

fn wanted(found: &Metadata) -> Access {
    let both = Access::READ_OK | Access::WRITE_OK;
    if found.is_dir() { both | Access::EXEC_OK } else { both }
}

/// Whether the directory is this process's own, so that all in it may be.
fn dir_is_ours(dir: &Path) -> bool {
    fs::metadata(dir).is_ok_and(|found| found.uid() == geteuid().as_raw())
}

fn give(refused: StageError, targets: &[&Path], all: &[Obstacle]) -> StageError {
    let ours = geteuid().as_raw();
    let (surroundings, ids) = (Surroundings::default(), IdMap::of_this_process());
    let platform = surroundings.platform();
    let foreign = all.iter().find(|each| each.found.uid() != ours);
    let mut refused = refused;
    if let Some(foreign) = foreign {
        let owned = (foreign.found.uid(), foreign.found.gid());
        for target in targets {
            refused = refused.hint(platform.give(target, &mount_at(target), owned, &ids));
        }
        if let Some(written) = platform.run_as(owned, &ids) {
            refused = refused.hint(format!("Or run as its owner: {written}"));
        }
    }
    // Of those whose owner may not use them either; for the others the owner is enough.
    if all.iter().any(|each| !owner_may(&each.found)) {
        let why = if foreign.is_some() {
            "Then let its owner use it"
        } else {
            "It is ours, but its mode forbids it"
        };
        let root = if foreign.is_some() { sudo() } else { "" };
        for target in targets {
            let change = format!("chmod -R u+rwX {}", quoted(target));
            let helper = || platform.in_helper(&mount_at(target), &change);
            let command =
                foreign.as_ref().and_then(|_| helper()).unwrap_or_else(|| format!("{root}{change}"));
            refused = refused.hint(format!("{why}: {command}"));
        }
    }
    refused
}

fn owner_may(found: &Metadata) -> bool {
    let wanted = if found.is_dir() { 0o700 } else { 0o600 };
    found.permissions().mode() & wanted == wanted
}

/// Attributes that chattr(1) has set, and that no owner or mode overrides.
fn unlock(refused: StageError, dir: &Path, all: &[Obstacle]) -> StageError {
    let marked: Vec<&Obstacle> = all.iter().filter(|each| each.attribute.is_some()).collect();
    let mount = mount_at(dir);
    let outside = Surroundings::default().platform().is_container();
    let place = |path: &Path| mount.source_of(path).filter(|_| outside).unwrap_or_else(|| path.to_owned());
    let command = match marked.as_slice() {
        [one] => format!("chattr {} {}", one.attribute.unwrap_or("-i"), quoted(&place(&one.path))),
        _ => format!("chattr -R -ia {}", quoted(&place(dir))),
    };
    let whose = if outside { ", on the machine" } else { "" };
    refused
        .fact("attributes", "immutable or append-only: whatever the owner and mode say (chattr(1))")
        .hint(format!("Take the attribute away{whose}: {}{command}", sudo()))
        .hint(format!("See which have one: lsattr -a {}", quoted(&place(dir))))
}

/// The first directory on the way to `path` through which this process may not go.
fn blocked_on_the_way(path: &Path) -> Option<(PathBuf, Metadata)> {
    let above: Vec<&Path> = path.ancestors().skip(1).filter(|each| !each.as_os_str().is_empty()).collect();
    let blocked =
        above.into_iter().rev().find(|each| denied(each, Access::EXEC_OK) == Some(Errno::ACCESS))?;
    // The directory of the file itself is looked at with what is in it.
    let found = fs::metadata(blocked).ok()?;
    (fs::metadata(path).is_err() && found.is_dir()).then(|| (blocked.to_owned(), found))
}

fn not_to_be_entered(path: &Path, error: &io::Error, blocked: PathBuf, found: &Metadata) -> StageError {
    let cause = format!("{} cannot be reached by this process: {error}", path.display());
    let (user, group) = (geteuid(), getegid());
    let change = if found.uid() == user.as_raw() { "u+rwx" } else { "o+x" };
    let root = if found.uid() == user.as_raw() { "" } else { sudo() };
    StageError::new(codes::DB_NOT_WRITABLE, cause)
        .fact("process", format!("uid {user}, gid {group}"))
        .fact(type_name(found), owner_and_mode(&blocked, found))
        .hint(format!("Let this user pass through it: {root}chmod {change} {}", quoted(&blocked)))
        .hint("Or keep the data where this user may go, such as a volume of its own")
}

#[cfg(test)]
mod tests;
