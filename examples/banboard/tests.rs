//! The whole service: real files, a real port.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use solostart::{Env, ErrorKind, Handle, Running, StartupError, WorkerMode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

mod visitors;

const BAN: &str = "2026-11-19 23:59:59,123 fail2ban.actions        [812]: NOTICE  [sshd] Ban 192.0.2.";

/// A directory with a log of its own, and the service on top of it.
pub(crate) struct Host {
    dir: tempfile::TempDir,
}

struct Service {
    running: Running,
    listener: Handle<TcpListener>,
}

impl Host {
    pub(crate) fn new() -> Self {
        let host = Self { dir: tempfile::tempdir().unwrap() };
        fs::copy(store::tests::SAMPLE, host.log()).unwrap();
        host
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("fail2ban.log")
    }

    fn append(&self, text: &str) {
        fs::OpenOptions::new().append(true).open(self.log()).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The whole graph, with `more` settings than a test of it must have.
    pub(crate) fn startup(&self, listen: &str, more: &[(&str, &str)]) -> (Startup, Handle<TcpListener>) {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let vars = [
            ("BANBOARD_DATA_DIR", path(&self.dir.path().join("data"))),
            ("BANBOARD_FAIL2BAN_LOG", path(&self.log())),
            ("BANBOARD_LISTEN", listen.to_owned()),
            // Where the tests run in a container, its temporary directory is of one of these.
            ("BANBOARD_ALLOW_UNSHARED_LOCK", "overlay,tmpfs".to_owned()),
        ];
        let more = more.iter().map(|&(name, value)| (name, value.to_owned()));
        let env = Env::from_vars("BANBOARD", vars.into_iter().chain(more));
        let mut startup = Startup::new("banboard", env, WorkerMode::Single);
        let listener = plan(&mut startup);
        (startup, listener)
    }

    async fn start(&self, listen: &str) -> Result<Service, Box<StartupError>> {
        let (startup, listener) = self.startup(listen, &[]);
        Ok(Service { running: startup.start().await?, listener })
    }

    async fn start_with(&self, more: &[(&str, &str)]) -> Service {
        let (startup, listener) = self.startup("127.0.0.1:0", more);
        Service { running: startup.start().await.unwrap(), listener }
    }
}

impl Service {
    async fn get(&self, path: &str) -> (String, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\n"), "").await
    }

    /// Sends the first lines of a request with a body, and returns head and body of the answer.
    async fn send(&self, head: &str, body: &str) -> (String, String) {
        let address = self.running.get(self.listener).unwrap().local_addr().unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{head}Host: banboard\r\nConnection: close\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    }

    /// The addresses that the API lists.
    async fn banned(&self) -> Vec<String> {
        let bans: serde_json::Value = serde_json::from_str(&self.get("/api/bans").await.1).unwrap();
        bans.as_array().unwrap().iter().map(|ban| ban["address"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until that many are banned.
    async fn has_banned(&self, count: usize) -> Vec<String> {
        let banned = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let banned = self.banned().await;
                if banned.len() >= count {
                    break banned;
                }
            }
        });
        banned.await.unwrap()
    }

    async fn stop(self) {
        assert!(self.running.shutdown("the test is over").await.is_clean());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_board_is_full_as_soon_as_the_service_is_ready() {
    let host = Host::new();
    let service = host.start("127.0.0.1:0").await.unwrap();
    let (head, mut page) = service.get("/").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    // A machine that is very busy counts longer than a request waits.
    while page.contains("are being counted") {
        page = service.get("/").await.1;
    }
    let banned = service.banned().await;
    assert!(banned.len() > 10);
    for said in banned.iter().filter(|address| !address.contains(':')).chain(&["worker-mode".to_owned()]) {
        assert!(page.contains(said), "{said}");
    }
    assert!(page.contains("198.18.3.0/24") && page.contains(">CN<"));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_response_forbids_all_but_the_pages_own_style() {
    let host = Host::new();
    let service = host.start("127.0.0.1:0").await.unwrap();
    for path in [
        "/",
        "/icon.svg",
        "/api/bans",
        "/livez",
        "/readyz",
        "/startupz",
        "/startup.svg",
        "/login",
        "/nowhere",
    ] {
        let (head, body) = service.get(path).await;
        assert!(head.contains("content-security-policy: default-src 'none'; "), "{path}: {head}");
        assert!(head.contains("x-content-type-options: nosniff"), "{path}: {head}");
        let nonce = head.split_once("style-src 'nonce-").map(|(_, rest)| rest.split_once('\'').unwrap().0);
        assert_eq!(nonce.is_some(), path == "/");
        assert!(nonce.is_none_or(|nonce| body.contains(&format!("<style nonce=\"{nonce}\">"))));
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_endpoints_tell_the_start() {
    let host = Host::new();
    let service = host.start("127.0.0.1:0").await.unwrap();
    assert_eq!(service.get("/livez").await.1, "alive\n");
    assert_eq!(service.get("/readyz").await.1, "ready\n");
    let startup: serde_json::Value = serde_json::from_str(&service.get("/startupz").await.1).unwrap();
    let stages = startup["stages"].as_array().unwrap();
    let names: Vec<_> = stages.iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "worker-mode",
            "database",
            "cache",
            "unknown",
            "http-session",
            "sessions",
            "login",
            "scheduler",
            "tasks",
            "listener"
        ]
    );
    for stage in stages {
        assert_eq!(stage["state"], "up");
        for field in ["start_ms", "ms", "slack_ms"] {
            assert!(stage[field].is_number(), "{field}: {stage}");
        }
        assert!(stage["critical"].is_boolean() && stage["needs"].is_array());
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_shown_soon_and_no_line_twice_after_a_restart() {
    let host = Host::new();
    let service = host.start("127.0.0.1:0").await.unwrap();
    let before = service.banned().await;
    host.append(&format!("{BAN}77\n"));
    let shown = service.has_banned(before.len() + 1).await;
    assert_eq!(shown.first().map(String::as_str), Some("192.0.2.77"));
    service.stop().await;

    host.append(&format!("{BAN}78\n"));
    let service = host.start("127.0.0.1:0").await.unwrap();
    assert_eq!(service.banned().await.len(), shown.len() + 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_line_is_lost_where_the_log_was_rotated_or_away_while_the_service_ran_or_did_not() {
    let host = Host::new();
    let rotated = host.dir.path().join("fail2ban.log.1");
    let service = host.start("127.0.0.1:0").await.unwrap();
    let before = service.banned().await.len();
    service.stop().await;

    host.append(&format!("{BAN}81\n"));
    fs::rename(host.log(), &rotated).unwrap();
    fs::write(host.log(), format!("{BAN}82\n")).unwrap();
    let service = host.start("127.0.0.1:0").await.unwrap();
    assert_eq!(service.banned().await.len(), before + 2, "rotated while it did not run");

    fs::rename(host.log(), &rotated).unwrap();
    fs::OpenOptions::new()
        .append(true)
        .open(&rotated)
        .unwrap()
        .write_all(format!("{BAN}83\n").as_bytes())
        .unwrap();
    fs::write(host.log(), format!("{BAN}84\n")).unwrap();
    service.has_banned(before + 4).await;

    let away = host.dir.path().join("away");
    fs::rename(host.log(), &away).unwrap();
    fs::OpenOptions::new()
        .append(true)
        .open(&away)
        .unwrap()
        .write_all(format!("{BAN}85\n").as_bytes())
        .unwrap();
    fs::rename(&away, host.log()).unwrap();
    service.has_banned(before + 5).await;
    let bans: serde_json::Value = serde_json::from_str(&service.get("/api/bans").await.1).unwrap();
    let times = bans.as_array().unwrap().iter().take(5).map(|ban| ban["times"].as_u64().unwrap());
    assert_eq!(times.collect::<Vec<_>>(), [1; 5], "none is stored twice");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_not_there_is_a_failed_start_that_names_the_variable() {
    let host = Host::new();
    fs::remove_file(host.log()).unwrap();
    let error = host.start("127.0.0.1:0").await.err().unwrap().primary;
    assert_eq!((error.stage.as_ref(), error.error.failure_code().name), ("tasks", "banboard.log"));
    assert_eq!(error.error.error_kind(), ErrorKind::Config);
    assert!(error.error.actions()[0].contains("BANBOARD_FAIL2BAN_LOG"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_a_failed_start_that_says_how_to_find_the_holder() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let host = Host::new();
    let error = host.start(&format!("127.0.0.1:{port}")).await.err().unwrap().primary;
    assert_eq!((error.stage.as_ref(), error.error.error_kind()), ("listener", ErrorKind::Temporary));
    assert!(error.error.actions()[0].contains(&format!("ss -ltnp 'sport = :{port}'")));
    assert!(error.error.actions()[1].contains("BANBOARD_LISTEN"));
}
