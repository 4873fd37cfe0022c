//! The request of `POST /v1/chat/completions`.
//!
//! The types hold the fields that are honoured or refused; what they do not hold is accepted, ignored and reported.
//! Message parts are flat on purpose: tagged and untagged enums of serde lose the path of an error.

use std::fmt;

use async_openai::types::chat::{ReasoningEffort, Role};
use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::Value;

use super::error::ApiError;

/// A chat completion request, as far as Couplet reads it.
#[derive(Debug, Deserialize)]
pub struct ChatRequest {
    /// The model's id, or an alias.
    pub model: String,
    /// The conversation, at least one message.
    pub messages: Vec<ChatMessage>,
    /// Whether the answer comes as server-sent events.
    pub stream: Option<bool>,
    /// What a stream holds beside the answer.
    pub stream_options: Option<StreamOptions>,
    /// The largest number of tokens of the answer, reasoning included.
    pub max_completion_tokens: Option<u32>,
    /// The older name of `max_completion_tokens`.
    pub max_tokens: Option<u32>,
    /// Up to four texts that end the answer.
    pub stop: Option<OneOrMany>,
    /// 0 to 2; Claude's scale ends at 1.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// How hard the model thinks.
    pub reasoning_effort: Option<ReasoningEffort>,
    /// How many answers.
    pub n: Option<u32>,
    /// Functions the model may call.
    pub tools: Option<Vec<Value>>,
    /// Which of them it must call.
    pub tool_choice: Option<Value>,
    /// The older form of `tools`.
    pub functions: Option<Vec<Value>>,
    /// The older form of `tool_choice`.
    pub function_call: Option<Value>,
    /// The form of the answer's text.
    pub response_format: Option<ResponseFormat>,
    /// What the answer may consist of.
    pub modalities: Option<Vec<String>>,
    /// How spoken answers should sound.
    pub audio: Option<Value>,
}

/// `stream_options`.
#[derive(Debug, Default, Deserialize)]
pub struct StreamOptions {
    /// Whether a last chunk tells the usage.
    pub include_usage: Option<bool>,
}

/// `response_format`.
#[derive(Debug, Deserialize)]
pub struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    pub r#type: String,
}

/// One message of any role.
#[derive(Debug, Deserialize)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said; assistant messages may have none.
    pub content: Option<Content>,
    /// The calls an assistant made.
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that a tool message answers.
    pub tool_call_id: Option<String>,
    /// The older form of `tool_calls`.
    pub function_call: Option<Value>,
    /// What an assistant said when it declined.
    pub refusal: Option<String>,
}

/// A text, or a list of parts.
#[derive(Debug)]
pub enum Content {
    /// The short form.
    Text(String),
    /// The long form.
    Parts(Vec<ContentPart>),
}

/// One part of a message's content. Only the field that belongs to its type matters.
#[derive(Debug, Deserialize)]
pub struct ContentPart {
    /// `text`, `refusal`, `image_url`, `input_audio` or `file`.
    pub r#type: String,
    /// The text of a `text` part.
    pub text: Option<String>,
    /// The text of a `refusal` part.
    pub refusal: Option<String>,
}

/// A call of a function in the history.
#[derive(Debug, Deserialize)]
pub struct ToolCall {
    /// The id its result refers to.
    pub id: String,
    /// Absent or `function`.
    pub r#type: Option<String>,
    /// What was called.
    pub function: Option<FunctionCall>,
}

/// Name and arguments of a call.
#[derive(Debug, Deserialize)]
pub struct FunctionCall {
    /// The function's name.
    pub name: String,
    /// The arguments, a JSON object as text.
    pub arguments: Option<String>,
}

/// `stop`: one text or several.
#[derive(Debug)]
pub enum OneOrMany {
    /// One text.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    /// The texts as a list.
    #[must_use]
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// Visits a string or a list; written by hand so that an error inside the list keeps its path.
struct StringOrList<T> {
    expecting: &'static str,
    from_text: fn(String) -> T,
}

/// A type whose list form holds `Item`s.
trait FromList: Sized {
    type Item: for<'de> Deserialize<'de>;
    fn from_list(items: Vec<Self::Item>) -> Self;
}

impl FromList for Content {
    type Item = ContentPart;
    fn from_list(items: Vec<ContentPart>) -> Self {
        Self::Parts(items)
    }
}

impl FromList for OneOrMany {
    type Item = String;
    fn from_list(items: Vec<String>) -> Self {
        Self::Many(items)
    }
}

impl<'de, T: FromList> Visitor<'de> for StringOrList<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expecting)
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok((self.from_text)(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<T, E> {
        Ok((self.from_text)(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<T, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(items)).map(T::from_list)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StringOrList {
            expecting: "a string or a list of parts",
            from_text: Content::Text,
        })
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StringOrList {
            expecting: "a string or a list of strings",
            from_text: OneOrMany::One,
        })
    }
}

/// A request and the names of the fields in it that nobody reads.
#[derive(Debug)]
pub struct Parsed<T> {
    /// The request.
    pub request: T,
    /// Paths of accepted and ignored fields, without indexes (`messages[].name`), each once; absent and `null` fields
    /// are not among them.
    pub ignored: Vec<String>,
}

/// The largest number of ignored fields that are reported for one request.
const MAX_IGNORED: usize = 32;

/// Parses a body. A `null` field of the top level counts as absent.
///
/// # Errors
/// 400 that names the field, or says where the JSON is broken. Nothing of the content is in the message but the
/// offending number or type name.
pub fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<Parsed<T>, ApiError> {
    let value: Value = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    let Value::Object(mut fields) = value else {
        return Err(ApiError::new(
            axum::http::StatusCode::BAD_REQUEST,
            "invalid_request_error",
            "The body must be a JSON object.",
        ));
    };
    fields.retain(|_, value| !value.is_null());
    let value = Value::Object(fields);

    let mut ignored = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| {
        let (pointer, shown) = describe(&path);
        let present = value.pointer(&pointer).is_some_and(|value| !value.is_null());
        if present && ignored.len() < MAX_IGNORED && !ignored.contains(&shown) {
            ignored.push(shown);
        }
    };
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&value, &mut track);
    let request = serde_ignored::deserialize(tracked, &mut note);
    request.map(|request| Parsed { request, ignored }).map_err(|error| wrong_field(&track.path(), &error))
}

fn not_json(error: &serde_json::Error) -> ApiError {
    let message = format!("The body is not valid JSON: {error}.");
    ApiError::new(axum::http::StatusCode::BAD_REQUEST, "invalid_request_error", message)
}

fn wrong_field(path: &serde_path_to_error::Path, error: &serde_json::Error) -> ApiError {
    let path = path.to_string();
    let missing = error.to_string().strip_prefix("missing field `").and_then(|rest| {
        let name = rest.split('`').next()?;
        Some(if path == "." { name.to_owned() } else { format!("{path}.{name}") })
    });
    if let Some(param) = missing {
        let message = format!("Missing required parameter: '{param}'.");
        return ApiError::invalid_request(param, message).with_code("missing_required_parameter");
    }
    let message = format!("Invalid value for '{path}': {}.", without_values(&error.to_string()));
    ApiError::invalid_request(path, message).with_code("invalid_value")
}

/// serde quotes the offending value; a text among them could be a piece of a prompt.
fn without_values(message: &str) -> String {
    let shown = match message.split_once("invalid type: string \"") {
        Some((_, rest)) => {
            rest.rfind("\", expected").map(|end| format!("invalid type: string{}", &rest[end + 1..]))
        }
        None => None,
    };
    let shown = shown.unwrap_or_else(|| message.to_owned());
    match shown.split_once("unknown variant `") {
        Some((_, rest)) => match rest.rfind("`, expected") {
            Some(end) => format!("unknown value{}", &rest[end + 1..]),
            None => "unknown value".to_owned(),
        },
        None => shown,
    }
}

/// A path as a JSON pointer into the body, and as it is shown.
fn describe(path: &serde_ignored::Path<'_>) -> (String, String) {
    use serde_ignored::Path;
    match path {
        Path::Root => (String::new(), String::new()),
        Path::Seq { parent, index } => {
            let (pointer, shown) = describe(parent);
            (format!("{pointer}/{index}"), format!("{shown}[]"))
        }
        Path::Map { parent, key } => {
            let (pointer, shown) = describe(parent);
            let escaped = key.replace('~', "~0").replace('/', "~1");
            let dot = if shown.is_empty() { "" } else { "." };
            (format!("{pointer}/{escaped}"), format!("{shown}{dot}{}", printable(key)))
        }
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            describe(parent)
        }
    }
}

/// A client's key, fit for a header and a log line.
fn printable(key: &str) -> String {
    key.chars()
        .take(40)
        .map(|c| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '?' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn request(body: &str) -> Result<Parsed<ChatRequest>, ApiError> {
        parse(body.as_bytes())
    }

    #[rstest]
    #[case(r#"{"messages":[]}"#, "model")]
    #[case(r#"{"model":"m"}"#, "messages")]
    #[case(r#"{"model":5,"messages":[]}"#, "model")]
    #[case(r#"{"model":"m","messages":{}}"#, "messages")]
    #[case(r#"{"model":"m","messages":[{"content":"x"}]}"#, "messages[0].role")]
    #[case(r#"{"model":"m","messages":[{"role":"wizard","content":"x"}]}"#, "messages[0].role")]
    #[case(r#"{"model":"m","messages":[{"role":"user","content":7}]}"#, "messages[0].content")]
    #[case(
        r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":7}]}]}"#,
        "messages[0].content[0].text"
    )]
    #[case(r#"{"model":"m","messages":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"text","text":"x"},{"text":"y"}]}]}"#, "messages[1].content[1].type")]
    #[case(r#"{"model":"m","messages":[],"max_tokens":-1}"#, "max_tokens")]
    #[case(r#"{"model":"m","messages":[],"max_tokens":1e30}"#, "max_tokens")]
    #[case(r#"{"model":"m","messages":[],"temperature":"hot"}"#, "temperature")]
    #[case(r#"{"model":"m","messages":[],"stop":[1]}"#, "stop[0]")]
    #[case(r#"{"model":"m","messages":[],"reasoning_effort":"huge"}"#, "reasoning_effort")]
    #[case(
        r#"{"model":"m","messages":[],"stream_options":{"include_usage":"yes"}}"#,
        "stream_options.include_usage"
    )]
    #[case(r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","function":{"arguments":"{}"}}]}]}"#, "messages[0].tool_calls[0].function.name")]
    fn an_error_names_the_field(#[case] body: &str, #[case] param: &str) {
        let error = request(body).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(param), "{error:?}");
        assert_eq!(error.status, 400);
    }

    #[rstest]
    #[case("")]
    #[case("{")]
    #[case("[1]")]
    #[case("\"text\"")]
    #[case(r#"{"model":"m","messages":[{"role":"user","content":"\ud800"}]}"#)]
    fn what_is_no_json_object_is_refused(#[case] body: &str) {
        assert_eq!(request(body).unwrap_err().status, 400);
    }

    #[test]
    fn a_deeply_nested_body_is_refused_and_does_not_overflow_the_stack() {
        let body = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(request(&body).unwrap_err().status, 400);
    }

    #[test]
    fn bytes_that_are_no_utf8_are_refused() {
        assert_eq!(parse::<ChatRequest>(b"{\"model\":\"\xff\"}").unwrap_err().status, 400);
    }

    #[test]
    fn a_text_of_the_request_never_shows_in_an_error() {
        let body = r#"{"model":"m","messages":[{"role":"canary-1","content":"x"}],"temperature":"canary-2"}"#;
        let first = request(body).unwrap_err().message;
        let second =
            request(&body.replace("\"role\":\"canary-1\"", "\"role\":\"user\"")).unwrap_err().message;
        assert!(!first.contains("canary") && !second.contains("canary"), "{first} {second}");
    }

    #[test]
    fn ignored_fields_are_named_once_and_null_is_absent() {
        let body = r#"{"model":"m","seed":1,"user":null,"metadata":{"a":"b"},"temperature":null,
            "messages":[{"role":"user","name":"ann","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]},
                        {"role":"assistant","name":"bob","annotations":null,"content":"y"}]}"#;
        let parsed = request(body).unwrap();
        assert_eq!(
            parsed.ignored,
            ["seed", "metadata", "messages[].name", "messages[].content[].cache_control"]
        );
        assert_eq!(parsed.request.temperature, None);
    }
}
