//! What the scripted API may answer, as plain data.

use std::time::Duration;

use serde_json::{Value, json};

use super::limits::Limits;

/// One answer: content, how it ends, and how fast it comes.
///
/// Built from a first part ([`Reply::words`], [`Reply::text`], [`Reply::tool`], [`Reply::error`]…) and changed by the
/// methods that take and return `self`. Parts, thinking aside, come in the order they were given in.
///
/// ```
/// use std::time::Duration;
/// use couplet::upstream::Reply;
/// let reply = Reply::text("Looking it up.")
///     .then_tool("get_weather", r#"{"city":"Paris"}"#)
///     .between_deltas(Duration::from_millis(20));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The content blocks; none at all is a legal (empty) answer.
    pub parts: Vec<Part>,
    /// Where set, this HTTP error is the whole answer.
    pub error: Option<ApiError>,
    /// Why the answer ends.
    pub stop: Stop,
    /// The token counts it reports.
    pub usage: Usage,
    /// Waited before the response headers.
    pub before_headers: Duration,
    /// Waited between `message_start` and the first delta.
    pub before_first_delta: Duration,
    /// Waited before every later delta.
    pub between_deltas: Duration,
    /// How many pings come before the first delta.
    pub pings: usize,
    /// Waited before each ping.
    pub between_pings: Duration,
    /// Characters in a text or thinking delta; `None`: one word each.
    pub delta_chars: Option<usize>,
    /// Where set, the answer does not reach its end.
    pub broken: Option<(Place, Break)>,
    /// Whether the error, the break or the refusal is for the first request with this last user text only, and repeats
    /// are answered in full.
    pub once: bool,
    /// The rate-limit headers; `None` sends none.
    pub limits: Option<Limits>,
    /// Further headers. They replace those of the same name that would be sent otherwise.
    pub headers: Vec<(String, String)>,
    /// Body fields (dotted paths, `PATH=VALUE` for a certain value) that this model does not take, with the message of the 400 that says so (empty: a
    /// stock one). A request without them is answered as usual.
    pub refuses: Vec<(String, String)>,
    /// Whether a longer answer than `max_tokens` words is cut there.
    pub honours_max_tokens: bool,
    /// Whether the answer ends before the first of the request's `stop_sequences`.
    pub honours_stop_sequences: bool,
}

/// One content block.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text, as it is.
    Text(String),
    /// A part of the request, as text.
    Echo(Echo),
    /// Thinking, closed by a signature.
    Thinking {
        /// The thought.
        text: String,
        /// What `signature_delta` carries.
        signature: String,
    },
    /// Thinking that cannot be read.
    RedactedThinking(String),
    /// A tool call.
    Tool {
        /// The tool's name.
        name: String,
        /// The input's JSON text, sent as it is even where it is no JSON; empty means no input.
        input: String,
    },
    /// The call of `StructuredOutput` with this JSON where the request offers that tool (in its property `value`, if that is
    /// all it takes), else the JSON as text.
    Structured(String),
    /// What an agent would do: a question is answered with a call of the first tool, or of the one that must be called;
    /// tool results, and whatever comes without tools, with the demo text, or with JSON where a schema or the tool
    /// `StructuredOutput` is given. Arguments and JSON are made from the schemas, with the first number and the first
    /// quoted text of the question; a call that nobody demanded has no optional arguments.
    Agent,
}

/// What is echoed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Echo {
    /// The last user message's text less its directives.
    Asked,
    /// The JSON of one field of the request body (dotted path; `null` where it is missing).
    Field(String),
}

/// Why an answer ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    /// `tool_use` if there is a tool call, else `end_turn`.
    #[default]
    Natural,
    /// This reason, known or unknown.
    Reason(String),
    /// `stop_sequence`, having met this one.
    Sequence(String),
    /// `refusal`, with the explanation in `stop_details`.
    Refusal(String),
}

/// Token counts. A word is taken for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Input tokens that no cache had a part in.
    pub input: u64,
    /// Input tokens written to the cache.
    pub cache_creation: u64,
    /// Input tokens read from the cache.
    pub cache_read: u64,
    /// Output tokens; `None` counts the words of all parts.
    pub output: Option<u64>,
    /// Output tokens that were thinking; `None` counts the words of thinking.
    pub thinking: Option<u64>,
}

impl Default for Usage {
    fn default() -> Self {
        Self { input: 25, cache_creation: 100, cache_read: 50, output: None, thinking: None }
    }
}

/// An error in Anthropic's form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// `error.type`.
    pub kind: String,
    /// `error.message`.
    pub message: String,
}

impl ApiError {
    /// An error with all three said.
    #[must_use]
    pub fn new(status: u16, kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, kind: kind.into(), message: message.into() }
    }

    /// The error the API documents for a status, with a stock message.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        let (kind, message) = match status {
            401 => ("authentication_error", "invalid x-api-key"),
            402 => ("billing_error", "There is an issue with your billing"),
            403 => ("permission_error", "Your credential lacks permission for this resource"),
            404 => ("not_found_error", "model: the scripted model was not found"),
            408 | 504 => ("timeout_error", "Request timed out"),
            413 => ("request_too_large", "Request exceeds the maximum size"),
            429 => ("rate_limit_error", "This request would exceed your rate limit"),
            529 => ("overloaded_error", "Overloaded"),
            400..500 => ("invalid_request_error", "The request is invalid"),
            _ => ("api_error", "Internal server error"),
        };
        Self::new(status, kind, message)
    }

    /// The error with the status the API documents for a type; 500 for unknown types.
    #[must_use]
    pub fn of_kind(kind: &str) -> Self {
        let status = [400, 401, 402, 403, 404, 413, 429, 500, 504, 529]
            .into_iter()
            .find(|status| Self::of_status(*status).kind == kind)
            .unwrap_or(500);
        Self { kind: kind.to_owned(), ..Self::of_status(status) }
    }

    /// The body of the response, and the data of an `error` event.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({"type": "error", "error": {"type": self.kind, "message": self.message}})
    }
}

/// Where an answer breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before the response headers.
    Start,
    /// After this many deltas, of the whole answer.
    Deltas(usize),
    /// After the last delta, its block still open.
    LastDelta,
}

/// How an answer breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Break {
    /// Silence on an open connection until the client leaves.
    Stall,
    /// The connection is closed in the middle of the response.
    Cut,
    /// An `error` event, then the regular end of the response. ([`Place::Start`] and requests that do not stream
    /// turn it into an HTTP error.)
    Error(ApiError),
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            parts: Vec::new(),
            error: None,
            stop: Stop::default(),
            usage: Usage::default(),
            before_headers: Duration::ZERO,
            before_first_delta: Duration::ZERO,
            between_deltas: Duration::ZERO,
            pings: 0,
            between_pings: Duration::ZERO,
            delta_chars: None,
            broken: None,
            once: false,
            limits: Some(Limits::default()),
            headers: Vec::new(),
            refuses: Vec::new(),
            honours_max_tokens: true,
            honours_stop_sequences: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_and_its_type_find_each_other() {
        for status in [400, 401, 402, 403, 404, 413, 429, 500, 504, 529] {
            let error = ApiError::of_status(status);
            assert_eq!(ApiError::of_kind(&error.kind).status, status, "{error:?}");
        }
        assert_eq!(ApiError::of_kind("new_error").status, 500);
        assert_eq!(ApiError::of_kind("new_error").kind, "new_error");
    }
}
