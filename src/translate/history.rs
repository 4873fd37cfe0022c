//! The messages of a request become system prompt, history and question.

use std::collections::HashSet;

use async_openai::types::chat::Role;
use serde_json::{Map, Value};

use super::content::{self, Part};
use crate::openai::chat_request::{ChatMessage, ToolCall};
use crate::openai::error::ApiError;
use crate::turn::{AssistantBlock, MediaSource, Message, ResultBlock, UserBlock};

/// What the messages of a request say.
pub(super) struct Conversation {
    pub(super) system: String,
    pub(super) history: Vec<Message<MediaSource>>,
    pub(super) question: Vec<UserBlock<MediaSource>>,
}

/// Sorts messages into system prompt, history and question.
///
/// System and developer messages are hoisted and joined with a newline. Consecutive messages of one role become one
/// turn, since the CLI would merge separate frames with a newline of its own. Texts of nothing but white space are
/// dropped from the history: Anthropic's API refuses them.
pub(super) fn conversation(messages: Vec<ChatMessage>) -> Result<Conversation, ApiError> {
    let last = messages.len().checked_sub(1).ok_or_else(|| {
        ApiError::invalid_request("messages", "'messages' must hold at least one message.")
            .with_code("invalid_value")
    })?;
    let mut system = Vec::new();
    let mut turns = Turns::default();
    for (index, message) in messages.into_iter().enumerate() {
        let field = format!("messages[{index}]");
        match message.role {
            Role::System | Role::Developer => system.extend(content::texts(&field, message.content)?),
            Role::User => {
                turns.expect_no_open_calls(&field)?;
                let parts = content::without_blanks(content::parts(&field, message.content)?);
                if index == last && parts.is_empty() {
                    let message = "The last message must hold more than white space.";
                    return Err(ApiError::invalid_request(format!("{field}.content"), message)
                        .with_code("invalid_value"));
                }
                turns.push_user(parts.into_iter().map(|part| match part {
                    Part::Text(text) => UserBlock::Text(text),
                    Part::Media(source) => UserBlock::Media(source),
                }));
            }
            Role::Assistant => {
                turns.expect_no_open_calls(&field)?;
                let blocks = assistant_blocks(&field, message, &mut turns.open_calls)?;
                turns.push_assistant(blocks);
            }
            Role::Tool => {
                let block = tool_result(&field, message, &mut turns.open_calls)?;
                turns.push_user([block]);
            }
            Role::Function => {
                return Err(not_yet(&format!("{field}.role"), "Messages of role 'function' are"));
            }
        }
    }
    turns.expect_no_open_calls(&format!("messages[{last}]"))?;
    match turns.done.pop() {
        Some(Message::User(question)) => Ok(Conversation { system: system.join("\n"), history: turns.done, question }),
        Some(Message::Assistant(_)) => Err(ApiError::invalid_request(
            format!("messages[{last}].role"),
            "The last message must not be the assistant's: an answer that has been begun (prefill) cannot be continued.",
        )
        .with_code("invalid_value")),
        None => Err(ApiError::invalid_request("messages", "'messages' must hold a message of the user.")
            .with_code("invalid_value")),
    }
}

/// Turns under construction.
#[derive(Default)]
struct Turns {
    done: Vec<Message<MediaSource>>,
    /// Calls of the last assistant turn that have no result yet.
    open_calls: HashSet<String>,
}

impl Turns {
    fn push_user(&mut self, blocks: impl IntoIterator<Item = UserBlock<MediaSource>>) {
        let mut blocks = blocks.into_iter().peekable();
        match self.done.last_mut() {
            Some(Message::User(before)) => before.extend(blocks),
            _ if blocks.peek().is_some() => self.done.push(Message::User(blocks.collect())),
            _ => {}
        }
    }

    fn push_assistant(&mut self, blocks: Vec<AssistantBlock>) {
        match self.done.last_mut() {
            Some(Message::Assistant(before)) => before.extend(blocks),
            _ if !blocks.is_empty() => self.done.push(Message::Assistant(blocks)),
            _ => {}
        }
    }

    fn expect_no_open_calls(&self, field: &str) -> Result<(), ApiError> {
        if self.open_calls.is_empty() {
            return Ok(());
        }
        let message =
            "Every call in 'tool_calls' must be answered by a tool message directly after its message.";
        Err(ApiError::invalid_request(field, message).with_code("invalid_value"))
    }
}

fn assistant_blocks(
    field: &str,
    message: ChatMessage,
    open_calls: &mut HashSet<String>,
) -> Result<Vec<AssistantBlock>, ApiError> {
    if message.function_call.is_some_and(|call| !call.is_null()) {
        return Err(not_yet(&format!("{field}.function_call"), "Calls in the form of 'function_call' are"));
    }
    let texts = content::texts(field, message.content)?.into_iter().chain(message.refusal);
    let texts =
        content::without_blanks(texts.map(Part::Text).collect()).into_iter().filter_map(Part::into_text);
    let mut blocks: Vec<_> = texts.map(AssistantBlock::Text).collect();
    for (index, call) in message.tool_calls.into_iter().flatten().enumerate() {
        let block = tool_use(&format!("{field}.tool_calls[{index}]"), call)?;
        if let AssistantBlock::ToolUse { id, .. } = &block
            && !open_calls.insert(id.clone())
        {
            let message = "Each call of a message must have an id of its own.";
            return Err(ApiError::invalid_request(format!("{field}.tool_calls[{index}].id"), message));
        }
        blocks.push(block);
    }
    Ok(blocks)
}

fn tool_use(field: &str, call: ToolCall) -> Result<AssistantBlock, ApiError> {
    let function = match (call.r#type.as_deref(), call.function) {
        (None | Some("function"), Some(function)) => function,
        (None | Some("function"), None) => {
            let field = format!("{field}.function");
            let message = format!("Missing required parameter: '{field}'.");
            return Err(ApiError::invalid_request(field, message).with_code("missing_required_parameter"));
        }
        (Some(_), _) => {
            let message = "Only calls of type 'function' are supported.";
            return Err(
                ApiError::invalid_request(format!("{field}.type"), message).with_code("invalid_value")
            );
        }
    };
    let arguments = function.arguments.filter(|text| !text.trim().is_empty());
    let input: Map<String, Value> = match arguments {
        None => Map::new(),
        Some(text) => serde_json::from_str(&text).map_err(|_| {
            let message = "The arguments of a call must be a JSON object.";
            ApiError::invalid_request(format!("{field}.function.arguments"), message)
                .with_code("invalid_value")
        })?,
    };
    Ok(AssistantBlock::ToolUse { id: call_id(&call.id), name: function.name, input })
}

fn tool_result(
    field: &str,
    message: ChatMessage,
    open_calls: &mut HashSet<String>,
) -> Result<UserBlock<MediaSource>, ApiError> {
    let id_field = format!("{field}.tool_call_id");
    let Some(id) = message.tool_call_id else {
        let message = format!("Missing required parameter: '{id_field}'.");
        return Err(ApiError::invalid_request(id_field, message).with_code("missing_required_parameter"));
    };
    let call_id = call_id(&id);
    if !open_calls.remove(&call_id) {
        let message = "A tool message must answer a call of the assistant message before it.";
        return Err(ApiError::invalid_request(id_field, message).with_code("invalid_value"));
    }
    let parts = content::joined(content::parts(field, message.content)?);
    let blocks = parts.into_iter().map(|part| match part {
        Part::Text(text) => ResultBlock::Text(text),
        Part::Media(source) => ResultBlock::Media(source),
    });
    Ok(UserBlock::ToolResult { call_id, content: blocks.collect() })
}

/// A call's id as Anthropic's API takes it (`[A-Za-z0-9_-]+`). Ids of other providers may hold more; two that differ
/// stay different, because what does not fit is written as its code point.
fn call_id(id: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !id.is_empty() && id.chars().all(fits) {
        return id.to_owned();
    }
    let mut written = String::from("id_");
    for c in id.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || c == '-' => written.push(c),
            c => written.extend(["_", &format!("{:x}", u32::from(c)), "_"]),
        }
    }
    written
}

fn not_yet(field: &str, what: &str) -> ApiError {
    let message = format!("{what} not supported by this version of Couplet yet.");
    ApiError::invalid_request(field, message).with_code("unsupported_parameter")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    fn read(messages: Value) -> Result<Conversation, ApiError> {
        conversation(serde_json::from_value(messages).unwrap())
    }

    fn user(texts: &[&str]) -> Message<MediaSource> {
        Message::User(texts.iter().map(|text| UserBlock::Text((*text).to_owned())).collect())
    }

    fn assistant(texts: &[&str]) -> Message<MediaSource> {
        Message::Assistant(texts.iter().map(|text| AssistantBlock::Text((*text).to_owned())).collect())
    }

    fn question(texts: &[&str]) -> Vec<UserBlock<MediaSource>> {
        texts.iter().map(|text| UserBlock::Text((*text).to_owned())).collect()
    }

    fn result(call_id: &str, text: &str) -> UserBlock<MediaSource> {
        UserBlock::ToolResult {
            call_id: call_id.to_owned(),
            content: vec![ResultBlock::Text(text.to_owned())],
        }
    }

    #[test]
    fn system_and_developer_messages_are_hoisted_and_joined_with_a_newline() {
        let read = read(json!([
            {"role": "system", "content": "one"},
            {"role": "user", "content": "a"},
            {"role": "developer", "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "three"}]},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ]))
        .unwrap();
        assert_eq!(read.system, "one\ntwo\nthree");
        assert_eq!(read.history, [user(&["a"]), assistant(&["b"])]);
        assert_eq!(read.question, question(&["c"]));
    }

    #[test]
    fn consecutive_messages_of_one_role_become_one_turn() {
        let read = read(json!([
            {"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "c"}, {"role": "assistant", "content": "d"},
            {"role": "user", "content": "e"}, {"role": "system", "content": "s"}, {"role": "user", "content": "f"},
        ]))
        .unwrap();
        assert_eq!(read.history, [user(&["a", "b"]), assistant(&["c", "d"])]);
        assert_eq!(read.question, question(&["e", "f"]));
    }

    #[test]
    fn blank_messages_are_dropped_and_the_turns_around_them_merge() {
        let read = read(json!([
            {"role": "user", "content": "a"}, {"role": "assistant", "content": " \n"},
            {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": " b "}]},
            {"role": "assistant", "content": null}, {"role": "assistant", "content": "c"},
            {"role": "user", "content": "d"},
        ]))
        .unwrap();
        assert_eq!(read.history, [user(&["a", " b "]), assistant(&["c"])]);
    }

    #[test]
    fn calls_and_results_of_the_history_become_blocks() {
        let read = read(json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "calling", "tool_calls": [
                {"id": "one", "type": "function", "function": {"name": "f", "arguments": "{\"b\":1,\"a\":2}"}},
                {"id": "functions.g:0", "function": {"name": "g", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "functions.g:0", "content": "zwei"},
            {"role": "tool", "tool_call_id": "one", "content": [{"type": "text", "text": "eins"}]},
            {"role": "user", "content": "and?"},
        ]))
        .unwrap();
        let Message::Assistant(blocks) = &read.history[1] else { panic!("{:?}", read.history) };
        let AssistantBlock::ToolUse { id, name, input } = &blocks[1] else { panic!("{blocks:?}") };
        assert_eq!((id.as_str(), name.as_str()), ("one", "f"));
        assert_eq!(serde_json::to_string(input).unwrap(), r#"{"b":1,"a":2}"#);
        let AssistantBlock::ToolUse { id: second, input, .. } = &blocks[2] else { panic!("{blocks:?}") };
        assert!(input.is_empty());
        assert_eq!(
            read.question,
            [result(second, "zwei"), result("one", "eins"), UserBlock::Text("and?".to_owned()),]
        );
    }

    #[test]
    fn images_are_a_question_without_a_word_and_part_of_a_result() {
        let image = json!({"type": "image_url", "image_url": {"url": "data:,x"}});
        let read = read(json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "tool_calls": [{"id": "one", "function": {"name": "f"}}]},
            {"role": "tool", "tool_call_id": "one", "content": [{"type": "text", "text": "see"}, image]},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": [{"type": "text", "text": " "}, image]},
        ]))
        .unwrap();
        let source = |field: &str| MediaSource {
            field: field.to_owned(),
            declared: crate::turn::Declared::Image,
            data: crate::turn::MediaData::Url("data:,x".to_owned()),
        };
        let content = vec![
            ResultBlock::Text("see".to_owned()),
            ResultBlock::Media(source("messages[2].content[1].image_url.url")),
        ];
        assert_eq!(
            read.history[2],
            Message::User(vec![UserBlock::ToolResult { call_id: "one".to_owned(), content }])
        );
        assert_eq!(read.question, [UserBlock::Media(source("messages[4].content[1].image_url.url"))]);
    }

    #[test]
    fn what_an_assistant_said_when_it_declined_is_part_of_the_history() {
        let read = read(json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            {"role": "assistant", "content": null, "refusal": "never"},
            {"role": "user", "content": "b"},
        ]))
        .unwrap();
        assert_eq!(read.history[1], assistant(&["no", "never"]));
    }

    #[rstest]
    #[case(json!([]), "messages")]
    #[case(json!([{"role": "system", "content": "s"}]), "messages")]
    #[case(json!([{"role": "user", "content": " \n\t"}]), "messages[0].content")]
    #[case(json!([{"role": "user", "content": "a"}, {"role": "user", "content": ""}]), "messages[1].content")]
    #[case(json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]), "messages[1].role")]
    #[case(json!([{"role": "user", "content": [{"type": "text"}]}]), "messages[0].content[0].text")]
    #[case(json!([{"role": "user", "content": [{"type": "image_url"}]}]), "messages[0].content[0].image_url")]
    #[case(json!([{"role": "user", "content": [{"type": "input_audio"}]}]), "messages[0].content[0].input_audio")]
    #[case(json!([{"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]), "messages[0].content[0]")]
    #[case(json!([{"role": "system", "content": [{"type": "file", "file": {"file_data": "eA=="}}]}]), "messages[0].content[0]")]
    #[case(json!([{"role": "user", "content": [{"type": "hologram"}]}]), "messages[0].content[0].type")]
    #[case(json!([{"role": "tool", "content": "x"}]), "messages[0].tool_call_id")]
    #[case(json!([{"role": "tool", "tool_call_id": "a", "content": "x"}]), "messages[0].tool_call_id")]
    #[case(json!([{"role": "function", "content": "x"}]), "messages[0].role")]
    #[case(json!([{"role": "assistant", "function_call": {"name": "f"}}]), "messages[0].function_call")]
    #[case(json!([{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "[1]"}}]}]),
        "messages[0].tool_calls[0].function.arguments")]
    #[case(json!([{"role": "assistant", "tool_calls": [{"id": "a"}]}]), "messages[0].tool_calls[0].function")]
    #[case(json!([{"role": "assistant", "tool_calls": [{"id": "a", "type": "custom"}]}]), "messages[0].tool_calls[0].type")]
    #[case(json!([{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f"}}]}, {"role": "user", "content": "x"}]),
        "messages[1]")]
    #[case(json!([{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f"}}, {"id": "a", "function": {"name": "f"}}]}]),
        "messages[0].tool_calls[1].id")]
    fn what_makes_no_conversation_is_refused_by_name(#[case] messages: Value, #[case] param: &str) {
        let error = read(messages).map(|_| ()).unwrap_err();
        assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some(param)));
    }

    proptest! {
        #[test]
        fn ids_that_differ_stay_different_and_fit_the_api(a in ".{0,12}", b in ".{0,12}") {
            let (x, y) = (call_id(&a), call_id(&b));
            prop_assert!(x.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') && !x.is_empty());
            // An id that fits already could be written like an escaped one only by intent.
            prop_assume!(!a.starts_with("id_") && !b.starts_with("id_"));
            prop_assert_eq!(a == b, x == y);
        }

        #[test]
        fn turns_alternate_and_every_text_arrives_once_in_order(
            said in prop::collection::vec((any::<bool>(), "[a-z]{0,3}"), 0..12)
        ) {
            let mut messages: Vec<Value> = said.iter()
                .map(|(by_user, text)| json!({"role": if *by_user { "user" } else { "assistant" }, "content": text}))
                .collect();
            messages.push(json!({"role": "user", "content": "last"}));
            let read = read(Value::Array(messages)).unwrap();
            let mut turns = read.history.clone();
            turns.push(Message::User(read.question));
            for pair in turns.windows(2) {
                prop_assert_ne!(matches!(pair[0], Message::User(_)), matches!(pair[1], Message::User(_)));
            }
            let arrived: Vec<String> = turns.iter().flat_map(|turn| match turn {
                Message::User(blocks) => blocks.iter().map(|b| format!("{b:?}")).collect::<Vec<_>>(),
                Message::Assistant(blocks) => blocks.iter().map(|b| format!("{b:?}")).collect(),
            }).collect();
            let sent: Vec<String> = said.iter().map(|(_, text)| text.as_str()).chain(["last"])
                .filter(|text| !text.is_empty()).map(|text| format!("Text({text:?})")).collect();
            prop_assert_eq!(arrived, sent);
        }
    }
}
