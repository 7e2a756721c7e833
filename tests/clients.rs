//! No client decides how long a service serves others, or how it ends (invariant 14).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the tasks of a test end with it")]

use std::{
    fs,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use futures_util::StreamExt;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use solostart::{Env, HttpLimits, Running, ServeContext, Startup, WorkerMode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::{sleep, timeout},
};

mod support;

/// No passing test waits that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The stop budget; half of it is for `serve`.
const BUDGET: Duration = Duration::from_secs(6);

/// More than any socket's buffers take.
const LARGE: usize = 64 << 20;

/// How a client behaves, and whether its connection may stay when it is left alone.
struct Client {
    name: &'static str,
    sends: &'static [u8],
    /// Sends a byte of this each 50 ms.
    drips: &'static [u8],
    /// Whether it waits for an answer, and reads it in full.
    reads: bool,
    stays: bool,
}

const fn client(name: &'static str, sends: &'static [u8]) -> Client {
    Client { name, sends, drips: b"", reads: false, stays: false }
}

const CLIENTS: [Client; 11] = [
    client("sends nothing", b""),
    client("sends one byte", b"P"),
    client("sends half a request line", b"GET /livez HT"),
    client("sends half a head", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: "),
    Client {
        drips: b"X-B: y\r\n",
        ..client("feeds its head by drips", b"GET /livez HTTP/1.1\r\nHost: x\r\n")
    },
    client("sends half a body", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\nabc"),
    Client { reads: true, ..client("stays after an answer", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n") },
    client("does not read", b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"),
    client("has no window", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Client { stays: true, ..client("listens to events", b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n") },
    Client {
        stays: true,
        ..client(
            "is upgraded",
            b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        )
    },
];

async fn upgrade(request: Request) -> Response {
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(request).await.unwrap();
        // It listens until its connection ends.
        let _ended = TokioIo::new(upgraded).read_to_end(&mut Vec::new()).await;
    });
    (axum::http::StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "x")])
        .into_response()
}

fn router() -> Router {
    let events = async || {
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let first = futures_util::stream::iter([Ok(Bytes::from_static(b"data: 1\n\n"))]);
        Body::from_stream(first.chain(never))
    };
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/echo", post(async |body: String| body))
        .route("/large", get(async || vec![b'x'; LARGE]))
        .route("/events", get(events))
        .route("/upgrade", any(upgrade))
        .route(
            "/slow",
            get(async || {
                sleep(Duration::from_millis(1500)).await;
                "done\n"
            }),
        )
}

/// A service with these limits, and where it listens.
async fn service(limits: HttpLimits) -> (Running, SocketAddr) {
    let vars = [("SHOP_SHUTDOWN_TIMEOUT", format!("{}s", BUDGET.as_secs()))];
    let mode = WorkerMode::Many { reason: "a test".to_owned() };
    let mut startup = Startup::new("shop", Env::from_vars("SHOP", vars), mode);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    startup.serve((), async move |cx: ServeContext, ()| cx.serve_http(listener, router(), limits).await);
    (startup.start().await.unwrap(), address)
}

/// A connection with little room for what it does not read.
async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    timeout(PATIENCE, socket.connect(address)).await.unwrap().unwrap()
}

impl Client {
    async fn begin(&self, address: SocketAddr) -> TcpStream {
        let mut stream = connect(address).await;
        stream.write_all(self.sends).await.unwrap();
        if self.reads || self.stays {
            let mut some = [0; 1024];
            assert!(stream.read(&mut some).await.unwrap() > 0, "{}: no answer", self.name);
        }
        stream
    }

    /// Goes on as it does until its connection is ended, but not longer than `most`. Whether it was ended.
    async fn go_on(&self, stream: &mut TcpStream, most: Duration) -> bool {
        let until = Instant::now() + most;
        while Instant::now() < until {
            let ended = if self.sends.starts_with(b"GET /large") {
                // Reading would be what it does not do. What the kernel says of the connection is asked instead.
                stream.write_all(b" ").await.is_err()
            } else {
                matches!(
                    timeout(Duration::from_millis(50), stream.read(&mut [0; 64])).await,
                    Ok(Ok(0) | Err(_))
                )
            };
            if ended || (!self.drips.is_empty() && stream.write_all(self.drips).await.is_err()) {
                return true;
            }
            sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

/// The whole answer.
async fn get_text(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    text
}

fn short() -> HttpLimits {
    HttpLimits::default().head_timeout(Duration::from_millis(300)).idle_timeout(Duration::from_millis(600))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_waits_for_its_client_ends_and_one_that_waits_for_the_application_does_not() {
    let (running, address) = service(short()).await;
    for client in &CLIENTS {
        let mut stream = client.begin(address).await;
        // Beyond both limits and the time at which it is looked.
        let most = if client.stays { Duration::from_secs(3) } else { PATIENCE };
        assert_eq!(client.go_on(&mut stream, most).await, !client.stays, "{}", client.name);
    }
    assert!(running.shutdown("over").await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_clean_and_in_time_whatever_its_clients_do() {
    for client in &CLIENTS {
        let (running, address) = service(HttpLimits::default()).await;
        let mut streams = Vec::new();
        for _ in 0..20 {
            streams.push(client.begin(address).await);
        }
        let began = Instant::now();
        let report = running.shutdown("over").await;
        assert!(report.is_clean(), "{}: {report:?}", client.name);
        assert!(began.elapsed() < BUDGET / 2, "{}: {:?}", client.name, began.elapsed());
        // The kernel holds nothing for them either.
        for stream in &mut streams {
            assert!(client.go_on(stream, PATIENCE).await, "{}: its connection is still open", client.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_is_served_however_many_keep_their_connections() {
    for client in CLIENTS.iter().filter(|client| !client.stays) {
        let (running, address) = service(HttpLimits::default().connections(16)).await;
        let mut streams = Vec::new();
        for _ in 0..50 {
            streams.push(client.begin(address).await);
        }
        let began = Instant::now();
        assert!(get_text(address, "/livez").await.starts_with("HTTP/1.1 200"), "{}", client.name);
        assert!(began.elapsed() < Duration::from_secs(5), "{}: {:?}", client.name, began.elapsed());
        assert!(running.shutdown("over").await.is_clean(), "{}", client.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_are_served_keep_their_connections_and_the_next_one_waits() {
    let (running, address) = service(HttpLimits::default().connections(4)).await;
    let events = CLIENTS.iter().find(|client| client.name == "listens to events").unwrap();
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(events.begin(address).await);
    }
    let waits = tokio::spawn(get_text(address, "/livez"));
    for stream in &mut streams {
        assert!(!events.go_on(stream, Duration::from_millis(200)).await, "one of them was cut");
    }
    assert!(!waits.is_finished());
    drop(streams);
    assert!(waits.await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(running.shutdown("over").await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_hand_is_answered_while_the_service_stops() {
    let (running, address) = service(HttpLimits::default()).await;
    let asked = tokio::spawn(get_text(address, "/slow"));
    sleep(Duration::from_millis(300)).await;
    let report = running.shutdown("over").await;
    assert!(report.is_clean(), "{report:?}");
    assert!(asked.await.unwrap().ends_with("done\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_long_is_answered_and_ended() {
    let (running, address) = service(HttpLimits::default()).await;
    for head in [format!("X-A: {}\r\n", "a".repeat(20_000)), "X-A: a\r\n".repeat(100)] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET /livez HTTP/1.1\r\nHost: x\r\n{head}\r\n").as_bytes()).await.unwrap();
        let mut text = Vec::new();
        let _reset = timeout(PATIENCE, stream.read_to_end(&mut text)).await.unwrap();
        assert!(text.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&text));
    }
    assert!(running.shutdown("over").await.is_clean());
}

/// A real process with a limit on its descriptors.
struct Board {
    child: std::process::Child,
    address: SocketAddr,
    _data: tempfile::TempDir,
}

impl Board {
    async fn start(descriptors: u64) -> Self {
        let data = tempfile::tempdir().unwrap();
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listen = address.to_string();
        let vars = [("BANBOARD_LISTEN", listen.as_str()), ("BANBOARD_ALLOW_UNSHARED_LOCK", "overlay,tmpfs")];
        let inner = support::command("banboard", data.path(), &vars);
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--nofile={descriptors}:{descriptors}"))
            .arg(inner.get_program())
            .args(inner.get_args());
        command.env_clear();
        for (name, value) in inner.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let child = command.spawn().unwrap();
        let board = Self { child, address, _data: data };
        let began = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            assert!(began.elapsed() < PATIENCE, "it does not listen");
            sleep(Duration::from_millis(20)).await;
        }
        board
    }

    /// Its resident memory, in KiB.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    async fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "it does not stop");
            sleep(Duration::from_millis(10)).await;
        };
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_connections_keep_neither_livez_nor_the_stop_and_memory_is_bounded() {
    // Each is one of this process, too.
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX).min(20_000);
    assert!(most >= 12_000, "this test needs 12,000 descriptors: ulimit -Hn says {most}");
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) }).unwrap();
    let long =
        [b"GET / HTTP/1.1\r\nHost: x\r\n".to_vec(), b"X-A: a\r\n".repeat(60), vec![b'x'; 13_000]].concat();
    for (descriptors, connections, sends) in
        [(1024, 1100, &b""[..]), (20_000, 10_000, b""), (20_000, 5_000, &long)]
    {
        let board = Board::start(descriptors).await;
        let mut streams = Vec::new();
        for _ in 0..connections {
            let mut stream = TcpStream::connect(board.address).await.unwrap();
            // Its connection may have made room for another one already.
            let _cut = stream.write_all(sends).await;
            streams.push(stream);
        }
        for path in ["/livez", "/readyz", "/"] {
            let answer = get_text(board.address, path).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{connections} of {descriptors}: {path}: {answer}");
        }
        // 52 KiB for each of 4,096 connections, and what the service itself takes.
        assert!(board.memory() < (208 + 64) * 1024, "{connections} of {descriptors}: {} KiB", board.memory());
        board.stop().await;
    }
}
