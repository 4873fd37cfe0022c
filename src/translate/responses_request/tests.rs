use super::*;
use crate::openai::parse::parse;
use crate::openai::responses_request::ResponsesRequest;
use crate::turn::{Effort, Turn};
use rstest::rstest;
use serde_json::{Value, json};

fn responses(body: &Value) -> Result<Translated, ApiError> {
    turn(parse::<ResponsesRequest>(body.to_string().as_bytes())?.request)
}

/// The turn of a body of chat completions.
fn chat(body: &Value) -> Turn<MediaSource> {
    chat_request::turn(parse(body.to_string().as_bytes()).unwrap().request).unwrap().turn
}

fn with(extra: &Value) -> Result<Translated, ApiError> {
    let mut body = json!({"model": "sonnet", "input": "hi"});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    responses(&body)
}

fn call(id: &str) -> Value {
    json!({"type": "function_call", "id": "fc_1", "call_id": id, "name": "f", "arguments": "{\"a\":1}", "status": "completed"})
}

fn output(id: &str, output: &Value) -> Value {
    json!({"type": "function_call_output", "call_id": id, "output": output})
}

fn chat_calls(content: &Value, ids: &[&str]) -> Value {
    let call = |id: &&str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
    json!({"role": "assistant", "content": content, "tool_calls": ids.iter().map(call).collect::<Vec<_>>()})
}

#[rstest]
#[case::a_text(json!("hi"), json!([{"role": "user", "content": "hi"}]))]
#[case::messages_with_and_without_their_type(
    json!([{"role": "developer", "content": "be brief"}, {"type": "message", "role": "user", "content": "a"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b", "annotations": []}]},
        {"role": "user", "content": [{"type": "input_text", "text": "c"}, {"type": "text", "text": "d"}]}]),
    json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]}]))]
#[case::a_call_and_its_output(
    json!([{"role": "user", "content": "a"}, call("call_1"), output("call_1", &json!("r"))]),
    json!([{"role": "user", "content": "a"}, chat_calls(&Value::Null, &["call_1"]),
        {"role": "tool", "tool_call_id": "call_1", "content": "r"}]))]
#[case::text_and_calls_of_one_answer_with_its_reasoning(
    json!([{"role": "user", "content": "a"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"role": "assistant", "content": "let me look"}, call("call_1"), {"type": "reasoning", "summary": []}, call("call_2"),
        output("call_2", &json!([{"type": "input_text", "text": "r2"}])), output("call_1", &json!("r1")),
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, {"role": "user", "content": "b"}]),
    json!([{"role": "user", "content": "a"}, chat_calls(&json!("let me look"), &["call_1", "call_2"]),
        {"role": "tool", "tool_call_id": "call_1", "content": "r1"}, {"role": "tool", "tool_call_id": "call_2", "content": "r2"},
        {"role": "assistant", "refusal": "no"}, {"role": "user", "content": "b"}]))]
#[case::one_call_after_the_other(
    json!([{"role": "user", "content": "a"}, call("call_1"), output("call_1", &json!("r")), call("call_2"),
        output("call_2", &json!(""))]),
    json!([{"role": "user", "content": "a"}, chat_calls(&Value::Null, &["call_1"]),
        {"role": "tool", "tool_call_id": "call_1", "content": "r"}, chat_calls(&Value::Null, &["call_2"]),
        {"role": "tool", "tool_call_id": "call_2", "content": ""}]))]
#[case::an_answer_in_two_messages(
    json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"}]),
    json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"}]))]
fn the_input_says_what_messages_would(#[case] input: Value, #[case] messages: Value) {
    let translated = responses(&json!({"model": "sonnet", "input": input})).unwrap();
    assert_eq!(translated.turn, chat(&json!({"model": "sonnet", "messages": messages})));
    assert!(translated.adjusted.is_empty());
}

#[test]
fn parameters_and_tools_say_what_a_chat_s_would() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let translated = with(&json!({
        "instructions": "be brief", "max_output_tokens": 9, "temperature": 0.5, "top_p": 0.25,
        "reasoning": {"effort": "high", "summary": "auto"}, "parallel_tool_calls": false,
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": schema, "strict": true}},
        "tools": [{"type": "function", "name": "f", "description": "does", "parameters": schema},
            {"type": "function", "name": "g"}],
        "tool_choice": {"type": "function", "name": "f"},
    }))
    .unwrap();
    let expected = chat(&json!({
        "model": "sonnet", "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
        "max_completion_tokens": 9, "temperature": 0.5, "top_p": 0.25, "reasoning_effort": "high",
        "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": true}},
        "tools": [{"type": "function", "function": {"name": "f", "description": "does", "parameters": schema}},
            {"type": "function", "function": {"name": "g"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
    }));
    assert_eq!(expected.parameters.effort, Some(Effort::High));
    assert!(expected.parameters.format.is_some());
    assert_eq!(translated.turn, expected);
}

#[test]
fn the_tools_that_are_allowed_are_flat_too() {
    let function = |name: &str| json!({"type": "function", "name": name});
    let allowed = with(&json!({"tools": [function("f"), function("g")],
        "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [function("g")]}}));
    let names: Vec<String> = allowed.unwrap().turn.tools.into_iter().map(|tool| tool.name).collect();
    assert_eq!(names, ["g"]);
}

#[test]
fn what_is_honoured_in_part_is_named_as_it_was_sent() {
    let tools = json!([{"type": "function", "name": "f", "strict": true}]);
    assert_eq!(
        with(&json!({"tools": tools, "temperature": 2})).unwrap().adjusted,
        ["temperature", "tools[].strict"]
    );
    let body = json!({"model": "m", "input": [{"role": "user", "content": "a", "id": "msg_1"}], "store": false,
        "include": ["reasoning.encrypted_content"], "metadata": {}, "user": "u", "text": {"verbosity": "low"},
        "reasoning": {"summary": "auto"}});
    let ignored = parse::<ResponsesRequest>(body.to_string().as_bytes()).unwrap().ignored;
    let named = ["input[].id", "store", "include", "metadata", "user", "text.verbosity", "reasoning.summary"];
    assert_eq!(ignored, named);
    assert_eq!(name_of(Parameter::Effort), "reasoning.effort");
}

#[test]
fn images_and_files_are_named_as_they_were_sent() {
    let parts = json!([{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": "data:,x", "detail": "low"},
        {"type": "input_file", "file_data": "eA==", "filename": "x"}]);
    let translated =
        with(&json!({"input": [{"role": "user", "content": "a"}, call("c"), output("c", &parts),
        {"role": "user", "content": parts}]}))
        .unwrap();
    let mut fields = Vec::new();
    let _ = translated.turn.map_media(|source| fields.push(source.field));
    let named = [
        "input[2].output[1].image_url",
        "input[2].output[2].file_data",
        "input[3].content[1].image_url",
        "input[3].content[2].file_data",
    ];
    assert_eq!(fields, named);
}

#[rstest]
#[case(json!({"input": []}), "input")]
#[case(json!({"input": " "}), "input")]
#[case(json!({"input": 5}), "input")]
#[case(json!({"input": [], "instructions": "x"}), "input")]
#[case(json!({"input": [{"role": "user"}]}), "input[0].content")]
#[case(json!({"input": [{"content": "x"}]}), "input[0].role")]
#[case(json!({"input": [{"role": "wizard", "content": "x"}]}), "input[0].role")]
#[case(json!({"input": [{"role": "tool", "content": "x"}]}), "input[0].role")]
#[case(json!({"input": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}), "input[1].role")]
#[case(json!({"input": [{"role": "user", "content": "a"}, call("c")]}), "input[1]")]
#[case(json!({"input": [{"role": "user", "content": "a"}, call("c"), {"role": "user", "content": "b"}]}), "input[2]")]
#[case(json!({"input": [{"role": "user", "content": "a"}, output("c", &json!("r"))]}), "input[1].call_id")]
#[case(json!({"input": [{"role": "user", "content": "a"}, {"type": "function_call_output", "call_id": "c"}]}), "input[1].output")]
#[case(json!({"input": [{"type": "function_call", "name": "f"}]}), "input[0].call_id")]
#[case(json!({"input": [{"type": "function_call", "call_id": "c"}]}), "input[0].name")]
#[case(json!({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "no"}]}), "input[0].arguments")]
#[case(json!({"input": [{"type": "function_call", "call_id": "c", "name": "f g"}]}), "input[0].name")]
#[case(json!({"input": [call("c"), call("c")]}), "input[1].call_id")]
#[case(json!({"input": [{"type": "item_reference", "id": "msg_1"}]}), "input[0].type")]
#[case(json!({"input": [{"type": "computer_call"}]}), "input[0].type")]
#[case(json!({"input": [{"role": "user", "content": [{"type": "video"}]}]}), "input[0].content[0].type")]
#[case(json!({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}), "input[0].content[0].text")]
#[case(json!({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}), "input[0].content[0].image_url")]
#[case(json!({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}), "input[0].content[0].file_id")]
#[case(json!({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}), "input[0].content[0].file_id")]
#[case(json!({"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "f"}]}]}), "input[0].content[0].file_url")]
#[case(json!({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}), "input[0].content[0].file_data")]
#[case(json!({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}), "input[0].content[0].input_audio")]
#[case(json!({"input": [{"role": "assistant", "content": [{"type": "input_image", "image_url": "data:,"}]},
    {"role": "user", "content": "a"}]}), "input[0].content[0]")]
#[case(json!({"input": [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": [{"type": "output_text",
    "text": "b"}, {"type": "input_file", "file_data": "eA=="}]}, {"role": "user", "content": "a"}]}), "input[1].content[1]")]
#[case(json!({"tools": [{"type": "function"}]}), "tools[0].name")]
#[case(json!({"tools": [{"type": "function", "name": "f", "parameters": {"type": "null"}}]}), "tools[0].parameters.type")]
#[case(json!({"tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "apply_patch"}]}), "tools[1].type")]
#[case(json!({"tools": [{"type": "web_search"}]}), "tools[0].type")]
#[case(json!({"tool_choice": "required"}), "tool_choice")]
#[case(json!({"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "function"}}), "tool_choice.name")]
#[case(json!({"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "function", "name": "g"}}), "tool_choice.name")]
#[case(json!({"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "allowed_tools", "mode": "auto",
    "tools": [{"type": "function", "name": "g"}]}}), "tool_choice.tools[0].name")]
#[case(json!({"tool_choice": {"type": "web_search"}}), "tool_choice.type")]
#[case(json!({"text": {"format": {"type": "yaml"}}}), "text.format.type")]
#[case(json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": 5}}}}), "text.format.schema")]
#[case(json!({"max_output_tokens": 0}), "max_output_tokens")]
#[case(json!({"reasoning": {"effort": "huge"}}), "reasoning.effort")]
#[case(json!({"temperature": 3}), "temperature")]
#[case(json!({"previous_response_id": "resp_1"}), "previous_response_id")]
#[case(json!({"conversation": "conv_1"}), "conversation")]
#[case(json!({"prompt": {"id": "pmpt_1"}}), "prompt")]
fn an_error_names_the_field_that_was_sent(#[case] extra: Value, #[case] param: &str) {
    let error = with(&extra).unwrap_err();
    assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some(param)), "{error:?}");
    let chat_s_own = ["'messages", "max_completion_tokens", "response_format", ".function."];
    assert!(!chat_s_own.iter().any(|name| error.message.contains(name)), "{}", error.message);
}
