use super::*;
use crate::instance::other_process::unprivileged;

fn place(files: &[(&str, u32)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    for (name, mode) in files {
        let path = dir.path().join(name);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
    }
    dir
}

fn facts(error: &StageError) -> String {
    error.facts().iter().map(|fact| format!("{}: {}\n", fact.name, fact.value)).collect()
}

fn of(path: &Path) -> StageError {
    unprivileged(|| refusal(path, &Errno::ACCESS.into()))
}

#[test]
fn all_files_of_the_service_that_cannot_be_used_stand_in_one_report() {
    let dir = place(&[
        ("shop.lock", 0o444),
        ("shop.lease.db", 0o444),
        ("shop.lease.db-shm", 0o444),
        ("shop.db", 0o444),
        ("shop.db-wal", 0o444),
        ("shop.db-journal", 0o444),
        ("shop.ledger.json", 0o444),
        ("shopping.db", 0o444),
        ("shop.other.db", 0o666),
    ]);
    let lock = dir.path().join("shop.lock");
    let text = facts(&of(&lock));
    assert!(text.contains(&format!("file: {}, owner", lock.display())), "{text}");
    let others = "as well: shop.db, shop.db-journal, shop.db-wal, shop.lease.db and 1 more";
    assert!(text.contains(others), "{text}");
}

#[test]
fn the_one_file_that_cannot_be_used_is_the_one_that_is_named() {
    let dir = place(&[("shop.lease.db", 0o666), ("shop.lease.db-shm", 0o444)]);
    let (path, _) = unprivileged(|| first(&dir.path().join("shop.lease.db"))).unwrap();
    assert_eq!(path, dir.path().join("shop.lease.db-shm"));
    let text = facts(&of(&path));
    assert!(
        text.contains(&format!("file: {}, owner", path.display())) && !text.contains("as well"),
        "{text}"
    );
    assert_eq!(unprivileged(|| first(&dir.path().join("other.db"))), None);
}

#[test]
fn a_directory_of_somebody_elses_that_we_may_write_is_not_given_away_with_all_that_is_in_it() {
    let dir = place(&[("shop.lock", 0o444)]);
    let error = of(&dir.path().join("shop.lock"));
    let names_the_file = |action: &String| action.ends_with("/shop.lock");
    assert!(error.actions().iter().any(names_the_file), "{error:?}");
    if geteuid().is_root() {
        let whole = dir.path().display().to_string();
        assert!(!error.actions().iter().any(|action| action.ends_with(&whole)), "{error:?}");
    }
}

#[test]
fn where_owner_and_mode_allow_it_something_else_forbids_it() {
    let dir = place(&[("shop.lock", 0o666)]);
    let error = of(&dir.path().join("shop.lock"));
    assert!(facts(&error).contains("security module"), "{error:?}");
    assert!(!error.actions().iter().any(|action| action.contains("chown")), "{error:?}");
}
