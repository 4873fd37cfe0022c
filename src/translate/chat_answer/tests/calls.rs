//! Calls of tools in an answer.

use super::*;

fn call(id: &str, name: &str) -> AnswerEvent {
    AnswerEvent::ToolCall { id: id.to_owned(), name: name.to_owned() }
}

fn arguments(piece: &str) -> AnswerEvent {
    AnswerEvent::ToolArguments(piece.to_owned())
}

fn text(text: &str) -> AnswerEvent {
    AnswerEvent::Text(text.to_owned())
}

/// What a client reads of an answer: the choices of the chunks, line for line, and those of the whole answer.
fn read_as(form: CallForm, events: &[AnswerEvent]) -> String {
    let mut lines: Vec<String> =
        write_in(form, events.to_vec(), false).iter().map(|chunk| json!(chunk.choices).to_string()).collect();
    lines.push(format!("{:#}", json!(fold_in(form, events.to_vec()).unwrap().choices)));
    lines.join("\n")
}

#[test]
fn a_call_without_arguments() {
    let events = [started(), call("toolu_1", "now"), arguments("{}"), ended(StopReason::ToolUse)];
    insta::assert_snapshot!(read_as(CallForm::ToolCalls, &events));
}

#[test]
fn two_calls_with_text_before_them() {
    let events = [
        started(),
        AnswerEvent::Reasoning("hm".to_owned()),
        text("Let me "),
        text("look."),
        call("toolu_1", "weather"),
        arguments("{\"city\":"),
        arguments(" \"Paris\"}"),
        call("toolu_2", "weather"),
        arguments("{\"city\": \"R\u{f6}m\"}"),
        ended(StopReason::ToolUse),
    ];
    insta::assert_snapshot!(read_as(CallForm::ToolCalls, &events));
}

#[test]
fn text_behind_a_call() {
    let events =
        [started(), call("toolu_1", "now"), arguments("{}"), text("Wait."), ended(StopReason::ToolUse)];
    insta::assert_snapshot!(read_as(CallForm::ToolCalls, &events));
}

#[test]
fn the_limit_in_the_middle_of_a_call() {
    let events =
        [started(), call("toolu_1", "write"), arguments("{\"text\": \"a"), ended(StopReason::MaxTokens)];
    insta::assert_snapshot!(read_as(CallForm::ToolCalls, &events));
}

#[test]
fn a_call_in_the_older_form() {
    let events = [
        started(),
        call("toolu_1", "weather"),
        arguments("{\"city\":"),
        arguments(" \"Paris\"}"),
        ended(StopReason::ToolUse),
    ];
    insta::assert_snapshot!(read_as(CallForm::FunctionCall, &events));
}

#[test]
fn a_second_call_in_the_older_form_is_left_out_and_what_follows_it_is_not() {
    let first = [started(), text("a"), call("toolu_1", "f"), arguments("{\"x\":1}")];
    let second = [call("toolu_2", "g"), arguments("{\"y\":"), arguments("2}")];
    let rest = [text("b"), ended(StopReason::ToolUse)];
    let alone = read_as(CallForm::FunctionCall, &[&first[..], &rest].concat());
    assert_eq!(read_as(CallForm::FunctionCall, &[&first[..], &second, &rest].concat()), alone);
    assert!(alone.contains("\"b\""));
}

#[test]
fn a_refusal_behind_a_call_says_so() {
    let events = vec![started(), call("toolu_1", "f"), arguments("{}"), ended(StopReason::Refusal)];
    let choice = json!(fold(events).unwrap().choices[0]);
    assert_eq!(choice["finish_reason"], "content_filter");
    assert_eq!(
        (&choice["message"]["content"], &choice["message"]["refusal"]),
        (&json!(null), &json!(REFUSAL))
    );
}

/// Adds a delta to what came before it, by the rules of openai-python: texts are joined, objects merged, entries of a
/// list are told apart by their `index`, and only `index` and `type` replace what was there.
fn accumulate(message: &mut Value, delta: &Value) {
    match (message, delta) {
        (Value::Object(message), Value::Object(delta)) => {
            for (key, new) in delta {
                match message.get_mut(key) {
                    Some(old) if !old.is_null() && key != "index" && key != "type" => accumulate(old, new),
                    _ => drop(message.insert(key.clone(), new.clone())),
                }
            }
        }
        (Value::String(message), Value::String(delta)) => message.push_str(delta),
        (Value::Array(message), Value::Array(delta)) => {
            for new in delta {
                let index = usize::try_from(new["index"].as_u64().unwrap()).unwrap();
                match message.get_mut(index) {
                    Some(old) => accumulate(old, new),
                    None => message.insert(index, new.clone()),
                }
            }
        }
        (message, delta) => panic!("{message} and {delta} cannot be joined"),
    }
}

/// The message that a client of the stream has in the end, written as one that was not streamed.
fn accumulated(form: CallForm, events: &[AnswerEvent]) -> Value {
    let mut message = json!({});
    for chunk in write_in(form, events.to_vec(), false) {
        accumulate(&mut message, &json!(chunk.choices[0].delta));
    }
    let message = message.as_object_mut().unwrap();
    for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        call.as_object_mut().unwrap().remove("index");
    }
    message.entry("refusal").or_insert(Value::Null);
    let has_other = ["tool_calls", "function_call"].iter().any(|key| message.contains_key(*key));
    if message["content"] == "" && (has_other || message["refusal"] != Value::Null) {
        message.insert("content".to_owned(), Value::Null);
    }
    json!(message)
}

fn any_piece() -> impl Strategy<Value = Vec<AnswerEvent>> {
    let arguments = prop::collection::vec(".{1,4}".prop_map(AnswerEvent::ToolArguments), 1..4);
    prop_oneof![
        ".{1,5}".prop_map(|piece| vec![AnswerEvent::Text(piece)]),
        ".{1,5}".prop_map(|piece| vec![AnswerEvent::Reasoning(piece)]),
        ("[a-z0-9_]{1,8}", "[a-z]{1,5}", arguments).prop_map(|(id, name, arguments)| {
            std::iter::once(AnswerEvent::ToolCall { id, name }).chain(arguments).collect()
        }),
    ]
}

proptest! {
    #[test]
    fn the_fold_is_what_a_client_of_the_stream_has_in_the_end(
        pieces in prop::collection::vec(any_piece(), 0..8),
        form in prop::sample::select(vec![CallForm::ToolCalls, CallForm::FunctionCall]),
        reason in prop::sample::select(vec![StopReason::ToolUse, StopReason::MaxTokens, StopReason::Refusal]),
    ) {
        let events: Vec<_> = std::iter::once(started())
            .chain(pieces.into_iter().flatten())
            .chain([ended(reason)])
            .collect();
        let whole = fold_in(form, events.clone()).unwrap();
        prop_assert_eq!(json!(whole.choices[0].message), accumulated(form, &events));

        let calls = events.iter().filter(|event| matches!(event, AnswerEvent::ToolCall { .. })).count();
        let message = &whole.choices[0].message;
        let told = message.tool_calls.len() + usize::from(message.function_call.is_some());
        prop_assert_eq!(told, if form == CallForm::ToolCalls { calls } else { calls.min(1) });
    }
}
