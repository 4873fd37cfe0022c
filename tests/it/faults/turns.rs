//! The CLI works, but the turn does not go as it should.

use rstest::rstest;
use serde_json::{Value, json};

use super::{PATIENCE, SOON, broken, is_as_before, refused, said};
use crate::support::app::{Streamed, ask};
use crate::support::fake_cli::frames::{message, message_delta, message_start, message_stop, success, text};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, fixture, play};
use crate::support::fault_table::{Asked, Class};
use crate::support::seen::{self, Seen};

/// Frames that end a message whose connection broke.
fn break_off() -> Vec<Value> {
    vec![message_delta(None, 1), message_stop()]
}

/// Tells what both clients saw.
fn tell(class: Class, fault: &str, (streamed, whole): &(Streamed, (u16, Value))) {
    seen::tell(class, fault, Asked::Streaming, seen::of_answer(streamed));
    seen::tell(class, fault, Asked::NotStreaming, seen::of_whole(whole));
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
    let whole = app.answer(&ask("hello")).await;
    assert_eq!(refused(&whole), (502, "upstream_broken"));
    tell(Class::Crash, "it exits with 0 behind a whole message, without a `result`", &(streamed, whole));
}

#[rstest]
#[case("error-400-too-long", 400, "context_length_exceeded")]
#[case("error-401", 401, "invalid_api_key")]
#[case("error-403", 403, "permission_denied")]
#[case("error-404-model", 404, "model_not_found")]
#[case("error-413", 413, "request_too_large")]
#[case("error-429-burst", 429, "rate_limit_exceeded")]
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
    let whole = app.answer(&ask("fail")).await;
    assert_eq!(refused(&whole), (status, code));
    let streamed = app.stream(&ask("fail")).await;
    assert_eq!(broken(&streamed), code);
    // The interrupted answer had begun, and with it the stream.
    assert_eq!(streamed.status, if name == "interrupt" { 200 } else { status });
    // These are about the account: they are remembered.
    if !["error-429-usage-limit", "error-401"].contains(&name) {
        is_as_before(&app, &fake, 16).await;
    }
    let recording = std::fs::read_to_string(fixture(name)).expect("a recording");
    let result: Value = serde_json::from_str(recording.lines().last().expect("a line")).expect("JSON");
    let [kind, subtype] =
        ["type", "subtype"].map(|field| result["frame"][field].as_str().unwrap_or_default());
    let fault = format!("the recording `{name}`, which ends with a `{kind}` of subtype `{subtype}`");
    tell(Class::Output, &fault, &(streamed, whole));
}

#[tokio::test]
async fn a_request_of_the_cli_is_declined_and_the_turn_goes_on() {
    let request = json!({"subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": "id"}});
    let ask_twice = [Step::Ask(request.clone()), Step::Ask(request), Step::Answer("went on".to_owned())];
    let fake = FakeCli::that_does(ask_twice);
    let app = fake.app().await;
    let whole = app.answer(&ask("hello")).await;
    assert_eq!(said(&whole), "went on");
    let fault = "it asks whether it may run a command (`can_use_tool`); it may not";
    seen::tell(Class::Output, fault, Asked::NotStreaming, seen::of_whole(&whole));
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
    let whole = app.answer(&ask("hello")).await;
    assert_eq!(refused(&whole), (502, "upstream_unexpected"));
    fake.gone_within(SOON).await;
    fake.follow(&Script::default());
    is_as_before(&app, &fake, 16).await;
    let fault = "it declines `apply_flag_settings`";
    seen::tell(Class::Output, fault, Asked::NotStreaming, seen::of_whole(&whole));
}

#[rstest]
#[case("closed", break_off())]
#[case("left open", vec![])]
#[tokio::test]
async fn a_second_try_behind_text_that_was_shown_is_an_error(#[case] how: &str, #[case] end: Vec<Value>) {
    let first = [vec![message_start("msg_1"), text("half an ")], end].concat();
    let (streamed, whole) = both_ways([first, message("msg_2", "whole"), vec![success()]].concat()).await;
    assert_eq!((streamed.contents(), broken(&streamed)), (vec!["half an "], "upstream_broken"));
    assert_eq!(refused(&whole), (502, "upstream_broken"));
    let fault = format!("a second `message_start` behind text of a message that was {how}");
    tell(Class::Output, &fault, &(streamed, whole));
}

#[rstest]
#[case("closed", break_off())]
#[case("left open", vec![])]
#[tokio::test]
async fn a_second_try_before_any_text_is_the_answer_and_its_tokens_add_up(
    #[case] how: &str,
    #[case] end: Vec<Value>,
) {
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
    let fault = format!("a second `message_start` before any text, behind a message that was {how}");
    tell(Class::Output, &fault, &(streamed, whole));
}

/// Frames in an order that no answer has, behind what is given; then, where it would be needed, a good end.
#[rstest]
#[case("the end before the beginning", vec![message_stop(), message_delta(Some("end_turn"), 5), text("late"), success()], None)]
#[case("text before its message", vec![text("early "), message_start("msg_1"), text("late"), message_delta(Some("end_turn"), 5), message_stop(), success()], Some("late"))]
#[case("a `result` before the message", [vec![success()], message("msg_1", "late")].concat(), None)]
#[case("a `result` in the middle of the message", vec![message_start("msg_1"), text("half"), success()], Some("half"))]
#[case("a `result` twice", [message("msg_1", "whole"), vec![success(), success()]].concat(), Some("whole"))]
#[case("an error as the second `result`", [message("msg_1", "whole"), vec![success(), failure()]].concat(), Some("whole"))]
#[case("text behind the `result`", [message("msg_1", "whole"), vec![success(), text("late")]].concat(), Some("whole"))]
#[case("a whole answer behind the `result`", [message("msg_1", "whole"), vec![success()], message("msg_2", "late"), vec![success()]].concat(), Some("whole"))]
#[case("an end twice", [message("msg_1", "whole"), vec![message_delta(Some("end_turn"), 5), message_stop(), success()]].concat(), Some("whole"))]
#[case("an end without a message", vec![message_delta(Some("end_turn"), 5), success()], None)]
#[case("nothing but an end of the turn", vec![success()], None)]
#[tokio::test]
async fn frames_out_of_order_are_an_error_or_do_not_matter(
    #[case] what: &str,
    #[case] frames: Vec<Value>,
    #[case] answer: Option<&str>,
) {
    // All at once: what comes a moment later would come in the middle of the next turn.
    let lines: Vec<String> = frames.iter().map(Value::to_string).collect();
    let odd = play("odd", [Step::Bytes((lines.join("\n") + "\n").into_bytes())]);
    let fake = FakeCli::new(&Script { plays: vec![odd], ..Script::default() });
    // With processes that are kept: none may be that has said too much.
    let app = fake.app_with(|config| config.claude.keep.processes = 4).await;
    let whole = app.answer(&ask("odd")).await;
    let streamed = app.stream(&ask("odd")).await;
    match answer {
        Some(answer) => {
            assert_eq!((said(&whole), streamed.contents().concat()), (answer, answer.to_owned()));
            let mut next = ask("odd");
            let more =
                json!([{"role": "assistant", "content": answer}, {"role": "user", "content": "and now?"}]);
            next["messages"].as_array_mut().expect("messages").extend(more.as_array().expect("two").clone());
            assert_eq!(
                said(&app.answer(&next).await),
                "fine",
                "nothing of the last turn is left in this one"
            );
        }
        None => assert!(whole.0 == 502 && streamed.error().is_some(), "{whole:?} {streamed:?}"),
    }
    tell(Class::Output, what, &(streamed, whole));
}

fn failure() -> Value {
    json!({"type": "result", "subtype": "success", "is_error": true, "api_error_status": 500, "result": "no"})
}

#[tokio::test]
async fn what_a_cli_says_between_two_turns_is_in_neither() {
    let mut seen = Seen::default();
    for late in [
        vec![text("late")],
        message("msg_2", "late"),
        [message("msg_2", "late"), vec![success()]].concat(),
        vec![success()],
    ] {
        let fake = FakeCli::new(&Script::default());
        let go = fake.file("go");
        let late = [
            Step::Answer("first".to_owned()),
            Step::AwaitFile(go.clone()),
            Step::Frames(late),
            Step::MakeFile(fake.file("said")),
        ];
        fake.follow(&Script { plays: vec![play("one", late)], ..Script::default() });
        let app = fake.app_with(|config| config.claude.keep.processes = 4).await;
        assert_eq!(said(&app.answer(&ask("one")).await), "first");
        std::fs::write(&go, "").expect("a file");
        let is_over = || fake.file("said").exists() || fake.living().is_empty();
        eventually(PATIENCE, "it has said too much", is_over).await;
        let mut next = ask("one");
        let more =
            json!([{"role": "assistant", "content": "first"}, {"role": "user", "content": "and now?"}]);
        next["messages"].as_array_mut().expect("messages").extend(more.as_array().expect("two").clone());
        fake.follow(&Script {
            plays: vec![play("and now?", [Step::Answer("second".to_owned())])],
            ..Script::default()
        });
        let answer = app.answer(&next).await;
        assert_eq!(said(&answer), "second");
        seen.note(seen::of_whole(&answer));
    }
    seen.tell(Class::Output, "frames between two turns, of no turn", Asked::NotStreaming);
}

#[tokio::test]
async fn a_message_that_was_never_ended_is_an_error() {
    let whole = message("msg_1", "half an ");
    let without_end = [&whole[..4], &[message_stop(), json!({"type": "result", "is_error": false})]].concat();
    let (streamed, whole) = both_ways(without_end).await;
    assert_eq!(broken(&streamed), "upstream_broken");
    assert_eq!(refused(&whole), (502, "upstream_broken"));
    tell(Class::Output, "a message without an end, and a good `result`", &(streamed, whole));
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
    let whole = app.answer(&ask("begin")).await;
    assert_eq!(said(&whole), "the answer");
    let streamed = app.stream(&ask("begin")).await;
    assert_eq!((streamed.contents(), streamed.done), (vec!["the answer"], true));
    tell(
        Class::Output,
        "a second message behind the end of the first, that nobody asked for",
        &(streamed, whole),
    );
    fake.gone_within(SOON).await;
    fake.follow(&Script::default());
    is_as_before(&app, &fake, 16).await;
}

#[tokio::test]
async fn an_answer_without_text_is_empty_and_stops_the_cli() {
    let frames = vec![message_start("msg_1"), message_delta(Some("end_turn"), 2)];
    let fake = FakeCli::new(&goes_on(frames));
    let app = fake.app().await;
    let whole = app.answer(&ask("begin")).await;
    assert_eq!(said(&whole), "");
    let streamed = app.stream(&ask("begin")).await;
    assert_eq!((streamed.contents(), streamed.finish_reason()), (vec![], Some("stop")));
    assert!(streamed.done);
    tell(Class::Output, "an answer without any text", &(streamed, whole));
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
    let fault = format!("an answer that ends with `{reason}`; it would ask again by itself, and is ended");
    seen::tell(Class::Output, &fault, Asked::Streaming, seen::of_answer(&streamed));
    fake.gone_within(SOON).await;
}
