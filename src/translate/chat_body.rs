//! The body of a chat completion request, in either of the forms that clients post.

use super::chat_request::{self, Translated};
use super::responses_request;
use crate::openai::chat_request::{ChatRequest, StreamOptions};
use crate::openai::error::ApiError;
use crate::openai::parse::{self, Parsed};
use crate::openai::responses_request::ResponsesRequest;
use crate::turn::Parameter;

/// A body, read and translated.
#[derive(Debug)]
pub struct ChatBody {
    /// What is asked.
    pub translated: Translated,
    /// Whether the answer comes as server-sent events.
    pub stream: bool,
    /// Whether a stream tells the usage.
    pub include_usage: bool,
    /// Fields that nobody read.
    pub ignored: Vec<String>,
    /// What a parameter is called in it.
    pub name_of: fn(Parameter) -> &'static str,
    /// What a field of a chat completion request is called in it, where that is something else.
    pub sent_as: fn(&str) -> Option<String>,
}

/// Reads a body. One with `input` in place of `messages` is of the Responses API's form: Cursor posts it to this endpoint,
/// and expects a chat completion.
///
/// # Errors
/// 400 that names the field, as it was sent.
pub fn read(body: &[u8]) -> Result<ChatBody, ApiError> {
    let fields = parse::fields(body)?;
    let is_responses = fields.contains_key("input") && !fields.contains_key("messages");
    Ok(if is_responses {
        let Parsed { request, ignored } = parse::typed::<ResponsesRequest>(fields)?;
        let (stream, include_usage) = (request.stream, includes_usage(request.stream_options.as_ref()));
        ChatBody {
            translated: responses_request::turn(request)?,
            stream: stream.unwrap_or(false),
            include_usage,
            ignored,
            name_of: responses_request::name_of,
            sent_as: responses_request::sent_as,
        }
    } else {
        let Parsed { request, ignored } = parse::typed::<ChatRequest>(fields)?;
        let (stream, include_usage) = (request.stream, includes_usage(request.stream_options.as_ref()));
        ChatBody {
            translated: chat_request::turn(request)?,
            stream: stream.unwrap_or(false),
            include_usage,
            ignored,
            name_of: chat_request::name_of,
            sent_as: |_| None,
        }
    })
}

fn includes_usage(options: Option<&StreamOptions>) -> bool {
    options.and_then(|options| options.include_usage).unwrap_or(false)
}
