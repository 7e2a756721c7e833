//! This test program once more, where the machine is as a test needs it: in a mount namespace of its own, under a
//! limit, or as another program that has the file open.

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rusqlite::Connection;

const DIR: &str = "SOLOSTART_TEST_ELSEWHERE";
const HELD: &str = "SOLOSTART_TEST_HELD_FILE";

/// The directory that was prepared, if this is the inner process.
pub(super) fn prepared() -> Option<PathBuf> {
    env::var_os(DIR).map(PathBuf::from)
}

/// Runs the test `name` again as a process for which the shell has run `prepare` with an empty directory `$DIR`.
pub(super) fn run(name: &str, prepare: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let script = format!("DIR=${DIR}; {prepare}; exec \"$0\" --exact \"$1\" --nocapture");
    let done = command
        .args(["--mount", "sh", "-ec", &script])
        .arg(env::current_exe().unwrap())
        .arg(format!("stages::database::tests::{name}"))
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

/// Another program that keeps a database to itself.
pub(super) struct Holder(Child);

pub(super) fn holding(file: &Path) -> Holder {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "stages::database::tests::elsewhere::holds_the_file", "--nocapture"])
        .env(HELD, file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // It complains that nobody listens any more when it ends.
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "held"), "it ended");
    Holder(child)
}

impl Holder {
    /// Ends it, and waits until it is gone.
    pub(super) fn let_go(&mut self) {
        drop(self.0.stdin.take());
        // The pipe to the test program is closed, so how it ends says nothing.
        self.0.wait().unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// What the other program does. On its own it does nothing.
#[test]
fn holds_the_file() {
    let Some(file) = env::var_os(HELD) else { return };
    let connection = Connection::open(file).unwrap();
    connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE;").unwrap();
    println!("\nheld");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}
