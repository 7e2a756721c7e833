//! A place of its own for the service, as a container has one: mounts and a host name, so that its reports name the
//! same paths wherever the tests run. The namespaces need no right that root in its own user namespace has not.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rustix::process::geteuid;
use solostart::testing::Process;

use crate::{advice, support};

/// The data, as the service sees it. Every system has the directory above it.
pub(crate) const DATA: &str = "/srv/shop";

pub(crate) struct Shop {
    place: String,
    network: bool,
    _keeper: Process,
}

/// What a service said that failed.
pub(crate) struct Report(pub(crate) String);

impl Shop {
    /// An empty data directory with 16 MiB of space.
    pub(crate) fn new() -> Self {
        Self::place(true)
    }

    /// The same without a network.
    pub(crate) fn offline() -> Self {
        Self::place(false)
    }

    fn place(network: bool) -> Self {
        let mut words = vec!["--mount", "--uts"];
        words.extend((!network).then_some("--net"));
        words.extend((!geteuid().is_root()).then_some("--map-root-user"));
        let script = format!(
            "mount -t tmpfs -o size=16m,mode=0755 none /srv; mkdir {DATA}; hostname shop-1
             echo made >&2; exec sleep 600"
        );
        let mut keeper = Command::new("unshare");
        let mut keeper = Process::start(keeper.args(words).args(["sh", "-ec", &script]));
        keeper.wait_for("made");
        Self { place: keeper.id().to_string(), network, _keeper: keeper }
    }

    /// What starts `program` there, with a lock that may be on this file system, and nothing else in its
    /// environment but `vars`.
    fn command(&self, program: &[&str], vars: &[(&str, &str)]) -> Command {
        let mut words = vec!["--mount", "--uts", "--target", &self.place];
        words.extend((!self.network).then_some("--net"));
        if !geteuid().is_root() {
            words.extend(["--user", "--preserve-credentials"]);
        }
        let mut command = Command::new("nsenter");
        command.args(words).args(program).env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        let usual = [("SHOP_DATA_DIR", DATA), ("SHOP_ALLOW_UNSHARED_LOCK", "tmpfs")];
        command.envs(usual).envs(vars.iter().copied());
        command
    }

    /// The service.
    pub(crate) fn run(&self, vars: &[(&str, &str)]) -> Process {
        self.run_through(&[], vars)
    }

    /// The service, started by another program.
    pub(crate) fn run_through(&self, program: &[&str], vars: &[(&str, &str)]) -> Process {
        let shop = support::example("shop");
        let words = [program, &[shop.to_str().unwrap()]].concat();
        Process::start(&mut self.command(&words, vars))
    }

    /// The service once it is up.
    #[track_caller]
    pub(crate) fn up(&self, vars: &[(&str, &str)]) -> Process {
        let mut process = self.run(vars);
        process.wait_for("READY");
        process
    }

    /// The service starts, and ends when it is asked to.
    #[track_caller]
    pub(crate) fn starts(&self, vars: &[(&str, &str)]) {
        let mut process = self.up(vars);
        process.terminate();
        let ended = process.wait();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
    }

    /// What the service reports when it fails.
    #[track_caller]
    pub(crate) fn fails(&self, vars: &[(&str, &str)]) -> Report {
        Report::of(self.run(vars))
    }

    /// What `check --compose` says of this file.
    #[track_caller]
    pub(crate) fn compose(&self, file: &str) -> Report {
        std::fs::write(self.file("compose.yaml"), file).unwrap();
        let check =
            format!("cd {DATA}; exec \"$0\" check --compose compose.yaml --service shop --prefix SHOP >&2");
        let words = ["sh", "-ec", &check, env!("CARGO_BIN_EXE_solostart")];
        Report::of(Process::start(&mut self.command(&words, &[])))
    }

    /// The service's program with arguments.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Process {
        let shop = support::example("shop");
        Process::start(&mut self.command(&[&[shop.to_str().unwrap()], arguments].concat(), &[]))
    }

    /// Pastes what the report says from `begin` on, and returns what it prints. It must succeed.
    #[track_caller]
    pub(crate) fn does(&self, report: &Report, begin: &str) -> String {
        let command = report.done(begin);
        self.sh(&format!("{}\n{{ {command}\n}} 2>&1", self.programs()))
    }

    /// The same for what only looks: it prints something, and its exit code says what it saw.
    #[track_caller]
    pub(crate) fn looks(&self, report: &Report, begin: &str) -> String {
        let command = report.done(begin);
        let seen = self.sh(&format!("{}\n{{ {command}\n}} 2>&1 || true", self.programs()));
        assert!(!seen.is_empty() && !seen.contains("not found"), "{command}: {seen}");
        seen
    }

    /// What the operator has: the service by its name, and `sudo`, which root needs not and not every machine has.
    fn programs(&self) -> String {
        let shop = support::example("shop");
        format!("command -v sudo >/dev/null || sudo() {{ \"$@\"; }}\nshop() {{ {} \"$@\"; }}", shop.display())
    }

    /// The service as another user, who need not be able to reach the program by its path.
    pub(crate) fn run_as(&self, user: u32, vars: &[(&str, &str)]) -> Process {
        let other = format!(
            "exec 9<\"$0\"; exec setpriv --reuid {user} --regid {user} --clear-groups /proc/self/fd/9"
        );
        self.run_through(&["sh", "-ec", &other], vars)
    }

    /// What a shell does there.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        let Output { status, stdout, stderr } = self.command(&["sh", "-ec", script], &[]).output().unwrap();
        assert!(status.success(), "{script}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    /// A shell that goes on there until it is killed, once it has said `locked`.
    #[track_caller]
    pub(crate) fn background(&self, script: &str) -> Process {
        let mut process = Process::start(&mut self.command(&["sh", "-ec", script], &[]));
        process.wait_for("locked");
        process
    }

    /// A file of the data, from outside.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(&self.place).join("root").join(&DATA[1..]).join(name)
    }
}

impl Report {
    /// The block that the process ends with.
    #[track_caller]
    pub(crate) fn of(process: Process) -> Self {
        let ended = process.wait();
        let rule = "=".repeat(80);
        let lines: Vec<&str> = ended.stderr.lines().collect();
        let rules: Vec<usize> = (0..lines.len()).filter(|&at| lines[at] == rule).collect();
        assert!(rules.len() >= 3 && ended.code() != 0, "no block:\n{}", ended.stderr);
        let block: String = lines[rules[0]..=rules[2]].iter().map(|line| format!("{line}\n")).collect();
        advice::note_report(&block);
        Self(block)
    }

    /// The whole report in one line.
    pub(crate) fn text(&self) -> String {
        self.0.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The same as [`paste`](Self::paste), for what is done then as it stands.
    #[track_caller]
    pub(crate) fn done(&self, begin: &str) -> String {
        let pasted = self.paste(begin);
        advice::note_done(&self.0, &pasted);
        pasted
    }

    /// What stands under `Do this` from `begin` to the end of the action: what an operator would paste.
    #[track_caller]
    pub(crate) fn paste(&self, begin: &str) -> String {
        let actions = advice::actions(&self.0);
        // A command stands behind a colon; the same letters may be in a word before it.
        let command = format!(": {begin}");
        let action = actions.iter().find(|action| action.contains(&command));
        if let Some(action) = action {
            return action[action.find(&command).unwrap() + 2..].to_owned();
        }
        let action = actions.iter().find(|action| action.contains(begin));
        let action = action.unwrap_or_else(|| panic!("nothing with {begin} to paste:\n{}", self.0));
        action[action.find(begin).unwrap()..].to_owned()
    }

    /// A variable with its value that stands there.
    #[track_caller]
    pub(crate) fn variable(&self, begin: &str) -> (String, String) {
        let pasted = self.done(begin);
        let (name, value) = pasted.split_once('=').unwrap_or_else(|| panic!("{pasted} is no variable"));
        (name.to_owned(), value.to_owned())
    }
}
