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
    /// Body fields (dotted paths) that this model does not take, with the message of the 400 that says so (empty: a
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
    /// The call of `StructuredOutput` with this JSON where the request offers that tool, else the JSON as text.
    Structured(String),
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

/// First parts.
impl Reply {
    /// `w0 w1 …`: this many words, none after the last blank.
    #[must_use]
    pub fn words(count: usize) -> Self {
        Self::text(numbered_words(count))
    }

    /// Exactly this text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::default().then(Part::Text(text.into()))
    }

    /// A call of a tool; `input` is JSON text.
    #[must_use]
    pub fn tool(name: impl Into<String>, input: impl Into<String>) -> Self {
        Self::default().then_tool(name, input)
    }

    /// A schema's answer, see [`Part::Structured`].
    #[must_use]
    pub fn structured(json: impl Into<String>) -> Self {
        Self::default().then(Part::Structured(json.into()))
    }

    /// The last user message's text, less its directives.
    #[must_use]
    pub fn echo() -> Self {
        Self::default().then(Part::Echo(Echo::Asked))
    }

    /// An HTTP error with no rate-limit headers.
    #[must_use]
    pub fn error(error: ApiError) -> Self {
        Self { error: Some(error), limits: None, ..Self::default() }
    }

    /// The documented error of a status, see [`ApiError::of_status`].
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::error(ApiError::of_status(status))
    }

    /// A subscription's usage limit was reached and is lifted in so many seconds: 429, with the unified headers that
    /// tell it from a burst.
    #[must_use]
    pub fn usage_limit(resets_in_seconds: u64) -> Self {
        let mut reply = Self::error(ApiError::new(
            429,
            "rate_limit_error",
            "This request would exceed your account's rate limit. Please try again later.",
        ));
        reply.limits = Some(Limits::rejected(resets_in_seconds));
        reply
    }

    /// The 400 for a prompt that does not fit the context window.
    #[must_use]
    pub fn prompt_too_long(tokens: u64, maximum: u64) -> Self {
        Self::error(ApiError::new(
            400,
            "invalid_request_error",
            format!("prompt is too long: {tokens} tokens > {maximum} maximum"),
        ))
    }
}

/// Changes.
impl Reply {
    /// Adds a part after the others.
    #[must_use]
    pub fn then(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Adds a text block.
    #[must_use]
    pub fn then_text(self, text: impl Into<String>) -> Self {
        self.then(Part::Text(text.into()))
    }

    /// Adds a tool call; `input` is JSON text.
    #[must_use]
    pub fn then_tool(self, name: impl Into<String>, input: impl Into<String>) -> Self {
        self.then(Part::Tool { name: name.into(), input: input.into() })
    }

    /// Puts a thinking block before everything but earlier thinking.
    #[must_use]
    pub fn thinking(mut self, text: impl Into<String>) -> Self {
        let first = |part: &Part| !matches!(part, Part::Thinking { .. } | Part::RedactedThinking(_));
        let at = self.parts.iter().position(first).unwrap_or(self.parts.len());
        self.parts.insert(at, Part::Thinking { text: text.into(), signature: SIGNATURE.to_owned() });
        self
    }

    /// Ends with this stop reason.
    #[must_use]
    pub fn stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// Ends with this stop reason, by name.
    #[must_use]
    pub fn stop_reason(self, reason: impl Into<String>) -> Self {
        self.stop(Stop::Reason(reason.into()))
    }

    /// Reports these token counts.
    #[must_use]
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Waits before the response headers.
    #[must_use]
    pub fn before_headers(mut self, wait: Duration) -> Self {
        self.before_headers = wait;
        self
    }

    /// Waits between `message_start` and the first delta.
    #[must_use]
    pub fn before_first_delta(mut self, wait: Duration) -> Self {
        self.before_first_delta = wait;
        self
    }

    /// Waits before every delta but the first.
    #[must_use]
    pub fn between_deltas(mut self, wait: Duration) -> Self {
        self.between_deltas = wait;
        self
    }

    /// Sends pings before the first delta, waiting before each.
    #[must_use]
    pub fn pings(mut self, count: usize, wait: Duration) -> Self {
        (self.pings, self.between_pings) = (count, wait);
        self
    }

    /// Cuts text into deltas of so many characters instead of words.
    #[must_use]
    pub fn delta_chars(mut self, chars: usize) -> Self {
        self.delta_chars = Some(chars);
        self
    }

    /// Falls silent there until the client leaves.
    #[must_use]
    pub fn stall(mut self, place: Place) -> Self {
        self.broken = Some((place, Break::Stall));
        self
    }

    /// Closes the connection there.
    #[must_use]
    pub fn cut(mut self, place: Place) -> Self {
        self.broken = Some((place, Break::Cut));
        self
    }

    /// Sends an `error` event there.
    #[must_use]
    pub fn error_event(mut self, place: Place, error: ApiError) -> Self {
        self.broken = Some((place, Break::Error(error)));
        self
    }

    /// Fails (breaks, refuses) once, and answers the repeat in full.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Sends these rate-limit headers, or none.
    #[must_use]
    pub fn limits(mut self, limits: impl Into<Option<Limits>>) -> Self {
        self.limits = limits.into();
        self
    }

    /// Adds or replaces a response header; an illegal one is left out.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Answers 400 to a request that has this body field (dotted path).
    #[must_use]
    pub fn refuse(mut self, field: impl Into<String>) -> Self {
        self.refuses.push((field.into(), String::new()));
        self
    }

    /// Goes on beyond `max_tokens` and `stop_sequences`.
    #[must_use]
    pub fn boundless(mut self) -> Self {
        (self.honours_max_tokens, self.honours_stop_sequences) = (false, false);
        self
    }
}

/// The signature of scripted thinking.
pub(super) const SIGNATURE: &str = "c2ln";

pub(super) fn numbered_words(count: usize) -> String {
    let mut text = String::with_capacity(count * 6);
    for index in 0..count {
        if index > 0 {
            text.push(' ');
        }
        text.push('w');
        text.push_str(&index.to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_numbered_and_end_without_a_blank() {
        assert_eq!(Reply::words(3), Reply::text("w0 w1 w2"));
        assert_eq!(Reply::words(0), Reply::text(""));
    }

    #[test]
    fn thinking_goes_before_the_text_but_after_earlier_thinking() {
        let reply = Reply::text("answer").thinking("first").thinking("second");
        let kinds: Vec<_> = reply
            .parts
            .iter()
            .map(|part| match part {
                Part::Thinking { text, .. } | Part::Text(text) => text.as_str(),
                other => panic!("unexpected {other:?}"),
            })
            .collect();
        assert_eq!(kinds, ["first", "second", "answer"]);
    }

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
