//! Certificates good and bad, of a server that really speaks TLS.

use super::{
    private_ca::{Authority, expired, from_the_future, written},
    *,
};
use crate::{
    codes::{HTTP_CA_FILE, HTTP_TLS},
    error::ErrorKind,
};

/// The error of a probe that trusts `authority`.
async fn failure(authority: &Authority, address: SocketAddr, host: &str) -> StageError {
    let file = authority.file();
    let url = format!("https://user:hunter2@{host}:{}/hunter2?token=hunter2", address.port());
    let error = up(&HttpSession::new().ca_file(file.path()).probe(url)).await.unwrap_err();
    let shown = format!("{error} {error:?} {:?} {:?}", error.facts(), error.actions());
    assert!(!shown.contains("hunter2"), "{shown}");
    error
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_its_certificate_is_named_and_only_there() {
    let authority = Authority::new();
    let address = authority.server("127.0.0.1");
    let url = format!("https://{address}/");
    let file = authority.file();
    up(&HttpSession::new().ca_file(file.path()).probe(&url)).await.unwrap();

    let unknown = up(&HttpSession::new().probe(&url)).await.unwrap_err();
    assert_eq!(unknown.failure_code(), HTTP_TLS);
    assert!(unknown.to_string().contains("an authority that is not trusted"), "{unknown}");
    assert!(unknown.actions()[0].contains("<P>_HTTP_CA_FILE"));
    // It has the same name as the first, as after a rotation of keys.
    let another = failure(&Authority::new(), address, "127.0.0.1").await;
    assert!(another.to_string().contains("an authority that is not trusted"), "{another}");
}

#[tokio::test]
async fn a_mark_before_the_first_certificate_and_other_line_ends_are_passed_over() {
    let authority = Authority::new();
    let url = format!("https://{}/", authority.server("127.0.0.1"));
    let windows = format!("\u{feff}{}", authority.pem.replace('\n', "\r\n"));
    let (_dir, path) = written(windows.as_bytes());
    up(&HttpSession::new().ca_file(&path).probe(&url)).await.unwrap();
    let utf16: Vec<u8> = windows.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (_dir, path) = written(&utf16);
    let error = up(&HttpSession::new().ca_file(&path).probe(&url)).await.unwrap_err();
    assert!(error.to_string().contains("it is UTF-16; save it as UTF-8"), "{error}");
}

#[tokio::test]
async fn each_bad_certificate_is_told_apart_and_not_tried_again() {
    let authority = Authority::new();
    for (address, host, what) in [
        (authority.server_until("127.0.0.1", expired), "127.0.0.1", "has expired"),
        (authority.server_until("127.0.0.1", from_the_future), "127.0.0.1", "is not valid yet"),
        (authority.server("other.example.com"), "127.0.0.1", "is for another name"),
        (authority.server("127.0.0.1"), "localhost", "is for another name"),
    ] {
        let error = failure(&authority, address, host).await;
        assert_eq!(error.failure_code(), HTTP_TLS, "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(!error.is_retryable() && !error.actions().is_empty());
        let tries = error.facts().iter().find(|fact| fact.name == "tries").unwrap();
        assert!(tries.value.starts_with("1 in"), "{tries:?}");
    }
}

#[tokio::test]
async fn a_request_that_is_not_a_probe_tells_them_apart_too() {
    let authority = Authority::new();
    let file = authority.file();
    let client = up(&HttpSession::new().ca_file(file.path())).await.unwrap();
    let url = format!("https://{}/?token=hunter2", authority.server_until("127.0.0.1", expired));
    let error = client.request(async |client| Ok(client.get(url).send().await?)).await.unwrap_err();
    let HttpError::Failed(failure) = &error else { panic!("{error:?}") };
    assert_eq!((failure.failure_code(), failure.may_pass()), (HTTP_TLS, false));
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    assert!(error.to_string().ends_with("its certificate has expired"), "{error}");
    assert_eq!(error.into_stage_error().failure_code(), HTTP_TLS);
}

#[tokio::test]
async fn a_bundle_trusts_every_authority_in_it() {
    let (one, two) = (Authority::new(), Authority::new());
    let (_dir, path) = written(format!("# ours\n{}\n\n{}", one.pem, two.pem).as_bytes());
    for authority in [one, two] {
        let url = format!("https://{}/", authority.server("127.0.0.1"));
        up(&HttpSession::new().ca_file(&path).probe(url)).await.unwrap();
    }
}

#[tokio::test]
async fn an_authority_file_that_cannot_be_used_is_a_mistake_in_the_configuration() {
    let (dir, path) = written(b"");
    let pipe = dir.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let refused = async |path: &std::path::Path| {
        let error = up(&HttpSession::new().ca_file(path)).await.unwrap_err();
        assert_eq!((error.failure_code(), error.error_kind()), (HTTP_CA_FILE, ErrorKind::Config), "{error}");
        error.to_string()
    };
    assert!(refused(&path).await.contains("it holds no"));
    assert!(refused(dir.path()).await.contains("not a regular file"));
    assert!(refused(&pipe).await.contains("not a regular file"));
    assert!(refused(&dir.path().join("missing")).await.contains("No such file"));
    let whole = Authority::new().pem;
    for (content, what) in [
        (whole[..whole.len() / 2].to_owned(), "certificate 1"),
        ("-----BEGIN CERTIFICATE-----\naGk=\n-----END CERTIFICATE-----\n".to_owned(), "certificate 1"),
        (format!("{whole}-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"), "certificate 2"),
        ("x".repeat(1024 * 1024 + 1), "larger than 1 MiB"),
        (format!("{whole}\u{200b}{whole}"), "only 1 of its 2 certificates"),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = refused(&path).await;
        assert!(error.contains(what), "{error}");
    }
}

#[tokio::test]
async fn a_handshake_that_hangs_ends_with_the_time_to_connect() {
    let (hold, _held) = std::sync::mpsc::channel();
    let address = server(move |stream| hold.send(stream).unwrap());
    let stage = HttpSession::new()
        .connect_timeout(Duration::from_millis(100))
        .timeout(Duration::from_secs(60))
        .retry_budget(Duration::ZERO)
        .probe(format!("https://{address}/"));
    let error = up(&stage).await.unwrap_err();
    assert_eq!(error.failure_code(), crate::codes::HTTP_CONNECT);
    assert!(error.to_string().contains("no answer in time"), "{error}");
}
