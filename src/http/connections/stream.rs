//! The bytes of a connection, as they pass.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::connection::Connection;

/// How many bytes of a request that nobody reads are thrown away at most: more than the largest body.
const THROWN_AWAY: usize = 64 * 1024 * 1024;

/// A stream that tells its connection what passes.
///
/// It is closed in a way that lets the last answer reach its client: a socket that is closed while bytes of the client's are unread
/// resets the connection, and the client, which is still sending, never sees why its request was refused. So the end is told first,
/// and what comes is thrown away for a while.
#[derive(Debug)]
pub struct WatchedStream {
    stream: TcpStream,
    connection: Arc<Connection>,
    end_is_told: bool,
    thrown_away: usize,
}

impl WatchedStream {
    /// Watches it.
    #[must_use]
    pub fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self { stream, connection, end_is_told: false, thrown_away: 0 }
    }

    fn told(&self, written: &Poll<io::Result<usize>>, of: usize) {
        match written {
            Poll::Ready(Ok(bytes)) => self.connection.bytes_went(*bytes, *bytes == of),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.connection.bytes_went(0, false),
        }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.connection.bytes_came();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.told(&written, bytes.len());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.told(&written, pieces.iter().map(|piece| piece.len()).sum());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.end_is_told {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.end_is_told = true;
        }
        let mut bytes = [0; 4096];
        while self.thrown_away < THROWN_AWAY {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.connection.leaves();
                    self.thrown_away += buffer.filled().len();
                }
                Poll::Pending if self.thrown_away > 0 || self.connection.has_more_to_say() => {
                    self.connection.leaves();
                    return Poll::Pending;
                }
                // It has seen the end, is gone, or has nothing more to say.
                Poll::Ready(_) | Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
