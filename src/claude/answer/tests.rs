//! Frames in, events out.

use super::*;
use crate::claude::frame_out::parse;
use rstest::rstest;
use serde_json::{Value, json};

/// A stream event as the CLI writes it.
fn event(event: &Value) -> String {
    json!({"type": "stream_event", "event": event, "parent_tool_use_id": null}).to_string()
}

fn start(id: &str, input: u64) -> String {
    let usage = json!({"input_tokens": input, "cache_read_input_tokens": 5, "output_tokens": 1});
    event(&json!({"type": "message_start", "message": {"id": id, "model": "claude-s", "usage": usage}}))
}

fn text(text: &str) -> String {
    event(&json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}))
}

fn delta(stop_reason: Option<&str>, output: u64) -> String {
    let usage = json!({"output_tokens": output, "output_tokens_details": {"thinking_tokens": 2}});
    event(&json!({"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": usage}))
}

fn stop() -> String {
    event(&json!({"type": "message_stop"}))
}

fn result(fields: &Value) -> String {
    let mut result = json!({"type": "result", "subtype": "success", "is_error": false});
    result.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    result.to_string()
}

/// All that the reader makes of the frames: the texts it passes on, and how it ends.
fn read(frames: &[String]) -> (String, Option<Result<Progress, TurnFailure>>) {
    let mut reader = AnswerReader::default();
    let mut said = String::new();
    for frame in frames {
        let events = match reader.on(parse(frame.as_bytes()).unwrap()) {
            Ok(Progress::Silent) => Vec::new(),
            Ok(Progress::Event(event)) => vec![event],
            Ok(Progress::Events(events)) => events,
            end => return (said, Some(end)),
        };
        for event in events {
            match event {
                AnswerEvent::Text(text) => said.push_str(&text),
                AnswerEvent::Started { .. } => said.push('>'),
                other => panic!("{other:?}"),
            }
        }
    }
    (said, None)
}

#[test]
fn an_answer_is_complete_with_its_result() {
    let frames = [start("a", 7), text("x"), text("y"), delta(Some("end_turn"), 9), stop()];
    assert!(read(&frames).1.is_none(), "not before the result");
    let (said, end) = read(&[&frames[..], &[result(&json!({}))]].concat());
    assert_eq!(said, ">xy");
    let Some(Ok(Progress::Complete(end, AtEnd::Rest))) = end else { panic!("{end:?}") };
    let usage = Usage { input: 7, cache_creation: 0, cache_read: 5, output: 9, thinking: 2 };
    assert_eq!(end, AnswerEnd { reason: StopReason::EndTurn, stop_sequence: None, usage });
}

#[rstest]
#[case("max_tokens", StopReason::MaxTokens)]
#[case("model_context_window_exceeded", StopReason::ContextWindow)]
#[case("refusal", StopReason::Refusal)]
fn where_the_cli_would_go_on_it_is_stopped_at_the_stop_reason(
    #[case] word: &str,
    #[case] reason: StopReason,
) {
    let (_, end) = read(&[start("a", 1), text("x"), delta(Some(word), 3)]);
    assert!(matches!(end, Some(Ok(Progress::Complete(end, AtEnd::GoesOn))) if end.reason == reason));
}

#[test]
fn an_answer_without_text_is_stopped_because_the_cli_would_ask_again() {
    let (_, end) = read(&[start("a", 1), delta(Some("end_turn"), 0)]);
    assert!(matches!(end, Some(Ok(Progress::Complete(_, AtEnd::GoesOn)))));
}

#[test]
fn a_turn_that_the_cli_adds_by_itself_is_no_part_of_the_answer() {
    let frames = [start("a", 7), text("x"), delta(Some("new_reason"), 4), stop(), start("b", 100)];
    let (said, end) = read(&frames);
    let Some(Ok(Progress::Complete(end, AtEnd::GoesOn))) = end else { panic!("{end:?}") };
    assert_eq!((said.as_str(), end.usage.input), (">x", 7));
    assert_eq!(end.reason, StopReason::Unknown("new_reason".to_owned()));
}

#[test]
fn a_message_that_broke_after_a_part_was_read_is_an_error() {
    let broken = [start("a", 1), text("x"), delta(None, 1), stop()];
    for next in [start("b", 1), result(&json!({"stop_reason": "end_turn"}))] {
        let (said, end) = read(&[&broken[..], &[next]].concat());
        assert_eq!(said, ">x");
        assert!(matches!(end, Some(Err(TurnFailure::BrokenOff))), "{end:?}");
    }
}

#[test]
fn a_message_that_begins_behind_one_that_was_left_open_is_an_error() {
    let (said, end) = read(&[start("a", 1), text("x"), start("b", 1), text("y")]);
    assert_eq!(said, ">x");
    assert!(matches!(end, Some(Err(TurnFailure::BrokenOff))), "{end:?}");
}

#[test]
fn a_message_that_broke_before_anything_was_read_is_repeated_and_both_are_counted() {
    let frames = [
        start("a", 7),
        stop(),
        start("b", 8),
        text("x"),
        delta(Some("end_turn"), 3),
        stop(),
        result(&json!({})),
    ];
    let (said, end) = read(&frames);
    let Some(Ok(Progress::Complete(end, AtEnd::Rest))) = end else { panic!("{end:?}") };
    assert_eq!((said.as_str(), end.usage.input, end.usage.output), (">x", 15, 4));
}

#[test]
fn a_message_that_came_in_one_is_passed_on_and_a_streamed_one_is_not_repeated() {
    let whole = |id: &str| {
        let message = json!({"id": id, "model": "claude-s", "content": [{"type": "text", "text": "whole"}],
            "usage": {"input_tokens": 3, "output_tokens": 4}});
        json!({"type": "assistant", "message": message}).to_string()
    };
    let (said, end) = read(&[whole("a"), result(&json!({"stop_reason": "end_turn"}))]);
    assert_eq!(said, ">whole");
    assert!(matches!(end, Some(Ok(Progress::Complete(end, AtEnd::Rest))) if end.usage.output == 4));
    let (said, _) = read(&[start("a", 1), text("piece"), whole("a")]);
    assert_eq!(said, ">piece");
}

#[test]
fn a_result_without_the_model_is_the_cli_s_own_and_an_error() {
    let (_, end) = read(&[result(&json!({"result": "/help isn't available in this environment."}))]);
    assert!(matches!(end, Some(Err(TurnFailure::Protocol(_)))));
}

#[rstest]
#[case(json!({"api_error_status": 401}), "", "api_authentication")]
#[case(json!({}), "authentication_failed", "api_authentication")]
#[case(json!({"api_error_status": 403}), "authentication_failed", "api_permission")]
#[case(json!({"api_error_status": 404}), "", "api_model_not_found")]
#[case(json!({"api_error_status": 400, "terminal_reason": "prompt_too_long"}), "", "api_prompt_too_long")]
#[case(json!({"terminal_reason": "blocking_limit"}), "", "api_prompt_too_long")]
#[case(json!({"api_error_status": 400}), "", "api_invalid_request")]
#[case(json!({"api_error_status": 413, "terminal_reason": "image_error"}), "", "api_request_too_large")]
#[case(json!({"api_error_status": 429}), "rate_limit", "api_rate_limited")]
#[case(json!({"api_error_status": 429, "api_error": "usage_limit_reached"}), "", "usage_limit")]
#[case(json!({"api_error_status": 500}), "", "api_server")]
#[case(json!({"api_error_status": 529}), "server_error", "api_overloaded")]
#[case(json!({"api_error": "connection_failed"}), "server_error", "api_unreachable")]
fn an_error_result_has_its_kind(#[case] fields: Value, #[case] word: &str, #[case] kind: &str) {
    let made_up =
        json!({"type": "assistant", "error": word, "message": {"model": "<synthetic>", "content": []}});
    let mut fields = fields;
    fields["is_error"] = json!(true);
    let frames = [made_up.to_string(), result(&fields)];
    let (_, end) = read(if word.is_empty() { &frames[1..] } else { &frames });
    let Some(Err(failure)) = end else { panic!("{end:?}") };
    assert_eq!(failure.kind(), kind);
}

#[test]
fn a_usage_limit_knows_its_reset() {
    let limit = json!({"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": 1_795_208_576_u64}});
    // The second is how releases up to 2.1.270 put it.
    for error in [
        json!({"is_error": true, "api_error": "usage_limit_reached", "result": "used up"}),
        json!({"is_error": true, "api_error_status": 429, "result": "used up"}),
    ] {
        let (_, end) = read(&[limit.to_string(), result(&error)]);
        let Some(Err(TurnFailure::UsageLimit { resets_at, sentence })) = end else { panic!("{end:?}") };
        assert_eq!(resets_at, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_208_576)));
        assert_eq!(sentence, "used up");
    }
    let burst = json!({"type": "rate_limit_event", "rate_limit_info": {"status": "rejected"}});
    let (_, end) = read(&[burst.to_string(), result(&json!({"is_error": true, "api_error_status": 429}))]);
    assert!(matches!(end, Some(Err(TurnFailure::Api { kind: ApiFailureKind::RateLimited, .. }))), "{end:?}");
}
