use super::*;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

mod calls;
mod several;

const USAGE: Usage = Usage { input: 25, cache_creation: 100, cache_read: 50, output: 12, thinking: 4 };

fn ended(reason: StopReason) -> AnswerEvent {
    AnswerEvent::Ended(AnswerEnd { reason, stop_sequence: None, usage: USAGE })
}

fn write(events: Vec<AnswerEvent>, include_usage: bool) -> Vec<ChatChunk> {
    write_in(CallForm::ToolCalls, events, include_usage)
}

fn write_in(form: CallForm, events: Vec<AnswerEvent>, include_usage: bool) -> Vec<ChatChunk> {
    let mut writer = ChunkWriter::new("chatcmpl-1", 7, "couplet-VERSION", include_usage, form);
    events.into_iter().flat_map(|event| writer.on(0, event)).collect()
}

fn started() -> AnswerEvent {
    started_as("claude-s".to_owned())
}

fn started_as(model: String) -> AnswerEvent {
    AnswerEvent::Started { model, usage: Usage::default(), unheeded: Vec::new() }
}

fn fold(events: Vec<AnswerEvent>) -> Option<ChatCompletion> {
    fold_in(CallForm::ToolCalls, events)
}

fn fold_in(form: CallForm, events: Vec<AnswerEvent>) -> Option<ChatCompletion> {
    let mut fold = ChunkFold::default();
    for chunk in write_in(form, events, true) {
        fold.push(chunk);
    }
    fold.finish()
}

#[test]
fn a_stream_reads_as_openai_s() {
    let events = vec![
        started(),
        AnswerEvent::Reasoning("hm".to_owned()),
        AnswerEvent::Text("a\u{1f600}".to_owned()),
        ended(StopReason::EndTurn),
    ];
    let lines: Vec<String> =
        write(events, true).iter().map(|chunk| serde_json::to_string(chunk).unwrap()).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

/// The JSON of all chunks, serialised one by one or in the form of their pieces.
fn json_of(form: CallForm, events: &[AnswerEvent], as_pieces: bool) -> Vec<String> {
    let mut writer = ChunkWriter::new("chatcmpl-\"content\":\"\"", 7, "couplet-VERSION", true, form);
    let mut written = Vec::new();
    for event in events.iter().cloned() {
        if as_pieces {
            writer.write(0, event, |chunk| {
                let mut json = Vec::new();
                chunk.write_to(&mut json).unwrap();
                written.push(String::from_utf8(json).unwrap());
            });
        } else {
            written.extend(writer.on(0, event).iter().map(|chunk| serde_json::to_string(chunk).unwrap()));
        }
    }
    written
}

proptest! {
    #[test]
    fn a_piece_is_written_as_its_chunk_would_be(
        texts in proptest::collection::vec((0_u8..5, any::<String>()), 0..20), as_tool_calls: bool
    ) {
        let event = |(kind, text): (u8, String)| match kind {
            0 => AnswerEvent::Text(text),
            1 => AnswerEvent::Reasoning(text),
            2 => AnswerEvent::ToolArguments(text),
            3 => AnswerEvent::ToolCall { id: text.clone(), name: text },
            _ => started_as(text),
        };
        let mut events: Vec<AnswerEvent> = texts.into_iter().map(event).collect();
        events.push(ended(StopReason::Refusal));
        let form = if as_tool_calls { CallForm::ToolCalls } else { CallForm::FunctionCall };
        prop_assert_eq!(json_of(form, &events, true), json_of(form, &events, false));
    }
}

#[test]
fn usage_shows_only_when_asked_for() {
    let events = || vec![started(), ended(StopReason::EndTurn)];
    let without = serde_json::to_value(write(events(), false)).unwrap();
    assert!(without.as_array().unwrap().iter().all(|chunk| chunk.get("usage").is_none()));
    let with = serde_json::to_value(write(events(), true)).unwrap();
    let usages: Vec<&Value> = with.as_array().unwrap().iter().map(|chunk| &chunk["usage"]).collect();
    assert_eq!(usages[..2], [&Value::Null, &Value::Null]);
    assert_eq!(
        (usages[2]["prompt_tokens"].as_u64(), usages[2]["completion_tokens"].as_u64()),
        (Some(175), Some(12))
    );
    assert_eq!(usages[2]["total_tokens"], 187);
    assert_eq!(usages[2]["prompt_tokens_details"]["cached_tokens"], 50);
    assert_eq!(usages[2]["prompt_tokens_details"]["cache_write_tokens"], 100);
    assert_eq!(usages[2]["completion_tokens_details"]["reasoning_tokens"], 4);
}

#[rstest]
#[case(StopReason::EndTurn, "stop")]
#[case(StopReason::StopSequence, "stop")]
#[case(StopReason::PauseTurn, "stop")]
#[case(StopReason::ToolUse, "tool_calls")]
#[case(StopReason::MaxTokens, "length")]
#[case(StopReason::ContextWindow, "length")]
#[case(StopReason::Refusal, "content_filter")]
#[case(StopReason::Unknown("new".to_owned()), "stop")]
fn every_stop_reason_has_its_finish_reason(#[case] reason: StopReason, #[case] finish_reason: &str) {
    let chunks = serde_json::to_value(write(vec![started(), ended(reason)], false)).unwrap();
    let last = chunks.as_array().unwrap().last().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], finish_reason);
    assert_eq!(last["choices"][0]["delta"], json!({}));
}

#[test]
fn a_refusal_is_told_in_its_own_field() {
    let answer = fold(vec![started(), ended(StopReason::Refusal)]).unwrap();
    let message = serde_json::to_value(answer).unwrap()["choices"][0]["message"].clone();
    assert_eq!(message, json!({"role": "assistant", "content": null, "refusal": REFUSAL}));
}

#[test]
fn chunks_without_an_end_are_no_answer() {
    assert_eq!(fold(vec![started(), AnswerEvent::Text("half".to_owned())]), None);
}

proptest! {
    #[test]
    fn the_fold_holds_what_the_chunks_said(pieces in prop::collection::vec((any::<bool>(), ".{0,5}"), 0..20)) {
        let mut events = vec![started()];
        events.extend(pieces.iter().cloned().map(|(text, piece)| {
            if text { AnswerEvent::Text(piece) } else { AnswerEvent::Reasoning(piece) }
        }));
        events.push(ended(StopReason::EndTurn));
        let answer = fold(events).unwrap();
        let said = |text: bool| pieces.iter().filter(|p| p.0 == text).map(|p| p.1.as_str()).collect::<String>();
        prop_assert_eq!(answer.choices[0].message.content.clone().unwrap(), said(true));
        prop_assert_eq!(answer.choices[0].message.reasoning_content.clone().unwrap_or_default(), said(false));
        prop_assert_eq!(answer.usage.total_tokens, 187);
    }
}
