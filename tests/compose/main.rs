//! `solostart check --compose`, as a real process on real files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod checks;
mod documents;
mod hostile;
mod reading;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// A compose file in which nothing is wrong.
const GOOD: &str = r#"services:
  app:
    image: banboard:0.1.0
    container_name: banboard
    restart: on-failure:5
    stop_grace_period: 20s
    environment:
      BANBOARD_DATA_DIR: /data
    volumes: [data:/data]
    healthcheck:
      test: ["CMD", "/banboard", "healthcheck"]
      start_period: 130s
    deploy: {replicas: 1, update_config: {order: stop-first}}
volumes:
  data:
"#;

/// What the program said, and its exit code.
struct Said {
    exit: i32,
    text: String,
}

impl Said {
    #[track_caller]
    fn refuses(&self, parts: &[&str]) -> &Self {
        assert_eq!(self.exit, 78, "{}", self.text);
        assert!(self.text.contains("CHECK FAILED"), "{}", self.text);
        self.tells(parts)
    }

    #[track_caller]
    fn accepts(&self, parts: &[&str]) -> &Self {
        assert_eq!(self.exit, 0, "{}", self.text);
        assert!(self.text.contains("CHECK OK"), "{}", self.text);
        self.tells(parts)
    }

    #[track_caller]
    fn tells(&self, parts: &[&str]) -> &Self {
        // A report breaks its lines; what it says does not depend on where.
        let flat = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts {
            assert!(flat.contains(part), "no `{part}` in:\n{}", self.text);
        }
        self
    }

    #[track_caller]
    fn omits(&self, part: &str) -> &Self {
        assert!(!self.text.contains(part), "`{part}` in:\n{}", self.text);
        self
    }
}

/// Runs the program in `dir`, with nothing in its environment but `vars`.
fn ask_with(dir: &Path, arguments: &[&str], vars: &[(&str, &str)]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_solostart"))
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .envs(vars.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    Said { exit: output.status.code().unwrap(), text }
}

/// Checks files that are written to a directory of their own. Those whose names begin with `compose` are
/// handed over, in this order.
fn check(files: &[(&str, &str)]) -> Said {
    check_with(files, &[], &[])
}

fn check_with(files: &[(&str, &str)], more: &[&str], vars: &[(&str, &str)]) -> Said {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let named = files.iter().map(|(name, _)| *name).filter(|name| name.starts_with("compose"));
    let arguments: Vec<&str> =
        ["check", "--compose"].into_iter().chain(named).chain(more.iter().copied()).collect();
    ask_with(dir.path(), &arguments, vars)
}

/// The good file with one thing changed.
fn changed(from: &str, to: &str) -> Said {
    assert!(GOOD.contains(from), "{from}");
    check(&[("compose.yaml", &GOOD.replace(from, to))])
}

#[test]
fn a_file_with_nothing_wrong_is_one_line_and_exit_0() {
    let said = check(&[("compose.yaml", GOOD)]);
    said.accepts(&["CHECK OK 1 file, service app; only files were read"]);
    assert_eq!(said.text.lines().count(), 1, "{}", said.text);
}

#[test]
fn every_problem_stands_in_one_report_with_its_file_and_line() {
    let wrong = GOOD.replace("replicas: 1", "replicas: 3").replace("20s", "2s").replace("130s", "30s");
    let said = check(&[("compose.yaml", &wrong)]);
    said.refuses(&["exit 78 (CONFIG)", "3 things would keep the service from being run as it must be"]);
    said.tells(&[
        "compose.yaml:6: `stop_grace_period`",
        "compose.yaml:12: `start_period`",
        "compose.yaml:13: `deploy.replicas` is 3",
    ]);
    assert!(
        said.text.lines().count() <= 40 && said.text.lines().all(|line| line.len() <= 80),
        "{}",
        said.text
    );
}

#[test]
fn as_json_each_line_is_an_object_and_the_last_is_the_verdict() {
    let wrong = GOOD.replace("replicas: 1", "replicas: 3").replace("    container_name: banboard\n", "");
    let said = check_with(&[("compose.yaml", &wrong)], &["--json"], &[]);
    let lines: Vec<serde_json::Value> =
        said.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{}", said.text);
    assert_eq!(lines[0]["event"], "startup.warning");
    let verdict = &lines[1];
    assert_eq!(
        (said.exit, &verdict["event"], &verdict["exit_code"]),
        (78, &"check.failed".into(), &78.into())
    );
    assert_eq!((&verdict["code"], &verdict["stage"]), (&"compose.unsafe".into(), &"app".into()));
    assert!(verdict["cause"][0].as_str().unwrap().starts_with("compose.yaml:12: "), "{verdict}");
}

#[test]
fn a_wrong_command_line_is_exit_64_and_a_question_is_none() {
    let dir = tempfile::tempdir().unwrap();
    for wrong in
        [&[][..], &["check"], &["check", "--compose"], &["chekc"], &["check", "--compose", "a", "--jsno"]]
    {
        assert_eq!(ask_with(dir.path(), wrong, &[]).exit, 64, "{wrong:?}");
    }
    let said = ask_with(dir.path(), &["--version"], &[]);
    assert_eq!((said.exit, said.text.trim()), (0, concat!("solostart ", env!("CARGO_PKG_VERSION"))));
}
