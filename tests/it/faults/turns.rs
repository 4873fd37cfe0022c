//! The CLI works, but the turn does not go as it should.

use rstest::rstest;
use serde_json::{Value, json};

use super::{SOON, broken, is_as_before, refused, said};
use crate::support::app::{Streamed, ask};
use crate::support::fake_cli::frames::{message, message_delta, message_start, message_stop, success, text};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, fixture, play};

/// Frames that end a message whose connection broke.
fn break_off() -> Vec<Value> {
    vec![message_delta(None, 1), message_stop()]
}

/// What becomes of frames: streamed, and in one piece.
async fn both_ways(frames: Vec<Value>) -> (Streamed, (u16, Value)) {
    let fake = FakeCli::that_does([Step::Frames(frames)]);
    let app = fake.app().await;
    let mut question = ask("hello");
    question["stream_options"] = json!({"include_usage": true});
    let streamed = app.stream(&question).await;
    let whole = app.answer(&ask("hello")).await;
    fake.gone_within(2 * SOON).await;
    (streamed, whole)
}

#[tokio::test]
async fn an_exit_with_status_0_is_no_answer() {
    let steps = [Step::Frames(message("msg_1", "all of it")), Step::Exit(0)];
    let fake = FakeCli::that_does(steps);
    let app = fake.app().await;
    let streamed = app.stream(&ask("hello")).await;
    assert_eq!((streamed.contents(), broken(&streamed)), (vec!["all of it"], "upstream_broken"));
    assert_eq!(refused(&app.answer(&ask("hello")).await), (502, "upstream_broken"));
}

#[rstest]
#[case("error-400-too-long", 400, "context_length_exceeded")]
#[case("error-401", 401, "invalid_api_key")]
#[case("error-403", 403, "permission_denied")]
#[case("error-404-model", 404, "model_not_found")]
#[case("error-413", 413, "request_too_large")]
#[case("error-429-usage-limit", 429, "insufficient_quota")]
#[case("error-500", 500, "upstream_error")]
#[case("error-529", 503, "overloaded")]
#[case("interrupt", 502, "upstream_broken")]
#[case("slash-command", 502, "upstream_unexpected")]
#[tokio::test]
async fn an_error_is_an_error_whatever_its_subtype_says(
    #[case] name: &str,
    #[case] status: u16,
    #[case] code: &str,
) {
    let replay = Step::Replay { file: fixture(name), frames: usize::MAX, half: false };
    let fake = FakeCli::new(&Script { plays: vec![play("fail", [replay])], ..Script::default() });
    let app = fake.app().await;
    assert_eq!(refused(&app.answer(&ask("fail")).await), (status, code));
    let streamed = app.stream(&ask("fail")).await;
    assert_eq!(broken(&streamed), code);
    // The interrupted answer had begun, and with it the stream.
    assert_eq!(streamed.status, if name == "interrupt" { 200 } else { status });
    // These are about the account: they are remembered.
    if !["error-429-usage-limit", "error-401"].contains(&name) {
        is_as_before(&app, &fake, 16).await;
    }
}

#[tokio::test]
async fn a_request_of_the_cli_is_declined_and_the_turn_goes_on() {
    let request = json!({"subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": "id"}});
    let ask_twice = [Step::Ask(request.clone()), Step::Ask(request), Step::Answer("went on".to_owned())];
    let fake = FakeCli::that_does(ask_twice);
    let app = fake.app().await;
    assert_eq!(said(&app.answer(&ask("hello")).await), "went on");
    let declined = r#"{"type":"control_response","response":{"subtype":"error","request_id":"fake-1","#;
    assert_eq!(fake.heard().matches(declined).count(), 2, "{}", fake.heard());
}

/// As 2.1.197 does.
#[tokio::test]
async fn a_cli_that_asks_for_its_tools_only_when_it_is_asked_gets_them() {
    let message = |message| json!({"subtype": "mcp_message", "server_name": "couplet", "message": message});
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}});
    let greeting = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let steps =
        [Step::Ask(message(greeting)), Step::Ask(message(list)), Step::Answer("it has them".to_owned())];
    let fake = FakeCli::that_does(steps);
    let app = fake.app().await;
    let mut question = ask("hello");
    question["tools"] = json!([{"type": "function", "function": {"name": "f", "description": "of late"}}]);
    assert_eq!(said(&app.answer(&question).await), "it has them");
    assert!(fake.heard().contains(r#""tools":[{"name":"f","description":"of late""#), "{}", fake.heard());
}

#[tokio::test]
async fn a_control_request_that_is_declined_is_an_error() {
    use crate::support::fake_cli::script::OnControl;
    let controls = [("apply_flag_settings".to_owned(), OnControl::Decline("no such thing".to_owned()))];
    let fake = FakeCli::new(&Script { controls: controls.into(), ..Script::default() });
    let app = fake.app().await;
    assert_eq!(refused(&app.answer(&ask("hello")).await), (502, "upstream_unexpected"));
    fake.gone_within(SOON).await;
    fake.follow(&Script::default());
    is_as_before(&app, &fake, 16).await;
}

#[rstest]
#[case::that_was_closed(break_off())]
#[case::that_was_left_open(vec![])]
#[tokio::test]
async fn a_second_try_behind_text_that_was_shown_is_an_error(#[case] end: Vec<Value>) {
    let first = [vec![message_start("msg_1"), text("half an ")], end].concat();
    let (streamed, whole) = both_ways([first, message("msg_2", "whole"), vec![success()]].concat()).await;
    assert_eq!((streamed.contents(), broken(&streamed)), (vec!["half an "], "upstream_broken"));
    assert_eq!(refused(&whole), (502, "upstream_broken"));
}

#[rstest]
#[case::that_was_closed(break_off())]
#[case::that_was_left_open(vec![])]
#[tokio::test]
async fn a_second_try_before_any_text_is_the_answer_and_its_tokens_add_up(#[case] end: Vec<Value>) {
    let first = [vec![message_start("msg_1")], end].concat();
    let (streamed, whole) = both_ways([first, message("msg_2", "whole"), vec![success()]].concat()).await;
    assert_eq!(said(&whole), "whole");
    assert_eq!((streamed.contents(), streamed.finish_reason()), (vec!["whole"], Some("stop")));
    assert_eq!(streamed.deltas("role"), ["assistant"], "it begins once");
    for usage in [streamed.usage(), &whole.1["usage"]] {
        assert_eq!(usage["prompt_tokens"], 2 * (10 + 20 + 30), "{usage}");
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 2 * 20, "{usage}");
        assert_eq!(usage["completion_tokens"], 1 + 5, "{usage}");
    }
}

#[tokio::test]
async fn a_message_that_was_never_ended_is_an_error() {
    let whole = message("msg_1", "half an ");
    let without_end = [&whole[..4], &[message_stop(), json!({"type": "result", "is_error": false})]].concat();
    let (streamed, whole) = both_ways(without_end).await;
    assert_eq!(broken(&streamed), "upstream_broken");
    assert_eq!(refused(&whole), (502, "upstream_broken"));
}

/// A CLI that would go on for ever, were it not killed.
fn goes_on(frames: Vec<Value>) -> Script {
    let plays = vec![play("begin", [Step::Frames(frames), Step::Hang])];
    Script { plays, ignores_interrupt: true, ignores_end_of_input: true, ..Script::default() }
}

#[tokio::test]
async fn a_turn_that_the_cli_adds_by_itself_is_not_passed_on() {
    let frames = [message("msg_1", "the answer"), message("msg_2", "and more")].concat();
    let fake = FakeCli::new(&goes_on(frames));
    let app = fake.app().await;
    assert_eq!(said(&app.answer(&ask("begin")).await), "the answer");
    let streamed = app.stream(&ask("begin")).await;
    assert_eq!((streamed.contents(), streamed.done), (vec!["the answer"], true));
    fake.gone_within(SOON).await;
    fake.follow(&Script::default());
    is_as_before(&app, &fake, 16).await;
}

#[tokio::test]
async fn an_answer_without_text_is_empty_and_stops_the_cli() {
    let frames = vec![message_start("msg_1"), message_delta(Some("end_turn"), 2)];
    let fake = FakeCli::new(&goes_on(frames));
    let app = fake.app().await;
    assert_eq!(said(&app.answer(&ask("begin")).await), "");
    let streamed = app.stream(&ask("begin")).await;
    assert_eq!((streamed.contents(), streamed.finish_reason()), (vec![], Some("stop")));
    assert!(streamed.done);
    fake.gone_within(SOON).await;
}

#[rstest]
#[case("max_tokens", "length")]
#[case("model_context_window_exceeded", "length")]
#[case("refusal", "content_filter")]
#[tokio::test]
async fn an_answer_that_is_cut_stops_the_cli_before_it_asks_again(#[case] reason: &str, #[case] told: &str) {
    let frames = vec![message_start("msg_1"), text("cut"), message_delta(Some(reason), 2), message_stop()];
    let fake = FakeCli::new(&goes_on(frames));
    let app = fake.app().await;
    let streamed = app.stream(&ask("begin")).await;
    assert_eq!((streamed.contents(), streamed.finish_reason()), (vec!["cut"], Some(told)));
    assert!(streamed.done);
    fake.gone_within(SOON).await;
}
