use super::*;
use crate::claude::answer;
use rstest::rstest;
use serde_json::{Value, json};

fn started() -> AnswerEvent {
    let usage = answer::Usage { input: 7, cache_creation: 5, cache_read: 3, output: 1, thinking: 0 };
    AnswerEvent::Started { model: "claude-x".to_owned(), usage, unheeded: Vec::new() }
}

fn ended(reason: StopReason, stop_sequence: Option<&str>) -> AnswerEvent {
    let usage = answer::Usage { input: 7, cache_creation: 5, cache_read: 3, output: 11, thinking: 4 };
    AnswerEvent::Ended(AnswerEnd { reason, stop_sequence: stop_sequence.map(ToOwned::to_owned), usage })
}

fn text(text: &str) -> AnswerEvent {
    AnswerEvent::Text(text.to_owned())
}

fn thought(text: &str) -> AnswerEvent {
    AnswerEvent::Reasoning(text.to_owned())
}

fn signed(signature: &str) -> AnswerEvent {
    AnswerEvent::Signature(signature.to_owned())
}

fn call(id: &str) -> AnswerEvent {
    AnswerEvent::ToolCall { id: id.to_owned(), name: "f".to_owned() }
}

fn arguments(json: &str) -> AnswerEvent {
    AnswerEvent::ToolArguments(json.to_owned())
}

/// The events of a stream, and the message they make.
fn written(events: Vec<AnswerEvent>) -> (Vec<MessageEvent>, Option<Message>) {
    let (mut writer, mut fold) = (MessageWriter::new("msg_1"), MessageFold::default());
    let events: Vec<_> = events.into_iter().flat_map(|event| writer.on(event)).collect();
    events.iter().for_each(|event| fold.push(event.clone()));
    (events, fold.finish())
}

#[test]
fn thinking_text_and_calls_are_blocks_of_one_message() {
    let (events, message) = written(vec![
        started(),
        thought("let me"),
        thought(" see"),
        signed("c2ln"),
        thought("again"),
        text("It"),
        text(" is"),
        call("toolu_1"),
        arguments("{\"a\":"),
        arguments("1}"),
        call("toolu_2"),
        arguments("{}"),
        ended(StopReason::ToolUse, None),
    ]);
    let lines: Vec<String> =
        events.iter().map(|event| format!("{}: {}", event.name(), json!(event))).collect();
    insta::assert_snapshot!(format!("{}\n{:#}", lines.join("\n"), json!(message)));
}

#[rstest]
#[case::thinking_that_is_not_shown(vec![signed("c2ln"), text("a")],
    json!([{"type": "thinking", "thinking": "", "signature": "c2ln"}, {"type": "text", "text": "a"}]))]
#[case::two_of_them(vec![thought("a"), signed("x"), thought("b"), signed("y")],
    json!([{"type": "thinking", "thinking": "a", "signature": "x"}, {"type": "thinking", "thinking": "b", "signature": "y"}]))]
#[case::not_signed(vec![thought("a"), text("b")],
    json!([{"type": "thinking", "thinking": "a", "signature": ""}, {"type": "text", "text": "b"}]))]
#[case::text_after_a_call(vec![call("t"), arguments("{}"), text("b")],
    json!([{"type": "tool_use", "id": "t", "name": "f", "input": {}}, {"type": "text", "text": "b"}]))]
#[case::arguments_that_are_no_json(vec![call("t"), arguments("{\"a\":")],
    json!([{"type": "tool_use", "id": "t", "name": "f", "input": "{\"a\":"}]))]
#[case::nothing(vec![], json!([]))]
fn the_message_is_what_its_events_say(#[case] pieces: Vec<AnswerEvent>, #[case] content: Value) {
    let all = [vec![started()], pieces, vec![ended(StopReason::EndTurn, None)]].concat();
    let (events, message) = written(all);
    assert_eq!(json!(message)["content"], content);
    assert_well_formed(&events);
}

/// Blocks begin and end in their order, one at a time, and pieces belong to the one that is open.
fn assert_well_formed(events: &[MessageEvent]) {
    let (mut open, mut next) = (None, 0);
    for event in events {
        match event {
            MessageEvent::ContentBlockStart { index, .. } => {
                assert_eq!((open, *index), (None, next), "{events:?}");
                open = Some(*index);
            }
            MessageEvent::ContentBlockDelta { index, .. } => assert_eq!(open, Some(*index), "{events:?}"),
            MessageEvent::ContentBlockStop { index } => {
                assert_eq!(open.take(), Some(*index), "{events:?}");
                next += 1;
            }
            MessageEvent::MessageStart { .. }
            | MessageEvent::MessageDelta { .. }
            | MessageEvent::MessageStop => {
                assert_eq!(open, None, "{events:?}");
            }
        }
    }
}

#[rstest]
#[case(StopReason::EndTurn, None, "end_turn")]
#[case(StopReason::StopSequence, Some("END"), "stop_sequence")]
#[case(StopReason::ToolUse, None, "tool_use")]
#[case(StopReason::PauseTurn, None, "pause_turn")]
#[case(StopReason::MaxTokens, None, "max_tokens")]
#[case(StopReason::ContextWindow, None, "model_context_window_exceeded")]
#[case(StopReason::Refusal, None, "refusal")]
#[case(StopReason::Unknown("tired".to_owned()), None, "tired")]
fn each_stop_reason_is_told_in_anthropic_s_own_word(
    #[case] reason: StopReason,
    #[case] sequence: Option<&str>,
    #[case] told: &str,
) {
    let (_, message) = written(vec![started(), text("a"), ended(reason, sequence)]);
    let message = message.unwrap();
    assert_eq!((message.stop_reason.as_deref(), message.stop_sequence.as_deref()), (Some(told), sequence));
}

#[test]
fn an_answer_that_did_not_end_is_no_message() {
    assert_eq!(written(vec![started(), text("a")]).1, None);
    assert_eq!(written(vec![]).1, None);
}
