use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::{error::ErrorKind, instance::other_process::unprivileged};

fn text(error: &StageError) -> String {
    let facts = error.facts().iter().map(|fact| format!("{}: {}", fact.name, fact.value));
    facts.chain(error.actions().iter().cloned()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_last_part_of_the_path_is_created_for_owner_and_group() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    prepare(&data).unwrap();
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o027, 0);
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
    for name in ["file", "file/data", "dangling"] {
        let error = prepare(&dir.path().join(name)).unwrap_err();
        assert_eq!(error.failure_code(), codes::DB_DIR_MISSING, "{name}");
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
fn a_read_only_mount_is_a_matter_of_the_mount_and_not_of_the_owner() {
    let dir = tempfile::tempdir().unwrap();
    let error = not_writable(dir.path(), &Errno::ROFS.into());
    assert_eq!(error.error_kind(), ErrorKind::Permission);
    assert!(text(&error).contains("Remove `:ro`") && !text(&error).contains("chown"), "{error:?}");
}

#[test]
fn an_error_of_the_disk_is_not_called_a_permission() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(not_writable(dir.path(), &Errno::IO.into()).error_kind(), ErrorKind::Io);
    assert_eq!(missing(dir.path(), &Errno::NOSPC.into()).failure_code(), codes::DB_DISK_FULL);
}

#[test]
fn free_space_is_told_in_a_readable_unit() {
    for (bytes, expected) in [
        (0, "0 bytes free"),
        (1023, "1023 bytes free"),
        (1536, "1.5 KiB free"),
        (1 << 20, "1.0 MiB free"),
        (44_238_110_720, "41.1 GiB free"),
    ] {
        assert_eq!(free(bytes), expected);
    }
}
