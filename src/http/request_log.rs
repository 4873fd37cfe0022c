//! One line in the log for each request: what, how long, how it ended; never what was said.
//!
//! The line is written when the response's body is at its end or dropped, so that of a stream tells how it ended. Its
//! target is `couplet::request`. Metrics and traces tell the same, at the same moment. Of requests that anybody can send there are
//! only so many lines a second.
//!
//! - `line`: what is known of a request, and what is made of it in the end.
//! - `span`: the same for traces.
//! - `strangers`: which requests have no line of their own.
//! - `body`: tells when it has ended.

mod body;
mod line;
mod span;
mod strangers;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;
use uuid::Uuid;

use super::{PROCESSING_MS, REQUEST_ID, anthropic_form};
use crate::caller::TenantName;
use crate::claude::answer::AnswerEvent;
use crate::claude::sink::OriginCell;
use crate::metrics::Metrics;
use body::{LoggedBody, Writer};
use line::{Line, Route, shown};
use strangers::Strangers;

/// The longest id that is taken from a client.
const MAX_ID: usize = 128;

/// The code of an error, left in the extensions of its response for the line.
#[derive(Debug, Clone, Copy)]
pub struct ErrorCode(pub &'static str);

/// Where the lines go, and what else is made of them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lines {
    metrics: Metrics,
    strangers: Strangers,
}

/// What the line will tell. Handlers find it in the extensions of the request. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct RequestLog(Arc<Mutex<Line>>);

/// The layer: gives the request an id, and writes its line. The response tells the id and the time it took, and an error is put in
/// the form that its client reads: in one layer, since each costs.
pub async fn write_lines(State(lines): State<Lines>, mut request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let route = Route::of(&request);
    let span = if route.is_a_probe() { tracing::Span::none() } else { span::open(&request) };
    let log = RequestLog::new(Line {
        request_id: id.to_str().unwrap_or_default().to_owned(),
        method: shown(request.method().as_str()),
        route,
        span: span.clone(),
        ..Line::default()
    });
    let is_head = request.method() == Method::HEAD;
    request.headers_mut().insert(REQUEST_ID, id.clone());
    request.extensions_mut().insert(log.clone());
    // From here on the line is written whatever happens; if this future is dropped, the client went away.
    let writer = Writer { log, lines };

    let (begun, is_anthropic_s) = (Instant::now(), anthropic_form::is_due(&request));
    let mut response = next.run(request).instrument(span).await;
    if is_anthropic_s {
        response = anthropic_form::of(response, &id);
    }
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    response.headers_mut().insert(PROCESSING_MS, HeaderValue::from(milliseconds));
    response.headers_mut().insert(REQUEST_ID, id);
    {
        let mut line = writer.log.line();
        line.status = Some(response.status());
        if let Some(ErrorCode(code)) = response.extensions().get() {
            line.outcome.get_or_insert((code, response.status()));
        }
    }
    if is_head {
        writer.log.at_end();
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

impl Lines {
    /// Counted there.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, strangers: Strangers::default() }
    }
}

impl RequestLog {
    fn new(line: Line) -> Self {
        Self(Arc::new(Mutex::new(line)))
    }

    /// The one of a request.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        request.extensions().get().cloned().unwrap_or_default()
    }

    /// Whoever sent it may come in.
    pub fn let_in(&self) {
        self.line().is_let_in = true;
    }

    /// The request was understood: on whose behalf it is made, the model as the client called it, and whether it wants a
    /// stream.
    pub fn asked(&self, tenant: &TenantName, model: &str, stream: bool) {
        let mut line = self.line();
        let chat = line.chat.get_or_insert_default();
        chat.tenant = tenant.clone();
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
        if event.is_delta() && chat.first_delta.is_none() {
            chat.first_delta = Some(begun.elapsed());
        }
        match event {
            AnswerEvent::Started { model, .. } => chat.answered_model = shown(model),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude::answer::{AnswerEnd, StopReason, Usage};

    fn request(path: &str, id: Option<&str>) -> Request {
        let request = axum::http::Request::get(path);
        let request = match id {
            Some(id) => request.header(REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap()),
            None => request,
        };
        request.body(Body::empty()).unwrap()
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
            log.line().log();
            RequestLog::default().line().log();
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
