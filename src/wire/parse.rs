//! Reading a request's body into its type.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::strict::Strict;
use super::value_count::expect_few_values;
use crate::openai::error::ApiError;

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
    typed(fields(body)?)
}

/// The fields of a body that are not null, for one that may be of several types.
///
/// # Errors
/// 400 that says where the JSON is broken.
pub fn fields(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    expect_few_values(body)?;
    let value: Value = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    let Value::Object(mut fields) = value else {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_request_error",
            "The body must be a JSON object.",
        ));
    };
    fields.retain(|_, value| !value.is_null());
    Ok(fields)
}

/// The request that these [`fields`] are.
///
/// # Errors
/// 400 that names the field.
pub fn typed<T: for<'de> Deserialize<'de>>(fields: Map<String, Value>) -> Result<Parsed<T>, ApiError> {
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
    let tracked = serde_path_to_error::Deserializer::new(Strict(&value), &mut track);
    let request = serde_ignored::deserialize(tracked, &mut note);
    request.map(|request| Parsed { request, ignored }).map_err(|error| wrong_field(&track.path(), &error))
}

fn not_json(error: &serde_json::Error) -> ApiError {
    let message = format!("The body is not valid JSON: {error}.");
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
}

fn wrong_field(path: &serde_path_to_error::Path, error: &serde_json::Error) -> ApiError {
    let path = path.to_string();
    let missing = error.to_string().strip_prefix("missing field `").and_then(|rest| {
        let name = rest.split('`').next()?;
        Some(if path == "." { name.to_owned() } else { format!("{path}.{name}") })
    });
    if let Some(param) = missing {
        return ApiError::missing_parameter(&param);
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

/// A client's key, fit for a header and a log line. One without a letter would not show at all.
fn printable(key: &str) -> String {
    if key.is_empty() {
        return "?".to_owned();
    }
    key.chars()
        .take(40)
        .map(|c| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '?' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::chat_request::ChatRequest;
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
    #[case(
        r#"{"model":"m","messages":[{"role":"assistant","function_call":{"name":5}}]}"#,
        "messages[0].function_call.name"
    )]
    #[case(r#"{"model":"m","messages":[{"role":"function","name":5,"content":"x"}]}"#, "messages[0].name")]
    #[case(r#"{"model":"m","messages":[{"role":"user","content":{"type":"text"}}]}"#, "messages[0].content")]
    #[case(
        r#"{"model":"m","messages":[],"tool_choice":{"type":"function","function":{}}}"#,
        "tool_choice.function.name"
    )]
    #[case(r#"{"model":"m","messages":[],"tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":7}}]}"#, "tools[1].function.name")]
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
            "tools":[{"type":"function","cache_control":{"type":"ephemeral"},"function":{"name":"f","examples":[],"parameters":{"x":1}}}],
            "messages":[{"role":"user","weight":1,"content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]},
                        {"role":"assistant","weight":1,"annotations":null,"content":"y"}]}"#;
        let parsed = request(body).unwrap();
        assert_eq!(
            parsed.ignored,
            [
                "seed",
                "metadata",
                "tools[].cache_control",
                "tools[].function.examples",
                "messages[].weight",
                "messages[].content[].cache_control"
            ]
        );
        assert_eq!(parsed.request.temperature, None);
    }

    #[test]
    fn an_ignored_field_without_a_name_shows_all_the_same() {
        let body = r#"{"model":"m","":1,"messages":[{"role":"user","content":"x","":1,"é":1}]}"#;
        assert_eq!(request(body).unwrap().ignored, ["?", "messages[].?"]);
    }
}
