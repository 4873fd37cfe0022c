use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::turn::{ImageFormat, Parameters, Tool};

fn text(text: &str) -> UserBlock {
    UserBlock::Text(text.to_owned())
}

fn said(text: &str) -> AssistantBlock {
    AssistantBlock::Text(text.to_owned())
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn call(id: &str, input: &Value) -> AssistantBlock {
    AssistantBlock::ToolUse { id: id.to_owned(), name: "f".to_owned(), input: object(input) }
}

fn tool(name: &str) -> Tool {
    Tool { name: name.to_owned(), description: "does".to_owned(), schema: object(&json!({"type": "object"})) }
}

fn turn() -> Turn {
    Turn {
        model: "sonnet".to_owned(),
        system: "be brief".to_owned(),
        history: vec![
            Message::User(vec![text("a"), text("b")]),
            Message::Assistant(vec![said("c"), call("toolu_1", &json!({"x": 1}))]),
            Message::User(vec![UserBlock::ToolResult {
                call_id: "toolu_1".to_owned(),
                content: vec![ResultBlock::Text("d".to_owned())],
                is_error: false,
            }]),
            Message::Assistant(vec![said("e")]),
        ],
        question: vec![text("f")],
        tools: vec![tool("f"), tool("g")],
        parameters: Parameters::default(),
    }
}

fn key(turn: &Turn) -> ConversationKey {
    ConversationKey::of_history(&Scope::anyone(), "credential", turn)
}

#[test]
fn what_is_said_next_leads_to_the_key_of_the_longer_history() {
    let turn = turn();
    let answer = vec![said("g")];
    let mut longer = turn.clone();
    longer.history.push(Message::User(turn.question.clone()));
    longer.history.push(Message::Assistant(answer.clone()));
    longer.question = vec![text("something else")];
    assert_eq!(key(&longer), key(&turn).then_user(&turn.question).then_assistant(&answer));
}

#[test]
fn another_scope_or_credential_has_another_key() {
    let turn = turn();
    let other_scope = ConversationKey::of_history(&Scope::of_caller("t", "1"), "credential", &turn);
    let other_credential = ConversationKey::of_history(&Scope::anyone(), "another", &turn);
    assert_ne!(key(&turn), other_scope);
    assert_ne!(key(&turn), other_credential);
    assert_ne!(other_scope, ConversationKey::of_history(&Scope::of_caller("t", "2"), "credential", &turn));
}

#[rstest]
#[case::model(|turn: &mut Turn| turn.model = "opus".to_owned())]
#[case::system(|turn: &mut Turn| turn.system.push(' '))]
#[case::no_system(|turn: &mut Turn| turn.system.clear())]
#[case::thinking_off(|turn: &mut Turn| turn.parameters.effort = Some(Effort::Off))]
#[case::one_tool_less(|turn: &mut Turn| drop(turn.tools.pop()))]
#[case::tools_in_another_order(|turn: &mut Turn| turn.tools.reverse())]
#[case::tool_name(|turn: &mut Turn| turn.tools[0].name.push('x'))]
#[case::tool_description(|turn: &mut Turn| turn.tools[0].description.push('x'))]
#[case::tool_schema(|turn: &mut Turn| drop(turn.tools[0].schema.insert("x".to_owned(), Value::Null)))]
#[case::first_message(|turn: &mut Turn| turn.history[0] = Message::User(vec![text("ab")]))]
#[case::blocks_joined(|turn: &mut Turn| turn.history[0] = Message::User(vec![text("a\nb")]))]
#[case::edited_answer(|turn: &mut Turn| turn.history[3] = Message::Assistant(vec![said("E")]))]
#[case::shortened(|turn: &mut Turn| turn.history.truncate(2))]
#[case::without_the_beginning(|turn: &mut Turn| drop(turn.history.drain(..2)))]
#[case::reordered(|turn: &mut Turn| turn.history.swap(1, 3))]
#[case::roles_swapped(|turn: &mut Turn| turn.history[3] = Message::User(vec![text("e")]))]
#[case::call_id(|turn: &mut Turn| turn.history[1] = Message::Assistant(vec![said("c"), call("toolu_2", &json!({"x": 1}))]))]
#[case::arguments(|turn: &mut Turn| turn.history[1] = Message::Assistant(vec![said("c"), call("toolu_1", &json!({"x": 2}))]))]
#[case::null_argument(|turn: &mut Turn| turn.history[1] = Message::Assistant(vec![said("c"), call("toolu_1", &json!({"x": 1, "y": null}))]))]
#[case::number_as_text(|turn: &mut Turn| turn.history[1] = Message::Assistant(vec![said("c"), call("toolu_1", &json!({"x": "1"}))]))]
#[case::call_before_the_text(|turn: &mut Turn| turn.history[1] = Message::Assistant(vec![call("toolu_1", &json!({"x": 1})), said("c")]))]
fn whatever_differs_the_key_differs(#[case] change: fn(&mut Turn)) {
    let mut changed = turn();
    change(&mut changed);
    assert_ne!(key(&changed), key(&turn()));
}

#[rstest]
#[case::question(|turn: &mut Turn| turn.question = vec![text("other")])]
#[case::sampling(|turn: &mut Turn| turn.parameters.temperature = Some(0.1))]
#[case::effort(|turn: &mut Turn| turn.parameters.effort = Some(Effort::High))]
#[case::arguments_written_in_another_way(|turn: &mut Turn| turn.history[1] = Message::Assistant(vec![said("c"), call("toolu_1", &json!({"x": 1.0}))]))]
fn what_is_set_for_each_turn_does_not_count(#[case] change: fn(&mut Turn)) {
    let mut changed = turn();
    change(&mut changed);
    assert_eq!(key(&changed), key(&turn()));
}

#[test]
fn the_order_of_arguments_does_not_count_and_their_nesting_does() {
    let of = |input: Value| key(&turn()).then_assistant(&[call("a", &input)]);
    assert_eq!(
        of(json!({"a": {"c": [1, 2], "b": 2}, "d": 3})),
        of(json!({"d": 3.0, "a": {"b": 2, "c": [1, 2]}}))
    );
    assert_ne!(of(json!({"a": {"c": [1, 2]}})), of(json!({"a": {"c": [2, 1]}})));
    assert_ne!(of(json!({"a": {"b": 1}, "c": 2})), of(json!({"a": {"b": 1, "c": 2}})));
    assert_ne!(of(json!({"a": 0.5})), of(json!({"a": 0})));
}

#[test]
fn media_count_by_kind_name_and_bytes() {
    let bytes = || bytes::Bytes::from_static(b"x");
    let title = || Some("x".to_owned());
    let all = [
        Media::Image { format: ImageFormat::Png, bytes: bytes() },
        Media::Image { format: ImageFormat::Jpeg, bytes: bytes() },
        Media::Image { format: ImageFormat::Png, bytes: (&b"y"[..]).into() },
        Media::ImageUrl("x".to_owned()),
        Media::Pdf { title: None, bytes: bytes() },
        Media::Pdf { title: title(), bytes: bytes() },
        Media::Text { title: title(), text: "x".to_owned() },
        Media::Text { title: None, text: "x".to_owned() },
        Media::Text { title: Some(String::new()), text: "x".to_owned() },
    ];
    let keys: std::collections::HashSet<_> =
        all.iter().map(|media| key(&turn()).then_user(&[UserBlock::Media(media.clone())])).collect();
    assert_eq!(keys.len(), all.len());
}

/// Conversations of few words, so that many are nearly alike.
fn histories() -> impl Strategy<Value = Vec<Message>> {
    let user = prop_oneof![
        "[ab]{0,2}".prop_map(|said| text(&said)),
        ("[ab]{1}", prop::collection::vec("[ab]{0,2}".prop_map(ResultBlock::Text), 0..2), any::<bool>())
            .prop_map(|(call_id, content, is_error)| UserBlock::ToolResult { call_id, content, is_error }),
    ];
    let assistant =
        prop_oneof!["[ab]{0,2}".prop_map(|text| said(&text)), "[ab]{1}".prop_map(|id| call(&id, &json!({})))];
    let message = prop_oneof![
        prop::collection::vec(user, 0..3).prop_map(Message::User),
        prop::collection::vec(assistant, 0..3).prop_map(Message::Assistant),
    ];
    prop::collection::vec(message, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn keys_are_the_same_exactly_where_histories_are(a in histories(), b in histories()) {
        let of = |history: &[Message]| key(&Turn { history: history.to_vec(), ..turn() });
        prop_assert_eq!(a == b, of(&a) == of(&b));
    }
}
