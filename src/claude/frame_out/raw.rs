//! Frames as they stand on their lines: flat, so that nothing is buffered and texts are borrowed where they can be.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ControlResponse, RateLimit, UsageUpdate};

/// A text that is borrowed from the line where nothing in it is escaped. serde borrows a `Cow` only where it stands
/// alone, not inside an `Option`.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The fields of all frames, flat.
#[derive(Deserialize)]
pub(super) struct RawFrame<'a> {
    #[serde(borrow)]
    pub(super) r#type: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) event: Option<RawEvent<'a>>,
    #[serde(borrow)]
    pub(super) parent_tool_use_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) request_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) response: Option<ControlResponse<'a>>,
    pub(super) rate_limit_info: Option<RateLimit>,
    #[serde(borrow)]
    pub(super) request: Option<RawRequest<'a>>,
    #[serde(borrow)]
    pub(super) subtype: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) tools: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) message: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct RawRequest<'a> {
    #[serde(borrow)]
    pub(super) subtype: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) message: Option<&'a RawValue>,
}

/// The message of a user frame, as far as it holds results of tools.
#[derive(Deserialize)]
pub(super) struct RawUserMessage<'a> {
    #[serde(borrow)]
    pub(super) content: Vec<RawResult<'a>>,
}

#[derive(Deserialize)]
pub(super) struct RawResult<'a> {
    #[serde(borrow)]
    pub(super) tool_use_id: Option<Text<'a>>,
}

/// The fields of all events, flat.
#[derive(Deserialize)]
pub(super) struct RawEvent<'a> {
    #[serde(borrow)]
    pub(super) r#type: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) delta: Option<RawDelta<'a>>,
    #[serde(borrow)]
    pub(super) message: Option<RawMessage<'a>>,
    #[serde(borrow)]
    pub(super) content_block: Option<RawBlock<'a>>,
    pub(super) usage: Option<UsageUpdate>,
}

#[derive(Deserialize)]
pub(super) struct RawDelta<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) thinking: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) partial_json: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) signature: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) stop_reason: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) stop_sequence: Option<Text<'a>>,
}

/// How a block begins: only of calls more than the type matters.
#[derive(Deserialize)]
pub(super) struct RawBlock<'a> {
    #[serde(borrow)]
    pub(super) r#type: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct RawMessage<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) model: Cow<'a, str>,
    #[serde(default)]
    pub(super) usage: UsageUpdate,
}

/// The type alone, for lines that did not parse as a whole.
#[derive(Deserialize)]
pub(super) struct Kind<'a> {
    #[serde(borrow)]
    pub(super) r#type: Cow<'a, str>,
}
