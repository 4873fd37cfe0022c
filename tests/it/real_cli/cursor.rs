//! Cursor posts the Responses API's form to `/v1/chat/completions` and reads a chat completion.

use couplet::upstream::Reply;
use serde_json::{Value, json};

use super::app;
use crate::support::app::ask;
use crate::support::received::{conversation, sessions};

fn body(input: &Value) -> Value {
    let read_file = json!({"type": "function", "name": "read_file", "description": "Reads a file.", "strict": false,
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}});
    json!({"model": "claude-sonnet-5-5", "instructions": "Be brief.", "input": input, "tools": [read_file],
        "tool_choice": "auto", "stream_options": {"include_usage": true}, "store": false,
        "reasoning": {"effort": "low", "summary": "auto"}, "max_output_tokens": 99})
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_answered_in_the_same_process() {
    let Some(app) = app().await else { return };
    app.upstream.push_reply(Reply::tool("read_file", r#"{"path":"a.txt"}"#));
    let user = json!({"role": "user", "content": [{"type": "input_text", "text": "What is in a.txt?"}]});
    let called = app.stream(&body(&json!([user]))).await;
    assert_eq!(
        (called.status, called.done, called.finish_reason()),
        (200, true, Some("tool_calls")),
        "{called:?}"
    );
    assert_eq!(called.headers["x-couplet-ignored"], "store, reasoning.summary");
    let calls = called.data.iter().map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0]);
    let calls: Vec<&Value> = calls.filter(|call| !call.is_null()).collect();
    assert_eq!(calls[0]["function"]["name"], "read_file");
    let arguments: String = calls.iter().filter_map(|call| call["function"]["arguments"].as_str()).collect();
    assert_eq!(arguments, r#"{"path":"a.txt"}"#);

    let asked = app.upstream.log().last().expect("a request").asked();
    assert!(asked.system_texts().concat().ends_with("Be brief."));
    assert_eq!((asked.max_tokens(), asked.field("output_config.effort")), (Some(99), Some(&json!("low"))));
    assert_eq!(asked.tools()[0]["input_schema"]["required"], json!(["path"]));

    app.upstream.push_reply(Reply::text("hello"));
    let call = json!({"type": "function_call", "call_id": calls[0]["id"], "name": "read_file", "arguments": arguments});
    let output = json!({"type": "function_call_output", "call_id": calls[0]["id"], "output": "hello"});
    let answered = app.stream(&body(&json!([user, call, output]))).await;
    assert_eq!(
        (answered.contents(), answered.finish_reason()),
        (vec!["hello"], Some("stop")),
        "{answered:?}"
    );
    assert!(answered.usage()["total_tokens"].is_u64());
    let turns = conversation(&app);
    assert_eq!(turns[2]["content"][0]["tool_use_id"], calls[0]["id"]);
    let mut sessions = sessions(&app);
    sessions.dedup();
    assert_eq!(sessions.len(), 1, "the process that made the call got its result");
}

#[tokio::test]
async fn a_conversation_that_began_in_messages_goes_on_in_input() {
    let Some(app) = app().await else { return };
    let (status, answer) = app.answer(&ask("[[say one]]")).await;
    assert_eq!(status, 200, "{answer}");
    let request = json!({"model": "claude-sonnet-5-5", "input": [{"role": "user", "content": "[[say one]]"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "one"}]}, {"role": "user", "content": "[[say two]]"}]});
    let (status, answer) = app.answer(&request).await;
    assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!("two")), "{answer}");
    assert_eq!(answer["object"], "chat.completion");
    let sessions = sessions(&app);
    assert_eq!(sessions[0], sessions[1], "they say the same");
}

#[tokio::test]
async fn where_there_are_both_messages_count_and_input_is_named_as_ignored() {
    let Some(app) = app().await else { return };
    let mut request = ask("[[say messages]]");
    request["input"] = json!("[[say input]]");
    let response = app.chat(&request).await;
    assert_eq!(response.headers()["x-couplet-ignored"], "input");
    let answer: Value = response.json().await.expect("JSON");
    assert_eq!(answer["choices"][0]["message"]["content"], "messages");
}

#[tokio::test]
async fn a_failure_of_the_turn_names_the_input() {
    let Some(app) = app().await else { return };
    let too_long = "[[err 400 invalid_request_error prompt is too long: 250000 tokens > 200000 maximum]]";
    let (status, answer) = app.answer(&json!({"model": "claude-sonnet-5-5", "input": too_long})).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("context_length_exceeded")), "{answer}");
    assert_eq!(answer["error"]["param"], "input");
}
