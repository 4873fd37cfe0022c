//! A chat completion request becomes a [`Turn`].

use async_openai::types::chat::ReasoningEffort;
use serde_json::Map;

use super::chat_answer::CallForm;
use super::history;
use super::stop;
use super::tools::{self, Tools};
use super::turns::Conversation;
use crate::answer_schema::{AnswerSchema, InvalidSchema};
use crate::openai::chat_request::{ChatRequest, ResponseFormat};
use crate::openai::error::ApiError;
use crate::turn::{Effort, MediaSource, Parameter, Parameters, Turn};
use crate::wire::text_or::TextOrList;

/// OpenAI's limit on `stop`.
const MAX_STOP: usize = 4;

/// OpenAI's limit on `n`.
const MAX_N: u32 = 128;

/// A translated request.
#[derive(Debug, PartialEq)]
pub struct Translated {
    /// What is asked, its images and files as they came.
    pub turn: Turn<MediaSource>,
    /// How many answers to it.
    pub n: usize,
    /// The form in which the client is to read of calls.
    pub calls: CallForm,
    /// Fields that were read, but are honoured in part or not at all.
    pub adjusted: Vec<&'static str>,
}

/// What a parameter is called here.
#[must_use]
pub fn name_of(parameter: Parameter) -> &'static str {
    match parameter {
        Parameter::Temperature => "temperature",
        Parameter::TopP => "top_p",
        Parameter::TopK => "top_k",
        Parameter::Effort => "reasoning_effort",
        Parameter::Calls => "parallel_tool_calls",
    }
}

/// Translates a request. The model stays as the client named it.
///
/// # Errors
/// 400 that names the field, for what is wrong and for what Couplet cannot do.
pub fn turn(mut request: ChatRequest) -> Result<Translated, ApiError> {
    refuse_unsupported(&request)?;
    let n = n(request.n)?;
    let mut adjusted = Vec::new();
    let parameters = parameters(&request, &mut adjusted)?;
    let format = format(request.response_format.take())?;
    let Tools { offered, choice, calls, form } = tools::take(&mut request, &mut adjusted)?;
    let stop = stop::unless_formed(
        "stop",
        stop(request.stop)?,
        format.is_some() || choice.is_forced(),
        &mut adjusted,
    );
    let Conversation { system, history, question } = history::conversation(request.messages, &mut adjusted)?;
    if request.model.trim().is_empty() {
        return Err(ApiError::invalid_request("model", "'model' must name a model."));
    }
    let parameters = Parameters { stop, tool_choice: choice, calls, format, ..parameters };
    Ok(Translated {
        turn: Turn { model: request.model, system, history, question, tools: offered, parameters },
        n,
        calls: form,
        adjusted,
    })
}

/// What Claude does not have is refused by name.
fn refuse_unsupported(request: &ChatRequest) -> Result<(), ApiError> {
    if request.modalities.as_ref().is_some_and(|list| list.iter().any(|modality| modality != "text")) {
        let message = "Claude answers in text only: 'modalities' may hold nothing but \"text\".";
        return Err(ApiError::invalid_request("modalities", message).with_code("unsupported_parameter"));
    }
    if request.audio.is_some() {
        let message = "Claude does not answer in audio.";
        return Err(ApiError::invalid_request("audio", message).with_code("unsupported_parameter"));
    }
    Ok(())
}

/// How many answers are wanted.
pub(super) fn n(n: Option<u32>) -> Result<usize, ApiError> {
    let n = n.unwrap_or(1);
    if (1..=MAX_N).contains(&n) {
        return Ok(usize::try_from(n).unwrap_or(usize::MAX));
    }
    let message = format!("'n' must be between 1 and {MAX_N}.");
    Err(ApiError::invalid_request("n", message).with_code("invalid_value"))
}

fn parameters(request: &ChatRequest, adjusted: &mut Vec<&'static str>) -> Result<Parameters, ApiError> {
    // The newer name counts; a zero makes no sense under either.
    let older = max_tokens("max_tokens", request.max_tokens)?;
    let max_tokens = max_tokens("max_completion_tokens", request.max_completion_tokens)?.or(older);
    let effort = request.reasoning_effort.as_ref().map(|effort| match effort {
        ReasoningEffort::None => Effort::Off,
        ReasoningEffort::Minimal | ReasoningEffort::Low => Effort::Low,
        ReasoningEffort::Medium => Effort::Medium,
        ReasoningEffort::High => Effort::High,
        ReasoningEffort::Xhigh => Effort::Xhigh,
        ReasoningEffort::Max => Effort::Max,
    });
    Ok(Parameters {
        max_tokens,
        stop: Vec::new(),
        temperature: temperature(request.temperature, adjusted)?,
        top_p: in_range("top_p", request.top_p, 1.0)?,
        effort,
        ..Parameters::default()
    })
}

/// The largest number of tokens of the answer.
pub(super) fn max_tokens(field: &'static str, tokens: Option<u32>) -> Result<Option<u32>, ApiError> {
    if tokens == Some(0) {
        let message = format!("'{field}' must be at least 1.");
        return Err(ApiError::invalid_request(field, message).with_code("invalid_value"));
    }
    Ok(tokens)
}

/// The temperature on Claude's scale, which ends at 1 where OpenAI's ends at 2.
pub(super) fn temperature(
    value: Option<f64>,
    adjusted: &mut Vec<&'static str>,
) -> Result<Option<f64>, ApiError> {
    let value = in_range("temperature", value, 2.0)?;
    if value.is_some_and(|value| value > 1.0) {
        adjusted.push("temperature");
    }
    Ok(value.map(|value| value.min(1.0)))
}

/// A number from 0 up to `max`.
pub(super) fn in_range(field: &'static str, value: Option<f64>, max: f64) -> Result<Option<f64>, ApiError> {
    match value {
        Some(value) if !(0.0..=max).contains(&value) => {
            let message = format!("'{field}' must be between 0 and {max}.");
            Err(ApiError::invalid_request(field, message).with_code("invalid_value"))
        }
        value => Ok(value),
    }
}

/// The texts that end the answer.
pub(super) fn stop(stop: Option<TextOrList<String>>) -> Result<Vec<String>, ApiError> {
    let single = matches!(stop, Some(TextOrList::Text(_)));
    let texts = stop.map(TextOrList::into_vec).unwrap_or_default();
    stop::expect_few("stop", &texts, MAX_STOP)?;
    if let Some(index) = texts.iter().position(String::is_empty) {
        let field = if single { "stop".to_owned() } else { format!("stop[{index}]") };
        let message = format!("'{field}' must not be empty.");
        return Err(ApiError::invalid_request(field, message).with_code("invalid_value"));
    }
    Ok(texts)
}

/// `response_format`. What a schema is for is told to the model as its description, which it sees.
fn format(format: Option<ResponseFormat>) -> Result<Option<AnswerSchema>, ApiError> {
    let Some(format) = format else { return Ok(None) };
    let schema = match format.r#type.as_str() {
        "text" => return Ok(None),
        "json_object" => Map::from_iter([("type".to_owned(), "object".into())]),
        "json_schema" => {
            let missing = || ApiError::missing_parameter("response_format.json_schema");
            let format = format.json_schema.ok_or_else(missing)?;
            let mut schema = format.schema.unwrap_or_default();
            if let Some(description) = format.description {
                schema.entry("description").or_insert_with(|| description.into());
            }
            schema
        }
        _ => {
            let message = "'response_format.type' must be 'text', 'json_object' or 'json_schema'.";
            return Err(ApiError::invalid_request("response_format.type", message).with_code("invalid_value"));
        }
    };
    let invalid = |error: InvalidSchema| {
        let message = format!("The schema of 'response_format' is invalid: {error}.");
        ApiError::invalid_request("response_format.json_schema.schema", message).with_code("invalid_schema")
    };
    AnswerSchema::new(schema).map(Some).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse::parse;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn translate(extra: &Value) -> Result<Translated, ApiError> {
        let mut body = json!({"model": "sonnet", "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        turn(parse(body.to_string().as_bytes()).unwrap().request)
    }

    #[test]
    fn parameters_arrive_in_the_turn() {
        let translated = translate(
            &json!({"max_tokens": 5, "max_completion_tokens": 7, "stop": "END", "temperature": 0.3,
            "top_p": 0.9, "reasoning_effort": "xhigh"}),
        )
        .unwrap();
        let expected = Parameters {
            max_tokens: Some(7),
            stop: vec!["END".to_owned()],
            temperature: Some(0.3),
            top_p: Some(0.9),
            effort: Some(Effort::Xhigh),
            ..Parameters::default()
        };
        assert_eq!(translated.turn.parameters, expected);
        assert!(translated.adjusted.is_empty());
    }

    #[rstest]
    #[case(json!({}), 1)]
    #[case(json!({"n": null}), 1)]
    #[case(json!({"n": 128}), 128)]
    fn n_says_how_many_answers_there_are(#[case] extra: Value, #[case] n: usize) {
        assert_eq!(translate(&extra).unwrap().n, n);
    }

    #[test]
    fn a_temperature_above_one_is_capped_and_reported() {
        let translated = translate(&json!({"temperature": 1.7})).unwrap();
        assert_eq!(translated.turn.parameters.temperature, Some(1.0));
        assert_eq!(translated.adjusted, ["temperature"]);
    }

    #[rstest]
    #[case(json!({"response_format": {"type": "yaml"}}), "response_format.type")]
    #[case(json!({"response_format": {"type": "json_schema"}}), "response_format.json_schema")]
    #[case(json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": 5}}}}), "response_format.json_schema.schema")]
    #[case(json!({"n": 129}), "n")]
    #[case(json!({"n": 0}), "n")]
    #[case(json!({"modalities": ["text", "audio"]}), "modalities")]
    #[case(json!({"audio": {"voice": "alloy"}}), "audio")]
    #[case(json!({"temperature": 2.1}), "temperature")]
    #[case(json!({"temperature": -0.1}), "temperature")]
    #[case(json!({"top_p": 1.1}), "top_p")]
    #[case(json!({"max_tokens": 0}), "max_tokens")]
    #[case(json!({"max_completion_tokens": 0}), "max_completion_tokens")]
    #[case(json!({"max_completion_tokens": 5, "max_tokens": 0}), "max_tokens")]
    #[case(json!({"stop": ["a", "b", "c", "d", "e"]}), "stop")]
    #[case(json!({"stop": ["a", ""]}), "stop[1]")]
    #[case(json!({"stop": ""}), "stop")]
    #[case(json!({"model": " "}), "model")]
    fn what_cannot_be_honoured_is_refused_by_name(#[case] extra: Value, #[case] param: &str) {
        let error = translate(&extra).unwrap_err();
        assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some(param)));
    }

    #[rstest]
    #[case(json!({"type": "json_object"}), json!({"type": "object"}))]
    #[case(json!({"type": "json_schema", "json_schema": {"name": "a", "strict": true, "schema": {"type": "array"}}}), json!({"type": "array"}))]
    #[case(json!({"type": "json_schema", "json_schema": {"name": "a", "description": "A list.", "schema": {"type": "array"}}}), json!({"type": "array", "description": "A list."}))]
    #[case(json!({"type": "json_schema", "json_schema": {"name": "a"}}), json!({}))]
    fn the_form_of_the_answer_arrives_as_a_schema(#[case] format: Value, #[case] schema: Value) {
        let translated = translate(&json!({"response_format": format})).unwrap();
        let format = translated.turn.parameters.format.unwrap();
        assert_eq!(Value::Object(format.schema().clone()), schema);
    }

    #[rstest]
    #[case(json!({"n": 1, "response_format": {"type": "text"}, "modalities": ["text"]}))]
    fn what_asks_for_nothing_special_is_taken(#[case] extra: Value) {
        assert!(translate(&extra).is_ok());
    }
}
