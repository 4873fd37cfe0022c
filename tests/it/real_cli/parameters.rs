//! What the CLI does with parameters, and with an API that refuses them.

use couplet::upstream::Received;
use rstest::rstest;
use serde_json::{Value, json};

use super::app;
use crate::support::app::{TestApp, ask};
use crate::support::received::sessions;

fn asked_for(more: &Value) -> Value {
    let mut request = ask("[[words 1]]");
    request.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    request
}

fn form() -> Value {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
    json!({"type": "json_schema", "json_schema": {"name": "form", "schema": schema}})
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}])
}

/// The field of each request to the model, oldest first.
fn sent(app: &TestApp, field: &str) -> Vec<Value> {
    let requests = app.upstream.log().model_requests();
    requests.iter().map(|request| request.asked().field(field).cloned().unwrap_or_default()).collect()
}

/// The CLI asks again by itself, less things of its own that the client knows nothing of, and with all that is the client's.
#[rstest]
#[case(json!({"temperature": 0.5}), "temperature", 3, "thinking.display")]
#[case(json!({"top_p": 0.5}), "top_p", 3, "thinking.display")]
#[case(json!({"stop": "END"}), "stop_sequences", 3, "thinking.display")]
#[case(json!({"tools": tools(), "tool_choice": "required"}), "tool_choice.type", 3, "thinking.display")]
#[case(json!({"response_format": form()}), "output_config.format", 2, "messages.1.output_config.effort")]
#[tokio::test]
async fn the_cli_repeats_what_is_refused_and_keeps_the_parameter(
    #[case] more: Value,
    #[case] field: &str,
    #[case] times: usize,
    #[case] its_own: &str,
) {
    let Some(app) = app().await else { return };
    app.upstream.refuse(field, "");
    let mut request = asked_for(&more);
    request["messages"][0]["content"] = json!("[[agent]]");
    let (status, answer) = app.answer(&request).await;
    assert_eq!(status, 200, "{answer}");
    let fields = sent(&app, field);
    let refused: Vec<_> = fields.iter().take_while(|value| !value.is_null()).collect();
    assert_eq!(refused.len(), times, "{fields:?}");
    assert!(refused.iter().all(|value| *value == refused[0]), "{refused:?}");
    assert_eq!(fields[times..], [Value::Null], "Couplet asks without, once");
    let own = sent(&app, its_own);
    assert!(!own[0].is_null() && own[times - 1].is_null(), "what the CLI leaves out is its own: {own:?}");
    let sessions = sessions(&app);
    assert!(sessions[0] == sessions[times - 1] && sessions[0] != sessions[times], "in a fresh process");
}

#[tokio::test]
async fn the_api_s_own_sentence_arrives() {
    let Some(app) = app().await else { return };
    app.upstream.refuse("temperature", "`warmth` is out of the question: this \"model\" is <cold>.");
    let (status, answer) = app.answer(&asked_for(&json!({"temperature": 0.5}))).await;
    assert_eq!((status, &answer["error"]["type"]), (400, &json!("invalid_request_error")));
    let message = answer["error"]["message"].as_str().expect("a message");
    assert!(message.contains("`warmth` is out of the question: this \"model\" is <cold>."), "{message}");
}

/// So that an effort cannot be named: nothing tells it from one that was heeded.
#[rstest]
#[case("This model does not support the effort parameter.")]
#[case("output_config.effort: Extra inputs are not permitted")]
#[tokio::test]
async fn an_effort_that_the_api_knows_nothing_of_is_left_out_by_the_cli(#[case] sentence: &str) {
    let Some(app) = app().await else { return };
    app.upstream.refuse("output_config.effort", sentence);
    let response = app.chat(&asked_for(&json!({"reasoning_effort": "high"}))).await;
    assert_eq!((response.status().as_u16(), response.headers().get("x-couplet-ignored")), (200, None));
    assert_eq!(sent(&app, "output_config.effort"), [json!("high"), Value::Null]);
}

#[rstest]
#[case("claude-sonnet-5-5", 128_000)]
#[case("claude-haiku-4-5", 64_000)]
#[tokio::test]
async fn more_tokens_than_a_model_has_are_as_many_as_it_has(#[case] model: &str, #[case] most: u64) {
    let Some(app) = app().await else { return };
    for tokens in [most - 1, most, most + 1, 4_000_000_000] {
        let (status, answer) = app.answer(&asked_for(&json!({"model": model, "max_tokens": tokens}))).await;
        assert_eq!(status, 200, "{answer}");
        let asked = app.upstream.log().last().expect("a request").asked();
        assert_eq!(asked.max_tokens(), Some(tokens.min(most)));
    }
}

#[tokio::test]
async fn the_form_of_an_answer_goes_beside_the_effort_for_one_turn() {
    let Some(app) = app().await else { return };
    let mut request = asked_for(&json!({"response_format": form(), "reasoning_effort": "high"}));
    request["messages"][0]["content"] = json!(r#"[[json {"a":"b"}]]"#);
    let (status, answer) = app.answer(&request).await;
    assert_eq!(status, 200, "{answer}");
    let schema = &form()["json_schema"]["schema"];
    let expected = json!({"format": {"type": "json_schema", "schema": schema}, "effort": "high"});
    assert_eq!(sent(&app, "output_config"), std::slice::from_ref(&expected));
    let messages = request["messages"].as_array_mut().expect("messages");
    messages.push(answer["choices"][0]["message"].clone());
    messages.push(json!({"role": "user", "content": "[[words 1]]"}));
    request["response_format"] = json!({"type": "text"});
    let (status, answer) = app.answer(&request).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(sent(&app, "output_config"), [expected, json!({"effort": "high"})]);
}

#[tokio::test]
async fn a_forced_choice_is_for_one_request_of_a_parked_turn() {
    let Some(app) = app().await else { return };
    let mut request = asked_for(&json!({"tools": tools(), "tool_choice": "required"}));
    request["messages"][0]["content"] = json!("[[tool look {}]]");
    let (status, answer) = app.answer(&request).await;
    assert_eq!((status, &answer["choices"][0]["finish_reason"]), (200, &json!("tool_calls")), "{answer}");
    let message = answer["choices"][0]["message"].clone();
    let result =
        json!({"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "[[words 1]]"});
    request["messages"].as_array_mut().expect("messages").extend([message, result]);
    request["tool_choice"] = json!("auto");
    let (status, answer) = app.answer(&request).await;
    assert_eq!((status, &answer["choices"][0]["finish_reason"]), (200, &json!("stop")), "{answer}");
    assert_eq!(sent(&app, "tool_choice"), [json!({"type": "any"}), Value::Null]);
    let sessions = sessions(&app);
    assert_eq!(sessions[0], sessions[1], "the process was parked");
}

/// The API takes neither as a beta any more, and the CLI sends none for them.
#[tokio::test]
async fn no_beta_goes_with_a_form_or_a_forced_choice() {
    let Some(app) = app().await else { return };
    for more in
        [json!({}), json!({"response_format": form()}), json!({"tools": tools(), "tool_choice": "required"})]
    {
        let mut request = asked_for(&more);
        request["messages"][0]["content"] = json!("hi");
        let (status, answer) = app.answer(&request).await;
        assert_eq!(status, 200, "{answer}");
    }
    let requests = app.upstream.log().model_requests();
    let betas: Vec<_> = requests.iter().map(|request| Received::header(request, "anthropic-beta")).collect();
    assert!(
        betas.len() == 3 && betas[0].is_some() && betas.iter().all(|beta| *beta == betas[0]),
        "{betas:?}"
    );
}
