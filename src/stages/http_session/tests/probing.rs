use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::codes::{FailureCode, HTTP_CONNECT, HTTP_DNS, HTTP_STATUS, HTTP_TLS};

/// The error of a probe that is made once.
async fn failure(url: &str) -> StageError {
    let stage =
        HttpSession::new().timeout(Duration::from_millis(300)).retry_budget(Duration::ZERO).probe(url);
    up(&stage).await.unwrap_err()
}

async fn code(url: &str) -> FailureCode {
    failure(url).await.failure_code()
}

#[tokio::test]
async fn each_way_to_fail_has_its_code() {
    assert_eq!(code("http://nothing.invalid/").await, HTTP_DNS);
    assert_eq!(code(&format!("http://{}/", refused())).await, HTTP_CONNECT);
    let (hold, hang) = std::sync::mpsc::channel();
    let hanging = server(move |stream| hold.send(stream).unwrap());
    assert_eq!(code(&format!("http://{hanging}/")).await, HTTP_CONNECT);
    drop(hang);
    assert_eq!(code(&format!("https://{}/", answering("200 OK"))).await, HTTP_TLS);
    assert_eq!(code(&format!("http://{}/", answering("503 Service Unavailable"))).await, HTTP_STATUS);
    assert_eq!(code(&format!("http://{}/", answering("404 Not Found"))).await, HTTP_STATUS);
    let garbled = server(|mut stream| {
        let mut request = [0; 4096];
        let _read = stream.read(&mut request);
        let _written = stream.write_all(b"220 mail.example.com ESMTP\r\n");
    });
    assert_eq!(code(&format!("http://{garbled}/")).await, HTTP_STATUS);
}

#[tokio::test]
async fn no_error_shows_more_of_the_url_than_scheme_host_and_port() {
    let closed = refused();
    let looping = answering("302 Found\r\nLocation: /again?token=hunter2");
    for (url, target) in [
        (
            "https://user:hunter2@nothing.invalid/hunter2?token=hunter2#hunter2".to_owned(),
            "https://nothing.invalid:443".to_owned(),
        ),
        (format!("http://user:hunter2@{closed}/hunter2?token=hunter2"), format!("http://{closed}")),
        (format!("http://user:hunter2@{looping}/hunter2?token=hunter2"), format!("http://{looping}")),
        ("http://user:hunter2@:hunter2/".to_owned(), String::new()),
        ("hunter2://hunter2/".to_owned(), String::new()),
    ] {
        let stage = HttpSession::new().retry_budget(Duration::ZERO).probe(url);
        let start = Start::unhurried();
        let error = stage.start(start.cx.clone(), ()).await.unwrap_err();
        let shown = format!("{error} {error:?} {stage:?} {:?} {:?}", error.facts(), start.steps());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(error.to_string().contains(&target), "{error}");
    }
}

#[tokio::test]
async fn the_report_carries_the_deepest_cause() {
    let error = failure(&format!("http://{}/", refused())).await;
    assert!(error.to_string().contains("refused"), "{error}");
    let error = failure("http://nothing.invalid/").await;
    assert!(error.to_string().contains("lookup"), "{error}");
    let error = failure(&format!("http://{}/", answering("503 Service Unavailable"))).await;
    assert!(error.to_string().ends_with("it answers with an error: 503 Service Unavailable"), "{error}");
}

#[tokio::test]
async fn an_upstream_that_comes_late_is_waited_for() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let address = server(move |mut stream| {
        let late = counted.fetch_add(1, Ordering::Relaxed) < 2;
        answer(&mut stream, if late { "503 Service Unavailable" } else { "204 No Content" });
    });
    up(&HttpSession::new().probe(format!("http://{address}/"))).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn limits_that_no_clock_reaches_are_none() {
    let stage = HttpSession::new()
        .connect_timeout(Duration::MAX)
        .read_timeout(Duration::MAX)
        .timeout(Duration::MAX)
        .idle_timeout(Duration::MAX)
        .retry_budget(Duration::MAX);
    let address = answering("204 No Content");
    up(&stage.probe(format!("http://{address}/"))).await.unwrap();
}

#[tokio::test]
async fn what_cannot_pass_is_not_tried_again() {
    for head in ["403 Forbidden", "302 Found\r\nLocation: /again"] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let address = server(move |mut stream| {
            counted.fetch_add(1, Ordering::Relaxed);
            answer(&mut stream, head);
        });
        let error = up(&HttpSession::new().probe(format!("http://{address}/"))).await.unwrap_err();
        assert!(!error.is_retryable());
        // A redirect to itself is followed twice before it is a circle.
        assert_eq!(asked.load(Ordering::Relaxed), if head.starts_with("302") { 3 } else { 1 });
    }
}

#[tokio::test]
async fn the_budget_ends_before_the_stages_own_time_and_says_what_is_wrong() {
    let stage = HttpSession::new().probe(format!("http://{}/", refused()));
    let start = Start::within(Duration::from_secs(1));
    let error = stage.start(start.cx.clone(), ()).await.unwrap_err();
    assert_eq!(error.failure_code(), HTTP_CONNECT);
    assert!(tokio::time::Instant::now() < start.cx.deadline());
    let tries = error.facts().iter().find(|fact| fact.name == "tries").unwrap();
    assert!(!tries.value.starts_with("1 "), "{tries:?}");
}

#[tokio::test]
async fn a_cancelled_start_does_not_wait_for_the_upstream() {
    let stage = HttpSession::new().probe("http://nothing.invalid/");
    let start = Start::unhurried();
    start.cancel.cancel();
    let error = stage.start(start.cx.clone(), ()).await.unwrap_err();
    assert_eq!(error.failure_code(), STARTUP_INTERRUPTED);
}

#[tokio::test]
async fn the_environment_names_the_upstream_and_its_limits() {
    let address = answering("200 OK");
    let url = format!("http://user:hunter2@{address}/?token=hunter2");
    let vars = [
        ("SHOP_HTTP_PROBE_URL", url.as_str()),
        ("SHOP_HTTP_TIMEOUT", "7s"),
        ("SHOP_HTTP_RETRY_BUDGET", "2m"),
    ];
    let env = Env::from_vars("SHOP", vars);
    let stage = HttpSession::from_env(&env);
    assert!(env.check().unwrap().is_empty());
    let limits = (stage.timeout, stage.read_timeout, stage.retry_budget);
    assert_eq!(limits, (Duration::from_secs(7), Duration::from_secs(7), Duration::from_secs(120)));
    assert!(!format!("{stage:?}").contains("hunter2"));
    up(&stage).await.unwrap();
}

#[tokio::test]
async fn redirects_are_not_told_where_the_request_came_from() {
    let seen = Arc::new(Mutex::new(String::new()));
    let noted = seen.clone();
    let target = server(move |mut stream| {
        let mut request = [0; 4096];
        let read = stream.read(&mut request).unwrap();
        noted.lock().unwrap().push_str(&String::from_utf8_lossy(&request[..read]));
        let _written = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    });
    let head: &'static str = Box::leak(format!("302 Found\r\nLocation: http://{target}/").into_boxed_str());
    let url = format!("http://user:hunter2@{}/?token=hunter2", answering(head));
    let session = HttpSession::new().redirects_anywhere(true).user_agent("banboard/1.4");
    up(&session.probe(url)).await.unwrap();
    let seen = seen.lock().unwrap().to_lowercase();
    assert!(seen.contains("user-agent: banboard/1.4") && !seen.contains("hunter2"), "{seen}");
    assert!(!seen.contains("authorization"), "{seen}");
}
