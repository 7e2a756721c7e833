use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use super::*;

fn places(base: &Path) -> Places {
    Places::new([base.to_owned()], "shop", Path::new("/data/shop.lock"))
}

fn only_file(base: &Path) -> PathBuf {
    let dir = base.join(format!("shop.{}", geteuid()));
    fs::read_dir(dir).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn what_was_written_last_is_read_until_the_service_ends() {
    let base = tempfile::tempdir().unwrap();
    let file = HealthFile::create(&places(base.path())).unwrap();
    assert_eq!(places(base.path()).read(), None);
    file.write(false, false, "starting".to_owned()).unwrap();
    file.write(true, true, "ready".to_owned()).unwrap();
    let said = places(base.path()).read().unwrap();
    assert!(said.started && said.ready && said.age().is_some() && said.line == "ready", "{said:?}");
    drop(file);
    assert_eq!(places(base.path()).read(), None);
}

#[test]
fn what_is_said_again_is_said_now_and_makes_no_new_file() {
    let base = tempfile::tempdir().unwrap();
    let file = HealthFile::create(&places(base.path())).unwrap();
    file.write(true, true, "ready".to_owned()).unwrap();
    let inode = || fs::metadata(only_file(base.path())).unwrap().ino();
    let first = inode();
    let silent = File::open(only_file(base.path())).unwrap();
    silent.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(places(base.path()).read().unwrap().age(), None);
    file.write(true, true, "ready".to_owned()).unwrap();
    assert!(places(base.path()).read().unwrap().age().is_some());
    assert_eq!(inode(), first);
    file.write(true, false, "not ready".to_owned()).unwrap();
    assert!(!places(base.path()).read().unwrap().ready);
    assert_ne!(inode(), first);
}

#[test]
fn nobody_else_may_read_it() {
    let base = tempfile::tempdir().unwrap();
    let file = HealthFile::create(&places(base.path())).unwrap();
    file.write(true, true, "ready".to_owned()).unwrap();
    let path = only_file(base.path());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn services_of_one_name_with_data_of_their_own_do_not_hear_each_other() {
    let base = tempfile::tempdir().unwrap();
    let file = HealthFile::create(&places(base.path())).unwrap();
    file.write(true, true, "ready".to_owned()).unwrap();
    assert_eq!(Places::new([base.path().to_owned()], "shop", Path::new("/b/shop.lock")).read(), None);
}

#[test]
fn a_service_that_is_gone_or_silent_is_not_running() {
    let base = tempfile::tempdir().unwrap();
    let file = HealthFile::create(&places(base.path())).unwrap();
    file.write(true, true, "ready".to_owned()).unwrap();
    let said = places(base.path()).read().unwrap();
    // Process numbers end at 2^22 (proc_sys_kernel(5), pid_max).
    assert_eq!(Health { pid: 1 << 23, ..said.clone() }.age(), None);
    let after_a_reboot = said.at_ms + 3_600_000;
    assert_eq!(Health { at_ms: after_a_reboot, ..said.clone() }.age(), None);
    let silent = said.at_ms.saturating_sub(6_000);
    assert_eq!(Health { at_ms: silent, ..said }.age(), None);
}

#[test]
fn a_second_process_does_not_speak_for_one_that_runs() {
    let base = tempfile::tempdir().unwrap();
    let mut first = HealthFile::create(&places(base.path())).unwrap();
    first.pid = 1;
    first.write(true, true, "ready".to_owned()).unwrap();
    let second = HealthFile::create(&places(base.path())).unwrap();
    second.write(false, false, "starting".to_owned()).unwrap();
    assert_eq!(places(base.path()).read().unwrap().line, "ready");
    drop(second);
    assert_eq!(places(base.path()).read().unwrap().line, "ready");
    drop(first);
}

#[test]
fn a_directory_that_others_could_have_planted_is_not_used() {
    let base = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let dir = base.path().join(format!("shop.{}", geteuid()));
    symlink(elsewhere.path(), &dir).unwrap();
    assert!(HealthFile::create(&places(base.path())).is_err());
    fs::remove_file(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(HealthFile::create(&places(base.path())).is_err());
    assert_eq!(places(base.path()).read(), None);
}

#[test]
fn a_link_or_nonsense_in_place_of_the_file_says_nothing_and_is_replaced() {
    let base = tempfile::tempdir().unwrap();
    let target = base.path().join("target");
    let said = r#"{"pid":1,"at_ms":0,"started":true,"ready":true,"line":"x"}"#;
    fs::write(&target, said).unwrap();
    let file = HealthFile::create(&places(base.path())).unwrap();
    file.write(true, true, "ready".to_owned()).unwrap();
    let path = only_file(base.path());

    fs::remove_file(&path).unwrap();
    symlink(&target, &path).unwrap();
    assert_eq!(places(base.path()).read(), None);
    file.write(true, true, "ready".to_owned()).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), said);
    assert!(places(base.path()).read().is_some());

    fs::write(&path, "{").unwrap();
    assert_eq!(places(base.path()).read(), None);
}

#[test]
fn the_next_place_is_used_where_the_first_cannot_be() {
    let (base, missing) = (tempfile::tempdir().unwrap(), PathBuf::from("/nowhere/at/all"));
    let places = Places::new([missing, base.path().to_owned()], "shop", Path::new("/data/shop.lock"));
    let file = HealthFile::create(&places).unwrap();
    file.write(true, true, "ready".to_owned()).unwrap();
    assert_eq!(places.read().unwrap().line, "ready");
    assert!(HealthFile::create(&Places::new([], "shop", Path::new("/data/shop.lock"))).is_err());
}
