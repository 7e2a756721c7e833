use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
};

use rustix::process::geteuid;

use super::*;

fn places(base: &Path) -> Places {
    Places::new([base.to_owned()], "shop", Path::new("/nowhere/shop.lock"))
}

fn create(places: &Places) -> HealthFile {
    HealthFile::create(places).unwrap().0
}

fn only_file(base: &Path) -> PathBuf {
    let dir = base.join(format!("shop.{}", geteuid()));
    fs::read_dir(dir).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn what_was_written_last_is_read_until_the_service_ends() {
    let base = tempfile::tempdir().unwrap();
    let file = create(&places(base.path()));
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
    let file = create(&places(base.path()));
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
    let file = create(&places(base.path()));
    file.write(true, true, "ready".to_owned()).unwrap();
    let path = only_file(base.path());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn services_of_one_name_with_data_of_their_own_do_not_hear_each_other() {
    let base = tempfile::tempdir().unwrap();
    let file = create(&places(base.path()));
    file.write(true, true, "ready".to_owned()).unwrap();
    assert_eq!(Places::new([base.path().to_owned()], "shop", Path::new("/b/shop.lock")).read(), None);
}

#[test]
fn a_service_that_is_gone_or_silent_is_not_running() {
    let base = tempfile::tempdir().unwrap();
    let file = create(&places(base.path()));
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
    let mut first = create(&places(base.path()));
    first.pid = 1;
    first.write(true, true, "ready".to_owned()).unwrap();
    let second = create(&places(base.path()));
    second.write(false, false, "starting".to_owned()).unwrap();
    assert_eq!(places(base.path()).read().unwrap().line, "ready");
    drop(second);
    assert_eq!(places(base.path()).read().unwrap().line, "ready");
    drop(first);
}

#[test]
fn who_is_kept_out_of_every_directory_speaks_beside_the_lock() {
    let (base, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let name = format!("shop.{}", geteuid());
    symlink("/nowhere", base.path().join(&name)).unwrap();
    let places = Places::new([base.path().to_owned()], "shop", &data.path().join("shop.lock"));
    let (file, refused) = HealthFile::create(&places).unwrap();
    assert!(file.is_beside_the_lock());
    assert_eq!(refused.len(), 1, "{refused:?}");
    file.write(true, true, "ready".to_owned()).unwrap();
    assert_eq!(places.read().unwrap().line, "ready");
    let dir = data.path().join(&name);
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(only_file(data.path())).unwrap().permissions().mode() & 0o777, 0o600);
    drop(file);
    assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0, "nothing stays among the data");
}

#[test]
fn what_another_process_says_among_the_data_stays() {
    let data = tempfile::tempdir().unwrap();
    let places = Places::new([], "shop", &data.path().join("shop.lock"));
    let mut first = create(&places);
    first.pid = 1;
    first.write(true, true, "ready".to_owned()).unwrap();
    let second = create(&places);
    second.write(false, false, "starting".to_owned()).unwrap();
    drop(second);
    assert_eq!(places.read().unwrap().line, "ready");
}

#[test]
fn a_directory_that_was_taken_away_is_noticed() {
    let base = tempfile::tempdir().unwrap();
    let file = create(&places(base.path()));
    file.write(true, true, "ready".to_owned()).unwrap();
    assert!(file.is_in_place());
    let dir = base.path().join(format!("shop.{}", geteuid()));
    fs::rename(&dir, base.path().join("away")).unwrap();
    assert!(!file.is_in_place());
    fs::create_dir(&dir).unwrap();
    assert!(!file.is_in_place(), "another one in its place");
}

#[test]
fn a_link_or_nonsense_in_place_of_the_file_says_nothing_and_is_replaced() {
    let base = tempfile::tempdir().unwrap();
    let target = base.path().join("target");
    let said = r#"{"pid":1,"at_ms":0,"started":true,"ready":true,"line":"x"}"#;
    fs::write(&target, said).unwrap();
    let file = create(&places(base.path()));
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
    let lock = Path::new("/nowhere/shop.lock");
    let places = Places::new([missing, base.path().to_owned()], "shop", lock);
    let file = create(&places);
    file.write(true, true, "ready".to_owned()).unwrap();
    assert_eq!(places.read().unwrap().line, "ready");
    assert!(HealthFile::create(&Places::new([], "shop", lock)).is_err());
}
