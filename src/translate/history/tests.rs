use super::*;
use crate::turn::{MediaSource, Message, ResultBlock};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

mod calls;

fn read(messages: Value) -> Result<Conversation, ApiError> {
    conversation(serde_json::from_value(messages).unwrap(), &mut Vec::new())
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
    let content = vec![ResultBlock::Text(text.to_owned())];
    UserBlock::ToolResult { call_id: call_id.to_owned(), content, is_error: false }
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
        Message::User(vec![UserBlock::ToolResult { call_id: "one".to_owned(), content, is_error: false }])
    );
    assert_eq!(read.question, [UserBlock::Media(source("messages[4].content[1].image_url.url"))]);
}

#[test]
fn the_names_of_speakers_are_reported_once_and_that_of_a_function_is_not() {
    let adjusted = |messages: Value| {
        let mut adjusted = Vec::new();
        conversation(serde_json::from_value(messages).unwrap(), &mut adjusted).unwrap();
        adjusted
    };
    let said = json!([{"role": "user", "name": "ann", "content": "a"}, {"role": "user", "name": "bob", "content": "b"}]);
    assert_eq!(adjusted(said), [NAME]);
    let called = json!([
        {"role": "user", "content": "a"}, {"role": "assistant", "function_call": {"name": "f"}},
        {"role": "function", "name": "f", "content": "r"}]);
    assert_eq!(adjusted(called), [""; 0]);
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
fn what_makes_no_conversation_is_refused_by_name(#[case] messages: Value, #[case] param: &str) {
    let error = read(messages).map(|_| ()).unwrap_err();
    assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some(param)));
}

proptest! {
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
