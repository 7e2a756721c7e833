use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    time::Duration,
};

use rustix::fs::{FileType, Mode, mknodat};
use tempfile::TempDir;

use super::*;
use crate::instance::{
    lease::{
        failures::failure,
        sqlite::SqliteStore,
        store::LeaseStore,
        testing::{applicant, at, row, secs, take_now},
    },
    other_process::unprivileged,
};

const PATIENCE: Duration = Duration::from_millis(200);

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.lease.db");
    (dir, path)
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, PATIENCE).unwrap()
}

#[test]
fn the_files_are_private_to_their_owner_and_become_so_where_they_were_not() {
    let (dir, path) = place();
    let mut store = open(&path);
    store.swap(None, &row(7, 3, secs(100))).unwrap();
    let modes = || {
        let entries = fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
        let mut modes: Vec<_> = entries
            .map(|entry| {
                let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
                (entry.file_name().into_string().unwrap(), mode, entry.path())
            })
            .collect();
        modes.sort();
        modes
    };
    let names = ["shop.lease.db", "shop.lease.db-shm", "shop.lease.db-wal"];
    let private = |modes: &[(String, u32, PathBuf)]| {
        assert_eq!(modes.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), names);
        assert!(modes.iter().all(|(_, mode, _)| *mode == 0o600), "{modes:?}");
    };
    private(&modes());
    drop(store);
    for (.., path) in modes() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    drop(open(&path));
    private(&modes());
}

#[test]
fn a_path_that_names_no_regular_file_is_refused_at_once() {
    let (dir, target) = place();
    drop(open(&target));
    let at = |name: &str| dir.path().join(name);
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    fs::create_dir(at("directory")).unwrap();
    symlink(&target, at("link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    fs::copy(&target, at("linked")).unwrap();
    fs::hard_link(at("linked"), at("second")).unwrap();
    for name in ["pipe", "directory", "link", "dangling", "linked"] {
        let opened = SqliteStore::open(&at(name), PATIENCE);
        assert!(matches!(opened, Err(StoreError::Unsupported(_))), "{name}: {opened:?}");
    }
    assert!(!at("nowhere").exists());
}

#[test]
fn a_link_above_the_file_is_the_operators_own() {
    let (dir, _) = place();
    let link = dir.path().join("link");
    fs::create_dir(dir.path().join("data")).unwrap();
    symlink("data", &link).unwrap();
    let mut store = open(&link.join("shop.lease.db"));
    assert_eq!(store.verify(), Ok(()));
    fs::create_dir(dir.path().join("other")).unwrap();
    fs::remove_file(&link).unwrap();
    symlink("other", &link).unwrap();
    assert!(matches!(store.verify(), Err(StoreError::Changed(_))));
}

#[test]
fn a_lease_that_cannot_be_written_is_a_matter_of_permission() {
    let (dir, path) = place();
    drop(take_now(open(&path), &applicant("ours"), at(secs(100))));
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    let refused = || {
        let opened = SqliteStore::open(&path, PATIENCE).map(drop);
        failure(&opened.unwrap_err(), &path).failure_code().name
    };
    assert_eq!(unprivileged(refused), "db.not-writable");
    fs::remove_file(&path).unwrap();
    assert_eq!(unprivileged(refused), "db.not-writable");
}

#[test]
fn whatever_happens_to_the_files_is_noticed() {
    type Change = fn(&Path);
    fn beside(path: &Path, suffix: &str) -> PathBuf {
        path.with_file_name(format!("shop.lease.db{suffix}"))
    }
    let changes: [(&str, Change); 9] = [
        ("shop.lease.db was removed", |path| fs::remove_file(path).unwrap()),
        ("shop.lease.db was removed", |path| fs::rename(path, path.with_extension("old")).unwrap()),
        ("shop.lease.db was replaced by another file", |path| {
            let older = path.with_extension("older");
            fs::copy(path, &older).unwrap();
            fs::rename(older, path).unwrap();
        }),
        ("shop.lease.db was replaced by a directory", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("shop.lease.db was cut short", |path| {
            File::options().write(true).open(path).unwrap().set_len(0).unwrap();
        }),
        ("shop.lease.db has 2 names", |path| fs::hard_link(path, path.with_extension("second")).unwrap()),
        ("shop.lease.db-wal was removed", |path| fs::remove_file(beside(path, "-wal")).unwrap()),
        ("shop.lease.db-wal was cut short", |path| {
            File::options().write(true).open(beside(path, "-wal")).unwrap().set_len(0).unwrap();
        }),
        ("shop.lease.db-shm was removed", |path| fs::remove_file(beside(path, "-shm")).unwrap()),
    ];
    for (expected, change) in changes {
        let (_dir, path) = place();
        let mut store = open(&path);
        store.swap(None, &row(7, 3, secs(100))).unwrap();
        assert_eq!(store.verify(), Ok(()));
        change(&path);
        match store.verify() {
            Err(StoreError::Changed(text)) => assert!(text.contains(expected), "{text} for {expected}"),
            other => panic!("{other:?} for {expected}"),
        }
        // What is left must not be written to from here any more.
        std::mem::forget(store);
    }
}

#[test]
fn a_lease_that_was_made_read_only_is_noticed_by_those_whom_it_binds() {
    let (dir, path) = place();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    unprivileged(|| {
        let mut store = open(&path);
        store.swap(None, &row(7, 3, secs(100))).unwrap();
        assert_eq!(store.verify(), Ok(()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
        let changed = StoreError::Changed("file was made read-only".to_owned());
        assert_eq!(store.verify(), Err(changed));
    });
}
