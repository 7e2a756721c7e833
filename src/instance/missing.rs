//! A directory that is not there, and what leads to it.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    process::{getegid, geteuid},
};

use super::{
    evidence::{existing, quoted, sudo, type_name, with_facts},
    mounts,
};
use crate::{codes, error::StageError};

/// How many links are followed: as many as the kernel does (path_resolution(7)).
const LINKS: usize = 40;

/// The refusal for a directory that cannot be used or created, because something on the way to it is missing or is
/// something else.
pub(super) fn missing(dir: &Path, error: &io::Error) -> StageError {
    let shown = dir.display();
    let cause = format!("The directory {shown} cannot be used or created: {error}");
    let refused = with_facts(StageError::new(codes::DB_DIR_MISSING, cause), existing(dir));
    match Errno::from_io_error(error) {
        Some(Errno::LOOP) => {
            return refused.hint(format!("Links lead in a circle; see which: namei -l {}", quoted(dir)));
        }
        Some(Errno::NOTDIR) => return no_directory(refused, dir),
        _ => {}
    }
    let link = dangling(dir);
    let target = link.as_ref().map_or(dir, |(_, target)| target);
    let refused = match &link {
        Some((link, target)) => {
            refused.fact("link", format!("{} leads to {}", link.display(), target.display()))
        }
        None => refused,
    };
    let refused = match unmounted(target) {
        // A directory in its place would be hidden by the mount, with all that is in it.
        Some(point) => {
            return refused
                .fact("fstab", format!("{} is to be mounted, and is not", point.display()))
                .hint(format!("Mount it: {}mount {}", sudo(), quoted(&point)));
        }
        None if link.is_some() => refused,
        None => refused.hint(format!("In Compose, mount a named volume there: `volumes: [data:{shown}]`")),
    };
    refused.hint(format!("Or create it: {}", install(target)))
}

/// The command that makes a directory for this process's user alone.
pub(super) fn install(dir: &Path) -> String {
    format!("{}install -d -o {} -g {} -m 0700 {}", sudo(), geteuid(), getegid(), quoted(dir))
}

/// Something in the path is a file where a directory must be.
fn no_directory(refused: StageError, dir: &Path) -> StageError {
    let found = dir.ancestors().find_map(|each| fs::metadata(each).ok().map(|found| (each, found)));
    let Some((place, found)) = found.filter(|(_, found)| !found.is_dir()) else {
        return refused.hint(format!("See what is on the way: namei -l {}", quoted(dir)));
    };
    let name = quoted(place);
    refused
        .fact("not a directory", format!("{} is a {}", place.display(), type_name(&found)))
        .hint(format!("See what it is: ls -lid {name}"))
        .hint(format!("Move it away, and make the directory: mv {name} {name}.old && {}", install(dir)))
}

/// A link at `path`, or on the way to it, that leads to nothing: the link, and where the whole path would be.
pub(crate) fn dangling(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut first = None;
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        // From the top: only the first link on the way can be followed as it stands.
        let link = ancestors_from_root(&path)
            .find(|each| fs::symlink_metadata(each).is_ok_and(|found| found.is_symlink()))
            .map(Path::to_owned);
        let Some(link) = link else { break };
        let rest = path.strip_prefix(&link).ok()?.to_owned();
        let target = link.parent()?.join(fs::read_link(&link).ok()?);
        let leads = fs::metadata(&link).is_ok();
        path = if leads { fs::canonicalize(&link).ok()? } else { target };
        if !rest.as_os_str().is_empty() {
            path.push(rest);
        }
        if !leads {
            first.get_or_insert(link);
        }
    }
    Some((first?, path))
}

fn ancestors_from_root(path: &Path) -> impl Iterator<Item = &Path> {
    let all: Vec<&Path> = path.ancestors().filter(|each| !each.as_os_str().is_empty()).collect();
    all.into_iter().rev()
}

/// The place above `path`, or itself, at which `/etc/fstab` wants something mounted that is not.
pub(super) fn unmounted(path: &Path) -> Option<PathBuf> {
    let list = fs::read(FSTAB).ok()?;
    let mounted = mounts::own();
    wanted(&list)
        .into_iter()
        .filter(|point| path.starts_with(point))
        .find(|point| point != Path::new("/") && !mounted.iter().any(|mount| mount.point == *point))
}

const FSTAB: &str = "/etc/fstab";

/// The mount points in a text of the form of fstab(5).
fn wanted(list: &[u8]) -> Vec<PathBuf> {
    let lines = list.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii_start().starts_with(b"#"));
    lines
        .filter_map(|line| line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).nth(1))
        .filter(|point| point.starts_with(b"/"))
        .map(|point| mounts::unescape(point).into())
        .collect()
}

/// Whether a directory is an empty mount point that waits for its mount: what is written there now is hidden as soon
/// as that comes.
pub(super) fn awaits_mount(dir: &Path) -> bool {
    unmounted(dir).is_some_and(|point| point == dir)
        && fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
        // Something else may be mounted there already, which this process's list does not name so.
        && dir.parent().is_none_or(|parent| {
            let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
            device(dir) == device(parent)
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_that_leads_to_nothing_is_found_wherever_it_is_on_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        symlink(base.join("disk/data"), base.join("link")).unwrap();
        symlink("link", base.join("second")).unwrap();
        let at = |name: &str| dangling(&base.join(name));
        assert_eq!(at("link"), Some((base.join("link"), base.join("disk/data"))));
        assert_eq!(at("link/shop"), Some((base.join("link"), base.join("disk/data/shop"))));
        assert_eq!(at("second").map(|(_, target)| target), Some(base.join("disk/data")));
        assert_eq!(at("missing"), None);
        fs::create_dir_all(base.join("disk/data")).unwrap();
        assert_eq!(at("link"), None);
        symlink("circle", base.join("circle")).unwrap();
        assert!(at("circle").is_some(), "it ends");
    }

    #[test]
    fn the_mount_points_of_fstab_are_read_as_the_manual_has_them() {
        let list = b"# /commented /out ext4 defaults 0 0\n\n  UUID=1  /srv/my\\040disk\text4 defaults 0 2\nnone swap swap sw 0 0\n";
        assert_eq!(wanted(list), [PathBuf::from("/srv/my disk")]);
    }
}
