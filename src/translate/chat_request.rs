//! A chat completion request becomes a [`Turn`].

use async_openai::types::chat::ReasoningEffort;

use super::chat_answer::CallForm;
use super::history;
use super::tools::{self, Tools};
use super::turns::Conversation;
use crate::openai::chat_request::ChatRequest;
use crate::openai::error::ApiError;
use crate::openai::text_or::TextOrList;
use crate::turn::{Effort, MediaSource, Parameter, Parameters, Turn};

/// OpenAI's limit on `stop`.
const MAX_STOP: usize = 4;

/// A translated request.
#[derive(Debug, PartialEq)]
pub struct Translated {
    /// What is asked, its images and files as they came.
    pub turn: Turn<MediaSource>,
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
    let mut adjusted = Vec::new();
    let parameters = parameters(&request, &mut adjusted)?;
    let Tools { offered, choice, calls, form } = tools::take(&mut request, &mut adjusted)?;
    let stop = stop(request.stop)?;
    let Conversation { system, history, question } = history::conversation(request.messages, &mut adjusted)?;
    if request.model.trim().is_empty() {
        return Err(ApiError::invalid_request("model", "'model' must name a model."));
    }
    let parameters = Parameters { stop, tool_choice: choice, calls, ..parameters };
    Ok(Translated {
        turn: Turn { model: request.model, system, history, question, tools: offered, parameters },
        calls: form,
        adjusted,
    })
}

/// What is not built yet, or what Claude does not have, is refused by name.
fn refuse_unsupported(request: &ChatRequest) -> Result<(), ApiError> {
    let not_yet = |field: &str| {
        let message = format!("'{field}' is not supported by this version of Couplet yet.");
        Err(ApiError::invalid_request(field, message).with_code("unsupported_parameter"))
    };
    if request.response_format.as_ref().is_some_and(|format| format.r#type != "text") {
        return not_yet("response_format");
    }
    match request.n {
        None | Some(1) => {}
        Some(0) => return Err(ApiError::invalid_request("n", "'n' must be at least 1.")),
        Some(_) => return not_yet("n"),
    }
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

fn parameters(request: &ChatRequest, adjusted: &mut Vec<&'static str>) -> Result<Parameters, ApiError> {
    let (max_tokens_field, max_tokens) = match (request.max_completion_tokens, request.max_tokens) {
        (Some(tokens), _) => ("max_completion_tokens", Some(tokens)),
        (None, tokens) => ("max_tokens", tokens),
    };
    if max_tokens == Some(0) {
        let message = format!("'{max_tokens_field}' must be at least 1.");
        return Err(ApiError::invalid_request(max_tokens_field, message).with_code("invalid_value"));
    }
    let temperature = in_range("temperature", request.temperature, 2.0)?;
    if temperature.is_some_and(|value| value > 1.0) {
        adjusted.push("temperature");
    }
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
        temperature: temperature.map(|value| value.min(1.0)),
        top_p: in_range("top_p", request.top_p, 1.0)?,
        effort,
        ..Parameters::default()
    })
}

pub(super) fn in_range(field: &'static str, value: Option<f64>, max: f64) -> Result<Option<f64>, ApiError> {
    match value {
        Some(value) if !(0.0..=max).contains(&value) => {
            let message = format!("'{field}' must be between 0 and {max}.");
            Err(ApiError::invalid_request(field, message).with_code("invalid_value"))
        }
        value => Ok(value),
    }
}

fn stop(stop: Option<TextOrList<String>>) -> Result<Vec<String>, ApiError> {
    let single = matches!(stop, Some(TextOrList::Text(_)));
    let texts = stop.map(TextOrList::into_vec).unwrap_or_default();
    if texts.len() > MAX_STOP {
        let message = format!("'stop' may hold up to {MAX_STOP} texts.");
        return Err(ApiError::invalid_request("stop", message).with_code("invalid_value"));
    }
    for (index, text) in texts.iter().enumerate() {
        if text.trim().is_empty() {
            let field = if single { "stop".to_owned() } else { format!("stop[{index}]") };
            let message = format!("'{field}' must hold more than white space.");
            return Err(ApiError::invalid_request(field, message).with_code("invalid_value"));
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::parse::parse;
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

    #[test]
    fn a_temperature_above_one_is_capped_and_reported() {
        let translated = translate(&json!({"temperature": 1.7})).unwrap();
        assert_eq!(translated.turn.parameters.temperature, Some(1.0));
        assert_eq!(translated.adjusted, ["temperature"]);
    }

    #[rstest]
    #[case(json!({"response_format": {"type": "json_object"}}), "response_format")]
    #[case(json!({"n": 2}), "n")]
    #[case(json!({"n": 0}), "n")]
    #[case(json!({"modalities": ["text", "audio"]}), "modalities")]
    #[case(json!({"audio": {"voice": "alloy"}}), "audio")]
    #[case(json!({"temperature": 2.1}), "temperature")]
    #[case(json!({"temperature": -0.1}), "temperature")]
    #[case(json!({"top_p": 1.1}), "top_p")]
    #[case(json!({"max_tokens": 0}), "max_tokens")]
    #[case(json!({"max_completion_tokens": 0}), "max_completion_tokens")]
    #[case(json!({"stop": ["a", "b", "c", "d", "e"]}), "stop")]
    #[case(json!({"stop": ["a", " \n"]}), "stop[1]")]
    #[case(json!({"stop": ""}), "stop")]
    #[case(json!({"model": " "}), "model")]
    fn what_cannot_be_honoured_is_refused_by_name(#[case] extra: Value, #[case] param: &str) {
        let error = translate(&extra).unwrap_err();
        assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some(param)));
    }

    #[rstest]
    #[case(json!({"n": 1, "response_format": {"type": "text"}, "modalities": ["text"]}))]
    fn what_asks_for_nothing_special_is_taken(#[case] extra: Value) {
        assert!(translate(&extra).is_ok());
    }
}
