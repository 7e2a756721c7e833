use std::{fs, os::unix::fs::symlink, sync::mpsc, thread, time::Duration};

use rustix::fs::{CWD, FileType, mknodat};
use tempfile::TempDir;

use super::*;

/// What reading a secret from a file gives: the value, or the one problem as `VARIABLE: what; remedy`.
fn token(path: &str) -> Result<String, String> {
    let env = Env::from_vars("APP", [("APP_TOKEN_FILE", path)]);
    let value = env.var("TOKEN").secret().optional();
    match env.check() {
        Ok(_) => Ok(value.unwrap().expose().to_owned()),
        Err(problems) => Err(problems.problems()[0].to_string()),
    }
}

fn in_dir(name: &str, content: impl AsRef<[u8]>) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(&path, content).unwrap();
    (dir, path)
}

#[test]
fn exactly_one_line_break_is_dropped_from_the_end() {
    for (content, value) in [
        ("tk", "tk"),
        ("tk\n", "tk"),
        ("tk\r\n", "tk"),
        ("tk\n\n", "tk\n"),
        ("\ntk ", "\ntk "),
        ("a b\nc\n", "a b\nc"),
    ] {
        let (_dir, path) = in_dir("token", content);
        assert_eq!(token(&path).as_deref(), Ok(value), "{content:?}");
    }
}

#[test]
fn what_cannot_be_meant_is_dropped_from_a_file_and_what_nobody_sees_is_refused_by_name() {
    for content in ["\u{feff}tk\n", "\u{feff}tk\r\n", "\u{feff}tk"] {
        let (_dir, path) = in_dir("token", content);
        assert_eq!(token(&path).as_deref(), Ok("tk"), "{content:?}");
    }
    for (content, named) in [
        ("tk\r", "U+000D (carriage return) as character 3"),
        ("tk\r\n\r\n", "U+000D (carriage return) as character 3"),
        ("t\u{feff}k", "U+FEFF (byte order mark) as character 2"),
        ("\u{feff}\u{feff}tk", "U+FEFF (byte order mark) as character 1"),
        ("t\0k\n", "U+0000 (NUL) as character 2"),
        ("t\u{200b}k", "U+200B (zero-width space) as character 2"),
        ("tk\u{202e}", "U+202E (direction of text) as character 3"),
        ("t\u{a0}k", "U+00A0 (no-break space) as character 2"),
        ("t\u{9b}k", "U+009B (control character) as character 2"),
    ] {
        let (_dir, path) = in_dir("token", content);
        let problem = token(&path).unwrap_err();
        assert!(problem.starts_with(&format!("APP_TOKEN_FILE: the value holds {named}; ")), "{problem}");
    }
    let (_dir, path) = in_dir("token", b"\xff\xfet\0k\0");
    assert!(token(&path).unwrap_err().contains("is UTF-16; save it as UTF-8"));
    assert!(token("\u{feff}/run/secrets/x").unwrap_err().contains("begins with U+FEFF (byte order mark)"));
}

#[test]
fn white_space_that_remains_is_kept_with_a_warning_that_names_the_variable_alone() {
    for (content, warned) in [("tk\n", 0), (" tk", 1), ("t k", 1), ("t\nk\n", 1), ("tk\n\n", 1)] {
        let (_dir, path) = in_dir("token", content);
        let env = Env::from_vars("APP", [("APP_TOKEN_FILE", path)]);
        let _ = env.var("TOKEN").secret().required();
        let warnings: Vec<_> = env.check().unwrap().iter().map(ToString::to_string).collect();
        let expected = "APP_TOKEN_FILE: the file's value contains white space, which is kept".to_owned();
        assert_eq!(warnings, vec![expected; warned], "{content:?}");
    }
}

#[test]
fn every_form_of_free_text_takes_a_file_and_no_other_form_does() {
    let (_dir, path) = in_dir("value", "http://example.com\n");
    let names = ["APP_TEXT_FILE", "APP_PATH_FILE", "APP_URL_FILE", "APP_LIMIT_FILE"];
    let env = Env::from_vars("APP", names.map(|name| (name, path.as_str())));
    assert_eq!(env.var("TEXT").text().required(), "http://example.com");
    assert_eq!(env.var("PATH").path().required().to_str(), Some("http://example.com"));
    assert_eq!(env.var("URL").url().required().host(), "example.com");
    assert_eq!(env.var("LIMIT").integer(1..=9).default(7), 7);
    let warnings: Vec<_> = env.check().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["APP_LIMIT_FILE: unknown, and not used"]);
}

#[test]
fn both_the_variable_and_its_file_are_one_too_many() {
    let (_dir, path) = in_dir("token", "tk");
    let env = Env::from_vars("APP", [("APP_TOKEN", "tk"), ("APP_TOKEN_FILE", &path)]);
    assert!(env.var("TOKEN").secret().optional().is_none());
    let text = env.check().unwrap_err().to_string();
    assert!(text.ends_with("APP_TOKEN: set, and APP_TOKEN_FILE too; remove one of the two"), "{text}");

    let env = Env::from_vars("APP", [("APP_TOKEN", " "), ("APP_TOKEN_FILE", &path)]);
    assert_eq!(env.var("TOKEN").secret().required().expose(), "tk", "blank is not set");
    assert_eq!(env.check().unwrap(), []);
}

#[test]
fn an_empty_file_is_a_problem() {
    for content in ["", "\n", "\r\n", "  \n\n"] {
        let (_dir, path) = in_dir("token", content);
        let expected = format!("APP_TOKEN_FILE: {path} is empty; write the value into the file");
        assert_eq!(token(&path), Err(expected), "{content:?}");
    }
}

#[test]
fn a_missing_file_is_named_with_whether_secrets_are_mounted_at_all() {
    let (_dir, path) = in_dir("token", "");
    let mounted = if Path::new("/run/secrets").is_dir() { "exists" } else { "does not exist" };
    let expected = format!(
        "APP_TOKEN_FILE: {path}x does not exist (/run/secrets {mounted}); \
         declare it under `secrets:` of this service too"
    );
    assert_eq!(token(&format!("{path}x")), Err(expected));
}

#[test]
fn the_size_limit_is_64_kib() {
    let (_dir, path) = in_dir("token", "x".repeat(65_536));
    assert_eq!(token(&path).map(|value| value.len()), Ok(65_536));
    fs::write(&path, "x".repeat(65_537)).unwrap();
    assert!(token(&path).unwrap_err().contains("is larger than 64 KiB"));
}

#[test]
fn a_file_that_is_not_text_is_refused_without_its_content() {
    let (_dir, path) = in_dir("token", b"hunter2\xff");
    let expected = format!("APP_TOKEN_FILE: {path} is not valid UTF-8; write the value as plain text");
    assert_eq!(token(&path), Err(expected));
}

#[test]
fn only_a_regular_file_is_read_and_nothing_else_hangs_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    for path in [fifo.to_str().unwrap(), "/dev/zero", dir.path().to_str().unwrap()] {
        let (sender, answer) = mpsc::channel();
        let owned = path.to_owned();
        thread::spawn(move || sender.send(token(&owned)));
        let problem = answer.recv_timeout(Duration::from_secs(10)).expect("reading hangs").unwrap_err();
        let regular = problem.contains("not a regular file") || problem.contains("is a directory");
        assert!(regular && problem.contains(path), "{problem}");
    }
}

#[test]
fn a_symbolic_link_is_followed_as_kubernetes_mounts_them() {
    let (dir, path) = in_dir("..data", "tk\n");
    let link = dir.path().join("token");
    symlink(&path, &link).unwrap();
    assert_eq!(token(link.to_str().unwrap()).as_deref(), Ok("tk"));
}

#[test]
fn what_is_no_absolute_path_is_refused_and_not_shown_for_it_may_be_the_secret() {
    for value in ["hunter2", "./hunter2", "-----BEGIN KEY-----\nhunter2"] {
        let expected = "APP_TOKEN_FILE: not an absolute path; \
                        write the path of the file, for instance /run/secrets/<name>";
        assert_eq!(token(value), Err(expected.to_owned()));
    }
}

#[test]
fn a_path_is_shown_printable_and_cut() {
    let problem = token(&format!("/\u{1b}[2J\n{}", "x".repeat(200))).unwrap_err();
    assert!(problem.starts_with("APP_TOKEN_FILE: /\\u{1b}[2J\\nxxx"), "{problem}");
    assert!(problem.contains("x... does not exist"), "{problem}");
    assert!(token("/a\0b").unwrap_err().contains("/a\\u{0}b cannot be read"));
}

#[test]
fn an_unreadable_file_says_who_must_be_able_to_read_it() {
    // Tests may run as root, whom no mode keeps out, so the wording alone is checked.
    let (what, remedy) = refusal("/s/t", &ErrorKind::PermissionDenied.into());
    assert_eq!(what, "/s/t cannot be read by this process");
    assert_eq!(remedy, format!("make it readable for uid {}", geteuid().as_raw()));
}

#[test]
fn a_value_from_a_file_is_not_echoed_even_where_its_form_is_no_secret() {
    let (_dir, path) = in_dir("name", "hunter2");
    let env = Env::from_vars("APP", [("APP_NAME_FILE", path)]);
    let _ = env.var("NAME").text().within("x".to_owned()..="z".to_owned()).optional();
    let text = env.check().unwrap_err().to_string();
    assert!(text.contains("APP_NAME_FILE: the value is out of range"), "{text}");
}
