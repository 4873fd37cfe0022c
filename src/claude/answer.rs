//! Frames of one turn become events of its answer. Pure: `on(frame)` for each, in order.

mod event;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

pub use event::{AnswerEnd, AnswerEvent, StopReason, Usage};

use super::failure::{ApiFailureKind, TurnFailure};
use super::frame_out::{AssistantFrame, Event, Frame, RateLimit, ResultFrame, UsageUpdate};
use super::said::Said;
use crate::turn::{AssistantBlock, Tool};

/// What the reader makes of a frame.
#[derive(Debug)]
pub enum Progress {
    /// Nothing for the client.
    Silent,
    /// The next piece.
    Event(AnswerEvent),
    /// Several pieces, from a message that came in one.
    Events(Vec<AnswerEvent>),
    /// The answer is complete.
    Complete(AnswerEnd, AtEnd),
}

/// What the CLI does when an answer is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtEnd {
    /// It is at rest.
    Rest,
    /// It waits for the results of its calls.
    Parked,
    /// It must be stopped at once: it would go on by itself with a turn of its own ("Output token limit hit. Resume
    /// directly…"; an error as the result of a call that it cannot make) and ask the API again.
    GoesOn,
}

/// Reads the frames of one turn, from the question to its end.
#[derive(Debug, Default)]
pub struct AnswerReader {
    /// Ids of the messages that were streamed.
    streamed: Vec<String>,
    /// Whether the client was told that the model began.
    started: bool,
    /// Whether a piece of the answer was passed on.
    shown: bool,
    message: Message,
    said: Said,
    /// Whether the CLI put something of its own into the conversation.
    spoiled: bool,
    before: Usage,
    current: Usage,
    stop_sequence: Option<String>,
    /// The CLI's word for the error of a message that it made up.
    error: Option<String>,
    limit: Option<RateLimit>,
    model_usage: serde_json::Map<String, serde_json::Value>,
}

/// The state of the current message.
#[derive(Debug, Default)]
enum Message {
    /// None has begun.
    #[default]
    None,
    /// It is being streamed.
    Open { has_content: bool },
    /// The model ended it.
    Ended(StopReason),
    /// It stopped without a reason: its connection broke. The CLI may ask again.
    Broken,
}

impl AnswerReader {
    /// A reader of the answer to a turn with these tools.
    #[must_use]
    pub fn new(tools: &[Tool]) -> Self {
        Self { said: Said::new(tools), ..Self::default() }
    }

    /// What the model said, as a client will replay it, if the conversation in the process is nothing but that.
    #[must_use]
    pub fn into_said(self) -> Option<Vec<AssistantBlock>> {
        let is_whole = !self.spoiled && self.streamed.len() == 1;
        self.said.into_blocks().filter(|_| is_whole)
    }

    /// The tokens counted so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.before.plus(self.current)
    }

    /// What the result said of the models used (`modelUsage`), once there was one.
    pub fn take_model_usage(&mut self) -> serde_json::Map<String, serde_json::Value> {
        std::mem::take(&mut self.model_usage)
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// When the turn failed; nothing more will come of it.
    pub fn on(&mut self, frame: Frame<'_>) -> Result<Progress, TurnFailure> {
        match frame {
            Frame::Event(event) => self.on_event(event),
            Frame::Assistant(message) => self.on_message(message),
            Frame::RateLimit(limit) => {
                self.limit = Some(limit);
                Ok(Progress::Silent)
            }
            Frame::Result(result) => self.on_result(*result),
            // The last result of a parked turn is taken in before the model goes on. Anything later, or something else than
            // a result, is the CLI's own.
            Frame::ToolResults(calls) => {
                self.spoiled |= self.started || calls.is_empty();
                Ok(Progress::Silent)
            }
            Frame::TurnBegins(tools) => match self.said.missing_in(&tools) {
                missing if missing.is_empty() => Ok(Progress::Silent),
                missing => Err(TurnFailure::ToolsNotTaken { names: missing }),
            },
            Frame::ControlResponse(_) | Frame::ControlRequest(_) | Frame::Other | Frame::Unknown => {
                Ok(Progress::Silent)
            }
        }
    }

    fn on_event(&mut self, event: Event<'_>) -> Result<Progress, TurnFailure> {
        let is_of_a_message = match &self.message {
            Message::Open { .. } => true,
            // Its tokens may come later than its end.
            Message::Ended(_) => matches!(event, Event::MessageDelta { .. }),
            Message::None | Message::Broken => false,
        };
        if !is_of_a_message && !matches!(event, Event::MessageStart { .. }) {
            // Left over from a turn before this one.
            return Ok(Progress::Silent);
        }
        match event {
            Event::MessageStart { id, model, usage } => self.on_start(id.into_owned(), &model, usage),
            Event::Text(text) => {
                self.begin_content();
                self.said.text(&text);
                Ok(Progress::Event(AnswerEvent::Text(text.into_owned())))
            }
            Event::Thinking(text) if text.is_empty() => Ok(Progress::Silent),
            Event::Thinking(text) => {
                self.shown = true;
                Ok(Progress::Event(AnswerEvent::Reasoning(text.into_owned())))
            }
            Event::Signature(signature) => {
                Ok(Progress::Event(AnswerEvent::Signature(signature.into_owned())))
            }
            Event::ToolUse { id, name } => {
                self.begin_content();
                self.said.call(&id, &name);
                Ok(Progress::Event(AnswerEvent::ToolCall { id: id.into_owned(), name: name.into_owned() }))
            }
            Event::ToolInput(json) if json.is_empty() => Ok(Progress::Silent),
            Event::ToolInput(json) => {
                self.said.arguments(&json);
                Ok(Progress::Event(AnswerEvent::ToolArguments(json.into_owned())))
            }
            Event::BlockStop => Ok(self.said.end_block().map_or(Progress::Silent, |arguments| {
                Progress::Event(AnswerEvent::ToolArguments(arguments.to_owned()))
            })),
            Event::MessageDelta { stop_reason, stop_sequence, usage } => {
                self.current.update(usage);
                self.stop_sequence = stop_sequence.map(Cow::into_owned);
                Ok(stop_reason
                    .map_or(Progress::Silent, |reason| self.on_stop_reason(StopReason::from(&*reason))))
            }
            Event::MessageStop => {
                if matches!(self.message, Message::Open { .. }) {
                    self.message = Message::Broken;
                }
                Ok(Progress::Silent)
            }
            Event::Other => Ok(Progress::Silent),
        }
    }

    fn on_start(&mut self, id: String, model: &str, usage: UsageUpdate) -> Result<Progress, TurnFailure> {
        match std::mem::take(&mut self.message) {
            // The model had ended; this is a turn that the CLI added by itself.
            Message::Ended(reason) => return Ok(self.complete_and_stop(reason)),
            // The CLI asks again, but the client has read a part of the first attempt already.
            Message::Open { .. } | Message::Broken if self.shown => return Err(TurnFailure::BrokenOff),
            Message::None | Message::Open { .. } | Message::Broken => {}
        }
        self.message = Message::Open { has_content: false };
        self.streamed.push(id);
        self.count_apart(usage);
        Ok(self.start(model).map_or(Progress::Silent, Progress::Event))
    }

    fn on_stop_reason(&mut self, reason: StopReason) -> Progress {
        let cut = matches!(reason, StopReason::MaxTokens | StopReason::ContextWindow | StopReason::Refusal);
        // The CLI asks again for an answer without text, with a remark of its own.
        let empty = matches!(self.message, Message::Open { has_content: false });
        if cut || empty {
            return self.complete_and_stop(reason);
        }
        if reason == StopReason::ToolUse || self.said.has_calls() {
            let parked = reason == StopReason::ToolUse && self.said.calls_can_wait();
            let end = self.end(reason);
            return Progress::Complete(end, if parked { AtEnd::Parked } else { AtEnd::GoesOn });
        }
        self.message = Message::Ended(reason);
        Progress::Silent
    }

    /// A finished message. It was streamed before, unless the CLI made it up or had to ask without streaming.
    ///
    /// # Errors
    /// When it holds a call and was not streamed: the CLI is told never to ask that way, and where its call ends would not
    /// be known.
    fn on_message(&mut self, frame: AssistantFrame<'_>) -> Result<Progress, TurnFailure> {
        if let Some(error) = frame.error {
            self.error = Some(error);
            return Ok(Progress::Silent);
        }
        let mut message = frame.message;
        let (Some(id), Some(model)) = (message.id.take(), message.model.take()) else {
            return Ok(Progress::Silent);
        };
        if model == "<synthetic>" || self.streamed.contains(&id) || self.shown {
            return Ok(Progress::Silent);
        }
        let Ok(content) = message.content() else { return Ok(Progress::Silent) };
        if content.iter().any(|block| block.r#type == "tool_use") {
            return Err(TurnFailure::Protocol("a call that was not streamed".to_owned()));
        }
        // What it holds does not go into `said`.
        self.spoiled = true;
        self.streamed.push(id);
        self.count_apart(message.usage);
        self.message = Message::Open { has_content: true };
        let pieces = content.into_iter().filter_map(|block| match &*block.r#type {
            "text" => block.text.map(AnswerEvent::Text),
            "thinking" => block.thinking.filter(|text| !text.is_empty()).map(AnswerEvent::Reasoning),
            _ => None,
        });
        self.shown = true;
        Ok(Progress::Events(self.start(&model).into_iter().chain(pieces).collect()))
    }

    fn on_result(&mut self, mut result: ResultFrame<'_>) -> Result<Progress, TurnFailure> {
        self.model_usage = std::mem::take(&mut result.model_usage);
        if result.is_error {
            return Err(self.failure(&result));
        }
        if !self.started {
            // A slash command or an empty prompt is answered by the CLI itself, without the model.
            return Err(TurnFailure::Protocol("a result without an answer of the model".to_owned()));
        }
        let reason = match std::mem::take(&mut self.message) {
            Message::Ended(reason) => Some(reason),
            Message::Open { .. } => result.stop_reason.as_deref().map(StopReason::from),
            Message::None | Message::Broken => None,
        };
        match reason {
            Some(reason) => Ok(Progress::Complete(self.end(reason), AtEnd::Rest)),
            None => Err(TurnFailure::BrokenOff),
        }
    }

    fn begin_content(&mut self) {
        self.shown = true;
        self.message = Message::Open { has_content: true };
    }

    fn complete_and_stop(&mut self, reason: StopReason) -> Progress {
        Progress::Complete(self.end(reason), AtEnd::GoesOn)
    }

    fn end(&mut self, reason: StopReason) -> AnswerEnd {
        AnswerEnd { reason, stop_sequence: self.stop_sequence.take(), usage: self.usage() }
    }

    fn start(&mut self, model: &str) -> Option<AnswerEvent> {
        let first = !std::mem::replace(&mut self.started, true);
        let usage = self.usage();
        first.then(|| AnswerEvent::Started { model: model.to_owned(), usage, unheeded: Vec::new() })
    }

    /// Counts the tokens of a new message apart from those before it.
    fn count_apart(&mut self, usage: UsageUpdate) {
        self.before = self.usage();
        self.current = Usage::default();
        self.current.update(usage);
    }

    /// The failure that an error result tells of.
    ///
    /// The sentence is the CLI's own and may hold what the API said about the request; it goes to the client only.
    fn failure(&mut self, result: &ResultFrame<'_>) -> TurnFailure {
        let sentence = result.sentence().unwrap_or_else(|| "the Claude Code CLI gave no reason".to_owned());
        // Releases up to 2.1.270 do not say so themselves; but only a limit that is used up has a time of its reset.
        let rejected = self.limit.take_if(|limit| limit.is_rejected());
        let seconds = rejected.and_then(|limit| limit.resets_at);
        let used_up = result.api_error_status == Some(429) && seconds.is_some();
        if used_up || result.api_error.as_deref() == Some("usage_limit_reached") {
            let resets_at = seconds.and_then(|s| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(s)));
            return TurnFailure::UsageLimit { resets_at, sentence };
        }
        let status = result.api_error_status;
        if let Some("long_context_credits_required" | "model_requires_usage_credits") =
            result.api_error.as_deref()
        {
            return TurnFailure::Api { status, kind: ApiFailureKind::ExtraUsage, sentence };
        }
        let kind = match (result.terminal_reason.as_deref(), status, self.error.as_deref()) {
            (Some("prompt_too_long" | "blocking_limit"), ..) => ApiFailureKind::PromptTooLong,
            (_, Some(403), _) => ApiFailureKind::Permission,
            (_, Some(413), _) => ApiFailureKind::RequestTooLarge,
            (_, Some(529), _) => ApiFailureKind::Overloaded,
            (_, Some(500..), _) => ApiFailureKind::Server,
            // Without a status the API was not asked, or did not answer; then the CLI's word counts.
            (_, Some(401), _) | (_, None, Some("authentication_failed")) => ApiFailureKind::Authentication,
            (_, Some(404), _) | (_, None, Some("model_not_found")) => ApiFailureKind::ModelNotFound,
            (_, Some(429), _) | (_, None, Some("rate_limit")) => ApiFailureKind::RateLimited,
            (_, Some(_), _) | (_, None, Some("invalid_request")) => ApiFailureKind::InvalidRequest,
            _ if self.shown => return TurnFailure::BrokenOff,
            _ => ApiFailureKind::Unreachable,
        };
        TurnFailure::Api { status, kind, sentence }
    }
}
