//! All of these use real sockets on the loopback interface.

mod probing;
mod stopping;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::spawn,
};

use super::*;
use crate::stages::testing::{Start, stop_within};

/// A server that hands each connection to `serve`, one after another. Its thread ends with the process.
fn server(serve: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    spawn(move || listener.incoming().flatten().for_each(serve));
    address
}

/// Reads a request and answers with `head` and an empty body.
fn answer(stream: &mut TcpStream, head: &str) {
    let mut request = [0; 4096];
    let _read = stream.read(&mut request);
    let _written = write!(stream, "HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

fn answering(head: &'static str) -> SocketAddr {
    server(move |mut stream| answer(&mut stream, head))
}

/// An address at which nobody listens.
fn refused() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn up(stage: &HttpSession) -> StageResult<Arc<HttpClient>> {
    stage.start(Start::unhurried().cx, ()).await.map(Arc::new)
}
