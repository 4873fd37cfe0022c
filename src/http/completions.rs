//! `POST /v1/completions`: the older endpoint, which editors use for what they complete by themselves.

use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};

use super::ask::{Question, WholeForm, ask, expect_room, new_head};
use super::guard::Asker;
use super::request_log::RequestLog;
use super::sse::{self, StreamForm, write_data};
use super::{App, body};
use crate::claude::answer::AnswerEvent;
use crate::openai::completion_answer::TextCompletion;
use crate::openai::completion_request::CompletionRequest;
use crate::openai::error::ApiError;
use crate::translate::completion_answer::{CompletionFold, CompletionWriter};
use crate::translate::{chat_request, completion_request};
use crate::turn::Effort;
use crate::wire::parse::Parsed;

/// The route.
pub fn router() -> Router<App> {
    Router::new().route("/completions", post(create))
}

async fn create(
    State(app): State<App>,
    Extension(who): Extension<Asker>,
    request: Request,
) -> Result<Response, ApiError> {
    let log = RequestLog::of(&request);
    let Parsed { request, mut ignored } = body::json::<CompletionRequest>(request).await?;
    let stream = request.stream.unwrap_or(false);
    let include_usage =
        request.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false);
    let completion_request::Translated { mut turns, n, begin_with, adjusted } =
        completion_request::turns(request, |prompts, n| expect_room(prompts, n, who.claude.places()))?;
    ignored.extend(adjusted.into_iter().map(ToOwned::to_owned));
    for turn in &mut turns {
        // Who types does not wait for thoughts, and they would use up the few tokens that editors allow. The operator may
        // want them all the same, in an alias.
        let effort = app.http.aliases.get(&turn.model).and_then(|alias| alias.effort);
        turn.parameters.effort = effort.or(Some(Effort::Off));
    }
    let name_of = chat_request::name_of;
    let question = Question { turns, n, stream, ignored, name_of, sent_as: completion_request::sent_as };
    let asked = ask(&app, &who, log, question).await?;

    let (id, now) = new_head("cmpl");
    // The whole answer always tells its usage.
    let include_usage = include_usage || !stream;
    let writer = CompletionWriter::new(&id, now, app.http.mode.fingerprint(), include_usage, begin_with);
    if stream {
        asked.stream(ChunkStream(writer)).await
    } else {
        asked.whole(Folded { writer, fold: CompletionFold::default() }).await
    }
}

/// Chunks as server-sent events.
#[derive(Debug)]
pub struct ChunkStream(pub CompletionWriter);

impl StreamForm for ChunkStream {
    const KEEP_ALIVE: &'static [u8] = sse::COMMENT;

    fn event(&mut self, of: usize, event: AnswerEvent, out: &mut Vec<u8>) {
        for chunk in self.0.on(of, event) {
            write_data(out, |out| serde_json::to_writer(out, &chunk));
        }
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
    writer: CompletionWriter,
    fold: CompletionFold,
}

impl WholeForm for Folded {
    type Body = TextCompletion;

    fn event(&mut self, of: usize, event: AnswerEvent) {
        self.writer.on(of, event).into_iter().for_each(|chunk| self.fold.push(chunk));
    }

    fn finish(self) -> Option<TextCompletion> {
        self.fold.finish()
    }
}
