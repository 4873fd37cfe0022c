//! Frames read from the CLI's stdout.
//!
//! One pass of serde over a line: the raw frame is flat, so nothing is buffered and texts are borrowed where they can
//! be. New kinds of frames appear with every release of the CLI; they end in [`Frame::Unknown`] and are counted.

mod rate_limit;
mod raw;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use rate_limit::{RateLimit, WindowUse};
use raw::{Kind, RawBlock, RawDelta, RawEvent, RawFrame, RawMessage, RawRequest, RawUserMessage, Text};

/// One frame of the CLI.
#[derive(Debug)]
pub enum Frame<'a> {
    /// An event of the model's answer.
    Event(Event<'a>),
    /// A finished message of the model, or one the CLI made up.
    Assistant(AssistantFrame<'a>),
    /// The end of a turn.
    Result(Box<ResultFrame<'a>>),
    /// The answer to a control request.
    ControlResponse(ControlResponse<'a>),
    /// The CLI asks for something.
    ControlRequest(ControlRequest<'a>),
    /// A turn begins. The CLI has the tools of these names.
    TurnBegins(Vec<String>),
    /// The CLI took results of tools into the conversation: those of the calls with these ids.
    ToolResults(Vec<String>),
    /// How far the subscription's limits are used.
    RateLimit(RateLimit),
    /// Known, and of no concern here.
    Other,
    /// Not known to this version of Couplet.
    Unknown,
}

/// An event of the model's answer, as Anthropic streams it.
#[derive(Debug)]
pub enum Event<'a> {
    /// A message begins.
    MessageStart {
        /// The message's id at the API.
        id: Cow<'a, str>,
        /// The model that answers.
        model: Cow<'a, str>,
        /// The tokens of the prompt.
        usage: UsageUpdate,
    },
    /// A piece of text.
    Text(Cow<'a, str>),
    /// A piece of the summary of the model's thinking.
    Thinking(Cow<'a, str>),
    /// What Anthropic signs a block of thinking with.
    Signature(Cow<'a, str>),
    /// A call of a tool begins.
    ToolUse {
        /// The call's id.
        id: Cow<'a, str>,
        /// The tool's name.
        name: Cow<'a, str>,
    },
    /// A piece of the JSON of the call's arguments; the first is empty.
    ToolInput(Cow<'a, str>),
    /// A block ends.
    BlockStop,
    /// The message ends.
    MessageDelta {
        /// Why; absent where the CLI closes a message that broke.
        stop_reason: Option<Cow<'a, str>>,
        /// The text that ended it, where one did.
        stop_sequence: Option<Cow<'a, str>>,
        /// The tokens of the answer.
        usage: UsageUpdate,
    },
    /// The message is over.
    MessageStop,
    /// Beginnings of other blocks and the like.
    Other,
}

/// Token counts of an event. Present ones replace what an earlier event of the same message said.
#[derive(Debug, Default, Clone, Copy, PartialEq, Deserialize)]
pub struct UsageUpdate {
    /// Uncached tokens of the prompt.
    pub input_tokens: Option<u64>,
    /// Tokens of the prompt written to the cache.
    pub cache_creation_input_tokens: Option<u64>,
    /// Tokens of the prompt read from the cache.
    pub cache_read_input_tokens: Option<u64>,
    /// Tokens of the answer, thinking included.
    pub output_tokens: Option<u64>,
    /// Details of `output_tokens`.
    pub output_tokens_details: Option<OutputDetails>,
}

/// Details of the tokens of an answer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Deserialize)]
pub struct OutputDetails {
    /// Tokens spent on thinking.
    pub thinking_tokens: Option<u64>,
}

/// A finished message.
#[derive(Debug)]
pub struct AssistantFrame<'a> {
    /// The message.
    pub message: AssistantMessage<'a>,
    /// Present where the CLI made the message up: `authentication_failed`, `rate_limit`, `server_error`, ….
    pub error: Option<String>,
}

/// The message of an assistant frame.
#[derive(Debug, Deserialize)]
pub struct AssistantMessage<'a> {
    /// The message's id at the API.
    pub id: Option<String>,
    /// The model; `<synthetic>` where the CLI made the message up.
    pub model: Option<String>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    /// Its tokens.
    #[serde(default)]
    pub usage: UsageUpdate,
}

impl AssistantMessage<'_> {
    /// What it says. Read only when asked for: nearly every message was streamed before.
    ///
    /// # Errors
    /// When it is in an unknown form.
    pub fn content(&self) -> Result<Vec<AssistantContent>, NotAFrame> {
        let content = self.content.map_or(Ok(Vec::new()), |content| serde_json::from_str(content.get()));
        content.map_err(|_| malformed("assistant"))
    }
}

/// A block of a finished message. Flat: only the field that belongs to its type matters.
#[derive(Debug, Deserialize)]
pub struct AssistantContent {
    /// `text`, `thinking`, `tool_use`, ….
    pub r#type: String,
    /// The text of a text block.
    pub text: Option<String>,
    /// The text of a thinking block.
    pub thinking: Option<String>,
}

/// The end of a turn. `is_error` decides, never `subtype`: errors come as `subtype: "success"` too.
#[derive(Debug, Default, Deserialize)]
pub struct ResultFrame<'a> {
    /// Whether the turn failed.
    #[serde(default)]
    pub is_error: bool,
    /// The status the API answered with.
    pub api_error_status: Option<u16>,
    /// The type of the API's error.
    pub api_error_type: Option<String>,
    /// The CLI's word for some errors: `usage_limit_reached`, `connection_failed`.
    pub api_error: Option<String>,
    /// `completed`, `api_error`, `prompt_too_long`, `image_error`, `aborted_streaming`, ….
    pub terminal_reason: Option<String>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    /// Why the model stopped.
    pub stop_reason: Option<String>,
    /// What is known of the models used, by id.
    #[serde(default, rename = "modelUsage")]
    pub model_usage: serde_json::Map<String, serde_json::Value>,
}

impl ResultFrame<'_> {
    /// The sentence about the error; without one, the whole answer. Read only when asked for.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        self.result.and_then(|result| serde_json::from_str(result.get()).ok())
    }
}

/// The answer to a control request.
#[derive(Debug, Deserialize)]
pub struct ControlResponse<'a> {
    /// The request it answers.
    #[serde(borrow)]
    pub request_id: Cow<'a, str>,
    /// Why the request was declined.
    pub error: Option<String>,
    /// What the request asked for.
    #[serde(borrow)]
    pub response: Option<&'a RawValue>,
}

/// What the CLI asks for.
#[derive(Debug)]
pub struct ControlRequest<'a> {
    /// To be named in the answer.
    pub request_id: Cow<'a, str>,
    /// What is to be done; `mcp_message` for what concerns tools.
    pub subtype: Cow<'a, str>,
    /// The JSON-RPC message to the server of the tools.
    pub message: Option<&'a RawValue>,
}

/// A line that is no frame.
#[derive(Debug, thiserror::Error)]
pub enum NotAFrame {
    /// Not even JSON.
    #[error("a line is not JSON")]
    NotJson,
    /// JSON, but not as this kind of frame is known.
    #[error("a frame of type {kind:?} has an unknown form")]
    Malformed {
        /// The frame's type.
        kind: String,
    },
}

/// Reads one line (without its line end).
///
/// # Errors
/// When the line is no JSON, or a known kind of frame in an unknown form. A frame of unknown kind is no error.
pub fn parse(line: &[u8]) -> Result<Frame<'_>, NotAFrame> {
    let Ok(frame) = serde_json::from_slice::<RawFrame<'_>>(line) else {
        let kind: Kind<'_> = serde_json::from_slice(line).map_err(|_| NotAFrame::NotJson)?;
        return if is_known(&kind.r#type) { Err(malformed(&kind.r#type)) } else { Ok(Frame::Unknown) };
    };
    Ok(match &*frame.r#type {
        "stream_event" => match frame.event {
            // Events of a subagent are not part of the answer.
            _ if frame.parent_tool_use_id.is_some() => Frame::Other,
            Some(event) => Frame::Event(self::event(event)),
            None => return Err(malformed("stream_event")),
        },
        "assistant" if frame.parent_tool_use_id.is_some() => Frame::Other,
        "assistant" => Frame::Assistant(assistant(frame.message, frame.error)?),
        "result" => Frame::Result(serde_json::from_slice(line).map_err(|_| malformed("result"))?),
        "control_response" => {
            Frame::ControlResponse(frame.response.ok_or_else(|| malformed("control_response"))?)
        }
        "control_request" => {
            let Text(request_id) = frame.request_id.ok_or_else(|| malformed("control_request"))?;
            let RawRequest { subtype, message } =
                frame.request.ok_or_else(|| malformed("control_request"))?;
            Frame::ControlRequest(ControlRequest { request_id, subtype, message })
        }
        "system" if frame.subtype.is_some_and(|Text(subtype)| subtype == "init") => {
            let tools = frame.tools.and_then(|tools| serde_json::from_str(tools.get()).ok());
            Frame::TurnBegins(tools.ok_or_else(|| malformed("system"))?)
        }
        "user" if frame.parent_tool_use_id.is_none() => tool_results(frame.message),
        "rate_limit_event" => {
            Frame::RateLimit(frame.rate_limit_info.ok_or_else(|| malformed("rate_limit_event"))?)
        }
        kind if is_known(kind) => Frame::Other,
        _ => Frame::Unknown,
    })
}

fn assistant<'a>(
    message: Option<&'a RawValue>,
    error: Option<&RawValue>,
) -> Result<AssistantFrame<'a>, NotAFrame> {
    let malformed = || malformed("assistant");
    let message = message.ok_or_else(malformed)?;
    let error = error.map(|error| serde_json::from_str(error.get())).transpose();
    Ok(AssistantFrame {
        message: serde_json::from_str(message.get()).map_err(|_| malformed())?,
        error: error.map_err(|_| malformed())?,
    })
}

/// The results in a user frame, which holds the whole of them: no more than their ids is read. A text of the CLI's own has
/// none.
fn tool_results(message: Option<&RawValue>) -> Frame<'static> {
    let message = message.and_then(|message| serde_json::from_str::<RawUserMessage<'_>>(message.get()).ok());
    let results = message.into_iter().flat_map(|message| message.content);
    Frame::ToolResults(
        results.filter_map(|block| block.tool_use_id).map(|Text(id)| id.into_owned()).collect(),
    )
}

fn event<'a>(event: RawEvent<'a>) -> Event<'a> {
    let usage = event.usage.unwrap_or_default();
    if let Some(RawBlock { r#type, id: Some(Text(id)), name: Some(Text(name)) }) = event.content_block {
        return if r#type == "tool_use" { Event::ToolUse { id, name } } else { Event::Other };
    }
    match (&*event.r#type, event.delta, event.message) {
        ("message_start", _, Some(RawMessage { id, model, usage })) => {
            Event::MessageStart { id, model, usage }
        }
        ("content_block_delta", Some(RawDelta { text: Some(Text(text)), .. }), _) => Event::Text(text),
        ("content_block_delta", Some(RawDelta { thinking: Some(Text(text)), .. }), _) => {
            Event::Thinking(text)
        }
        ("content_block_delta", Some(RawDelta { partial_json: Some(Text(json)), .. }), _) => {
            Event::ToolInput(json)
        }
        ("content_block_delta", Some(RawDelta { signature: Some(Text(signature)), .. }), _) => {
            Event::Signature(signature)
        }
        ("content_block_stop", ..) => Event::BlockStop,
        ("message_delta", delta, _) => {
            let (reason, sequence) = delta.map(|delta| (delta.stop_reason, delta.stop_sequence)).unzip();
            let text = |text: Option<Option<Text<'a>>>| text.flatten().map(|Text(text)| text);
            Event::MessageDelta { stop_reason: text(reason), stop_sequence: text(sequence), usage }
        }
        ("message_stop", ..) => Event::MessageStop,
        _ => Event::Other,
    }
}

/// Kinds seen from 2.1.197 to 2.1.329.
fn is_known(kind: &str) -> bool {
    matches!(
        kind,
        "stream_event"
            | "assistant"
            | "user"
            | "system"
            | "result"
            | "control_request"
            | "control_response"
            | "control_cancel_request"
            | "rate_limit_event"
            | "tool_progress"
            | "keep_alive"
    )
}

fn malformed(kind: &str) -> NotAFrame {
    NotAFrame::Malformed { kind: kind.chars().take(40).collect() }
}
