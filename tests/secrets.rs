//! Secrets are planted wherever the operator can write one, and looked for wherever anything is told (invariant 10).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use receiver::Receiver;
use solostart::testing::Process;
use tempfile::TempDir;

#[path = "support/receiver.rs"]
#[allow(dead_code, reason = "every test file uses its own part of it")]
mod receiver;
mod support;

/// What every plant begins with. Nothing else that a service tells does.
const PLANT: &str = "pLaNt";

/// What a failure leaves. A proxy that is a plant, too, keeps the webhook from being reached.
const ALL_BUT_THE_WEBHOOK: &[&str] = &["ledger.json", "termination-log", "start.svg"];

/// Where a service runs, and all that it could tell something to.
struct Place {
    dir: TempDir,
    service: &'static str,
    prefix: &'static str,
    manager: UnixDatagram,
    receiver: Receiver,
    vars: BTreeMap<String, String>,
}

impl Place {
    fn new(service: &'static str, prefix: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["data", "run", "secrets"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("data/termination-log"), "").unwrap();
        let manager = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        manager.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut place =
            Self { dir, service, prefix, manager, receiver: Receiver::content(), vars: BTreeMap::new() };
        for (name, file) in [
            ("REPORT_FILE", "report.json"),
            ("TERMINATION_LOG", "termination-log"),
            ("TIMELINE_SVG", "start.svg"),
            ("METRICS_TEXTFILE", "app.prom"),
        ] {
            let path = place.path(&format!("data/{file}"));
            place.set(&format!("{prefix}_{name}"), path.to_str().unwrap());
        }
        for name in ["XDG_RUNTIME_DIR", "TMPDIR"] {
            let run = place.path("run");
            place.set(name, run.to_str().unwrap());
        }
        let notify = place.path("notify");
        place.set("NOTIFY_SOCKET", notify.to_str().unwrap());
        // The manager hears of each step that lasts.
        place.set("WATCHDOG_USEC", "200000");
        place.set(&format!("{prefix}_ALLOW_UNSHARED_LOCK"), "overlay,tmpfs");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn set(&mut self, name: &str, value: &str) {
        self.vars.insert(name.to_owned(), value.to_owned());
    }

    /// Sets it in a file that the variable's twin names.
    fn set_in_file(&mut self, name: &str, value: &str) {
        let path = self.path("secrets").join(name);
        fs::write(&path, format!("{value}\n")).unwrap();
        self.vars.remove(name);
        self.set(&format!("{name}_FILE"), path.to_str().unwrap());
    }

    fn command(&self) -> Command {
        let mut command = support::command(self.service, &self.path("data"), &[]);
        command.envs(&self.vars);
        command
    }

    /// Everything that the service can be asked, on both of its streams.
    fn answers(&self, words: &str) -> String {
        let output = self.command().args(words.split(' ')).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// The variables that hold secrets, as the service itself says.
    fn secret_variables(&self) -> Vec<String> {
        let all = self.answers("env");
        let names = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with(' '));
            lines.filter_map(|line| Some(line.split_once(" = ")?.0.to_owned())).collect()
        };
        let mut command = self.command();
        command.envs(names(&all).into_iter().map(|name| (name, "x")));
        let output = command.arg("env").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        names(&text.lines().filter(|line| line.ends_with("= [set, secret]")).collect::<Vec<_>>().join("\n"))
    }

    /// Runs it once in each form, and looks for plants in all that is told.
    #[track_caller]
    fn look(&self, exit: i32, told: &str, sinks: &[&str]) {
        let (mut said, format) = (Vec::new(), format!("{}_LOG_FORMAT", self.prefix));
        for form in ["text", "json"] {
            let ended = Process::start(self.command().env(&format, form)).wait();
            assert_eq!(ended.code(), exit, "{}", ended.stderr);
            assert!(ended.stderr.contains(told), "{}", ended.stderr);
            said.push((format!("stderr, {form}"), ended.stderr));
            // A manager that does not read is soon told nothing more.
            let mut datagram = [0; 4096];
            while let Ok(length) = self.manager.recv(&mut datagram) {
                said.push((
                    "sd_notify".to_owned(),
                    String::from_utf8_lossy(&datagram[..length]).into_owned(),
                ));
            }
        }
        for words in [
            "env",
            "env --markdown",
            "check",
            "check --json",
            "report",
            "report --json",
            "timeline",
            "timeline --format svg",
            "graph",
            "lock status",
        ] {
            said.push((words.to_owned(), self.answers(words)));
        }
        said.extend(self.receiver.rest().into_iter().map(|request| ("webhook".to_owned(), request.body)));
        for dir in ["data", "run"] {
            read_all(&self.path(dir), &mut said);
        }
        // Where nothing was told, nothing could be found.
        for wanted in [&["sd_notify", "report.json", "app.prom"], sinks].concat() {
            assert!(
                said.iter().any(|(sink, text)| sink.ends_with(wanted) && !text.is_empty()),
                "no {wanted}"
            );
        }
        for (sink, text) in said {
            let at = text.find(PLANT);
            assert!(
                at.is_none(),
                "{sink}: {}",
                &text[text.floor_char_boundary(at.unwrap().saturating_sub(200))..]
            );
        }
    }
}

fn read_all(dir: &Path, into: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, into);
        } else {
            let content = fs::read(&path).unwrap();
            into.push((path.display().to_string(), String::from_utf8_lossy(&content).into_owned()));
        }
    }
}

/// A URL at which nobody listens, all of whose secret parts are plants.
fn url(place: &str, name: &str) -> String {
    format!(
        "http://{PLANT}-u-{name}:{PLANT}-p-{name}@{place}/{PLANT}-path-{name}?key={PLANT}-q-{name}#{PLANT}-f"
    )
}

#[test]
fn no_secret_of_the_reference_service_is_told_anywhere() {
    for in_files in [false, true] {
        let mut place = Place::new("banboard", "BANBOARD");
        let secret = place.secret_variables();
        for expected in ["BANBOARD_NOTIFY_URL", "BANBOARD_NOTIFY_TOKEN", "BANBOARD_TICK_SECRET"] {
            assert!(secret.iter().any(|name| name == expected), "{expected} is not among {secret:?}");
        }
        for name in &secret {
            let value = match name.as_str() {
                "BANBOARD_NOTIFY_URL" => url(&place.receiver.address.to_string(), name),
                _ if name.ends_with("_URL") || name.to_lowercase().ends_with("_proxy") => {
                    url("127.0.0.1:9", name)
                }
                _ => format!("{PLANT}-of-{name}-that-is-long-enough"),
            };
            if in_files && name.starts_with("BANBOARD_") {
                place.set_in_file(name, &value);
            } else {
                place.set(name, &value);
            }
        }
        // The service that it asks is not there.
        place.set("BANBOARD_HTTP_RETRY_BUDGET", "200ms");
        place.set("BANBOARD_LISTEN", "127.0.0.1:0");
        place.look(69, "http.", ALL_BUT_THE_WEBHOOK);
    }
}

#[test]
fn what_an_application_lets_slip_in_an_error_a_fact_a_step_and_a_command_is_not_told() {
    let mut place = Place::new("test-app", "TESTAPP");
    let host = place.receiver.address.to_string();
    place.set("TESTAPP_NOTIFY_URL", &url(&host, "notify"));
    place.set("TESTAPP_NOTIFY_TOKEN", &format!("{PLANT}-token"));
    place.set("TESTAPP_PASSWORD", &format!("{PLANT}-password"));
    // The path of a URL stays in what an application says: an operator needs it.
    let upstream =
        format!("postgres://{PLANT}-user:{PLANT}-pw@db.test:5432/app?password={PLANT}-q#{PLANT}-f");
    place.set("TESTAPP_UPSTREAM", &upstream.replace("postgres", "http"));
    place.set("TESTAPP_SCENARIO", "leak");
    place.look(70, "stage.failed", &[&["webhook"], ALL_BUT_THE_WEBHOOK].concat());
    place.set("TESTAPP_SCENARIO", "finish");
    place.look(0, "READY", &["webhook", "start.svg"]);
}

#[test]
fn what_is_wrong_with_a_secret_is_told_without_it() {
    let mut place = Place::new("test-app", "TESTAPP");
    place.set("TESTAPP_NOTIFY_URL", &format!("ftp://{PLANT}:{PLANT}@x.test/{PLANT}"));
    place.set("TESTAPP_NOTIFY_TOKEN", &format!("{PLANT} with a blank"));
    place.set("TESTAPP_UPSTREAM", &format!("{PLANT}\u{1b}[31m"));
    place.set("TESTAPP_LOCK_WAIT", &format!("redis://:{PLANT}@cache"));
    place.set_in_file("TESTAPP_PASSWORD", &format!("{PLANT}\u{0}\nmore {PLANT}"));
    place.look(78, "env.invalid", &["ledger.json", "termination-log"]);
    let mut place = Place::new("test-app", "TESTAPP");
    place.set("GUNICORN_CMD_ARGS", &format!("--workers 4 --env KEY={PLANT} --certfile={PLANT}"));
    let answers = place.answers("check");
    assert!(answers.contains("GUNICORN_CMD_ARGS") && !answers.contains(PLANT), "{answers}");
    let ended = Process::start(&mut place.command()).wait();
    ended.assert_failed(78, "worker.count-configured");
    assert!(!ended.stderr.contains(PLANT), "{}", ended.stderr);
}
