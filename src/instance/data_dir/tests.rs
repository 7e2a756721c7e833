use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use rustix::process::geteuid;

use super::*;
use crate::{codes, error::StageError, instance::other_process::unprivileged};

fn text(error: &StageError) -> String {
    let facts = error.facts().iter().map(|fact| format!("{}: {}", fact.name, fact.value));
    facts.chain(error.actions().iter().cloned()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_last_part_of_the_path_is_created_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    prepare(&data).unwrap();
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o077, 0);
    prepare(&data).unwrap();
}

#[test]
fn a_missing_parent_is_not_created() {
    let dir = tempfile::tempdir().unwrap();
    let error = prepare(&dir.path().join("volume/data")).unwrap_err();
    assert_eq!((error.failure_code(), error.error_kind().exit_code()), (codes::DB_DIR_MISSING, 73));
    assert!(!dir.path().join("volume").exists());
    assert!(text(&error).contains("install -d -o "), "{error:?}");
    assert!(text(&error).contains(&format!("directory: {}", dir.path().display())), "{error:?}");
}

#[test]
fn what_is_not_a_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    symlink("nowhere", dir.path().join("dangling")).unwrap();
    symlink("circle", dir.path().join("circle")).unwrap();
    for (name, does) in [
        ("file", "/file.old && "),
        ("file/data", "/file.old && "),
        ("dangling", "/nowhere"),
        ("circle", "namei -l "),
    ] {
        let path = dir.path().join(name);
        let error = prepare(&path).unwrap_err();
        assert_eq!(error.failure_code(), codes::DB_DIR_MISSING, "{name}");
        assert!(text(&error).contains(does), "{name}: {}", text(&error));
        assert!(inspect(&path).is_err(), "{name}");
    }
}

#[test]
fn a_symbolic_link_to_a_directory_is_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    symlink(dir.path(), dir.path().join("link")).unwrap();
    prepare(&dir.path().join("link")).unwrap();
}

#[test]
fn a_directory_that_is_not_ours_to_write_says_whose_it_is() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let (error, user) = unprivileged(|| (prepare(dir.path()).unwrap_err(), geteuid()));
    assert_eq!((error.failure_code(), error.error_kind().exit_code()), (codes::DB_NOT_WRITABLE, 77));
    let owner = fs::metadata(dir.path()).unwrap().uid();
    let text = text(&error);
    for expected in [
        format!("process: uid {user}, gid "),
        format!("owner {owner}:"),
        "mode 0555".to_owned(),
        " free".to_owned(),
    ] {
        assert!(text.contains(&expected), "{expected} is not in\n{text}");
    }
    assert!(text.contains(&format!("chown -R {user}:")), "{text}");

    let error = unprivileged(|| prepare(&dir.path().join("data")).unwrap_err());
    assert_eq!(error.failure_code(), codes::DB_DIR_MISSING);
}

#[test]
fn a_path_that_is_too_long_for_the_kernel_is_a_matter_of_the_settings() {
    let dir = tempfile::tempdir().unwrap();
    let error = prepare(&dir.path().join("d".repeat(256))).unwrap_err();
    assert_eq!((error.failure_code(), error.error_kind().exit_code()), (codes::ENV_INVALID, 78));
    assert!(text(&error).contains("the longest part has 256"), "{error:?}");
}

#[test]
fn a_directory_on_the_way_that_may_not_be_entered_is_the_one_that_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    if !geteuid().is_root() {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let error = unprivileged(|| prepare(&data).unwrap_err());
    assert_eq!(error.failure_code(), codes::DB_NOT_WRITABLE, "{error:?}");
    let shown = dir.path().display().to_string();
    assert!(error.actions()[0].contains("chmod ") && error.actions()[0].ends_with(&shown), "{error:?}");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
}
