//! From a translated request to its answer: what all endpoints that ask the model have in common.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use uuid::Uuid;

use super::answers::Answers;
use super::guard::Asker;
use super::request_log::RequestLog;
use super::{App, models, rate_limit, reply, sse};
use crate::claude::Answer;
use crate::claude::answer::AnswerEvent;
use crate::claude::failure::TurnFailure;
use crate::limits::estimate::Estimate;
use crate::openai::error::ApiError;
use crate::translate::media_failure;
use crate::turn::{MediaSource, Parameter, Turn};
use crate::wall_clock;

/// Names the parameters of a request that were accepted but not honoured as they were.
pub(super) const IGNORED: HeaderName = HeaderName::from_static("x-couplet-ignored");

/// What a field of a chat completion request is called in the request that was sent, where that is something else.
pub type SentAs = fn(&str) -> Option<String>;

/// What an endpoint made of a request.
#[derive(Debug)]
pub struct Question {
    /// What is asked, the model as the client named it. One or more, all of the same model.
    pub turns: Vec<Turn<MediaSource>>,
    /// How many answers each of them gets. All are counted together: first those to the first turn.
    pub n: usize,
    /// Whether the answer comes as server-sent events.
    pub stream: bool,
    /// Fields that are not honoured as they are.
    pub ignored: Vec<String>,
    /// What the endpoint calls a parameter.
    pub name_of: fn(Parameter) -> &'static str,
    /// What it calls a field of a chat completion request.
    pub sent_as: SentAs,
}

/// A question that was asked.
#[derive(Debug)]
pub struct Asked {
    answers: Answers,
    ignored: Vec<String>,
    name_of: fn(Parameter) -> &'static str,
    sent_as: SentAs,
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

/// Asks the model, for all answers at once.
///
/// # Errors
/// When the model is not known, images and files cannot be had, there are more answers than this server gives at once, or the
/// caller's limits do not allow them.
pub async fn ask(app: &App, who: &Asker, log: RequestLog, question: Question) -> Result<Asked, ApiError> {
    let Question { turns, n, stream, mut ignored, name_of, sent_as } = question;
    let first = turns.first().map(|turn| turn.model.clone());
    let Asker { caller, claude } = who;
    log.asked(&caller.tenant, first.as_deref().unwrap_or_default(), stream);
    expect_room(turns.len(), n, claude.places())?;
    let mut prepared = Vec::with_capacity(turns.len());
    for turn in turns {
        prepared.push(ready(app, who, &log, turn, sent_as, &mut ignored).await?);
    }
    let estimate = prepared.iter().map(Estimate::of).fold(Estimate::default(), Estimate::or_more);
    let count = prepared.len() * n;
    let permitted = app.limiter.take_turns(caller, count, Some(estimate)).await;
    let mut permits = permitted.map_err(|refusal| rate_limit::refused(app, &refusal).in_words_of(sent_as))?;
    let asked = prepared.into_iter().flat_map(|turn| std::iter::repeat_n(turn, n));
    let answers: Vec<Answer> =
        asked.map(|turn| claude.answer_until(caller.ended.clone(), caller.scope(), turn)).collect();
    for (permit, answer) in permits.iter_mut().zip(&answers) {
        permit.asked(answer.origin());
    }
    // Where there are several, the first stands for all.
    if let Some(answer) = answers.first() {
        log.answered_by(answer.origin());
    }
    let answers = Answers::new(answers).settled_with(permits);
    Ok(Asked { answers, ignored, name_of, sent_as, log })
}

/// Refuses more answers than could be given side by side.
pub(super) fn expect_room(turns: usize, n: usize, places: usize) -> Result<(), ApiError> {
    if turns.saturating_mul(n) <= places {
        return Ok(());
    }
    let (field, what) = if n > 1 { ("n", "answers") } else { ("prompt", "prompts") };
    let message = format!(
        "This server gives up to {places} answers at once (COUPLET_MAX_CONCURRENCY, COUPLET_MEMORY_BUDGET): ask for fewer {what}."
    );
    Err(ApiError::invalid_request(field, message).with_code("invalid_value"))
}

/// Counts the tokens that the model would be sent, instead of asking it, and answers with the `body` made of their number.
///
/// # Errors
/// As [`ask`], and when they cannot be counted.
pub async fn count<B: Serialize>(
    app: &App,
    who: &Asker,
    log: &RequestLog,
    question: Question,
    body: impl FnOnce(u64) -> B,
) -> Result<Response, ApiError> {
    let Question { turns, mut ignored, sent_as, .. } = question;
    let Asker { caller, claude } = who;
    // It takes a process for a while, but no tokens.
    let permitted = app.limiter.take_turns(caller, 1, None).await;
    let _place = permitted.map_err(|refusal| rate_limit::refused(app, &refusal))?;
    let mut tokens: u64 = 0;
    for turn in turns {
        log.asked(&caller.tenant, &turn.model, false);
        let turn = ready(app, who, log, turn, sent_as, &mut ignored).await?;
        let counting = claude.count_tokens(caller.scope(), turn);
        let counted =
            caller.ended.run_until_cancelled(counting).await.unwrap_or(Err(TurnFailure::CallerEnded));
        let failed = |failure| reply::failed_turn(&failure, log, sent_as);
        tokens = tokens.saturating_add(counted.map_err(failed)?);
    }
    Ok(name_ignored(Json(body(tokens)).into_response(), &ignored))
}

/// A turn as the model can be asked it. What of it is not honoured is added to `ignored`.
async fn ready(
    app: &App,
    who: &Asker,
    log: &RequestLog,
    turn: Turn<MediaSource>,
    sent_as: SentAs,
    ignored: &mut Vec<String>,
) -> Result<Turn, ApiError> {
    // The server may be about to stop: nobody waits for what is fetched for a turn that would be refused.
    let refused = || reply::failed_turn(&TurnFailure::ShuttingDown, log, sent_as);
    let prepared = prepare(app, who, log, turn, sent_as, ignored);
    tokio::select! {
        biased;
        prepared = prepared => prepared,
        () = who.claude.drained() => Err(refused()),
    }
}

async fn prepare(
    app: &App,
    who: &Asker,
    log: &RequestLog,
    mut turn: Turn<MediaSource>,
    sent_as: SentAs,
    ignored: &mut Vec<String>,
) -> Result<Turn, ApiError> {
    models::resolve(app, who, &mut turn).await?;
    for field in who.claude.cuts(&turn).await {
        name(&sent_as(field).unwrap_or_else(|| field.to_owned()), ignored);
    }
    log.resolved(&turn.model, ignored);
    let refused = |failure| media_failure::api_error(&failure).in_words_of(sent_as);
    app.media.prepare(turn).await.map_err(refused)
}

impl Asked {
    /// The answers as server-sent events.
    ///
    /// # Errors
    /// When a turn fails before the headers are sent.
    pub async fn stream(self, form: impl sse::StreamForm) -> Result<Response, ApiError> {
        let Self { answers, mut ignored, name_of, sent_as, log } = self;
        let note = |event: &AnswerEvent| note_unheeded(event, name_of, &mut ignored, &log);
        let response = sse::respond(answers, form, log.clone(), sent_as, note).await?;
        Ok(name_ignored(response, &ignored))
    }

    /// The answers as one JSON body.
    ///
    /// # Errors
    /// When a turn fails.
    pub async fn whole(self, mut form: impl WholeForm) -> Result<Response, ApiError> {
        let Self { mut answers, mut ignored, name_of, sent_as, log } = self;
        while !answers.are_complete() {
            let failed = |error| reply::failed_turn(&error, &log, sent_as);
            let (of, event) = answers.next().await.map_err(failed)?;
            log.event(&event);
            note_unheeded(&event, name_of, &mut ignored, &log);
            form.event(of, event);
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
    for field in unheeded.iter().copied().map(name_of) {
        name(field, ignored);
    }
    if !unheeded.is_empty() {
        log.ignored(ignored);
    }
}

/// Adds a field, once.
fn name(field: &str, ignored: &mut Vec<String>) {
    if !ignored.iter().any(|known| known == field) {
        ignored.push(field.to_owned());
    }
}

/// What all chunks of an answer share, beside the model: an id with that prefix, and the time in Unix seconds.
#[must_use]
pub fn new_head(prefix: &str) -> (String, u64) {
    (format!("{prefix}-{}", Uuid::new_v4().simple()), wall_clock::unix_seconds())
}

fn name_ignored(mut response: Response, ignored: &[String]) -> Response {
    let names = HeaderValue::from_str(&ignored.join(", ")).ok().filter(|names| !names.is_empty());
    response.headers_mut().extend(names.map(|names| (IGNORED, names)));
    response
}
