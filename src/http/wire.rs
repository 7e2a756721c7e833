//! The stream and the bodies of a connection, which tell it whose turn it is.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use hyper::body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::connections::Connection;

/// The stream. It is passed on when a connection is upgraded, and ends when the connection is cut all the same.
pub(super) struct Wire {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    connection: Arc<Connection>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        // Small answers are not to wait for the acknowledgement of the one before (RFC 896).
        let _not_that_important = stream.set_nodelay(true);
        Self { stream, cut: Box::pin(connection.cut()), connection }
    }

    pub(super) fn connection(&self) -> Arc<Connection> {
        self.connection.clone()
    }

    fn is_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }

    fn written<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.connection.has_written(written.is_ready());
        written
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.is_cut(cx)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.connection.has_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, text: &[u8]) -> Poll<io::Result<usize>> {
        self.is_cut(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, text);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        texts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_cut(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, texts);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.connection.is_cut() {
            // What the client did not take is not to stay in the kernel until its own time is over (SO_LINGER,
            // socket(7)).
            let _closes_all_the_same = self.stream.set_zero_linger();
        }
        self.connection.close();
    }
}

/// Whose turn it is while a body goes one way or the other. Dropping it ends that turn.
enum Turn {
    /// The client's, where the handler waits for more of the request.
    Request(Arc<Connection>),
    /// The application's, until the answer is handed over in full.
    Answer(Arc<Connection>),
}

impl Drop for Turn {
    fn drop(&mut self) {
        match self {
            Self::Request(connection) => connection.body_is_awaited(false),
            Self::Answer(connection) => connection.end_request(),
        }
    }
}

/// A request that is in hand, before there is an answer.
pub(super) struct InHand(Turn);

impl InHand {
    pub(super) fn of(connection: Arc<Connection>) -> Self {
        connection.begin_request();
        Self(Turn::Answer(connection))
    }

    pub(super) fn answer<B>(self, body: B) -> Carried<B> {
        Carried { body, turn: self.0 }
    }
}

/// A body on its way.
pub(super) struct Carried<B> {
    body: B,
    turn: Turn,
}

impl<B> Carried<B> {
    pub(super) fn request(body: B, connection: Arc<Connection>) -> Self {
        Self { body, turn: Turn::Request(connection) }
    }
}

impl<B: Body + Unpin> Body for Carried<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Turn::Request(connection) = &self.turn {
            connection.body_is_awaited(frame.is_pending());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
