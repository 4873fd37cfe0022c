//! `POST /v1/chat/completions`.

use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};

use super::ask::{Question, WholeForm, ask, new_head};
use super::guard::Asker;
use super::request_log::RequestLog;
use super::sse::{StreamForm, write_data};
use super::{App, body, sse};
use crate::claude::answer::AnswerEvent;
use crate::openai::chat_answer::ChatCompletion;
use crate::openai::error::ApiError;
use crate::translate::chat_answer::{ChunkFold, ChunkWriter};
use crate::translate::chat_body::{self, ChatBody};
use crate::translate::chat_request;

/// The route.
pub fn router() -> Router<App> {
    Router::new().route("/chat/completions", post(create))
}

async fn create(
    State(app): State<App>,
    Extension(who): Extension<Asker>,
    request: Request,
) -> Result<Response, ApiError> {
    let log = RequestLog::of(&request);
    let body = body::read_as(request, chat_body::read).await?;
    let ChatBody { translated, stream, include_usage, mut ignored, name_of, sent_as } = body;
    let chat_request::Translated { turn, n, calls, adjusted } = translated;
    ignored.extend(adjusted.into_iter().map(ToOwned::to_owned));
    let question = Question { turns: vec![turn], n, stream, ignored, name_of, sent_as };
    let asked = ask(&app, &who, log, question).await?;

    let (id, now) = new_head("chatcmpl");
    // The whole answer always tells its usage.
    let writer = ChunkWriter::new(&id, now, app.http.mode.fingerprint(), include_usage || !stream, calls);
    let writer = writer.with_answers(n);
    if stream {
        asked.stream(ChunkStream(writer)).await
    } else {
        asked.whole(Folded { writer, fold: ChunkFold::default() }).await
    }
}

/// Chunks as server-sent events.
#[derive(Debug)]
pub struct ChunkStream(pub ChunkWriter);

impl StreamForm for ChunkStream {
    const KEEP_ALIVE: &'static [u8] = sse::COMMENT;

    fn event(&mut self, of: usize, event: AnswerEvent, out: &mut Vec<u8>) {
        self.0.write(of, event, |chunk| write_data(out, |out| chunk.write_to(out)));
    }

    fn done(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(sse::DONE);
    }

    fn failure(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        sse::write_error(out, error);
    }
}

/// The whole answer: the fold of the chunks a stream would have had.
struct Folded {
    writer: ChunkWriter,
    fold: ChunkFold,
}

impl WholeForm for Folded {
    type Body = ChatCompletion;

    fn event(&mut self, of: usize, event: AnswerEvent) {
        self.writer.on(of, event).into_iter().for_each(|chunk| self.fold.push(chunk));
    }

    fn finish(self) -> Option<ChatCompletion> {
        self.fold.finish()
    }
}
