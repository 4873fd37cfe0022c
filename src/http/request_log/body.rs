//! The end of a response's body is the end of its request.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{Lines, RequestLog};

/// Writes the line when it is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) log: RequestLog,
    pub(super) lines: Lines,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.log.line().end(&self.lines);
    }
}

/// A body that knows whether it was read to its end.
pub(super) struct LoggedBody {
    pub(super) body: Body,
    pub(super) writer: Writer,
}

impl HttpBody for LoggedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // A body of known length is not asked again after its last piece.
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.writer.log.at_end();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for LoggedBody {
    fn drop(&mut self) {
        // One that was empty from the beginning is never asked.
        if self.body.is_end_stream() {
            self.writer.log.at_end();
        }
    }
}
