use super::*;
use crate::turn::{Message, ResultBlock};
use rstest::rstest;
use serde_json::{Value, json};

fn read(messages: &Value) -> Result<Conversation, ApiError> {
    conversation(None, serde_json::from_value(messages.clone()).unwrap())
}

fn text(text: &str) -> UserBlock<MediaSource> {
    UserBlock::Text(text.to_owned())
}

fn said(text: &str) -> AssistantBlock {
    AssistantBlock::Text(text.to_owned())
}

fn call(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "f", "input": {"a": 1}})
}

fn made(id: &str) -> AssistantBlock {
    let input = [("a".to_owned(), json!(1))].into_iter().collect();
    AssistantBlock::ToolUse { id: id.to_owned(), name: "f".to_owned(), input }
}

fn answered(call_id: &str, content: Vec<ResultBlock<MediaSource>>, is_error: bool) -> UserBlock<MediaSource> {
    UserBlock::ToolResult { call_id: call_id.to_owned(), content, is_error }
}

#[test]
fn strings_and_blocks_become_turns_and_thinking_is_left_out() {
    let read = read(&json!([
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b"}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "text", "text": "c"},
            {"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "d"}]},
        {"role": "assistant", "content": " "},
        {"role": "user", "content": [{"type": "text", "text": "e"}, {"type": "text", "text": "\n"}, {"type": "text", "text": "f"}]},
    ]))
    .unwrap();
    let history = [Message::User(vec![text("a"), text("b")]), Message::Assistant(vec![said("cd")])];
    assert_eq!((read.system.as_str(), read.history), ("", history.to_vec()));
    assert_eq!(read.question, [text("e\n"), text("f")]);
}

#[test]
fn results_come_in_the_order_of_their_calls_with_what_failed_marked() {
    let read = read(&json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [{"type": "text", "text": "Let me see."}, call("one"), call("two"), call("three")]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "two", "is_error": true, "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]},
            {"type": "tool_result", "tool_use_id": "three"},
            {"type": "tool_result", "tool_use_id": "one", "content": "1", "is_error": false},
            {"type": "text", "text": "so?"}]},
    ]))
    .unwrap();
    assert_eq!(
        read.history[1],
        Message::Assistant(vec![said("Let me see."), made("one"), made("two"), made("three")])
    );
    let result = |text: &str| vec![ResultBlock::Text(text.to_owned())];
    let expected = [
        answered("one", result("1"), false),
        answered("two", result("xy"), true),
        answered("three", Vec::new(), false),
        text("so?"),
    ];
    assert_eq!(read.question, expected);
}

#[test]
fn images_and_documents_keep_their_field_title_and_place() {
    let read = read(&json!([{"role": "user", "content": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://e.org/x.png"}},
        {"type": "document", "title": "a.pdf", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
        {"type": "document", "title": " ", "source": {"type": "text", "media_type": "text/plain", "data": "said"}},
        {"type": "document", "source": {"type": "url", "url": "https://e.org/x.pdf"}},
        {"type": "text", "text": "?"},
    ]}]))
    .unwrap();
    let media = |field: &str, declared, data| {
        UserBlock::Media(MediaSource { field: format!("messages[0].content{field}"), declared, data })
    };
    let file = |name: Option<&str>| Declared::File { name: name.map(ToOwned::to_owned) };
    let expected = [
        media("[0].source.data", Declared::Image, MediaData::Base64("aGk=".to_owned())),
        media("[1].source.url", Declared::Image, MediaData::Url("https://e.org/x.png".to_owned())),
        media("[2].source.data", file(Some("a.pdf")), MediaData::Base64("JVBERi0=".to_owned())),
        media("[3].source.data", file(None), MediaData::Text("said".to_owned())),
        media("[4].source.url", file(None), MediaData::Url("https://e.org/x.pdf".to_owned())),
        text("?"),
    ];
    assert_eq!(read.question, expected);
}

#[rstest]
#[case(json!("one"), Ok("one"))]
#[case(json!([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]), Ok("one\ntwo"))]
#[case(json!([]), Ok(""))]
#[case(json!([{"type": "text", "text": "one"}, {"type": "image"}]), Err("system[1].type"))]
#[case(json!([{"type": "text"}]), Err("system[0].text"))]
fn the_system_prompt_is_a_text_or_texts(#[case] system: Value, #[case] expected: Result<&str, &str>) {
    let messages = serde_json::from_value(json!([{"role": "user", "content": "q"}])).unwrap();
    let read = conversation(Some(serde_json::from_value(system).unwrap()), messages);
    let read = read.map(|read| read.system).map_err(|error| error.param.unwrap());
    assert_eq!(read.as_deref().map_err(String::as_str), expected);
}

#[rstest]
#[case::nothing(json!([]), "messages")]
#[case::a_system_message(json!([{"role": "system", "content": "x"}]), "messages[0].role")]
#[case::blank(json!([{"role": "user", "content": " "}]), "messages[0].content")]
#[case::only_the_assistant(json!([{"role": "assistant", "content": ""}]), "messages")]
#[case::prefill(json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "It"}]), "messages[1].role")]
#[case::no_text(json!([{"role": "user", "content": [{"type": "text"}]}]), "messages[0].content[0].text")]
#[case::unknown(json!([{"role": "user", "content": [{"type": "hologram"}]}]), "messages[0].content[0].type")]
#[case::no_source(json!([{"role": "user", "content": [{"type": "image"}]}]), "messages[0].content[0].source")]
#[case::no_data(json!([{"role": "user", "content": [{"type": "image", "source": {"type": "base64"}}]}]), "messages[0].content[0].source.data")]
#[case::no_url(json!([{"role": "user", "content": [{"type": "image", "source": {"type": "url"}}]}]), "messages[0].content[0].source.url")]
#[case::stored(json!([{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]), "messages[0].content[0].source.type")]
#[case::an_image_as_text(json!([{"role": "user", "content": [{"type": "image", "source": {"type": "text", "data": "x"}}]}]), "messages[0].content[0].source.type")]
#[case::a_document_of_blocks(json!([{"role": "user", "content": [{"type": "document", "source": {"type": "content", "content": "x"}}]}]), "messages[0].content[0].source.type")]
#[case::an_image_of_the_assistant(json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": [{"type": "image"}]}]), "messages[1].content[0].type")]
#[case::a_call_of_the_user(json!([{"role": "user", "content": [call("a")]}]), "messages[0].content[0].type")]
#[case::a_call_without_id(json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {}}]}]), "messages[1].content[0].id")]
#[case::a_call_of_no_name(json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f g", "input": {}}]}]), "messages[1].content[0].name")]
#[case::one_id_twice(json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": [call("a"), call("a")]}]), "messages[1].content[1].id")]
#[case::not_answered(json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": [call("a")]}, {"role": "user", "content": "and?"}]), "messages[2]")]
#[case::not_answered_by_the_end(json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": [call("a")]}]), "messages[1]")]
#[case::answers_nothing(json!([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]}]), "messages[0].content[0].tool_use_id")]
#[case::no_reference(json!([{"role": "user", "content": [{"type": "tool_result", "content": "x"}]}]), "messages[0].content[0].tool_use_id")]
#[case::a_text_before_a_result(json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": [call("a")]},
    {"role": "user", "content": [{"type": "text", "text": "so"}, {"type": "tool_result", "tool_use_id": "a"}]}]), "messages[2].content[1]")]
#[case::a_result_in_a_result(json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": [call("a")]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "tool_result", "tool_use_id": "a"}]}]}]), "messages[2].content[0].content[0].type")]
fn what_is_no_conversation_is_refused_by_name(#[case] messages: Value, #[case] param: &str) {
    let error = read(&messages).err().expect("an error");
    assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some(param)), "{error:?}");
}
