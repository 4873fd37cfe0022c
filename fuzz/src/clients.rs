//! What clients make of a stream, written apart from what Couplet makes of it.

use eventsource_stream::Eventsource;
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::{Map, Value, json};

use crate::pieces::Sizes;

/// An event as a client gets it.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerSentEvent {
    /// Its name; `message` where it has none.
    pub name: String,
    /// Its data.
    pub data: String,
}

/// Reads a stream that comes in pieces.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn read(stream: &[u8], sizes: &mut Sizes) -> Vec<ServerSentEvent> {
    let pieces: Vec<Result<Vec<u8>, std::convert::Infallible>> =
        sizes.cut(stream).into_iter().map(|piece| Ok(piece.to_vec())).collect();
    let events = stream::iter(pieces).eventsource().collect::<Vec<_>>().now_or_never().expect("all is there");
    let event = |event: eventsource_stream::Event| ServerSentEvent { name: event.event, data: event.data };
    events.into_iter().map(|read| event(read.expect("an event"))).collect()
}

/// Folds chunks of chat completions: for each answer its message and its `finish_reason`.
///
/// # Panics
/// When the chunks break a rule that clients rely on.
#[must_use]
pub fn chat_answers(chunks: &[Value]) -> Vec<Value> {
    let mut answers: Vec<Value> = Vec::new();
    for choice in chunks.iter().flat_map(|chunk| chunk["choices"].as_array().expect("a list")) {
        let index = usize::try_from(choice["index"].as_u64().expect("a number")).expect("a small one");
        assert!(index <= answers.len(), "answers begin in their order");
        if index == answers.len() {
            assert_eq!(choice["delta"]["role"], "assistant", "the first tells the role");
            answers.push(
                json!({"text": "", "reasoning": "", "refusal": "", "calls": [], "call": null, "end": null}),
            );
        }
        let answer = &mut answers[index];
        assert!(answer["end"].is_null(), "nothing follows the end");
        let delta = &choice["delta"];
        append(&mut answer["text"], &delta["content"]);
        append(&mut answer["reasoning"], &delta["reasoning_content"]);
        append(&mut answer["refusal"], &delta["refusal"]);
        for piece in delta["tool_calls"].as_array().into_iter().flatten() {
            push_call(answer["calls"].as_array_mut().expect("a list"), piece);
        }
        if let Some(piece) = delta["function_call"].as_object() {
            if answer["call"].is_null() {
                answer["call"] = json!({"name": "", "arguments": ""});
            }
            append(&mut answer["call"]["name"], &piece.get("name").cloned().unwrap_or_default());
            append(&mut answer["call"]["arguments"], &piece.get("arguments").cloned().unwrap_or_default());
        }
        answer["end"] = choice["finish_reason"].clone();
    }
    answers
}

fn push_call(calls: &mut Vec<Value>, piece: &Value) {
    let index = usize::try_from(piece["index"].as_u64().expect("a number")).expect("a small one");
    assert!(index <= calls.len(), "calls begin in their order");
    if index == calls.len() {
        assert!(
            piece["id"].is_string() && piece["type"] == "function" && piece["function"]["name"].is_string()
        );
        calls.push(json!({"id": piece["id"], "name": piece["function"]["name"], "arguments": ""}));
    } else {
        assert!(piece["id"].is_null() && piece["function"]["name"].is_null(), "told once");
        assert_eq!(index + 1, calls.len(), "a piece belongs to the last call");
    }
    append(&mut calls[index]["arguments"], &piece["function"]["arguments"]);
}

fn append(text: &mut Value, piece: &Value) {
    if let Some(piece) = piece.as_str() {
        *text = format!("{}{piece}", text.as_str().unwrap_or_default()).into();
    }
}

/// The same of a body that came as a whole.
#[must_use]
pub fn chat_answers_of_body(body: &Value) -> Vec<Value> {
    let answer = |choice: &Value| {
        let message = &choice["message"];
        let text = |field: &str| Value::from(message[field].as_str().unwrap_or_default());
        let calls = message["tool_calls"].as_array().into_iter().flatten().map(|call| {
            json!({"id": call["id"], "name": call["function"]["name"], "arguments": call["function"]["arguments"]})
        });
        json!({
            "text": text("content"), "reasoning": text("reasoning_content"), "refusal": text("refusal"),
            "calls": calls.collect::<Vec<_>>(), "call": message["function_call"], "end": choice["finish_reason"],
        })
    };
    body["choices"].as_array().into_iter().flatten().map(answer).collect()
}

/// Folds the events of Anthropic's API into the message, as its SDKs do.
///
/// # Panics
/// When the events break a rule that clients rely on.
#[must_use]
pub fn message(events: &[ServerSentEvent]) -> Value {
    let mut message = Value::Null;
    let mut open: Option<(usize, String)> = None;
    let mut is_over = false;
    for ServerSentEvent { name, data } in events {
        assert!(!is_over, "nothing follows the end");
        let event: Value = serde_json::from_str(data).expect("JSON");
        assert_eq!(event["type"], name.as_str(), "the name is the type");
        let index = event["index"].as_u64().map(|index| usize::try_from(index).expect("a small one"));
        match name.as_str() {
            "message_start" => {
                assert!(message.is_null());
                message = event["message"].clone();
            }
            "content_block_start" => {
                assert!(open.is_none());
                let content = message["content"].as_array_mut().expect("a list");
                assert_eq!(index, Some(content.len()));
                content.push(event["content_block"].clone());
                open = index.map(|index| (index, String::new()));
            }
            "content_block_delta" => {
                let (at, json) = open.as_mut().expect("an open block");
                assert_eq!(index, Some(*at));
                let (block, delta) = (&mut message["content"][*at], &event["delta"]);
                match delta["type"].as_str().expect("a type") {
                    "text_delta" => append(&mut block["text"], &delta["text"]),
                    "thinking_delta" => append(&mut block["thinking"], &delta["thinking"]),
                    "signature_delta" => append(&mut block["signature"], &delta["signature"]),
                    "input_json_delta" => json.push_str(delta["partial_json"].as_str().expect("a text")),
                    other => panic!("a delta of type {other}"),
                }
            }
            "content_block_stop" => {
                let (at, json) = open.take().expect("an open block");
                assert_eq!(index, Some(at));
                let block = &mut message["content"][at];
                if block["type"] == "tool_use" {
                    let input: Option<Map<String, Value>> = serde_json::from_str(&json).ok();
                    block["input"] = input.map_or(Value::String(json), Value::Object);
                }
            }
            "message_delta" => {
                assert!(open.is_none());
                for (key, value) in event["delta"].as_object().expect("an object") {
                    message[key] = value.clone();
                }
                message["usage"] = event["usage"].clone();
            }
            "message_stop" => is_over = true,
            other => panic!("an event of type {other}"),
        }
    }
    assert!(is_over, "the end is told");
    message
}
