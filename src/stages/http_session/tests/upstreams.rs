//! Upstreams that have gone wrong.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
    mpsc::channel,
};

use super::{
    private_ca::{Authority, encrypted},
    *,
};
use crate::codes::{HTTP_CONNECT, HTTP_STATUS};

const TEN_GB: u64 = 10_000_000_000;

/// A server that announces 10 GB where it is `honest`, and sends zeros until nobody takes them.
fn endless(honest: bool) -> (SocketAddr, Arc<AtomicU64>) {
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    let address = server(move |mut stream| {
        request(&mut stream);
        let length = if honest { format!("Content-Length: {TEN_GB}\r\n") } else { String::new() };
        let _written = write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n{length}\r\n");
        let zeros = [b'0'; 64 * 1024];
        while counted.load(Ordering::Relaxed) < TEN_GB && stream.write_all(&zeros).is_ok() {
            counted.fetch_add(zeros.len() as u64, Ordering::Relaxed);
        }
    });
    (address, sent)
}

async fn read(stage: HttpSession, address: SocketAddr, limit: usize) -> Result<Vec<u8>, HttpError> {
    let client = up(&stage).await.unwrap();
    let url = format!("http://{address}/?token=hunter2");
    client.request(async |client| read_limited(client.get(url).send().await?, limit).await).await
}

/// A server that sends `body` as it is, then keeps the connection until the test ends.
fn sending(body: &'static str) -> (SocketAddr, std::sync::mpsc::Receiver<TcpStream>) {
    let (hold, held) = channel();
    let address = server(move |mut stream| {
        request(&mut stream);
        let _written = stream.write_all(body.as_bytes());
        let _kept = hold.send(stream);
    });
    (address, held)
}

#[tokio::test]
async fn ten_gigabytes_are_not_read_whether_they_are_announced_or_not() {
    for honest in [true, false] {
        let (address, sent) = endless(honest);
        let error = read(HttpSession::new(), address, 1_000_000).await.unwrap_err();
        assert!(matches!(error, HttpError::TooLarge { limit: 1_000_000 }), "{error:?}");
        // What the kernel's buffers hold between the two comes on top.
        assert!(sent.load(Ordering::Relaxed) < 100_000_000);
        assert_eq!(error.into_stage_error().failure_code(), HTTP_STATUS);
    }
}

#[tokio::test]
async fn a_probe_reads_no_body() {
    let (address, sent) = endless(false);
    up(&HttpSession::new().probe(format!("http://{address}/"))).await.unwrap();
    assert!(sent.load(Ordering::Relaxed) < 100_000_000);
}

#[tokio::test]
async fn the_limit_is_what_may_be_read_and_not_one_byte_more() {
    for (limit, fits) in [(5, true), (4, false), (0, false)] {
        let (announced, _held) = sending("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
        let (chunked, _held) = sending(chunked);
        for address in [announced, chunked] {
            let answer = read(HttpSession::new(), address, limit).await;
            assert_eq!(answer.ok(), fits.then(|| b"hello".to_vec()), "{limit}");
        }
    }
}

#[tokio::test]
async fn json_is_read_within_its_limit_and_never_quoted() {
    let client = up(&HttpSession::new()).await.unwrap();
    let ask = async |body: &'static str, limit: usize| {
        let (address, _held) = sending(body);
        let url = format!("http://{address}/");
        client
            .request(async |client| json_limited::<Vec<u32>>(client.get(url).send().await?, limit).await)
            .await
    };
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n[1, 2]";
    assert_eq!(ask(good, 6).await.unwrap(), [1, 2]);
    assert!(matches!(ask(good, 5).await, Err(HttpError::TooLarge { limit: 5 })));
    let error = ask("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n[\"hunter2\"]", 100).await.unwrap_err();
    assert!(matches!(error, HttpError::NotJson { line: 1, .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn a_body_that_stalls_or_trickles_or_breaks_off_has_an_end() {
    let quick = || HttpSession::new().read_timeout(Duration::from_millis(100));
    let (stalling, _held) = sending("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
    let error = read(quick(), stalling, 100).await.unwrap_err();
    assert!(error.to_string().ends_with("no answer in time"), "{error}");

    let trickling = server(|mut stream| {
        request(&mut stream);
        let _written = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        while stream.write_all(b".").is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let began = std::time::Instant::now();
    let error = read(quick().timeout(Duration::from_millis(300)), trickling, 100_000).await.unwrap_err();
    assert!(error.to_string().ends_with("no answer in time"), "{error}");
    assert!(began.elapsed() >= Duration::from_millis(300));

    let breaking = server(|mut stream| {
        request(&mut stream);
        let _written = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
    });
    let error = read(quick(), breaking, 100).await.unwrap_err();
    assert!(error.to_string().ends_with("the connection broke off"), "{error}");
    assert_eq!(error.into_stage_error().failure_code(), HTTP_CONNECT);
}

#[tokio::test]
async fn a_head_without_end_is_no_answer() {
    let address = server(|mut stream| {
        request(&mut stream);
        let _written = write!(stream, "HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n").is_ok() {}
    });
    let error = read(HttpSession::new(), address, 100).await.unwrap_err();
    assert_eq!(error.into_stage_error().failure_code(), HTTP_STATUS);
}

#[tokio::test]
async fn a_circle_of_redirects_is_left_and_said() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let address = server(move |mut stream| {
        let odd = counted.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        answer(&mut stream, if odd { "302 Found\r\nLocation: /" } else { "302 Found\r\nLocation: /hunter2" });
    });
    let url = format!("http://{address}/");
    let error = up(&HttpSession::new().probe(&url)).await.unwrap_err();
    assert_eq!((error.failure_code(), asked.load(Ordering::Relaxed)), (HTTP_STATUS, 4), "{error}");
    assert!(error.to_string().ends_with("they lead in a circle"), "{error}");
    assert!(!error.is_retryable() && !format!("{error} {error:?}").contains("hunter2"));

    let error = up(&HttpSession::new().redirects(1).probe(&url)).await.unwrap_err();
    assert!(error.to_string().ends_with("there are more than 1 of them"), "{error}");
    // Where none is followed, a redirect is an answer like any other.
    up(&HttpSession::new().redirects(0).probe(&url)).await.unwrap();
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_not_followed() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let plain = server(move |mut stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        answer(&mut stream, "200 OK");
    });
    let authority = Authority::new();
    let config = authority.config("127.0.0.1", |_| ());
    let head = format!("302 Found\r\nLocation: http://{plain}/hunter2");
    let address = server(move |stream| answer(&mut encrypted(&config, stream), &head));
    let file = authority.file();
    let stage = HttpSession::new().ca_file(file.path()).probe(format!("https://{address}/"));
    let error = up(&stage).await.unwrap_err();
    assert!(error.to_string().ends_with("one leads from https to http"), "{error}");
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_redirect_to_another_service_is_followed_only_where_that_is_allowed() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let other = server(move |mut stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        answer(&mut stream, "200 OK");
    });
    let head = format!("302 Found\r\nLocation: http://localhost:{}/hunter2", other.port());
    let address = server(move |mut stream| answer(&mut stream, &head));
    let session = |vars: &[(&str, &str)]| {
        HttpSession::from_env(&Env::from_vars("SHOP", vars.iter().copied()))
            .probe(format!("http://{address}/"))
    };
    let error = up(&session(&[])).await.unwrap_err();
    assert!(error.to_string().contains(": its redirect to another service is not followed: "), "{error}");
    assert!(
        error.to_string().ends_with(&format!(": one leads to http://localhost:{}", other.port())),
        "{error}"
    );
    assert_eq!((error.failure_code(), asked.load(Ordering::Relaxed)), (HTTP_STATUS, 0));
    assert!(!error.is_retryable() && error.actions()[2].contains("SHOP_HTTP_REDIRECTS=any"));
    up(&session(&[("SHOP_HTTP_REDIRECTS", "any")])).await.unwrap();
    up(&HttpSession::new().redirects_anywhere(true).probe(format!("http://{address}/"))).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn who_can_do_without_the_upstream_asks_once_and_is_up_but_degraded() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let failing = server(move |mut stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        answer(&mut stream, "503 Service Unavailable");
    });
    let url = format!("http://user:hunter2@{failing}/?token=hunter2");
    let start = Start::unhurried();
    HttpSession::new().probe(url).probe_required(false).start(start.cx.clone(), ()).await.unwrap();
    let why = start.cx.board().cell(start.cx.id()).degraded().unwrap();
    let expected = format!("http://{failing}: it answers with an error: 503 Service Unavailable");
    assert_eq!((why, asked.load(Ordering::Relaxed)), (expected, 1));
}

#[tokio::test]
async fn a_status_that_the_application_refuses_is_told_without_its_url() {
    let client = up(&HttpSession::new()).await.unwrap();
    for (head, may_pass) in
        [("404 Not Found", false), ("429 Too Many Requests", true), ("502 Bad Gateway", true)]
    {
        let url = format!("http://{}/hunter2?token=hunter2", answering(head));
        let error = client
            .request(async |client| Ok(client.get(url).send().await?.error_for_status()?))
            .await
            .unwrap_err();
        let HttpError::Failed(failure) = &error else { panic!("{error:?}") };
        assert_eq!((failure.failure_code(), failure.may_pass()), (HTTP_STATUS, may_pass));
        assert_eq!(failure.status_code().unwrap().as_u16().to_string(), head[..3]);
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}
