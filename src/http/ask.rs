//! From a translated request to its answer: what all endpoints that ask the model have in common.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::request_log::RequestLog;
use super::{App, models, reply, sse};
use crate::claude::Answer;
use crate::claude::answer::AnswerEvent;
use crate::openai::error::ApiError;
use crate::tenant::Tenant;
use crate::translate::media_failure;
use crate::turn::{MediaSource, Parameter, Turn};

/// Names the parameters of a request that were accepted but not honoured as they were.
const IGNORED: HeaderName = HeaderName::from_static("x-couplet-ignored");

/// What an endpoint made of a request.
#[derive(Debug)]
pub struct Question {
    /// What is asked, the model as the client named it.
    pub turn: Turn<MediaSource>,
    /// Whether the answer comes as server-sent events.
    pub stream: bool,
    /// Fields that are not honoured as they are.
    pub ignored: Vec<String>,
    /// What the endpoint calls a parameter.
    pub name_of: fn(Parameter) -> &'static str,
}

/// A question that was asked.
#[derive(Debug)]
pub struct Asked {
    answer: Answer,
    ignored: Vec<String>,
    name_of: fn(Parameter) -> &'static str,
    log: RequestLog,
}

/// How an endpoint writes an answer as a whole.
pub trait WholeForm {
    /// What it writes.
    type Body: Serialize;

    /// Takes the next event of one of the answers.
    fn event(&mut self, of: usize, event: AnswerEvent);

    /// The body; `None` where the events did not make a whole answer.
    fn finish(self) -> Option<Self::Body>;
}

/// Asks the model.
///
/// # Errors
/// When the model is not known, or images and files cannot be had.
pub async fn ask(app: &App, tenant: Tenant, log: RequestLog, question: Question) -> Result<Asked, ApiError> {
    let name_of = question.name_of;
    let (turn, ignored) = ready(app, &log, question).await?;
    let answer = app.claude.answer(tenant, turn);
    log.answered_by(answer.origin());
    Ok(Asked { answer, ignored, name_of, log })
}

/// Counts the tokens that the model would be sent, instead of asking it, and answers with the `body` made of their number.
///
/// # Errors
/// As [`ask`], and when they cannot be counted.
pub async fn count<B: Serialize>(
    app: &App,
    tenant: Tenant,
    log: &RequestLog,
    question: Question,
    body: impl FnOnce(u64) -> B,
) -> Result<Response, ApiError> {
    let (turn, ignored) = ready(app, log, question).await?;
    let counted = app.claude.count_tokens(tenant, turn).await;
    let tokens = counted.map_err(|failure| reply::failed_turn(&failure, log))?;
    Ok(name_ignored(Json(body(tokens)).into_response(), &ignored))
}

/// The turn as the model can be asked it, and what of it is not honoured.
async fn ready(app: &App, log: &RequestLog, question: Question) -> Result<(Turn, Vec<String>), ApiError> {
    let Question { mut turn, stream, mut ignored, name_of: _ } = question;
    log.asked(&turn.model, stream);
    models::resolve(app, &mut turn).await?;
    ignored.extend(app.claude.cuts(&turn).await.into_iter().map(ToOwned::to_owned));
    log.resolved(&turn.model, &ignored);
    let turn = app.media.prepare(turn).await.map_err(|failure| media_failure::api_error(&failure))?;
    Ok((turn, ignored))
}

impl Asked {
    /// The answer as server-sent events.
    ///
    /// # Errors
    /// When the turn fails before the headers are sent.
    pub async fn stream(self, form: impl sse::StreamForm) -> Result<Response, ApiError> {
        let Self { answer, mut ignored, name_of, log } = self;
        let note = |event: &AnswerEvent| note_unheeded(event, name_of, &mut ignored, &log);
        let response = sse::respond(answer, form, log.clone(), note).await?;
        Ok(name_ignored(response, &ignored))
    }

    /// The answer as one JSON body.
    ///
    /// # Errors
    /// When the turn fails.
    pub async fn whole(self, mut form: impl WholeForm) -> Result<Response, ApiError> {
        let Self { mut answer, mut ignored, name_of, log } = self;
        loop {
            let event = answer.next().await.map_err(|error| reply::failed_turn(&error, &log))?;
            log.event(&event);
            note_unheeded(&event, name_of, &mut ignored, &log);
            let ended = matches!(event, AnswerEvent::Ended(_));
            form.event(0, event);
            if ended {
                break;
            }
        }
        log.complete();
        let incomplete =
            || ApiError::new(StatusCode::BAD_GATEWAY, "server_error", "The answer was not complete.");
        let body = form.finish().ok_or_else(incomplete)?;
        Ok(name_ignored(Json(body).into_response(), &ignored))
    }
}

/// Adds what the model turned out to refuse.
fn note_unheeded(
    event: &AnswerEvent,
    name_of: fn(Parameter) -> &'static str,
    ignored: &mut Vec<String>,
    log: &RequestLog,
) {
    let AnswerEvent::Started { unheeded, .. } = event else { return };
    for name in unheeded.iter().copied().map(name_of) {
        if !ignored.iter().any(|known| known == name) {
            ignored.push(name.to_owned());
        }
    }
    if !unheeded.is_empty() {
        log.ignored(ignored);
    }
}

fn name_ignored(mut response: Response, ignored: &[String]) -> Response {
    let names = HeaderValue::from_str(&ignored.join(", ")).ok().filter(|names| !names.is_empty());
    response.headers_mut().extend(names.map(|names| (IGNORED, names)));
    response
}
