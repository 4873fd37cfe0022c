//! The requests of a connection and their answers, as they pass.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::connection::Connection;

/// Of a shorter body that nobody reads, the rest is there already in all likelihood, and the connection can go on.
const SHORT: u64 = 4096;

/// All routes, for the requests of one connection. Each request has the [`Connection`] among its extensions.
#[derive(Debug, Clone)]
pub struct WatchedService {
    router: Router,
    connection: Arc<Connection>,
    ends: CancellationToken,
}

impl WatchedService {
    /// These routes, for that connection. What is answered once it `ends` is the last answer on it.
    #[must_use]
    pub fn new(router: Router, connection: Arc<Connection>, ends: CancellationToken) -> Self {
        Self { router, connection, ends }
    }
}

impl Service<Request<Incoming>> for WatchedService {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut answering = Answering::begin(&self.connection, !request.body().is_end_stream());
        let is_long = is_long(request.headers());
        // RFC 9112, 6.1: where a length was there as well, the connection must be closed. hyper does not tell whether it was.
        let is_chunked = request.headers().contains_key(TRANSFER_ENCODING);
        let version = request.version();
        let mut request = request.map(|body| RequestBody { body, connection: self.connection.clone() });
        request.extensions_mut().insert(self.connection.clone());
        let (router, ends) = (self.router.clone(), self.ends.clone());
        Box::pin(async move {
            let mut response = router.oneshot(request).await?;
            let is_unread = answering.connection.body_is_open()
                && (is_long || response.status() == StatusCode::REQUEST_TIMEOUT);
            if (is_unread || is_chunked || ends.is_cancelled()) && version <= Version::HTTP_11 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answering.handed_out();
            Ok(response.map(|body| AnswerBody { body, answering }))
        })
    }
}

fn is_long(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.is_none_or(|length| length > SHORT)
}

/// A request on its way to its answer's end.
#[derive(Debug)]
struct Answering {
    connection: Arc<Connection>,
    /// Whether the client waits for the server.
    is_ours: bool,
}

impl Answering {
    fn begin(connection: &Arc<Connection>, has_body: bool) -> Self {
        connection.request_came(has_body);
        Self { connection: connection.clone(), is_ours: true }
    }

    fn handed_out(&mut self) {
        self.connection.answer_handed_out(self.is_ours);
        self.is_ours = false;
    }

    fn awaited(&mut self) {
        if !self.is_ours {
            self.is_ours = true;
            self.connection.answer_awaited();
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.connection.answer_ended(self.is_ours);
    }
}

/// The body of an answer.
#[derive(Debug)]
pub struct AnswerBody {
    body: Body,
    answering: Answering,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(context);
        match frame {
            Poll::Ready(_) => this.answering.handed_out(),
            Poll::Pending => this.answering.awaited(),
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

/// The body of a request.
#[derive(Debug)]
struct RequestBody {
    body: Incoming,
    connection: Arc<Connection>,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(bytes) = frame.data_ref()
        {
            this.connection.body_bytes_came(bytes.len());
        }
        if frame.is_none() || this.body.is_end_stream() {
            this.connection.body_came();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
