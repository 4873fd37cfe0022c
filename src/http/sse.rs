//! An answer as server-sent events.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::{self, Stream};

use super::answers::Answers;
use super::ask::SentAs;
use super::reply;
use super::request_log::RequestLog;
use crate::claude::answer::AnswerEvent;
use crate::claude::failure::TurnFailure;
use crate::openai::error::ApiError;

/// How long the headers are held back for the model to begin: until then a failure gets a status of its own.
const HOLD_BACK: Duration = Duration::from_secs(15);

/// How long a stream is silent before something shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How many bytes of events that are there already are sent together, at most a little more. Each stays an event of its
/// own.
const BATCH: usize = 32 * 1024;

/// The end of a stream of OpenAI's whose answers are complete.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// Shows that a stream lives. A comment, because named events become broken chunks in some clients of OpenAI's API.
pub const COMMENT: &[u8] = b": keep-alive\n\n";

/// Tells reverse proxies such as nginx to pass each event on at once.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// How an endpoint writes the events of its answers to a stream. The answers are counted from 0.
pub trait StreamForm: Send + 'static {
    /// Shows that a silent stream lives.
    const KEEP_ALIVE: &'static [u8];

    /// Appends what an event of one of the answers is.
    fn event(&mut self, of: usize, event: AnswerEvent, out: &mut Vec<u8>);

    /// Appends what follows when all answers are complete.
    fn done(&mut self, out: &mut Vec<u8>);

    /// Appends the error that ends a broken stream.
    fn failure(&mut self, error: &ApiError, out: &mut Vec<u8>);
}

/// Answers with a stream, or with an error if a turn fails before the model begins. `seen` is shown the event that was
/// waited for before the headers are sent: the first of any of the answers. `sent_as` names the
/// fields in errors.
///
/// # Errors
/// The failure of a turn, while no headers are sent.
pub async fn respond(
    mut answers: Answers,
    form: impl StreamForm,
    log: RequestLog,
    sent_as: SentAs,
    seen: impl FnOnce(&AnswerEvent),
) -> Result<Response, ApiError> {
    let first = match tokio::time::timeout(HOLD_BACK, answers.next()).await {
        Ok(Ok((of, event))) => {
            seen(&event);
            Some((of, event))
        }
        Ok(Err(error)) => return Err(reply::failed_turn(&error, &log, sent_as)),
        Err(_still_silent) => None,
    };
    let stream = EventStream { answers, form, log, sent_as, first, ended: false };
    let mut response = Response::new(Body::from_stream(stream.into_stream()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// A stream under way. Dropped with the connection, it drops the answers, which interrupts the model.
struct EventStream<F> {
    answers: Answers,
    form: F,
    log: RequestLog,
    sent_as: SentAs,
    /// The event that was waited for before the headers were sent.
    first: Option<(usize, AnswerEvent)>,
    ended: bool,
}

impl<F: StreamForm> EventStream<F> {
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut stream| async move {
            // After the headers nobody else can tell the client.
            let bytes = match AssertUnwindSafe(stream.next_bytes()).catch_unwind().await {
                Ok(bytes) => bytes?,
                Err(_panic) => stream.after_panic(),
            };
            Some((Ok(bytes), stream))
        })
    }

    /// The bytes of the next event; a sign of life when it does not come for a while; `None` at the end.
    async fn next_bytes(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let event = match self.first.take() {
            Some(event) => Ok(event),
            None => match tokio::time::timeout(KEEP_ALIVE, self.answers.next()).await {
                Ok(event) => event,
                Err(_silent) => return Some(Bytes::from_static(F::KEEP_ALIVE)),
            },
        };
        Some(match event {
            Ok((of, event)) => self.write(of, event),
            Err(error) => {
                let mut bytes = Vec::new();
                self.write_failure(&error, &mut bytes);
                bytes.into()
            }
        })
    }

    /// The bytes of an event, and of those behind it that need not be waited for: one write instead of many when the model
    /// is faster than the network, and none later than it could be.
    fn write(&mut self, of: usize, event: AnswerEvent) -> Bytes {
        let mut bytes = Vec::with_capacity(512);
        self.write_event(of, event, &mut bytes);
        while !self.ended && bytes.len() < BATCH {
            match self.answers.next().now_or_never() {
                Some(Ok((of, event))) => self.write_event(of, event, &mut bytes),
                Some(Err(error)) => self.write_failure(&error, &mut bytes),
                None => break,
            }
        }
        bytes.into()
    }

    fn write_event(&mut self, of: usize, event: AnswerEvent, bytes: &mut Vec<u8>) {
        self.log.event(&event);
        self.ended = self.answers.are_complete();
        self.form.event(of, event, bytes);
        if self.ended {
            self.log.complete();
            self.form.done(bytes);
        }
    }

    /// The end of the stream after a defect of Couplet's own, which the log has already.
    fn after_panic(&mut self) -> Bytes {
        self.ended = true;
        // The model is interrupted, and what it was let in with is settled.
        self.answers = Answers::new(Vec::new());
        let error = reply::own_failure();
        self.log.fail(error.code.unwrap_or(error.kind), error.status);
        let mut bytes = Vec::new();
        self.form.failure(&error, &mut bytes);
        bytes.into()
    }

    fn write_failure(&mut self, error: &TurnFailure, bytes: &mut Vec<u8>) {
        self.ended = true;
        let api_error = reply::failed_turn(error, &self.log, self.sent_as);
        self.log.fail(api_error.code.unwrap_or(api_error.kind), api_error.status);
        self.form.failure(&api_error, bytes);
    }
}

/// Appends an error as OpenAI's streams end with it: without `choices`, and no `[DONE]` after it, so that both SDKs raise an
/// error instead of taking what came so far for the answer.
pub fn write_error(bytes: &mut Vec<u8>, error: &ApiError) {
    write_data(bytes, |bytes| serde_json::to_writer(bytes, &error.body()));
}

/// Appends a JSON document as an event without a name.
pub fn write_data(bytes: &mut Vec<u8>, write_json: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>) {
    let before = bytes.len();
    bytes.extend_from_slice(b"data: ");
    if let Err(error) = write_json(bytes) {
        // Cannot happen for these types; a chunk that is left out would show in tests at once.
        tracing::error!(%error, "a chunk could not be written");
        bytes.truncate(before);
        return;
    }
    bytes.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude::Answer;
    use axum::http::StatusCode;
    use http_body_util::BodyExt;
    use tokio::sync::mpsc;

    /// A defect of Couplet's: it cannot write down an answer's second piece.
    struct Defective;

    impl StreamForm for Defective {
        const KEEP_ALIVE: &'static [u8] = COMMENT;

        fn event(&mut self, _of: usize, event: AnswerEvent, out: &mut Vec<u8>) {
            match event {
                AnswerEvent::Text(text) if text == "one" => out.extend_from_slice(b"data: one\n\n"),
                other => panic!("{other:?}"),
            }
        }

        fn done(&mut self, out: &mut Vec<u8>) {
            out.extend_from_slice(DONE);
        }

        fn failure(&mut self, error: &ApiError, out: &mut Vec<u8>) {
            write_error(out, error);
        }
    }

    #[tokio::test]
    async fn a_defect_in_mid_stream_ends_it_with_an_error_and_interrupts_the_model() {
        let (sender, events) = mpsc::channel(10);
        let answers = Answers::new(vec![Answer::of_events(events)]);
        let send = |text: &str| sender.try_send(Ok(AnswerEvent::Text(text.to_owned()))).unwrap();
        send("one");
        let responded = respond(answers, Defective, RequestLog::default(), |_| None, |_| {}).await;
        let mut body = responded.unwrap().into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "data: one\n\n");
        send("two");
        let rest = body.collect().await.unwrap().to_bytes();
        let error: serde_json::Value = serde_json::from_slice(rest.strip_prefix(b"data: ").unwrap()).unwrap();
        assert_eq!(error["error"]["code"], "internal_error");
        assert!(sender.is_closed(), "nobody reads the answer any more");
        assert_eq!(reply::own_failure().status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
