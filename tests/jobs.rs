//! Scheduled jobs in a service that serves HTTP: started from outside, with real sockets, until it drains.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![cfg(all(feature = "scheduler", feature = "http-routes"))]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, routing::get};
use solostart::{
    Env, Event, ServeContext, StageContext, Startup, WorkerMode,
    stages::{
        RunContext,
        scheduler::{JobScheduler, Scheduler},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc::unbounded_channel},
};

const SECRET: &str = "6b1f9c0e52d84a37";

/// What a job waits for, and what it tells.
#[derive(Default)]
struct Bell {
    begun: Notify,
    end: Notify,
}

/// The status line and the whole answer.
async fn request(address: SocketAddr, method: &str, path: &str, secret: Option<&str>) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let header = secret.map_or_else(String::new, |secret| format!("Authorization: Bearer {secret}\r\n"));
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{header}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    (answer.split_whitespace().nth(1).unwrap().parse().unwrap(), answer)
}

async fn status(address: SocketAddr, method: &str, path: &str, secret: Option<&str>) -> u16 {
    request(address, method, path, secret).await.0
}

/// A service with the job `report`, on an address of its own. It serves until `end` is notified.
async fn service(vars: &[(&str, &str)], bell: Arc<Bell>, end: Arc<Notify>) -> (Startup, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let env = Env::from_vars("SHOP", vars.iter().copied());
    let mut startup =
        Startup::new("shop", env, WorkerMode::Many { reason: "no lock in this test".to_owned() });
    let bell = startup.stage("bell", (), async move |_cx: StageContext, ()| Ok(bell)).required();
    let jobs = Scheduler::from_env(&startup.env()).every(
        "report",
        Duration::from_secs(3600),
        async |_: RunContext, bell: Arc<Arc<Bell>>| {
            bell.begun.notify_one();
            bell.end.notified().await;
            Ok(())
        },
    );
    let jobs = startup.add_with(jobs, bell);
    startup.serve(jobs, async move |_cx: ServeContext, jobs: Arc<JobScheduler>| {
        let router = Router::new().route("/", get(async || "shop")).merge(jobs.ticks().router());
        tokio::select! {
            served = axum::serve(listener, router).into_future() => Ok(served?),
            () = end.notified() => Ok(()),
        }
    });
    (startup, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outside_cron_starts_jobs_until_the_service_drains() {
    let (bell, end) = (Arc::new(Bell::default()), Arc::new(Notify::new()));
    let vars = [("SHOP_SCHEDULER", "external"), ("SHOP_TICK_SECRET", SECRET), ("SHOP_DRAIN", "1h")];
    let (mut startup, address) = service(&vars, bell.clone(), end.clone()).await;
    let (sender, mut draining) = unbounded_channel();
    startup.on_event(move |event| {
        if matches!(event, Event::Draining { .. }) {
            sender.send(()).unwrap();
        }
    });
    let running = startup.start().await.unwrap();
    let (path, right) = ("/tick/report", Some(SECRET));
    assert_eq!(status(address, "GET", "/", None).await, 200);
    let (refused, answer) = request(address, "POST", path, None).await;
    assert_eq!(refused, 401);
    assert!(answer.to_ascii_lowercase().contains("www-authenticate: bearer"), "{answer}");
    assert_eq!(status(address, "POST", path, Some("6b1f9c0e52d84a38")).await, 401);
    assert_eq!(status(address, "GET", path, right).await, 405);
    assert_eq!(status(address, "POST", "/tick/nobody", right).await, 404);
    assert_eq!(status(address, "POST", "/tick/report?when=now", right).await, 202);
    bell.begun.notified().await;
    assert_eq!(status(address, "POST", path, right).await, 409);
    bell.end.notify_one();
    // The run before ends when it does; the next one begins as soon as it may.
    while status(address, "POST", path, right).await == 409 {}
    bell.begun.notified().await;
    bell.end.notify_one();

    let (stopped, ()) = tokio::join!(running.shutdown("the test is over"), async {
        draining.recv().await.unwrap();
        assert_eq!(status(address, "POST", path, right).await, 503);
        assert_eq!(status(address, "GET", "/", None).await, 200);
        end.notify_one();
    });
    assert!(stopped.is_clean(), "{stopped:?}");
    assert!(stopped.summary.leaked.is_empty(), "{stopped:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_there_is_no_route() {
    for vars in [&[("SHOP_SCHEDULER", "external")][..], &[("SHOP_TICK_SECRET", SECRET)]] {
        let (bell, end) = (Arc::new(Bell::default()), Arc::new(Notify::new()));
        let (startup, address) = service(vars, bell, end.clone()).await;
        let running = startup.start().await.unwrap();
        for method in ["GET", "POST"] {
            let (status, answer) = request(address, method, "/tick/report", Some(SECRET)).await;
            assert_eq!((status, answer.rsplit("\r\n\r\n").next()), (404, Some("")), "{answer}");
        }
        end.notify_one();
        assert!(running.wait().await.is_clean());
    }
}
