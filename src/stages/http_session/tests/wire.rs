//! What happened on the wire is what is said, with advice that fits.

use rustls::ServerConfig;

use super::{
    private_ca::{Authority, encrypted},
    *,
};
use crate::codes::{FailureCode, HTTP_CONNECT, HTTP_STATUS, HTTP_TLS};

/// The error of a probe that is made once.
async fn probed(stage: HttpSession, url: &str) -> StageError {
    let stage = stage.timeout(Duration::from_secs(20)).retry_budget(Duration::ZERO).probe(url);
    up(&stage).await.unwrap_err()
}

fn said(error: &StageError, code: FailureCode, what: &str, advice: &str) {
    assert_eq!(error.failure_code(), code, "{error}");
    assert!(error.to_string().contains(&format!(": {what}")), "{error}");
    assert!(error.actions().iter().any(|each| each.contains(advice)), "{error} {:?}", error.actions());
}

/// A server that resets each connection: what closes a socket before it has read all, does (RFC 2525, section 2.17).
fn resetting() -> SocketAddr {
    server(|mut stream| drop(stream.read(&mut [0; 1])))
}

const SPEAKS_TLS: &str = "Then the URL begins with https://";

#[tokio::test]
async fn a_connection_that_is_closed_before_the_answer_is_no_answer_that_is_not_http() {
    for half in ["", "HTTP/1.1 20", "HTTP/1.1 200 OK\r\nContent-Type: text"] {
        let address = server(move |mut stream| {
            request(&mut stream);
            let _written = stream.write_all(half.as_bytes());
        });
        let error = probed(HttpSession::new(), &format!("http://{address}/")).await;
        said(&error, HTTP_CONNECT, "it closed the connection before it answered", SPEAKS_TLS);
        assert!(error.is_retryable());
    }
}

#[tokio::test]
async fn a_connection_that_is_reset_is_said_to_be() {
    let error = probed(HttpSession::new(), &format!("http://{}/", resetting())).await;
    said(&error, HTTP_CONNECT, "it reset the connection before it answered", SPEAKS_TLS);
}

#[tokio::test]
async fn what_is_not_http_is_said_to_be_something_else() {
    // A mail server, and one that speaks TLS: an alert, "unexpected message" (RFC 8446, sections 5.1 and 6).
    for answer in [&b"220 mail.example.com ESMTP\r\n"[..], b"\x15\x03\x01\x00\x02\x02\x0a"] {
        let address = server(move |mut stream| {
            request(&mut stream);
            let _written = stream.write_all(answer);
        });
        let error = probed(HttpSession::new(), &format!("http://{address}/")).await;
        said(&error, HTTP_STATUS, "the answer is not HTTP", SPEAKS_TLS);
    }
}

#[tokio::test]
async fn http_that_is_spoken_to_a_port_with_tls_is_told_to_be_https() {
    let config: Arc<ServerConfig> = Authority::new().config("127.0.0.1", |_| ());
    let address = server(move |stream| {
        let mut stream = encrypted(&config, stream);
        request(&mut stream);
    });
    let error = probed(HttpSession::new(), &format!("http://{address}/")).await;
    assert!(error.actions().iter().any(|each| each.contains(SPEAKS_TLS)), "{error} {:?}", error.actions());
}

#[tokio::test]
async fn tls_that_is_spoken_to_a_plain_port_is_said_to_be() {
    let error = probed(HttpSession::new(), &format!("https://{}/", answering("400 Bad Request"))).await;
    said(&error, HTTP_TLS, "that port does not speak TLS", "the URL begins with http://");
    assert!(!error.is_retryable());
    let closing = server(|mut stream| drop(request(&mut stream)));
    let error = probed(HttpSession::new(), &format!("https://{closing}/")).await;
    let what = "it closed the connection instead of speaking TLS";
    said(&error, HTTP_CONNECT, what, "the URL begins with http://");
    let error = probed(HttpSession::new(), &format!("https://{}/", resetting())).await;
    said(&error, HTTP_CONNECT, what, "openssl s_client -connect 127.0.0.1:");
}

#[tokio::test]
async fn an_upstream_that_wants_to_know_its_clients_is_said_to() {
    let authority = Authority::new();
    let config = authority.config_for_known_clients("127.0.0.1");
    let address = server(move |stream| answer(&mut encrypted(&config, stream), "200 OK"));
    let file = authority.file();
    let error = probed(HttpSession::new().ca_file(file.path()), &format!("https://{address}/")).await;
    said(
        &error,
        HTTP_TLS,
        "it wants a certificate from its clients",
        "Ask it at an address where none is needed",
    );
}

#[tokio::test]
async fn an_encrypted_connection_that_is_closed_before_the_answer_is_not_told_to_be_encrypted() {
    let authority = Authority::new();
    let config = authority.config("127.0.0.1", |_| ());
    let address = server(move |stream| drop(request(&mut encrypted(&config, stream))));
    let file = authority.file();
    let error = probed(HttpSession::new().ca_file(file.path()), &format!("https://{address}/")).await;
    said(&error, HTTP_CONNECT, "it closed the connection before it answered", "Look into the log");
    assert!(!error.actions().iter().any(|each| each.contains(SPEAKS_TLS)), "{:?}", error.actions());
}

#[tokio::test]
async fn a_limit_of_ours_is_said_to_be_one() {
    let many = server(|mut stream| {
        request(&mut stream);
        let _written = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        for nth in 0..1000 {
            let _written = write!(stream, "Set-Cookie: c{nth}=1\r\n");
        }
        let _written = stream.write_all(b"\r\n");
    });
    let error = probed(HttpSession::new(), &format!("http://{many}/")).await;
    said(
        &error,
        HTTP_STATUS,
        "the head of its answer is longer than is read here",
        "fewer or shorter headers",
    );
    let error = HttpError::TooLarge { limit: 7 }.into_stage_error();
    assert!(
        error.actions().iter().any(|each| each.starts_with("For its developers:")),
        "{:?}",
        error.actions()
    );
}

#[tokio::test]
async fn a_time_limit_is_named_with_its_variable() {
    let (hold, _held) = std::sync::mpsc::channel();
    let silent = server(move |stream| hold.send(stream).unwrap());
    let stage = HttpSession::new().timeout(Duration::from_millis(200)).retry_budget(Duration::ZERO);
    let error = up(&stage.probe(format!("http://{silent}/"))).await.unwrap_err();
    said(&error, HTTP_CONNECT, "no answer in time", "<P>_HTTP_TIMEOUT=30s");
}

#[tokio::test]
async fn each_redirect_that_is_not_followed_says_why_and_what_helps() {
    let to = |location: &str| {
        let head = format!("302 Found\r\nLocation: {location}");
        answering(Box::leak(head.into_boxed_str()))
    };
    let cases = [
        (
            "ftp://example.com/hunter2",
            "one leads to something that is neither http nor https",
            "Write the URL",
        ),
        ("/hunter2", "they lead in a circle", "Mend the redirects of the upstream"),
    ];
    for (location, why, advice) in cases {
        let error = probed(HttpSession::new(), &format!("http://{}/", to(location))).await;
        said(&error, HTTP_STATUS, "its redirects are not followed", advice);
        assert!(error.to_string().ends_with(why), "{error}");
        assert!(!error.is_retryable() && !format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_sent_is_not_blamed_on_the_upstream() {
    let client = up(&HttpSession::new()).await.unwrap();
    let error = client.request(async |client| Ok(client.get("/hunter2").send().await?)).await.unwrap_err();
    assert!(error.to_string().starts_with("the request cannot be sent as it is"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    let error = error.into_stage_error();
    assert_eq!(error.failure_code(), crate::codes::STAGE_FAILED);
    assert!(!error.is_retryable());
}
