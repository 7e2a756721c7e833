use std::{
    cell::Cell,
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use super::*;
use crate::{
    ids::InstanceId,
    instance::{
        other_process::{OtherProcess, relock, unprivileged},
        testing::anywhere,
    },
};

fn dir_and_path() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.lock");
    (dir, path)
}

fn take(path: &Path) -> StageResult<Outcome> {
    acquire(path, &anywhere)
}

fn lock(path: &Path) -> FileLock {
    match take(path).unwrap() {
        Outcome::Acquired(lock) => lock,
        Outcome::Held(contest) => panic!("{contest:?}"),
    }
}

fn code_and_text(path: &Path) -> (&'static str, String) {
    let error = take(path).unwrap_err();
    (error.failure_code().name, error.to_string())
}

fn this() -> Holder {
    Holder::this_process(InstanceId::mint(), "shop", "1.0")
}

fn described(path: &Path) -> Option<Holder> {
    match holder::read(&File::open(path).unwrap()).unwrap() {
        Content::Lock { holder, .. } => holder,
        Content::Blank | Content::Foreign => None,
    }
}

#[test]
fn a_second_process_is_refused_and_sees_who_has_the_lock() {
    let (_dir, path) = dir_and_path();
    let other = OtherProcess::locking(&path);
    assert_eq!(other.said, "acquired");
    let Outcome::Held(contest) = take(&path).unwrap() else { panic!("two holders") };
    assert_eq!(contest.holder.unwrap().pid, other.pid());
    assert_eq!(OtherProcess::locking(&path).said, "held");
}

#[test]
fn kill_9_frees_the_lock_and_the_identity_survives() {
    let (_dir, path) = dir_and_path();
    let other = OtherProcess::locking(&path);
    assert_eq!(other.said, "acquired");
    let Content::Lock { lock_uuid: Some(lock_uuid), .. } = holder::read(&File::open(&path).unwrap()).unwrap()
    else {
        panic!("no identity")
    };
    other.kill();
    assert_eq!(relock(&path).lock_uuid, lock_uuid);
}

#[test]
fn a_stopped_holder_still_holds() {
    let (_dir, path) = dir_and_path();
    let other = OtherProcess::locking(&path);
    other.stop();
    assert!(matches!(take(&path), Ok(Outcome::Held(_))));
    other.kill();
    relock(&path);
}

#[test]
fn release_keeps_the_file_and_its_identity_and_removes_the_holder() {
    let (_dir, path) = dir_and_path();
    let held = lock(&path);
    let (inode, lock_uuid) = (held.identity.inode, held.lock_uuid);
    held.describe(&this()).unwrap();
    assert!(described(&path).is_some());
    held.release().unwrap();
    assert_eq!(described(&path), None);
    let again = relock(&path);
    assert_eq!((again.identity.inode, again.lock_uuid), (inode, lock_uuid));
}

#[test]
fn dropping_the_lock_frees_it_too() {
    let (_dir, path) = dir_and_path();
    let held = lock(&path);
    assert!(matches!(take(&path), Ok(Outcome::Held(_))));
    drop(held);
    relock(&path);
}

#[test]
fn programs_that_are_started_do_not_inherit_the_lock() {
    let (_dir, path) = dir_and_path();
    let held = lock(&path);
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    drop(held);
    relock(&path);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn one_at_a_time_holds_the_lock_under_contention() {
    let (_dir, path) = dir_and_path();
    let (inside, rounds) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while rounds.load(Ordering::SeqCst) < 500 {
                    if let Outcome::Acquired(held) = take(&path).unwrap() {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        rounds.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        held.release().unwrap();
                    }
                }
            });
        }
    });
}

#[test]
fn whatever_happens_to_the_file_at_the_path_is_noticed() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 7] = [
        ("was removed", |path| fs::remove_file(path).unwrap()),
        ("was removed", |path| fs::rename(path, path.with_extension("old")).unwrap()),
        ("was removed", |path| {
            let parent = path.parent().unwrap();
            fs::rename(parent, parent.with_extension("away")).unwrap();
            fs::create_dir(parent).unwrap();
        }),
        ("was replaced by another file", |path| {
            let new = path.with_extension("new");
            fs::copy(path, &new).unwrap();
            fs::rename(new, path).unwrap();
        }),
        ("was replaced by a symbolic link", |path| {
            let target = path.with_extension("target");
            fs::rename(path, &target).unwrap();
            symlink(target, path).unwrap();
        }),
        ("was replaced by a directory", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("has 2 names", |path| fs::hard_link(path, path.with_extension("second")).unwrap()),
    ];
    for (reason, change) in changes {
        let dir = tempfile::tempdir().unwrap();
        let parent = dir.path().join("data");
        fs::create_dir(&parent).unwrap();
        let path = parent.join("shop.lock");
        let held = lock(&path);
        assert!(held.identity.verify().is_ok());
        change(&path);
        match held.identity.verify() {
            Err(Doubt::Changed(text)) => {
                assert!(text.starts_with(&format!("the lock file {reason}")), "{text} for {reason}");
            }
            other => panic!("{other:?} for {reason}"),
        }
    }
}

#[test]
fn what_cannot_be_looked_at_is_in_doubt() {
    let (dir, path) = dir_and_path();
    let link = dir.path().join("link");
    symlink(dir.path(), &link).unwrap();
    let held = lock(&link.join(path.file_name().unwrap()));
    assert!(held.identity.verify().is_ok());
    fs::remove_file(&link).unwrap();
    symlink(&link, &link).unwrap();
    assert!(matches!(held.identity.verify(), Err(Doubt::Unclear(_))));
}

#[test]
fn a_path_that_names_no_regular_file_is_refused_at_once() {
    let (dir, target) = dir_and_path();
    fs::write(&target, "").unwrap();
    let at = |name: &str| dir.path().join(name);
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    fs::create_dir(at("directory")).unwrap();
    symlink(&target, at("link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    for (path, expected) in [
        (at("pipe"), "is a pipe"),
        (at("directory"), "is a directory"),
        (at("link"), "is a symbolic link"),
        (at("dangling"), "is a symbolic link"),
        (at("socket"), "is a socket"),
        (PathBuf::from("/dev/null"), "is a device"),
    ] {
        let (code, text) = code_and_text(&path);
        assert_eq!(code, "lock.unsupported");
        assert!(text.contains(expected), "{text}");
    }
    assert!(!at("nowhere").exists());
}

#[test]
fn a_file_with_other_content_is_refused_and_not_touched() {
    let (_dir, path) = dir_and_path();
    fs::write(&path, "SQLite format 3\0 and all the data").unwrap();
    let (code, text) = code_and_text(&path);
    assert_eq!(code, "lock.unsupported");
    assert!(text.contains("was not touched"), "{text}");
    assert_eq!(fs::read(&path).unwrap(), b"SQLite format 3\0 and all the data");
}

#[test]
fn a_damaged_lock_file_is_taken_and_mended() {
    for damaged in [&[0; 80][..], b"{\"schema\":\"solostart-lock/1\",\"lock_uu\0\0\0", b"{\"schema\""] {
        let (_dir, path) = dir_and_path();
        fs::write(&path, damaged).unwrap();
        let lock_uuid = lock(&path).lock_uuid;
        assert_eq!(relock(&path).lock_uuid, lock_uuid);
    }
}

#[test]
fn a_holder_whose_file_is_damaged_is_not_known_and_still_holds() {
    let (_dir, path) = dir_and_path();
    let _held = lock(&path);
    for damaged in ["", "garbage", "{\"schema\":\"solostart-lock/1\"}\n{\"pid\":"] {
        fs::write(&path, damaged).unwrap();
        let Outcome::Held(contest) = take(&path).unwrap() else { panic!("two holders") };
        assert_eq!(contest.holder, None);
    }
}

#[test]
fn a_file_with_a_second_name_is_refused() {
    let (dir, path) = dir_and_path();
    fs::write(&path, "").unwrap();
    fs::hard_link(&path, dir.path().join("second")).unwrap();
    let (code, text) = code_and_text(&path);
    assert_eq!(code, "lock.unsupported");
    assert!(text.contains("has 2 names"), "{text}");
}

#[test]
fn a_file_that_is_replaced_while_it_is_locked_is_tried_again_within_bounds() {
    let (_dir, path) = dir_and_path();
    let calls = Cell::new(0);
    let replace_up_to = |times: usize| {
        calls.set(0);
        let path = path.clone();
        let calls = &calls;
        move |open: BorrowedFd<'_>| {
            calls.set(calls.get() + 1);
            if calls.get() <= times {
                fs::remove_file(&path)?;
                fs::write(&path, "")?;
            }
            anywhere(open)
        }
    };
    let outcome = acquire(&path, &replace_up_to(2)).unwrap();
    let Outcome::Acquired(held) = outcome else { panic!("{outcome:?}") };
    assert!(held.identity.verify().is_ok());
    assert_eq!(calls.get(), 3);
    // A file of its own, for the first one may be open for an instant longer; see `relock`.
    fs::remove_file(&path).unwrap();
    let error = acquire(&path, &replace_up_to(usize::MAX)).unwrap_err();
    assert_eq!((error.failure_code(), calls.get()), (codes::LOCK_REPLACED, TRIES));
}

#[test]
fn a_file_system_that_grants_a_lock_twice_is_refused() {
    let (_dir, path) = dir_and_path();
    // A file that only seems to be locked is what such a file system gives.
    let file = flock::open(&path, true).unwrap();
    let found = file.metadata().unwrap();
    let identity = Identity { path: path.clone(), device: found.dev(), inode: found.ino() };
    let error = own(file, identity, Mount::unknown(path.clone())).unwrap_err();
    assert_eq!(error.failure_code(), codes::LOCK_UNSUPPORTED);
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn a_file_system_that_is_not_accepted_is_neither_locked_nor_written() {
    let (_dir, path) = dir_and_path();
    let refuse = |_: BorrowedFd<'_>| Err(StageError::new(codes::LOCK_NOT_SHARED, "not here"));
    assert_eq!(acquire(&path, &refuse).unwrap_err().failure_code(), codes::LOCK_NOT_SHARED);
    assert_eq!(fs::read(&path).unwrap(), b"");
    drop(lock(&path));
}

#[test]
fn a_lock_file_is_private_to_its_owner_and_group() {
    let (_dir, path) = dir_and_path();
    let _held = lock(&path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
}

#[test]
fn a_lock_that_cannot_be_created_or_opened_is_a_matter_of_permission() {
    let (dir, path) = dir_and_path();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let (code, text) = unprivileged(|| code_and_text(&path));
    assert_eq!(code, "db.not-writable");
    assert!(text.contains(&dir.path().display().to_string()), "{text}");

    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    let (code, text) = unprivileged(|| code_and_text(&path));
    assert_eq!(code, "db.not-writable");
    assert!(text.contains("shop.lock"), "{text}");
}

#[test]
fn the_kernel_having_no_lock_to_give_is_neither_held_nor_acquired() {
    let (_dir, path) = dir_and_path();
    let mount = Mount::unknown(PathBuf::from("/data"));
    for errno in [Errno::NOLCK, Errno::OPNOTSUPP, Errno::IO] {
        let error = unsupported(&path, &mount, &errno.into());
        assert_eq!(error.failure_code(), codes::LOCK_UNSUPPORTED);
        assert!(!error.failure_code().kind.restart_helps());
    }
    assert_eq!(broken(&path, &Errno::NOSPC.into()).failure_code(), codes::DB_DISK_FULL);
    assert_eq!(broken(&path, &Errno::IO.into()).failure_code(), codes::DB_IO);
}

#[test]
fn who_only_looks_is_waited_for_although_he_is_slow() {
    let (_dir, path) = dir_and_path();
    fs::write(&path, "").unwrap();
    let tries = Cell::new(0);
    let looking = Cell::new(Some(flock::looking(&path)));
    let slow = |open: BorrowedFd<'_>| {
        tries.set(tries.get() + 1);
        if tries.get() > 2 * TRIES {
            looking.take();
        }
        anywhere(open)
    };
    let outcome = acquire(&path, &slow).unwrap();
    assert!(matches!(outcome, Outcome::Acquired(_)), "{outcome:?}");
    assert!(tries.get() > 2 * TRIES, "it was acquired while it was looked at");
}

#[test]
fn nobody_is_refused_because_others_look_whether_the_lock_is_held() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(OtherProcess::looked_at(&dir.path().join("lock")).said, "0");
}
