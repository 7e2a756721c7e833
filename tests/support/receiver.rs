//! An HTTP server that keeps what it is sent and answers as badly as it is told to.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver as Channel, Sender, channel},
    thread,
    time::Duration,
};

/// What was sent to it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) line: String,
    /// In small letters up to the colon.
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn json(&self) -> serde_json::Value {
        assert!(self.has("content-type: application/json"), "{:?}", self.headers);
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn has(&self, header: &str) -> bool {
        self.headers.iter().any(|each| each == header)
    }
}

/// How it answers.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// With this status line and headers, and nothing else.
    Says(String),
    /// With a body that never ends.
    Endless,
    /// Not at all.
    Hangs,
}

/// The server. It lives as long as the test.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    requests: Channel<Request>,
}

impl Receiver {
    pub(crate) fn new(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (sender, answer) = (sender.clone(), answer.clone());
                thread::spawn(move || serve(stream, &sender, &answer));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn content() -> Self {
        Self::new(Answer::Says("200 OK\r\nContent-Length: 0".to_owned()))
    }

    /// The next request. The process that sent it has ended.
    #[track_caller]
    pub(crate) fn next(&self) -> Request {
        self.requests.recv_timeout(Duration::from_secs(5)).unwrap()
    }

    /// What came and was not taken yet, once whoever could send has ended.
    pub(crate) fn rest(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }
}

fn serve(stream: TcpStream, sender: &Sender<Request>, answer: &Answer) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let length =
        lines.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let line = lines.remove(0);
    sender.send(Request { line, headers: lines, body: String::from_utf8(body).ok()? }).ok()?;
    let mut stream = stream;
    match answer {
        Answer::Says(head) => write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").ok(),
        Answer::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").ok()?;
            loop {
                write!(stream, "400\r\n{}\r\n", "x".repeat(0x400)).ok()?;
            }
        }
        Answer::Hangs => {
            thread::sleep(Duration::from_secs(60));
            None
        }
    }
}
