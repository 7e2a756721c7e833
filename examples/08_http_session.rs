//! 8. The HTTP stage: one client for the whole service, with a time limit on everything.
//!
//! `cargo run --example 08_http_session` asks an upstream, which it plays itself.
//!
//! To try
//! - `FETCHER_HTTP_PROBE_URL=http://127.0.0.1:1/ FETCHER_HTTP_RETRY_BUDGET=1s cargo run --example 08_http_session`: with a probe the
//!   service is ready once the upstream has answered. Nobody does there: `http.connect`, exit code 69.
//! - The same with `http://nobody.invalid/`: `http.dns`. With `https://` and a port that speaks plain HTTP: `http.tls`.
//! - Put a password into the URL, `http://me:secret@127.0.0.1:1/?token=x`: no report shows it.
//! - Make the stage `optional()`, and see `DEGRADED` in place of the failure.

#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use solostart::{
    ServeContext, StageContext,
    stages::http_session::{HttpClient, HttpSession, read_limited},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// What this example asks in place of a real upstream: it answers one request.
struct Upstream {
    listener: TcpListener,
    address: SocketAddr,
}

impl Upstream {
    async fn answer_once(&self) -> std::io::Result<()> {
        let (mut stream, _) = self.listener.accept().await?;
        let mut request = [0; 1024];
        let _length = stream.read(&mut request).await?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n4 bans").await
    }
}

fn main() -> ExitCode {
    solostart::run("fetcher", |startup| {
        startup.allow_unshared_lock("overlay,tmpfs");
        let http = startup.add(HttpSession::from_env(&startup.env()).user_agent("fetcher/1.0"));
        let upstream = startup
            .stage("upstream", (), async |_cx: StageContext, ()| {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let address = listener.local_addr()?;
                Ok(Upstream { listener, address })
            })
            .required();

        startup.serve(
            (http, upstream),
            async |cx: ServeContext, (http, upstream): (Arc<HttpClient>, Arc<Upstream>)| {
                let url = format!("http://{}/bans?token=hunter2", upstream.address);
                // The body is read inside, so that a stop waits for the whole of it; and never more than 4 KiB of it.
                let request =
                    http.request(async |client| read_limited(client.get(url).send().await?, 4096).await);
                let (body, answered) = tokio::join!(request, upstream.answer_once());
                answered?;
                println!("the upstream says: {}", String::from_utf8_lossy(&body?));
                cx.shutdown_requested().await;
                Ok(())
            },
        );
        Ok(())
    })
}
