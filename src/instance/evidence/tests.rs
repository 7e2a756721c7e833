use std::{os::unix::fs::PermissionsExt, process::Command};

use super::*;
use crate::instance::other_process::unprivileged;

#[test]
fn free_space_is_told_in_a_readable_unit() {
    let room = |bytes, files| Room { bytes, files }.shown();
    for (bytes, expected) in [
        (0, "0 bytes free"),
        (1023, "1023 bytes free"),
        (1536, "1.5 KiB free"),
        (1 << 20, "1.0 MiB free"),
        (44_238_110_720, "41.1 GiB free"),
    ] {
        assert_eq!(room(bytes, None), expected);
        assert_eq!(room(bytes, Some(1000)), expected);
    }
    assert_eq!(room(1 << 20, Some(0)), "1.0 MiB free, room for 0 files");
}

#[test]
fn space_is_asked_of_a_directory_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("volume/data/app.db");
    assert_eq!(existing(&missing), dir.path());
    assert_eq!(existing(Path::new("nowhere/at/all")), Path::new("."));
    let facts = path_facts(&missing);
    assert!(facts[1].value.contains("No such file"), "{facts:?}");
    assert!(facts[2].value.ends_with(" free"), "{facts:?}");
}

#[test]
fn a_refusal_counts_only_where_trying_would_be_refused_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    let both = Access::READ_OK | Access::WRITE_OK;
    let (refused, opened) = unprivileged(|| (denied(&file, both), File::options().write(true).open(&file)));
    assert_eq!((refused, opened.is_err()), (Some(Errno::ACCESS), true));
    // Root may, whatever the mode says.
    assert_eq!(denied(&file, both).is_none(), File::options().write(true).open(&file).is_ok());
    assert_eq!(denied(&dir.path().join("missing"), both), Some(Errno::NOENT));
}

#[test]
fn the_attributes_of_chattr_are_seen() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!((chattr(&file), chattr(dir.path())), (None, None));
    let change = |how: &str, path: &Path| {
        Command::new("chattr").arg(how).arg(path).output().is_ok_and(|done| done.status.success())
    };
    for (path, how) in [(file.as_path(), "i"), (file.as_path(), "a"), (dir.path(), "i")] {
        if change(&format!("+{how}"), path) {
            let seen = chattr(path);
            assert!(change(&format!("-{how}"), path));
            assert_eq!(seen, Some(format!("-{how}").as_str()));
        } else {
            // Not a right of this user's, or not of this file system: then nothing has one.
            assert_eq!(chattr(path), None);
        }
    }
}
