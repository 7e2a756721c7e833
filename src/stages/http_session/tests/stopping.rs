use std::sync::mpsc::{Receiver, channel};

use tokio::time::Instant;

use super::*;

/// A server that takes connections and says nothing, until the streams are taken from it.
fn holding() -> (SocketAddr, Receiver<TcpStream>) {
    let (hold, held) = channel();
    (server(move |stream| hold.send(stream).unwrap()), held)
}

async fn get(client: &HttpClient, address: SocketAddr) -> Result<String, HttpError> {
    client
        .request(async |client| {
            Ok(client.get(format!("http://{address}/?token=hunter2")).send().await?.text().await?)
        })
        .await
}

#[tokio::test]
async fn a_request_is_answered() {
    let client = up(&HttpSession::new()).await.unwrap();
    let address = server(|mut stream| {
        let mut request = [0; 4096];
        let _read = stream.read(&mut request);
        let _written = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    });
    assert_eq!(get(&client, address).await.unwrap(), "hi");
}

#[tokio::test]
async fn an_error_of_a_request_shows_no_url() {
    let client = up(&HttpSession::new()).await.unwrap();
    let error = get(&client, refused()).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn a_stop_waits_for_requests_under_way_and_refuses_new_ones() {
    let stage = HttpSession::new();
    let client = up(&stage).await.unwrap();
    let (address, held) = holding();
    let mut request = Box::pin(get(&client, address));
    let mut stop = Box::pin(stage.stop(client.clone(), stop_within(Duration::from_secs(60))));
    assert!(futures_util::poll!(&mut request).is_pending());
    assert!(futures_util::poll!(&mut stop).is_pending());
    assert!(matches!(get(&client, address).await, Err(HttpError::Stopped)));
    spawn(move || held.iter().for_each(|mut stream| answer(&mut stream, "200 OK")));
    let (answered, stopped) = tokio::join!(request, stop);
    answered.unwrap();
    stopped.unwrap();
}

#[tokio::test]
async fn a_request_that_is_too_slow_for_the_stop_is_cut_off_and_counted() {
    let stage = HttpSession::new();
    let client = up(&stage).await.unwrap();
    let (address, _held) = holding();
    let request = get(&client, address);
    let stop = async {
        let cx = stop_within(Duration::from_millis(200));
        let deadline = cx.deadline();
        let stopped = stage.stop(client.clone(), cx).await;
        assert!(Instant::now() < deadline);
        stopped.unwrap_err()
    };
    let (answered, error) = tokio::join!(request, stop);
    assert!(matches!(answered, Err(HttpError::CutOff)), "{answered:?}");
    assert!(error.to_string().starts_with("1 requests were cut off"), "{error}");
}

#[tokio::test]
async fn a_request_whose_future_is_dropped_is_not_waited_for() {
    let stage = HttpSession::new();
    let client = up(&stage).await.unwrap();
    let (address, _held) = holding();
    let mut request = Box::pin(get(&client, address));
    assert!(futures_util::poll!(&mut request).is_pending());
    drop(request);
    stage.stop(client, stop_within(Duration::from_secs(60))).await.unwrap();
}
