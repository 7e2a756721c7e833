use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

fn place() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("cache.cache");
    (dir, path)
}

fn save(path: &Path, entries: &[u32]) {
    let mut draft = Draft::begin(path, "cache", 7).unwrap();
    for entry in entries {
        assert!(draft.add(&line(entry).unwrap()).unwrap());
    }
    assert_eq!(draft.finish(|| Ok(())).unwrap(), entries.len() as u64);
}

fn names(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_was_saved_is_read_once() {
    let (dir, path) = place();
    save(&path, &[1, 2, 3]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let saved = take(&path, "cache").unwrap().unwrap();
    assert_eq!((saved.saved_at, saved.entries.as_slice()), (7, &b"1\n2\n3\n"[..]));
    assert!(take(&path, "cache").unwrap().is_none());
    assert_eq!(names(&dir), [""; 0]);
}

#[test]
fn a_saved_cache_replaces_the_earlier_one_and_leaves_nothing_beside_it() {
    let (dir, path) = place();
    save(&path, &[1, 2, 3]);
    fs::write(dir.path().join("cache.cache.new"), "left by a process that was killed").unwrap();
    save(&path, &[]);
    assert_eq!(names(&dir), ["cache.cache"]);
    assert!(take(&path, "cache").unwrap().unwrap().entries.is_empty());
}

#[test]
fn a_draft_that_is_not_finished_or_not_allowed_leaves_the_earlier_file() {
    let (dir, path) = place();
    save(&path, &[1]);
    let mut draft = Draft::begin(&path, "cache", 8).unwrap();
    draft.add(&line(&2).unwrap()).unwrap();
    drop(draft);
    let refused = Draft::begin(&path, "cache", 9).unwrap().finish(|| Err(io::Error::other("lost")));
    assert_eq!(refused.unwrap_err().to_string(), "lost");
    assert_eq!(names(&dir), ["cache.cache"]);
    assert_eq!(take(&path, "cache").unwrap().unwrap().saved_at, 7);
}

#[test]
fn no_symbolic_link_is_followed() {
    let (dir, path) = place();
    let precious = dir.path().join("precious");
    save(&precious, &[1]);
    let content = fs::read(&precious).unwrap();
    symlink(&precious, &path).unwrap();
    assert!(matches!(take(&path, "cache"), Err(Unusable::NotAFile("a symbolic link"))));
    symlink(&precious, dir.path().join("cache.cache.new")).unwrap();
    save(&path, &[2]);
    assert_eq!(fs::read(&precious).unwrap(), content);
    assert_eq!(take(&path, "cache").unwrap().unwrap().entries, b"2\n");
}

#[test]
fn what_is_not_a_file_is_neither_waited_for_nor_removed() {
    let (_dir, path) = place();
    fs::create_dir(&path).unwrap();
    assert!(matches!(take(&path, "cache"), Err(Unusable::NotAFile("a directory"))));
    fs::remove_dir(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .unwrap();
    assert!(matches!(take(&path, "cache"), Err(Unusable::NotAFile("not a regular file"))));
    assert!(path.exists());
}

#[test]
fn a_file_that_others_can_write_is_not_believed() {
    let (_dir, path) = place();
    for mode in [0o620, 0o602] {
        save(&path, &[1]);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(take(&path, "cache"), Err(Unusable::NotOurs(_))), "{mode:o}");
    }
}

#[test]
fn each_kind_of_file_that_is_not_a_whole_cache_of_ours_is_told_apart_and_removed() {
    let (_dir, path) = place();
    save(&path, &[1, 2, 3]);
    let whole = fs::read_to_string(&path).unwrap();
    let judge = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        let verdict = take(&path, "cache").err();
        assert!(!path.exists());
        verdict
    };
    assert!(judge(whole.as_bytes()).is_none());
    assert!(matches!(judge(b""), Some(Unusable::Foreign)));
    assert!(matches!(judge(b"SQLite format 3\0"), Some(Unusable::Foreign)));
    assert!(matches!(judge(&[b'['; 100_000]), Some(Unusable::Foreign)));
    let nested = [&[b'['; 100_000][..], b"\n"].concat();
    assert!(matches!(judge(&nested), Some(Unusable::Foreign)));
    assert!(matches!(judge(whole.replace(FORMAT, "other").as_bytes()), Some(Unusable::Foreign)));
    let newer = whole.replace("\"version\":1", "\"version\":2");
    assert!(matches!(judge(newer.as_bytes()), Some(Unusable::Newer)));
    let other = whole.replace("\"cache\":\"cache\"", "\"cache\":\"other\"");
    assert!(matches!(judge(other.as_bytes()), Some(Unusable::OtherCache)));
    // One line that is both the first and the last.
    let both = br#"{"format":"solostart-cache","version":1,"cache":"cache","saved_at":1,"entries":0,"sum":"cbf29ce484222325"}"#;
    assert!(matches!(judge(&[both, &b"\n"[..]].concat()), Some(Unusable::Damaged)));
    let sparse = File::create(&path).unwrap();
    sparse.set_len(MOST + 1).unwrap();
    assert!(matches!(take(&path, "cache"), Err(Unusable::TooLarge)));
}

#[test]
fn no_cut_and_no_changed_byte_goes_unnoticed() {
    let (_dir, path) = place();
    save(&path, &[1, 2, 3]);
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        assert!(parse(whole[..length].to_vec(), "cache").is_err(), "cut to {length}");
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        assert!(parse(changed, "cache").is_err(), "byte {at}");
    }
}

#[test]
fn a_file_ends_where_it_would_be_too_large_to_be_read() {
    let (_dir, path) = place();
    let mut draft = Draft::begin(&path, "cache", 7).unwrap();
    draft.most = 4096;
    let mut count = 0;
    while draft.add(&line(&"x".repeat(100)).unwrap()).unwrap() {
        count += 1;
    }
    assert_eq!(draft.finish(|| Ok(())).unwrap(), count);
    assert!((3900..=4096).contains(&fs::metadata(&path).unwrap().len()));
    assert_eq!(take(&path, "cache").unwrap().unwrap().entries.len() as u64, count * 103);
}
