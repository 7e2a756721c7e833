//! Where an application's files are. The lock layers and the stages read the same variables, so that the lock
//! lies beside the database that it protects.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::process::geteuid;

use super::Env;

/// Where the application's data is.
pub(crate) fn data_dir(env: &Env) -> PathBuf {
    env.var("DATA_DIR")
        .describe("The directory of the service's data. It is created.")
        .example("/data")
        .path()
        .default(PathBuf::from(format!("{}-data", env.application())))
}

/// Where the application's database is.
pub(crate) fn database_path(env: &Env) -> PathBuf {
    let default = data_dir(env).join(format!("{}.db", env.application()));
    env.var("DATABASE_PATH")
        .describe("The file of the embedded database.")
        .example("/data/app.db")
        .path()
        .default(default)
}

/// The path that a file has, or would have, with all links followed: the lock lies beside the database itself, not beside
/// one of the links to it. A path without links stays as it is.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    let Ok(absolute) = std::path::absolute(path) else { return path.to_owned() };
    follow(&absolute, LINKS_MOST).filter(|found| *found != absolute).unwrap_or_else(|| path.to_owned())
}

/// As many links as the kernel follows (path_resolution(7)).
const LINKS_MOST: u32 = 40;

fn follow(path: &Path, links: u32) -> Option<PathBuf> {
    if let Ok(found) = fs::canonicalize(path) {
        return Some(found);
    }
    let (parent, name) = (follow(path.parent()?, links)?, path.file_name()?);
    match fs::read_link(path) {
        // A link whose target is yet to be made.
        Ok(target) => follow(&parent.join(target), links.checked_sub(1)?),
        Err(_) => Some(parent.join(name)),
    }
}

/// Where a process may leave what concerns this machine, or this container, until it ends; the best first.
/// `/dev/shm` is there and writable in every container, even where its root file system is read-only.
///
/// `XDG_RUNTIME_DIR` must belong to the user (XDG Base Directory Specification). After `su` it is often that of the user
/// before, and is taken away when that one logs out.
pub(crate) fn run_dirs(env: &Env) -> Vec<PathBuf> {
    let user = env.raw("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
    let ours = user.filter(|dir| dir.metadata().is_ok_and(|found| found.uid() == geteuid().as_raw()));
    ours.into_iter().chain(["/run", "/dev/shm", "/tmp"].map(PathBuf::from)).collect()
}

/// Whether the environment names the API server of a Kubernetes cluster: the kubelet sets this variable in every
/// container, `enableServiceLinks: false` or not.
#[cfg(feature = "single-worker")]
pub(crate) fn names_a_cluster() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some_and(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_is_followed_to_where_its_file_is_or_would_be() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let real = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir(at("store")).unwrap();
        symlink(at("store"), at("by link")).unwrap();
        symlink("store/shop.db", at("shop.db")).unwrap();
        symlink("shop.db", at("twice.db")).unwrap();
        let expected = real.join("store/shop.db");
        for made in [false, true] {
            for name in ["store/shop.db", "by link/shop.db", "shop.db", "twice.db", "store/../shop.db"] {
                assert_eq!(resolved(&at(name)), expected, "{name}, made: {made}");
            }
            fs::write(at("store/shop.db"), "").unwrap();
        }
        assert_eq!(resolved(&at("by link/none/shop.db")), real.join("store/none/shop.db"));
        symlink("circle", at("circle")).unwrap();
        assert_eq!(
            resolved(&at("circle")),
            at("circle"),
            "a circle leads nowhere, which opening it will say"
        );
        assert_eq!(resolved(Path::new("shop-data/shop.db")), Path::new("shop-data/shop.db"));
    }
}
