use rusqlite::{Connection, OpenFlags};

use super::*;

fn text(error: &StageError) -> String {
    let facts = error.facts().iter().map(|fact| format!("{}: {}", fact.name, fact.value));
    facts.chain(error.actions().iter().cloned()).collect::<Vec<_>>().join("\n")
}

fn said(errno: Errno) -> StageError {
    let dir = tempfile::tempdir().unwrap();
    system(&dir.path().join("shop.lock"), "use", &errno.into())
}

#[test]
fn each_error_of_the_system_has_its_code_and_keeps_its_number() {
    for (errno, code, exit) in [
        (Errno::MFILE, codes::PROCESS_LIMIT, 71),
        (Errno::NFILE, codes::PROCESS_LIMIT, 71),
        (Errno::NOMEM, codes::PROCESS_LIMIT, 71),
        (Errno::FBIG, codes::PROCESS_LIMIT, 71),
        (Errno::NOSPC, codes::DB_DISK_FULL, 74),
        (Errno::DQUOT, codes::DB_DISK_FULL, 74),
        (Errno::ACCESS, codes::DB_NOT_WRITABLE, 77),
        (Errno::PERM, codes::DB_NOT_WRITABLE, 77),
        (Errno::NAMETOOLONG, codes::ENV_INVALID, 78),
        (Errno::NOENT, codes::DB_DIR_MISSING, 73),
        (Errno::NOTDIR, codes::DB_DIR_MISSING, 73),
        (Errno::LOOP, codes::DB_DIR_MISSING, 73),
        (Errno::TXTBSY, codes::STAGE_MISCONFIGURED, 78),
        (Errno::INTR, codes::STAGE_BUSY, 75),
        (Errno::STALE, codes::DB_IO, 74),
        (Errno::IO, codes::DB_IO, 74),
        (Errno::NXIO, codes::DB_IO, 74),
    ] {
        let error = said(errno);
        assert_eq!(
            (error.failure_code(), error.error_kind().exit_code()),
            (code, exit),
            "{errno}: {error:?}"
        );
        assert!(
            error.to_string().contains(&format!("(os error {})", errno.raw_os_error())),
            "{errno}: {error}"
        );
        assert!((1..=4).contains(&error.actions().len()), "{errno}: {error:?}");
        let permission = code == codes::DB_NOT_WRITABLE;
        let advised = text(&error).contains("chown") || text(&error).contains("chmod");
        assert!(permission || !advised, "{errno}: {error:?}");
    }
}

#[test]
fn a_read_only_error_where_nobody_mounted_it_so_is_a_matter_of_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let error = not_writable(dir.path(), &Errno::ROFS.into());
    assert_eq!((error.failure_code(), error.error_kind().exit_code()), (codes::DB_IO, 74));
    assert!(text(&error).contains("dmesg") && !text(&error).contains(":ro"), "{error:?}");
}

#[test]
fn a_quota_and_a_disk_are_told_apart_and_asked_about_where_something_is() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("volume/data");
    let quota = system(&missing, "write", &Errno::DQUOT.into());
    assert!(text(&quota).contains("quota of this user"), "{quota:?}");
    let full = disk_full(&missing, &Errno::NOSPC.into());
    let df = format!("df -h {}", dir.path().display());
    assert!(text(&full).contains(&df) && text(&quota).contains(&df), "{full:?}");
    assert!(!text(&full).contains("not known"), "{full:?}");
}

#[test]
fn the_longest_path_that_is_accepted_is_the_longest_that_sqlite_opens() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().canonicalize().unwrap();
    for (length, opens) in [(PATH_MOST, true), (PATH_MOST + 1, false)] {
        // As many parts as it takes, none of them longer than the kernel has it.
        let mut around = base.clone();
        while length - around.as_os_str().len() > 200 {
            around.push("d".repeat(100));
        }
        fs::create_dir_all(&around).unwrap();
        let path = around.join("f".repeat(length - around.as_os_str().len() - 1));
        assert_eq!(path.as_os_str().len(), length);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let written = Connection::open_with_flags(&path, flags)
            .and_then(|open| open.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE a (b);"));
        assert_eq!(written.is_ok(), opens, "{length}: {written:?}");
        assert_eq!(fits(&path).is_ok(), opens, "{length}");
    }
    let refused = fits(&base.join("d".repeat(600))).unwrap_err();
    assert_eq!((refused.failure_code(), refused.error_kind().exit_code()), (codes::ENV_INVALID, 78));
    assert!(refused.to_string().contains("SQLite takes 504"), "{refused}");
}

#[test]
fn what_nobody_explains_stays_in_the_words_of_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    fs::write(&path, "").unwrap();
    let error = of_sqlite(&path, codes::DB_IO, "cannot open it: unable to open database file", 14);
    assert_eq!(error.failure_code(), codes::DB_IO);
    assert_eq!(error.to_string(), "cannot open it: unable to open database file");
    let full = of_sqlite(&path, codes::DB_DISK_FULL, "database or disk is full", 13);
    assert_eq!(full.failure_code(), codes::DB_DISK_FULL);
    let memory = of_sqlite(&path, codes::DB_IO, "out of memory", 7);
    assert_eq!(memory.failure_code(), codes::PROCESS_LIMIT);
}

#[test]
fn a_missing_directory_is_found_out_behind_sqlites_answer() {
    let dir = tempfile::tempdir().unwrap();
    let error = of_sqlite(&dir.path().join("gone/shop.db"), codes::DB_IO, "unable to open", 14);
    assert_eq!(error.failure_code(), codes::DB_DIR_MISSING);
    fs::write(dir.path().join("file"), "").unwrap();
    let error = of_sqlite(&dir.path().join("file/shop.db"), codes::DB_IO, "unable to open", 14);
    assert_eq!(error.failure_code(), codes::DB_DIR_MISSING);
}
