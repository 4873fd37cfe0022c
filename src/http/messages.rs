//! `POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's own API, for tools that speak it.

use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};
use uuid::Uuid;

use super::ask::{Question, WholeForm, ask, count};
use super::guard::Asker;
use super::request_log::RequestLog;
use super::sse::{StreamForm, write_data};
use super::{App, body};
use crate::anthropic::answer::{Message, TokenCount};
use crate::anthropic::messages_request::MessagesRequest;
use crate::claude::answer::AnswerEvent;
use crate::openai::error::ApiError;
use crate::translate::anthropic_error;
use crate::translate::messages_answer::{MessageFold, MessageWriter};
use crate::translate::messages_request::{self, Translated};
use crate::wire::parse::Parsed;

/// Shows that a stream lives, as Anthropic's API does.
const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

/// The routes.
pub fn router() -> Router<App> {
    Router::new().route("/messages", post(create)).route("/messages/count_tokens", post(count_tokens))
}

async fn create(
    State(app): State<App>,
    Extension(who): Extension<Asker>,
    request: Request,
) -> Result<Response, ApiError> {
    let log = RequestLog::of(&request);
    let Parsed { request, ignored } = body::json::<MessagesRequest>(request).await?;
    let stream = request.stream.unwrap_or(false);
    let question = question(messages_request::turn(request)?, stream, ignored);
    let asked = ask(&app, &who, log, question).await?;
    let writer = MessageWriter::new(&format!("msg_{}", Uuid::new_v4().simple()));
    if stream {
        asked.stream(EventStream(writer)).await
    } else {
        asked.whole(Folded { writer, fold: MessageFold::default() }).await
    }
}

async fn count_tokens(
    State(app): State<App>,
    Extension(who): Extension<Asker>,
    request: Request,
) -> Result<Response, ApiError> {
    let log = RequestLog::of(&request);
    let Parsed { request, ignored } = body::json::<MessagesRequest>(request).await?;
    let question = question(messages_request::to_be_counted(request)?, false, ignored);
    count(&app, &who, &log, question, |input_tokens| TokenCount { input_tokens }).await
}

fn question(translated: Translated, stream: bool, mut ignored: Vec<String>) -> Question {
    let Translated { turn, adjusted } = translated;
    ignored.extend(adjusted.into_iter().map(ToOwned::to_owned));
    Question {
        turns: vec![turn],
        n: 1,
        stream,
        ignored,
        name_of: messages_request::name_of,
        sent_as: messages_request::sent_as,
    }
}

/// The events as server-sent events, each under its name.
#[derive(Debug)]
pub struct EventStream(pub MessageWriter);

impl StreamForm for EventStream {
    const KEEP_ALIVE: &'static [u8] = PING;

    fn event(&mut self, _of: usize, event: AnswerEvent, out: &mut Vec<u8>) {
        for event in self.0.on(event) {
            write_name(event.name(), out);
            write_data(out, |out| serde_json::to_writer(out, &event));
        }
    }

    /// `message_stop` was the end.
    fn done(&mut self, _out: &mut Vec<u8>) {}

    fn failure(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        let (_status, body) = anthropic_error::of(error);
        write_name("error", out);
        write_data(out, |out| serde_json::to_writer(out, &body));
    }
}

/// The name of the event whose data follow.
fn write_name(name: &str, out: &mut Vec<u8>) {
    for part in ["event: ", name, "\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// The whole answer: the fold of the events a stream would have had.
struct Folded {
    writer: MessageWriter,
    fold: MessageFold,
}

impl WholeForm for Folded {
    type Body = Message;

    fn event(&mut self, _of: usize, event: AnswerEvent) {
        self.writer.on(event).into_iter().for_each(|event| self.fold.push(event));
    }

    fn finish(self) -> Option<Message> {
        self.fold.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;

    #[test]
    fn what_keeps_a_stream_alive_and_what_ends_a_broken_one_are_events_of_their_own_names() {
        let mut stream = EventStream(MessageWriter::new("msg_1"));
        let mut out = EventStream::KEEP_ALIVE.to_vec();
        stream.failure(&ApiError::new(StatusCode::GATEWAY_TIMEOUT, "server_error", "Late."), &mut out);
        stream.done(&mut out);
        let expected = "event: ping\ndata: {\"type\":\"ping\"}\n\n\
            event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"timeout_error\",\"message\":\"Late.\"}}\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
