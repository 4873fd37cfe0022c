//! What holds of every turn that a request was made of, and what the CLI is told of it.

use std::collections::HashSet;

use bytes::Bytes;
use couplet::claude::conversation_key::ConversationKey;
use couplet::claude::frame_in;
use couplet::claude::prompt_cache::CacheTtl;
use couplet::claude::tool_server::{Reply, ToolServer};
use couplet::scope::Scope;
use couplet::turn::{
    AssistantBlock, ImageFormat, Media, MediaSource, Message, ResultBlock, ToolChoice, Turn, UserBlock,
    is_blank,
};
use serde_json::{Value, json};

/// Looks whether a turn is as `couplet::turn` says that turns are.
///
/// # Panics
/// When it is not.
pub fn expect_sound(turn: &Turn<MediaSource>) {
    assert!(!turn.model.trim().is_empty());
    assert!(!turn.question.is_empty());
    let question = Message::User(turn.question.clone());
    let mut called: Vec<&str> = Vec::new();
    let mut ids = HashSet::new();
    let mut before = None;
    for message in turn.history.iter().chain([&question]) {
        let is_user = matches!(message, Message::User(_));
        assert_ne!(before.replace(is_user), Some(is_user), "they alternate");
        match message {
            Message::User(blocks) => expect_user(blocks, &std::mem::take(&mut called)),
            Message::Assistant(blocks) => {
                assert!(!blocks.is_empty());
                assert!(called.is_empty());
                for block in blocks {
                    match block {
                        AssistantBlock::Text(text) => assert!(!is_blank(text)),
                        AssistantBlock::ToolUse { id, name, .. } => {
                            assert!(is_word(id) && is_word(name), "{id:?} {name:?}");
                            assert!(ids.insert(id), "{id:?} twice");
                            called.push(id);
                        }
                    }
                }
            }
        }
    }
    expect_parameters(turn);
}

fn expect_user(blocks: &[UserBlock<MediaSource>], called: &[&str]) {
    assert!(!blocks.is_empty());
    let mut answered = Vec::new();
    let mut is_past_results = false;
    for block in blocks {
        match block {
            UserBlock::ToolResult { call_id, content, .. } => {
                assert!(!is_past_results, "results come first");
                answered.push(call_id.as_str());
                for block in content {
                    let ResultBlock::Text(text) = block else { continue };
                    assert!(!text.is_empty() && (!is_blank(text) || content.len() == 1));
                }
            }
            UserBlock::Text(text) => {
                assert!(!is_blank(text));
                is_past_results = true;
            }
            UserBlock::Media(_) => is_past_results = true,
        }
    }
    assert_eq!(answered, called, "each call is answered, in their order");
}

fn expect_parameters(turn: &Turn<MediaSource>) {
    let parameters = &turn.parameters;
    let in_range = |value: Option<f64>| value.is_none_or(|value| (0.0..=1.0).contains(&value));
    assert!(in_range(parameters.temperature) && in_range(parameters.top_p));
    assert_ne!(parameters.max_tokens, Some(0));
    assert!(parameters.stop.iter().all(|text| !text.is_empty()));
    assert!(parameters.stop.iter().map(String::len).sum::<usize>() <= 16 * 1024);
    let names: HashSet<_> = turn.tools.iter().map(|tool| &tool.name).collect();
    assert_eq!(names.len(), turn.tools.len(), "names are different");
    assert!(turn.tools.iter().all(|tool| is_word(&tool.name)));
    match &parameters.tool_choice {
        ToolChoice::Auto => {}
        ToolChoice::None | ToolChoice::Any => assert!(!names.is_empty()),
        ToolChoice::Tool(name) => assert!(names.contains(name)),
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// The turn with something in place of its images and files.
#[must_use]
pub fn ready(turn: Turn<MediaSource>) -> Turn {
    turn.map_media(|source| Media::Image {
        format: ImageFormat::Png,
        bytes: Bytes::from(source.field.into_bytes()),
    })
}

/// Looks whether the frames that put a turn to the CLI are lines of JSON, and say what the turn says.
///
/// # Panics
/// When they are not.
pub fn expect_frames(turn: &Turn) {
    let mut said: Vec<Value> = turn.history.iter().map(message).collect();
    said.push(json!({"role": "user", "said": user_blocks(&turn.question)}));
    for mark in [None, Some(CacheTtl::OneHour)] {
        let mut lines = Vec::new();
        let frames = frame_in::of_turn(turn, mark);
        for frame in &frames {
            frame.write_to(&mut lines).expect("a frame is JSON");
        }
        assert_eq!(lines.split(|byte| *byte == b'\n').count(), frames.len() + 1, "a line each");
        let read = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let read: Vec<Value> = read.map(|line| serde_json::from_slice(line).expect("JSON")).collect();
        let (said_there, setup): (Vec<_>, Vec<_>) =
            read.into_iter().partition(|frame| frame["message"].is_object());
        let said_there: Vec<_> = said_there.iter().map(|frame| message_written(&frame["message"])).collect();
        assert_eq!(said_there, said);
        expect_setup(turn, &setup);
        let marks = String::from_utf8(lines).expect("UTF-8").matches(r#""cache_control":{"#).count();
        assert!(marks <= 1 || turn_mentions(turn, "cache_control"), "one mark at most");
    }
    expect_tools(turn);
}

fn turn_mentions(turn: &Turn, word: &str) -> bool {
    format!("{turn:?}").contains(word)
}

fn expect_setup(turn: &Turn, setup: &[Value]) {
    let initialize = setup.iter().find(|frame| frame["request"]["subtype"] == "initialize");
    let prompt = &initialize.expect("it is told")["request"]["systemPrompt"];
    assert!(prompt == &Value::from(turn.system.as_str()), "{prompt}");
    let settings = frame_in::flag_settings(turn);
    assert_eq!(settings["model"], turn.model.as_str());
    if let Some(body) = settings["env"]["CLAUDE_CODE_EXTRA_BODY"].as_str() {
        let body: Value = serde_json::from_str(body).expect("JSON in JSON");
        assert!(body.as_object().is_some_and(|body| !body.is_empty()));
    }
}

fn expect_tools(turn: &Turn) {
    let mut server = ToolServer::new(turn.tools.clone());
    let asked = server.on("cli-1", r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    let Ok(Reply::Now(answer)) = asked else { panic!("a list of tools is asked for") };
    let listed = answer["result"]["tools"].as_array().expect("a list");
    assert_eq!(listed.len(), turn.tools.len());
    for (listed, tool) in listed.iter().zip(&turn.tools) {
        assert_eq!(listed["name"], tool.name.as_str());
        assert_eq!(listed["inputSchema"].as_object(), Some(&tool.schema));
    }
}

/// A message in a form that does not tell how texts are cut.
fn message(message: &Message) -> Value {
    match message {
        Message::User(blocks) => json!({"role": "user", "said": user_blocks(blocks)}),
        Message::Assistant(blocks) => {
            let mut said = Vec::new();
            for block in blocks {
                match block {
                    AssistantBlock::Text(text) => push_text(&mut said, text),
                    AssistantBlock::ToolUse { id, name, input } => {
                        said.push(json!({"call": id, "name": name, "input": input}));
                    }
                }
            }
            json!({"role": "assistant", "said": said})
        }
    }
}

fn user_blocks(blocks: &[UserBlock]) -> Vec<Value> {
    let mut said = Vec::new();
    for block in blocks {
        match block {
            UserBlock::Text(text) => push_text(&mut said, text),
            UserBlock::Media(_) => said.push("media".into()),
            UserBlock::ToolResult { call_id, content, is_error } => {
                let mut result = Vec::new();
                for block in content {
                    match block {
                        ResultBlock::Text(text) => push_text(&mut result, text),
                        ResultBlock::Media(_) => result.push("media".into()),
                    }
                }
                said.push(json!({"result": call_id, "said": result, "error": is_error}));
            }
        }
    }
    said
}

fn push_text(said: &mut Vec<Value>, text: &str) {
    if text.is_empty() {
        return;
    }
    match said.last_mut() {
        Some(Value::Array(texts)) => {
            let before = texts[0].as_str().unwrap_or_default();
            texts[0] = format!("{before}{text}").into();
        }
        _ => said.push(json!([text])),
    }
}

/// The same of a message as it was written for the CLI.
fn message_written(message: &Value) -> Value {
    json!({"role": message["role"], "said": content_written(&message["content"])})
}

fn content_written(content: &Value) -> Vec<Value> {
    let mut said = Vec::new();
    if let Some(text) = content.as_str() {
        push_text(&mut said, text);
    }
    for block in content.as_array().into_iter().flatten() {
        match block["type"].as_str().expect("a type") {
            "text" => push_text(&mut said, block["text"].as_str().expect("a text")),
            "image" | "document" => said.push("media".into()),
            "tool_use" => {
                said.push(json!({"call": block["id"], "name": block["name"], "input": block["input"]}));
            }
            "tool_result" => {
                let result = content_written(&block["content"]);
                let is_error = block["is_error"].as_bool().unwrap_or(false);
                said.push(json!({"result": block["tool_use_id"], "said": result, "error": is_error}));
            }
            other => panic!("a block of type {other}"),
        }
    }
    said
}

/// The key of what was said before the question.
#[must_use]
pub fn key(turn: &Turn) -> ConversationKey {
    ConversationKey::of_history(&Scope::anyone(), "credential", turn)
}
