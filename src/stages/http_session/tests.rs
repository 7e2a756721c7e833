//! All of these use real sockets on the loopback interface.

mod certificates;
mod private_ca;
mod probing;
mod stopping;
mod surroundings;
mod upstreams;
mod wire;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::spawn,
};

use tokio::net::TcpSocket;

use super::*;
use crate::stages::testing::{Start, stop_within};

/// A server that hands each connection to `serve`, one after another. Its thread ends with the process.
fn server(serve: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    spawn(move || listener.incoming().flatten().for_each(serve));
    address
}

/// Reads the head of a request.
fn request(stream: &mut impl Read) -> String {
    let mut request = [0; 4096];
    let read = stream.read(&mut request).unwrap_or(0);
    String::from_utf8_lossy(&request[..read]).into_owned()
}

/// Reads a request and answers with `head` and an empty body.
fn answer(stream: &mut (impl Read + Write), head: &str) {
    request(stream);
    let _written = write!(stream, "HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

fn answering(head: &'static str) -> SocketAddr {
    server(move |mut stream| answer(&mut stream, head))
}

/// An address at which nobody listens, and nobody can until the process ends: the port is taken.
fn refused() -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    std::mem::forget(socket);
    address
}

async fn up(stage: &HttpSession) -> StageResult<Arc<HttpClient>> {
    stage.start(Start::unhurried().cx, ()).await.map(Arc::new)
}
