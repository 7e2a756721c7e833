use std::os::unix::fs::{PermissionsExt, chown, symlink};

use super::*;

const SERVICE: &str = "shop";

fn places(base: &Path, data: &Path) -> Places {
    Places::new([base.to_owned()], SERVICE, &data.join("shop.lock"))
}

fn ours(base: &Path) -> PathBuf {
    base.join(format!("{SERVICE}.{}", geteuid()))
}

/// What somebody made in our place.
enum Planted<'a> {
    Link(&'a Path),
    File,
    Open(u32),
}

#[test]
fn whatever_somebody_put_in_our_place_is_not_used_and_is_named_with_its_owner() {
    let data = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let user = geteuid();
    let (link, planted) = (format!("is a symbolic link of uid {user}"), elsewhere.path());
    for (planted, expected) in [
        (Planted::Link(planted), link.clone()),
        (Planted::Link(Path::new("/nowhere")), link),
        (Planted::File, format!("is a file of uid {user}")),
        (Planted::Open(0o1777), "has mode 1777, which lets others in".to_owned()),
        (Planted::Open(0o750), "has mode 0750, which lets others in".to_owned()),
    ] {
        let base = tempfile::tempdir().unwrap();
        let dir = ours(base.path());
        match planted {
            Planted::Link(target) => symlink(target, &dir).unwrap(),
            Planted::File => fs::write(&dir, "").unwrap(),
            Planted::Open(mode) => {
                fs::create_dir(&dir).unwrap();
                fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
        let refused = make_private(&dir).unwrap_err();
        assert_eq!(refused.to_string(), format!("{} {expected}", dir.display()));
        assert!(refused.is_taken());
        assert_eq!(places(base.path(), data.path()).taken(), [refused]);
    }
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn a_place_that_there_is_not_was_taken_by_nobody() {
    let base = tempfile::tempdir().unwrap();
    let refused = make_private(&base.path().join("missing/dir")).unwrap_err();
    assert!(!refused.is_taken(), "{refused}");
    assert_eq!(places(base.path(), base.path()).taken(), []);
}

#[test]
fn the_last_place_lies_beside_the_lock_and_is_of_this_container_alone() {
    let (base, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let all = places(base.path(), data.path()).all;
    let last = all.last().unwrap();
    assert_eq!((last.dir.as_path(), last.beside_the_lock), (ours(data.path()).as_path(), true));
    assert_eq!(all.len(), 2);
    assert_ne!(all[0].file, last.file, "the file has this container in its name");
    let (_boot, processes, root) = here();
    assert!(processes.is_some() && root.is_some());
}

#[test]
fn a_relative_base_is_none() {
    let data = tempfile::tempdir().unwrap();
    let places = Places::new([PathBuf::from("run")], SERVICE, &data.path().join("shop.lock"));
    assert!(places.all.iter().all(|place| place.beside_the_lock));
}

#[test]
fn a_directory_speaks_for_the_user_of_its_name_and_for_nobody_else() {
    let base = tempfile::tempdir().unwrap();
    let places = places(base.path(), base.path());
    let dirs = || -> Vec<_> {
        places.of_others().into_iter().filter(|(dir, _)| dir.starts_with(base.path())).collect()
    };
    let other = base.path().join("shop.4001");
    for name in ["shop.4001", "shop.x", "shop.", "shopping.4001", "other.4001"] {
        fs::create_dir(base.path().join(name)).unwrap();
    }
    fs::create_dir(ours(base.path())).unwrap();
    symlink(&other, base.path().join("shop.4002")).unwrap();
    // It belongs to us, so it is not that of 4001.
    assert_eq!(dirs(), []);
    if geteuid().is_root() {
        chown(&other, Some(4001), None).unwrap();
        assert_eq!(dirs(), [(other, 4001)]);
    }
}
