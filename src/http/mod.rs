//! Floor 4: serves HTTP so that no client decides how, or when, the service ends (invariant 14). `connections` knows who
//! waits for whom, `wire` is what tells it. Feature `http-routes`.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
};
use hyper::{Response, body::Incoming, server::conn::http1, service::Service};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    contract::{
        context::ServeContext,
        tell::{shown, tell},
    },
    error::StageResult,
};

mod connections;
mod limits;
mod wire;

use connections::{Connection, Connections};
pub use limits::HttpLimits;
use wire::{Carried, InHand, Wire};

/// How often it is looked who has been silent for too long, while there are connections.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_WHILE_STOPPING: Duration = Duration::from_millis(100);

/// How long to wait where the operating system gives no connection, for instance for want of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// What is left of the time of `serve` when the last connections are cut, so that their tasks can end.
const RESERVE: Duration = Duration::from_millis(200);

impl ServeContext {
    /// Serves `router` until the service is asked to stop, and ends its connections in time whatever their clients do.
    ///
    /// What clients can hold is bounded ([`HttpLimits`]), and none can keep others out: where there are as many
    /// connections as there may be, the one that has waited longest for its client ends for a new one. So `/livez` on
    /// the same port answers while thousands of connections are idle, or send their requests byte by byte.
    ///
    /// When it is asked to stop, it takes no new connection, and those that are idle end. Requests in hand are answered;
    /// a connection that waits a second for its client is cut, and what is left is cut before the time of `serve` ends,
    /// upgraded connections (WebSockets) too. How many were cut is told as one event with level WARN; it is no failure
    /// of the stop.
    ///
    /// It speaks HTTP/1.1 (RFC 9112) without TLS. Handlers find the peer with `axum::extract::ConnectInfo<SocketAddr>`.
    /// A handler that waits for something other than its client may take as long as it likes: a stream of events needs
    /// no messages to stay open.
    ///
    /// ```no_run
    /// use axum::{Router, routing::get};
    /// use solostart::{HttpLimits, ServeContext, StageResult};
    /// use tokio::net::TcpListener;
    ///
    /// async fn serve(cx: ServeContext) -> StageResult<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:8080").await?;
    ///     let router = Router::new().route("/livez", get(async || "alive\n"));
    ///     cx.serve_http(listener, router, HttpLimits::default()).await
    /// }
    /// ```
    ///
    /// # Errors
    /// None so far: where the operating system refuses a connection it tries again.
    ///
    /// # Cancel safety
    /// Dropping the future cuts every connection.
    pub async fn serve_http(
        &self,
        listener: TcpListener,
        router: Router,
        limits: HttpLimits,
    ) -> StageResult<()> {
        let server =
            Server { connections: Connections::new(limits), router: TowerToHyperService::new(router) };
        let mut tasks = JoinSet::new();
        server.accept(self, &listener, &mut tasks).await;
        drop(listener);
        server.stop(self.stop_budget().saturating_sub(RESERVE), &mut tasks).await;
        Ok(())
    }
}

struct Server {
    connections: Connections,
    router: TowerToHyperService<Router>,
}

impl Server {
    /// Takes connections until the service is asked to stop.
    async fn accept(&self, cx: &ServeContext, listener: &TcpListener, tasks: &mut JoinSet<()>) {
        let mut look = Instant::now() + LOOK;
        loop {
            tokio::select! {
                biased;
                () = cx.shutdown_requested() => return,
                Some(_ended) = tasks.join_next() => {}
                () = tokio::time::sleep_until(look), if !self.connections.is_empty() => {
                    self.connections.end_the_silent();
                    look = Instant::now() + LOOK;
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let wire = Wire::new(stream, self.connections.open());
                        if !self.room_for(&wire.connection(), cx, tasks).await {
                            return;
                        }
                        tasks.spawn(serve(wire, peer, self.router.clone()));
                    }
                    Err(error) if is_of_the_client(&error) => {}
                    Err(error) => {
                        tell!(warn, "no connection can be taken", error = shown(error));
                        self.connections.end_the_most_silent(None);
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    /// Waits until there is room for a connection that was just taken: where there are as many as there may be, until
    /// one of them waits for its client, and ends for this one. `false` where the service stops.
    async fn room_for(&self, connection: &Connection, cx: &ServeContext, tasks: &mut JoinSet<()>) -> bool {
        while self.connections.is_beyond_the_limit()
            && !self.connections.end_the_most_silent(Some(connection))
        {
            tokio::select! {
                biased;
                () = cx.shutdown_requested() => return false,
                Some(_ended) = tasks.join_next() => {}
                () = sleep(PAUSE) => self.connections.end_the_silent(),
            }
        }
        connection.is_served();
        true
    }

    /// Ends every connection, within `limit`.
    async fn stop(&self, limit: Duration, tasks: &mut JoinSet<()>) {
        let end = Instant::now() + limit;
        self.connections.begin_to_stop();
        while !self.connections.is_empty() && Instant::now() < end {
            let look = (Instant::now() + LOOK_WHILE_STOPPING).min(end);
            tokio::select! {
                Some(_ended) = tasks.join_next() => {}
                () = tokio::time::sleep_until(look) => self.connections.end_the_silent(),
            }
        }
        self.connections.cut_all();
        while tasks.join_next().await.is_some() {}
        let cut = self.connections.cut_while_stopping();
        if cut > 0 {
            tell!(warn, "connections were cut: their clients kept them open", connections = cut);
        }
    }
}

/// Serves one connection until it ends, or is cut.
async fn serve(wire: Wire, peer: SocketAddr, router: TowerToHyperService<Router>) {
    let connection = wire.connection();
    let answering = connection.clone();
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let (router, connection) = (router.clone(), answering.clone());
        let in_hand = InHand::of(connection.clone());
        let mut request: Request = request.map(|body| Body::new(Carried::request(body, connection)));
        request.extensions_mut().insert(ConnectInfo(peer));
        async move {
            let response: Response<Body> = router.call(request).await?;
            Ok::<_, Infallible>(response.map(|body| in_hand.answer(body)))
        }
    });
    let limits = connection.limits();
    // The times are kept here, not by hyper: it has none for bodies, for readers that stall and for what is upgraded.
    let mut http = http1::Builder::new();
    http.header_read_timeout(None)
        .max_buf_size(limits.head_size)
        .max_header_size(limits.head_size)
        .max_headers(limits.headers);
    let mut serving = std::pin::pin!(http.serve_connection(TokioIo::new(wire), service).with_upgrades());
    tokio::select! {
        biased;
        () = connection.cut() => return,
        () = connection.stopping() => serving.as_mut().graceful_shutdown(),
        _ended = serving.as_mut() => return connection.hand_over(),
    }
    tokio::select! {
        biased;
        () = connection.cut() => {}
        _ended = serving => connection.hand_over(),
    }
}

/// Whether it concerns nothing but the connection that would have been taken: accept(2).
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::ConnectionAborted | Kind::ConnectionReset | Kind::ConnectionRefused)
}
