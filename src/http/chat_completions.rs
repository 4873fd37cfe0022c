//! `POST /v1/chat/completions`.

use std::time::SystemTime;

use axum::extract::{Request, State};
use axum::http::header::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use uuid::Uuid;

use super::request_log::RequestLog;
use super::{App, body, models, reply, sse};
use crate::claude::Answer;
use crate::claude::answer::AnswerEvent;
use crate::openai::chat_answer::ChatCompletion;
use crate::openai::chat_request::ChatRequest;
use crate::openai::error::ApiError;
use crate::openai::parse::Parsed;
use crate::tenant::Tenant;
use crate::translate::chat_answer::{ChunkFold, ChunkWriter};
use crate::translate::{chat_request, media_failure};

/// Names the parameters of a request that were accepted but not honoured as they were.
const IGNORED: HeaderName = HeaderName::from_static("x-couplet-ignored");

/// The route.
pub fn router() -> Router<App> {
    Router::new().route("/chat/completions", post(create))
}

async fn create(
    State(app): State<App>,
    Extension(tenant): Extension<Tenant>,
    request: Request,
) -> Result<Response, ApiError> {
    let log = RequestLog::of(&request);
    let Parsed { request, mut ignored } = body::json::<ChatRequest>(request).await?;
    let stream = request.stream.unwrap_or(false);
    let include_usage =
        request.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false);
    let chat_request::Translated { mut turn, calls, adjusted } = chat_request::turn(request)?;
    ignored.extend(adjusted.into_iter().map(ToOwned::to_owned));
    log.asked(&turn.model, stream);
    models::resolve(&app, &mut turn).await?;
    ignored.extend(app.claude.cuts(&turn).await.map(ToOwned::to_owned));
    log.resolved(&turn.model, &ignored);
    let turn = app.media.prepare(turn).await.map_err(|failure| media_failure::api_error(&failure))?;

    let id = format!("chatcmpl-{}", Uuid::new_v4().simple());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let answer = app.claude.answer(tenant, turn);
    log.answered_by(answer.origin());
    let fingerprint = app.http.mode.fingerprint();
    // The whole answer always tells its usage.
    let writer = ChunkWriter::new(&id, now, fingerprint, include_usage || !stream, calls);
    let mut response = if stream {
        sse::respond(answer, writer, log).await?
    } else {
        Json(fold(answer, writer, &log).await?).into_response()
    };
    let ignored = HeaderValue::from_str(&ignored.join(", ")).ok().filter(|names| !names.is_empty());
    response.headers_mut().extend(ignored.map(|names| (IGNORED, names)));
    Ok(response)
}

/// The whole answer: the fold of the chunks a stream would have had.
async fn fold(
    mut answer: Answer,
    mut writer: ChunkWriter,
    log: &RequestLog,
) -> Result<ChatCompletion, ApiError> {
    let mut fold = ChunkFold::default();
    loop {
        let event = answer.next().await.map_err(|error| reply::failed_turn(&error, log))?;
        log.event(&event);
        let ended = matches!(event, AnswerEvent::Ended(_));
        writer.on(event).into_iter().for_each(|chunk| fold.push(chunk));
        if ended {
            log.complete();
            let incomplete = || {
                let status = axum::http::StatusCode::BAD_GATEWAY;
                ApiError::new(status, "server_error", "The answer was not complete.")
            };
            return fold.finish().ok_or_else(incomplete);
        }
    }
}
