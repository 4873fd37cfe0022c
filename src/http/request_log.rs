//! One line in the log for each request: what, how long, how it ended; never what was said.
//!
//! The line is written when the response's body is at its end or dropped, so that of a stream tells how it ended. Its
//! target is `couplet::request`.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use uuid::Uuid;

use super::REQUEST_ID;
use crate::claude::answer::{AnswerEvent, Usage};
use crate::claude::sink::{OriginCell, ProcessOrigin};

/// The longest id that is taken from a client.
const MAX_ID: usize = 128;

/// How much of a text that a client chose the line shows.
const MAX_SHOWN: usize = 128;

/// How many parts of a path without a route the line shows.
const MAX_PARTS: usize = 4;

/// The code of an error, left in the extensions of its response for the line.
#[derive(Debug, Clone, Copy)]
pub struct ErrorCode(pub &'static str);

/// What the line will tell. Handlers find it in the extensions of the request. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct RequestLog(Arc<Mutex<Line>>);

#[derive(Debug, Default)]
struct Line {
    begun: Option<Instant>,
    request_id: String,
    method: String,
    route: String,
    status: Option<StatusCode>,
    /// How it ended, and the status it has or would have, were the headers not sent.
    outcome: Option<(&'static str, StatusCode)>,
    chat: Option<Chat>,
}

/// What is told of a request to the model.
#[derive(Debug, Default)]
struct Chat {
    model: String,
    resolved_model: String,
    stream: bool,
    ignored: String,
    cause: Option<&'static str>,
    /// Which process answers.
    origin: Option<Arc<OriginCell>>,
    first_delta: Option<Duration>,
    /// How many calls of tools the model made.
    tool_calls: u32,
    /// Of all answers together.
    usage: Option<Usage>,
}

/// The layer: gives the request an id, and writes its line.
pub async fn write_lines(mut request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let log = RequestLog::default();
    {
        let mut line = log.line();
        line.begun = Some(Instant::now());
        id.to_str().unwrap_or_default().clone_into(&mut line.request_id);
        line.method = shown(request.method().as_str());
        line.route = route(&request);
    }
    let is_head = request.method() == Method::HEAD;
    request.headers_mut().insert(REQUEST_ID, id.clone());
    request.extensions_mut().insert(log.clone());
    // From here on the line is written whatever happens; if this future is dropped, the client went away.
    let writer = Writer(log);

    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    {
        let mut line = writer.0.line();
        line.status = Some(response.status());
        if let Some(ErrorCode(code)) = response.extensions().get() {
            line.outcome.get_or_insert((code, response.status()));
        }
    }
    if is_head {
        writer.0.at_end();
    }
    response.map(|body| Body::new(LoggedBody { body, writer }))
}

/// The client's own id if it is harmless, else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let given = request
        .headers()
        .get(REQUEST_ID)
        .filter(|id| !id.is_empty() && id.len() <= MAX_ID && id.as_bytes().iter().all(u8::is_ascii_graphic));
    let made = || HeaderValue::from_str(&Uuid::new_v4().to_string());
    given.cloned().map_or_else(made, Ok).unwrap_or(HeaderValue::from_static("none"))
}

/// The route that serves the request. A path that has none is the client's own text: it may hold a key, put there by
/// mistake. Of such a path only the beginning is told, and only parts that look like words.
fn route(request: &Request) -> String {
    if let Some(route) = request.extensions().get::<MatchedPath>() {
        return route.as_str().to_owned();
    }
    let is_word = |part: &str| {
        part.len() <= 20
            && part.bytes().all(|c| c.is_ascii_alphabetic() || b"_-.".contains(&c))
            && !part.starts_with("sk-")
            || part == "v1"
    };
    let mut parts = request.uri().path().trim_start_matches('/').split('/');
    let mut shown = String::new();
    for part in parts.by_ref().take(MAX_PARTS) {
        shown.push('/');
        shown.push_str(if is_word(part) { part } else { "…" });
    }
    if parts.next().is_some() {
        shown.push_str("/…");
    }
    shown
}

/// A client's text, not too long. What else is needed to write it into a line, the log's format does.
fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl RequestLog {
    /// The one of a request.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        request.extensions().get().cloned().unwrap_or_default()
    }

    /// The request was understood: the model as the client called it, and whether it wants a stream.
    pub fn asked(&self, model: &str, stream: bool) {
        let mut line = self.line();
        let chat = line.chat.get_or_insert_default();
        chat.model = shown(model);
        chat.stream = stream;
    }

    /// What the model's name stands for, and which parameters are not honoured.
    pub fn resolved(&self, model: &str, ignored: &[String]) {
        let mut line = self.line();
        let chat = line.chat.get_or_insert_default();
        chat.resolved_model = shown(model);
        chat.ignored = shown(&ignored.join(", "));
    }

    /// Which parameters are not honoured, once more is known of that.
    pub fn ignored(&self, ignored: &[String]) {
        self.line().chat.get_or_insert_default().ignored = shown(&ignored.join(", "));
    }

    /// An event of the answer passed by.
    pub fn event(&self, event: &AnswerEvent) {
        let mut line = self.line();
        let begun = line.begun;
        let chat = line.chat.get_or_insert_default();
        let is_delta =
            matches!(event, AnswerEvent::Text(_) | AnswerEvent::Reasoning(_) | AnswerEvent::ToolCall { .. });
        if is_delta && chat.first_delta.is_none() {
            chat.first_delta = begun.map(|begun| begun.elapsed());
        }
        match event {
            AnswerEvent::ToolCall { .. } => chat.tool_calls += 1,
            AnswerEvent::Ended(end) => chat.usage = Some(chat.usage.unwrap_or_default().plus(end.usage)),
            _ => {}
        }
    }

    /// Which process answers will be read from there.
    pub fn answered_by(&self, origin: Arc<OriginCell>) {
        if let Some(chat) = &mut self.line().chat {
            chat.origin = Some(origin);
        }
    }

    /// The turn failed for this reason.
    pub fn cause(&self, kind: &'static str) {
        self.line().chat.get_or_insert_default().cause = Some(kind);
    }

    /// The answer was given to its end.
    pub fn complete(&self) {
        self.line().outcome = Some(("complete", StatusCode::OK));
    }

    /// The request failed. `status` says whose fault it is, even where the headers said 200 already.
    pub fn fail(&self, code: &'static str, status: StatusCode) {
        self.line().outcome = Some((code, status));
    }

    /// The body was read to its end.
    fn at_end(&self) {
        let mut line = self.line();
        let status = line.status.unwrap_or_default();
        let word = if status.is_client_error() || status.is_server_error() { "error" } else { "complete" };
        line.outcome.get_or_insert((word, status));
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn write(&self) {
        let (outcome, severity) = match self.outcome {
            Some((word, status)) => (word, Some(status)),
            None => ("client_gone", None),
        };
        let chat = self.chat.as_ref();
        let text =
            |of: fn(&Chat) -> &String| chat.map(of).filter(|text| !text.is_empty()).map(String::as_str);
        let usage = chat.and_then(|chat| chat.usage);
        macro_rules! write_at {
            ($level:ident) => {
                tracing::$level!(
                    target: "couplet::request",
                    request_id = self.request_id,
                    method = self.method,
                    route = self.route,
                    status = self.status.map(|status| status.as_u16()),
                    outcome,
                    cause = chat.and_then(|chat| chat.cause),
                    model = text(|chat| &chat.model),
                    resolved_model = text(|chat| &chat.resolved_model),
                    stream = chat.map(|chat| chat.stream),
                    ignored = text(|chat| &chat.ignored),
                    process = chat.and_then(|chat| chat.origin.as_ref()?.get()).map(ProcessOrigin::as_str),
                    first_delta_ms = chat.and_then(|chat| chat.first_delta).map(milliseconds),
                    tool_calls = chat.map(|chat| chat.tool_calls).filter(|calls| *calls > 0),
                    total_ms = self.begun.map(|begun| milliseconds(begun.elapsed())),
                    input_tokens = usage.map(|usage| usage.input),
                    cache_read_tokens = usage.map(|usage| usage.cache_read),
                    cache_creation_tokens = usage.map(|usage| usage.cache_creation),
                    output_tokens = usage.map(|usage| usage.output),
                    "request"
                )
            };
        }
        // What a client did wrong is nothing to wake anybody for, and /health is asked every few seconds.
        if severity.is_some_and(|status| status.is_server_error()) {
            write_at!(warn);
        } else if self.route.starts_with("/health") {
            write_at!(debug);
        } else {
            write_at!(info);
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Writes the line when it is dropped.
#[derive(Debug)]
struct Writer(RequestLog);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.line().write();
    }
}

/// A body that knows whether it was read to its end.
struct LoggedBody {
    body: Body,
    writer: Writer,
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
            self.writer.0.at_end();
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
            self.writer.0.at_end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude::answer::{AnswerEnd, StopReason};
    use rstest::rstest;

    fn request(path: &str, id: Option<&str>) -> Request {
        let request = axum::http::Request::get(path);
        let request = match id {
            Some(id) => request.header(REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap()),
            None => request,
        };
        request.body(Body::empty()).unwrap()
    }

    #[rstest]
    #[case("/v1/embeddings", "/v1/embeddings")]
    #[case("/", "/")]
    #[case("/v1/sk-ant-oat01-canary/models", "/v1/…/models")]
    #[case("/bot123:canary/x?key=canary", "/…/x")]
    #[case("/a/b/c/d/e/f", "/a/b/c/d/…")]
    #[case("/averyveryverylongcanaryofalphabeticletters", "/…")]
    #[case("/%0aINFO%20canary", "/…")]
    fn a_path_without_a_route_is_told_only_as_far_as_it_is_words(#[case] path: &str, #[case] told: &str) {
        assert_eq!(route(&request(path, None)), told);
    }

    #[test]
    fn the_line_tells_how_many_tools_were_called_and_nothing_else_of_them() {
        let written = tempfile::NamedTempFile::new().unwrap();
        let writer = Arc::new(written.reopen().unwrap());
        let subscriber = tracing_subscriber::fmt().json().with_writer(writer).finish();
        tracing::subscriber::with_default(subscriber, || {
            let log = RequestLog::default();
            for _ in 0..2 {
                log.event(&AnswerEvent::ToolCall { id: "canary".to_owned(), name: "canary".to_owned() });
                log.event(&AnswerEvent::ToolArguments("\"canary\"".to_owned()));
            }
            log.line().write();
            RequestLog::default().line().write();
        });
        let lines = std::fs::read_to_string(written.path()).unwrap();
        let of = |line: &str| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["fields"]["tool_calls"].clone()
        };
        let counts: Vec<_> = lines.lines().map(of).collect();
        assert_eq!(counts, [serde_json::json!(2), serde_json::Value::Null]);
        assert!(!lines.contains("canary"), "{lines}");
    }

    #[test]
    fn the_tokens_of_all_answers_are_told_together() {
        let log = RequestLog::default();
        for output in [3, 4] {
            let usage = Usage { input: 10, output, ..Usage::default() };
            let end = AnswerEnd { reason: StopReason::EndTurn, stop_sequence: None, usage };
            log.event(&AnswerEvent::Ended(end));
        }
        let told = log.line().chat.as_ref().unwrap().usage.unwrap();
        assert_eq!((told.input, told.output), (20, 7));
    }

    #[test]
    fn only_a_short_visible_id_is_taken_from_the_client() {
        let longest = "x".repeat(MAX_ID);
        for good in ["mine-7", "\"{}\"", &longest] {
            assert_eq!(request_id(&request("/", Some(good))), good);
        }
        let too_long = "x".repeat(MAX_ID + 1);
        for bad in ["", "two words", "t\tab", "ünïcode", &too_long] {
            let made = request_id(&request("/", Some(bad)));
            assert!(made.len() == 36 && made != bad, "{made:?}");
        }
        assert_ne!(request_id(&request("/", None)), request_id(&request("/", None)));
    }
}
