use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Mutex, mpsc},
    thread,
    time::Instant,
};

use solostart::{
    Env, Handle, Running, Startup, WorkerMode,
    stages::{database::SqliteDatabase, http_session::HttpSession},
};

use super::*;
use crate::schema;

/// An upstream that behaves as the address that it is asked for says.
struct Upstream {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    /// Dropped, it lets go whoever hangs.
    _open: mpsc::Sender<()>,
}

impl Upstream {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (open, closed) = mpsc::channel::<()>();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let upstream = Self { address: listener.local_addr().unwrap(), asked: asked.clone(), _open: open };
        let closed = Arc::new(Mutex::new(closed));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (asked, closed) = (asked.clone(), closed.clone());
                thread::spawn(move || {
                    // Whoever goes away while it writes is no concern of it.
                    let _gone = answer(&stream, &asked, &closed);
                });
            }
        });
        upstream
    }

    fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|each| *each == path).count()
    }
}

fn answer(
    mut stream: &TcpStream,
    asked: &Mutex<Vec<String>>,
    closed: &Mutex<mpsc::Receiver<()>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next().unwrap()?.split(' ').nth(1).unwrap().to_owned();
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    asked.lock().unwrap().push(path.clone());
    let json = |text: &str| {
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}", text.len())
    };
    let flood = vec![b' '; 1 << 20];
    match path.as_str() {
        "/9.9.9.0" => stream.write_all(json("{\"ip\":\"9.9.9.0\",\"country\":\"DE\"}").as_bytes()),
        "/4.4.4.0" => stream.write_all(json("{\"country\":\"<script>\"}").as_bytes()),
        "/3.3.3.0" => stream.write_all(json("{\"country\":").as_bytes()),
        "/8.8.8.0" => stream.write_all(
            b"HTTP/1.1 302 Found\r\nconnection: close\r\nlocation: /8.8.8.0\r\ncontent-length: 0\r\n\r\n",
        ),
        "/7.7.7.0" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n")?;
            (0..10_240).try_for_each(|_| stream.write_all(&flood))
        }
        "/6.6.6.0" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            (0..10_240).try_for_each(|_| {
                write!(stream, "{:x}\r\n", flood.len())?;
                stream.write_all(&flood)?;
                stream.write_all(b"\r\n")
            })
        }
        _ => {
            let _hangs = closed.lock().unwrap().recv();
            Ok(())
        }
    }
}

/// A database with a ban in each of these networks, and what looks them up.
struct Host {
    running: Running,
    database: Handle<Database>,
    http: Handle<HttpClient>,
    _dir: tempfile::TempDir,
}

impl Host {
    async fn start(networks: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let vars = [
            ("BANBOARD_DATA_DIR", dir.path().to_str().unwrap()),
            ("BANBOARD_ALLOW_UNSHARED_LOCK", "overlay,tmpfs"),
            ("BANBOARD_HTTP_TIMEOUT", "300ms"),
        ];
        let env = Env::from_vars("BANBOARD", vars);
        let mut startup = Startup::new("banboard", env.clone(), WorkerMode::Single);
        let database = startup.add(SqliteDatabase::from_env(&env).migrations(schema::MIGRATIONS));
        let http = startup.add(HttpSession::from_env(&env));
        let running = startup.start().await.unwrap();
        let host = Self { running, database, http, _dir: dir };
        for (at, network) in networks.iter().enumerate() {
            let network = network.clone();
            let sql = "INSERT INTO bans (jail, address, network, banned_at, restored) VALUES ('sshd', ?1, ?1, ?2, 0)";
            let database = host.database();
            let insert =
                database.write(move |tx| Ok(tx.execute(sql, rusqlite::params![network, at.cast_signed()])?));
            insert.await.unwrap();
        }
        host
    }

    fn database(&self) -> Arc<Database> {
        self.running.get(self.database).unwrap()
    }

    fn lookups(&self, upstream: SocketAddr) -> Lookups {
        Lookups {
            database: self.database(),
            http: self.running.get(self.http).unwrap(),
            countries: Arc::new(Countries::detached(100)),
            unknown: Arc::new(Unknown::detached(100)),
            upstream: format!("http://{upstream}").parse().unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_upstream_does_it_is_asked_once_and_the_country_is_a_code_or_none() {
    let networks: Vec<_> = (3..=9).map(|each| format!("{each}.{each}.{each}.0/24")).collect();
    let upstream = Upstream::start();
    // It holds many customers, so the country of its first address is not that of all of them.
    let wide = "5.0.0.0/8".to_owned();
    let host = Host::start(&[&networks[..], &[wide]].concat()).await;
    let lookups = host.lookups(upstream.address);
    for _round in 0..2 {
        lookups.round().await.unwrap();
    }
    for network in &networks {
        let path = format!("/{}", network.trim_end_matches("/24"));
        let circle = path == "/8.8.8.0";
        assert!(if circle { upstream.asked(&path) <= 3 } else { upstream.asked(&path) == 1 }, "{path}");
        let country = country_of(&lookups.countries, network.parse().unwrap()).await;
        assert_eq!(country.as_deref(), (path == "/9.9.9.0").then_some("DE"), "{path}");
    }
    assert_eq!(upstream.asked("/5.0.0.0"), 0);
    drop(lookups);
    assert!(host.running.shutdown("the test is over").await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_hangs_is_asked_for_few_networks_and_few_at_once() {
    let networks: Vec<_> = (1..=60).map(|each| format!("8.0.{each}.0/24")).collect();
    let upstream = Upstream::start();
    let host = Host::start(&networks).await;
    let lookups = host.lookups(upstream.address);
    let begun = Instant::now();
    lookups.round().await.unwrap();
    // Each takes 300 ms, and four wait together.
    let turns = u32::try_from(PER_ROUND / AT_ONCE).unwrap();
    assert!(begun.elapsed() >= turns * Duration::from_millis(300));
    assert_eq!(upstream.asked.lock().unwrap().len(), PER_ROUND);
    assert!(
        lookups.unknown.get(&"8.0.60.0/24".parse().unwrap()).await.is_some(),
        "the latest ban comes first"
    );
    drop(lookups);
    assert!(host.running.shutdown("the test is over").await.is_clean());
}

#[test]
fn the_address_follows_the_path_and_the_key_stays() {
    for (upstream, asked) in [
        ("https://api.example.com", "https://api.example.com/203.0.113.0"),
        ("https://example.com/geo/?key=s3cret", "https://example.com/geo/203.0.113.0?key=s3cret"),
    ] {
        let url = url_of(&upstream.parse().unwrap(), "203.0.113.0".parse().unwrap()).unwrap();
        assert_eq!(url.as_str(), asked);
    }
}

#[test]
fn an_address_that_is_only_of_use_here_is_not_told_to_anybody() {
    for own in ["10.0.0.0", "192.168.7.0", "127.0.0.0", "169.254.1.0", "fd00::", "fe80::", "::"] {
        assert!(!is_public(own.parse().unwrap()), "{own}");
    }
    assert!(is_public("8.8.8.0".parse().unwrap()) && is_public("2a00::".parse().unwrap()));
}

#[test]
fn nothing_but_a_code_is_believed() {
    for wrong in ["", "nl", "NLD", "N", "<b", "\u{c9}"] {
        assert!(!is_code(wrong), "{wrong}");
    }
    assert!(is_code("NL"));
}
