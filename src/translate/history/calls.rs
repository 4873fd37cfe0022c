//! The calls of a chat conversation and their results.

use serde_json::{Map, Value};

use crate::openai::chat_request::{Content, FunctionCall, ToolCall};
use crate::openai::error::ApiError;
use crate::translate::calls::{Calls, Reference};
use crate::translate::content;
use crate::turn::{AssistantBlock, MediaSource, UserBlock};

/// The calls of an assistant's message.
pub(super) fn made(
    calls: &mut Calls,
    field: &str,
    tool_calls: Option<Vec<ToolCall>>,
    function_call: Option<FunctionCall>,
) -> Result<Vec<AssistantBlock>, ApiError> {
    let tool_calls = tool_calls.unwrap_or_default();
    let mut blocks = Vec::with_capacity(tool_calls.len());
    if let Some(call) = function_call {
        let field = format!("{field}.function_call");
        if !tool_calls.is_empty() {
            let message =
                "'function_call' is the older form of 'tool_calls': a message may have one of them.";
            return Err(ApiError::invalid_request(field, message).with_code("invalid_value"));
        }
        let input = input(&format!("{field}.arguments"), call.arguments)?;
        blocks.push(calls.open_named(&format!("{field}.name"), call.name, input)?);
    }
    for (index, call) in tool_calls.into_iter().enumerate() {
        let field = format!("{field}.tool_calls[{index}]");
        let function = function_of(&field, call.r#type.as_deref(), call.function)?;
        let input = input(&format!("{field}.function.arguments"), function.arguments)?;
        let fields = (&*format!("{field}.id"), &*format!("{field}.function.name"));
        blocks.push(calls.open(fields, call.id, function.name, input)?);
    }
    Ok(blocks)
}

/// A message of role `tool`. Gives the results of all calls, in the order of the calls, once the last is there.
pub(super) fn tool_message(
    calls: &mut Calls,
    field: &str,
    call_id: Option<String>,
    content: Option<Content>,
) -> Result<Vec<UserBlock<MediaSource>>, ApiError> {
    let id_field = format!("{field}.tool_call_id");
    let reference = Reference::Id(call_id.ok_or_else(|| ApiError::missing_parameter(&id_field))?);
    let wrong = "A tool message must answer a call of the assistant message before it.";
    calls.answer(&reference, (id_field, wrong), content::parts(field, content)?, false)
}

/// A message of role `function`, which answers the older form of a call.
pub(super) fn function_message(
    calls: &mut Calls,
    field: &str,
    name: Option<String>,
    content: Option<Content>,
) -> Result<Vec<UserBlock<MediaSource>>, ApiError> {
    let name_field = format!("{field}.name");
    let reference = Reference::Name(name.ok_or_else(|| ApiError::missing_parameter(&name_field))?);
    let wrong =
        "A function message must answer the 'function_call' of the assistant message before it, by its name.";
    calls.answer(&reference, (name_field, wrong), content::parts(field, content)?, false)
}

/// Refuses a message that stands where a result should.
pub(super) fn expect_answered(calls: &Calls, field: &str) -> Result<(), ApiError> {
    if calls.are_answered() {
        return Ok(());
    }
    let message = "Every call in 'tool_calls' (or 'function_call') must be answered by a message of role 'tool' \
                   (or 'function') directly after its message.";
    Err(ApiError::invalid_request(field, message).with_code("invalid_value"))
}

fn function_of(
    field: &str,
    kind: Option<&str>,
    function: Option<FunctionCall>,
) -> Result<FunctionCall, ApiError> {
    if !matches!(kind, None | Some("function")) {
        let message = "Only calls of type 'function' are supported.";
        return Err(ApiError::invalid_request(format!("{field}.type"), message).with_code("invalid_value"));
    }
    function.ok_or_else(|| ApiError::missing_parameter(&format!("{field}.function")))
}

fn input(field: &str, arguments: Option<String>) -> Result<Map<String, Value>, ApiError> {
    let Some(text) = arguments.filter(|text| !text.trim().is_empty()) else { return Ok(Map::new()) };
    serde_json::from_str(&text).map_err(|_| {
        let message = "The arguments of a call must be a JSON object.";
        ApiError::invalid_request(field, message).with_code("invalid_value")
    })
}
