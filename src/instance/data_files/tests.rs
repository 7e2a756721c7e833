use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::instance::{
    other_process::OtherProcess,
    testing::{code, locked_by_somebody, told},
};

fn database() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    fs::write(&path, "").unwrap();
    (dir, path)
}

#[test]
fn a_file_is_locked_under_every_name_until_the_right_is_given_back() {
    let (dir, path) = database();
    let link = dir.path().join("link.db");
    symlink(&path, &link).unwrap();
    let (ours, theirs) = (DataFiles::default(), DataFiles::default());
    ours.protect(&link).unwrap();
    ours.protect(&path).unwrap();
    let refused = theirs.protect(&path).unwrap_err();
    // This process has it locked, so it is the same program.
    assert_eq!(code(&refused), "lock.held");
    let text = told(&refused);
    assert!(text.contains(&format!("held by: process {}", std::process::id())), "{text}");
    let protector = ours.protector();
    drop(ours);
    assert!(protector(&path).is_err(), "a guard outlived its right");
    theirs.protect(&link).unwrap();
}

#[test]
fn a_file_that_another_process_has_locked_is_refused_and_free_when_that_is_killed() {
    let (_dir, path) = database();
    fs::remove_file(&path).unwrap();
    let other = OtherProcess::locking(&path);
    assert_eq!(other.said, "acquired");
    let files = DataFiles::default();
    assert_eq!(code(&files.protect(&path).unwrap_err()), "lock.held");
    other.stop();
    let stopped = files.protect(&path).unwrap_err();
    assert_eq!(code(&stopped), "lock.holder-unresponsive");
    assert!(told(&stopped).contains(&format!("kill -CONT {}", other.pid())), "{stopped:?}");
    other.kill();
    files.protect(&path).unwrap();
}

#[test]
fn a_missing_file_is_made_empty_and_private_and_an_existing_one_becomes_private() {
    let (dir, path) = database();
    let new = dir.path().join("new.db");
    let mut log = path.clone().into_os_string();
    log.push("-wal");
    fs::write(&log, "").unwrap();
    let files = DataFiles::default();
    files.protect(&new).unwrap();
    files.protect(&path).unwrap();
    for file in [&new, &path, Path::new(&log)] {
        let found = fs::metadata(file).unwrap();
        assert_eq!((found.mode() & 0o777, found.len()), (0o600, 0), "{}", file.display());
    }
    let nowhere = dir.path().join("nowhere.db");
    symlink(dir.path().join("none/shop.db"), &nowhere).unwrap();
    assert_eq!(code(&files.protect(&nowhere).unwrap_err()), "db.dir-missing");
    assert!(!dir.path().join("none").exists());
}

#[test]
fn a_second_name_is_refused_before_the_file_is_locked() {
    let (dir, path) = database();
    fs::hard_link(&path, dir.path().join("other.db")).unwrap();
    assert_eq!(code(&DataFiles::default().protect(&path).unwrap_err()), "lock.unsupported");
    drop(locked_by_somebody(&path));
}

#[test]
fn a_file_that_is_replaced_or_removed_is_noticed_and_one_that_gets_a_second_name_is_not() {
    let (dir, path) = database();
    let files = DataFiles::default();
    files.protect(&path).unwrap();
    files.verify().unwrap();
    // A tool that keeps copies by links. A start under the other name is refused.
    fs::hard_link(&path, dir.path().join("copy.db")).unwrap();
    files.verify().unwrap();
    fs::remove_file(&path).unwrap();
    let Err(Doubt::Changed(text)) = files.verify() else { panic!("not noticed") };
    assert!(text.ends_with("was removed"), "{text}");
    fs::write(&path, "").unwrap();
    let Err(Doubt::Changed(text)) = files.verify() else { panic!("not noticed") };
    assert!(text.ends_with("was replaced by another file"), "{text}");
}
