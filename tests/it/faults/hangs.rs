//! The CLI says nothing, and would do so for ever.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use couplet::claude::command_line::CliProgram;
use couplet::claude::conversation::Deadlines;
use couplet::claude::sandbox::MorePath;
use couplet::config::Config;
use rstest::rstest;

use serde_json::{Value, json};

use super::{PATIENCE, SOON, free_places, is_as_before, refused, said};
use crate::support::app::{Streamed, TestApp, ask};
use crate::support::fake_cli::frames::{message_delta, message_start, message_stop, text};
use crate::support::fake_cli::script::{OnControl, Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, play, program};
use crate::support::fault_table::{Asked, Class};
use crate::support::messages;
use crate::support::seen;

/// The deadline under test. A good answer comes well before it, on a busy machine too.
const SHORT: Duration = Duration::from_secs(2);

/// A deadline that is not to be reached.
const LONG: Duration = Duration::from_secs(30);

/// A CLI that neither interrupts nor the end of stdin move, with a child of its own that holds its output open.
fn stubborn(script: Script) -> Script {
    let child = Step::StartChild { keeps_output: true };
    let at_start = [vec![child], script.at_start].concat();
    Script { at_start, ignores_interrupt: true, ignores_end_of_input: true, ..script }
}

fn silent_at_start() -> Script {
    Script { at_start: vec![Step::Hang], ..Script::default() }
}

fn silent_on(control: &str) -> Script {
    Script { controls: BTreeMap::from([(control.to_owned(), OnControl::Ignore)]), ..Script::default() }
}

fn silent_after(steps: Vec<Step>) -> Script {
    Script { plays: vec![play("", [steps, vec![Step::Hang]].concat())], ..Script::default() }
}

fn deadlines(deadlines: Deadlines) -> impl FnOnce(&mut Config) {
    move |config| config.claude.deadlines = deadlines
}

/// Asks, and says when and how the answer came.
async fn answer(app: &TestApp, question: &Value, stream: bool) -> (Streamed, Duration) {
    let mut question = question.clone();
    question["stream"] = json!(stream);
    let begun = Instant::now();
    let answer = Streamed::read(app.chat(&question).await).await;
    (answer, begun.elapsed())
}

/// It was neither ended before the deadline nor lived for a second after it; then the server is as it was.
async fn is_over(app: &TestApp, fake: &FakeCli, since: Instant, deadline: Duration, places: u64) {
    assert!(since.elapsed() >= deadline, "not before the deadline");
    fake.gone_within(SOON).await;
    assert!(since.elapsed() < deadline + SOON, "within a second of the deadline, not {:?}", since.elapsed());
    fake.follow(&Script::default());
    is_as_before(app, fake, places).await;
}

fn with_function(text: &str) -> Value {
    let mut question = ask(text);
    question["tools"] =
        json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    question
}

fn with_effort(text: &str) -> Value {
    let mut question = ask(text);
    question["reasoning_effort"] = json!("none");
    question
}

#[rstest]
#[case("before it reads", silent_at_start(), ask("hello"))]
#[case("in `initialize`", silent_on("initialize"), ask("hello"))]
#[case("in `initialize`, with functions", silent_on("initialize"), with_function("hello"))]
#[case("on the request `apply_flag_settings`", silent_on("apply_flag_settings"), ask("hello"))]
#[case(
    "on the request `set_max_thinking_tokens`",
    silent_on("set_max_thinking_tokens"),
    with_effort("hello")
)]
#[case("before the first frame of the answer", silent_after(vec![]), ask("hello"))]
#[tokio::test]
async fn a_cli_that_does_not_begin_is_ended_with_its_group(
    #[case] when: &str,
    #[case] script: Script,
    #[case] question: Value,
    #[values(true, false)] stream: bool,
) {
    let silenced = script.controls.keys().next().cloned();
    let fake = FakeCli::new(&stubborn(script));
    let app = fake.app_with(deadlines(Deadlines { first_frame: SHORT, idle: LONG, total: LONG })).await;
    let places = free_places(&app).await;
    let begun = Instant::now();
    let (answer, _) = answer(&app, &question, stream).await;
    assert_eq!((answer.status, &answer.error().expect("an error")["code"]), (504, &json!("timeout")));
    if let Some(silenced) = silenced {
        assert!(fake.heard().contains(&format!(r#""subtype":"{silenced}""#)), "it was asked that");
    }
    is_over(&app, &fake, begun, SHORT, places).await;
    let fault = format!("silent {when}, until the deadline for the first frame");
    seen::tell(Class::Hang, &fault, Asked::with(stream), seen::of_answer(&answer));
}

/// The tools of a conversation that goes on in its process are not those that it was set up with.
#[rstest]
#[tokio::test]
async fn a_cli_that_does_not_answer_what_it_is_told_between_two_turns_is_ended(
    #[values(true, false)] stream: bool,
) {
    let fake = FakeCli::new(&Script::default());
    let app = fake
        .app_with(|config| {
            deadlines(Deadlines { first_frame: SHORT, idle: LONG, total: LONG })(config);
            config.claude.keep.processes = 4;
        })
        .await;
    assert_eq!(said(&app.answer(&ask("hello")).await), "fine");
    eventually(PATIENCE, "the process is kept", || fake.living().len() == 1).await;
    let mut next = ask("hello");
    let messages = next["messages"].as_array_mut().expect("messages");
    messages.push(json!({"role": "assistant", "content": "fine"}));
    messages.push(json!({"role": "user", "content": "silence"}));
    fake.follow(&Script {
        plays: vec![play("silence", [Step::Hang])],
        ignores_interrupt: true,
        ..Script::default()
    });
    let (answer, time) = answer(&app, &next, stream).await;
    assert_eq!(fake.reports().len(), 1, "it went on in its process");
    assert_eq!(answer.error().expect("an error")["code"], "timeout");
    fake.gone_within(SOON).await;
    assert!(time >= SHORT && time < SHORT + SOON, "{time:?}");
    let fault = "silent at the next question of a conversation that goes on in its process";
    seen::tell(Class::Hang, fault, Asked::with(stream), seen::of_answer(&answer));
}

#[tokio::test]
async fn a_cli_that_does_not_heed_an_interrupt_is_ended_within_a_second() {
    let half = Step::Frames(vec![message_start("msg_1"), text("half an ")]);
    for ignores in [false, true] {
        let fake = FakeCli::new(&Script::default());
        let told = Step::MakeFile(fake.file("told"));
        let slow = OnControl::After(vec![Step::Sleep { milliseconds: 60_000 }]);
        fake.follow(&Script {
            plays: vec![play("", [half.clone(), told, Step::Hang])],
            ignores_interrupt: ignores,
            controls: [("interrupt".to_owned(), slow)].into(),
            ignores_end_of_input: true,
            ..Script::default()
        });
        let app = fake.app().await;
        let places = free_places(&app).await;
        leave_in_mid_answer(&app, &fake).await;
        assert!(fake.heard().contains(r#""subtype":"interrupt""#), "it was interrupted first");
        fake.follow(&Script::default());
        is_as_before(&app, &fake, places).await;
    }
    let fault = "silent on the request `interrupt`, after the client has left";
    let outcome = "nothing, it has left; the group is gone within 1 s, its place is free";
    let mut seen = seen::Seen::default();
    for _ in 0..2 {
        seen.note(outcome);
    }
    seen.tell(Class::Hang, fault, Asked::Streaming);
}

/// Goes away once the file `told` says that the answer is under way; the group is gone soon.
async fn leave_in_mid_answer(app: &TestApp, fake: &FakeCli) {
    let mut question = ask("hello");
    question["stream"] = json!(true);
    let open = app.chat(&question).await;
    eventually(PATIENCE, "it is in mid-answer", || fake.file("told").exists()).await;
    drop(open);
    fake.gone_within(SOON).await;
}

/// Where nothing but its kill ends it, and nothing ends it soon.
#[rstest]
#[case(
    "which ignores SIGTERM, SIGINT and SIGHUP, as its child does",
    Script::default(),
    "trap '' TERM INT HUP; "
)]
#[case("which takes 800 ms to heed an interrupt", slow_to_end(800), "")]
#[case("which takes 400 ms to heed an interrupt and lives on", slow_to_end(400), "")]
#[tokio::test]
async fn a_cli_that_is_hard_to_end_is_gone_within_a_second(
    #[case] what: &str,
    #[case] script: Script,
    #[case] first: &str,
) {
    let fake = FakeCli::new(&Script::default());
    let path = fake.file("claude");
    let program = program();
    std::fs::write(&path, format!("#!/bin/sh\n{first}exec {} \"$@\"\n", program.display())).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let half = Step::Frames(vec![message_start("msg_1"), text("half an ")]);
    let child = Step::StartChild { keeps_output: true };
    let told = Step::MakeFile(fake.file("told"));
    fake.follow(&Script {
        plays: vec![play("", [child, half, told, Step::Hang])],
        ignores_end_of_input: true,
        ..script
    });
    let app = fake
        .app_with(|config| {
            config.claude.process.program = CliProgram::Installed(path.clone());
            // The script starts a program, which is the CLI.
            config.claude.process.sandbox.more.push(MorePath { path: program.clone(), is_writable: false });
            config.claude.deadlines = Deadlines { first_frame: LONG, idle: SHORT, total: LONG };
        })
        .await;
    let places = free_places(&app).await;
    let begun = Instant::now();
    let (answer, _) = answer(&app, &ask("hello"), true).await;
    assert_eq!(answer.contents(), ["half an "]);
    fake.gone_within(SOON).await;
    seen::tell(
        Class::Hang,
        &format!("silent in mid-answer, from a CLI {what}: gone within 1 s of the deadline"),
        Asked::Streaming,
        seen::of_answer(&answer),
    );
    assert!(begun.elapsed() >= SHORT, "not before the deadline");

    std::fs::remove_file(fake.file("told")).expect("a file");
    leave_in_mid_answer(&app, &fake).await;
    fake.follow(&Script::default());
    is_as_before(&app, &fake, places).await;
    seen::tell(
        Class::Client,
        &format!("it goes away in mid-stream, from a CLI {what}"),
        Asked::Streaming,
        "nothing, it has left; the group is gone within 1 s, its place is free",
    );
}

fn slow_to_end(milliseconds: u64) -> Script {
    let slow = OnControl::After(vec![Step::Sleep { milliseconds }]);
    Script { controls: [("interrupt".to_owned(), slow)].into(), ..Script::default() }
}

#[tokio::test]
async fn a_cli_that_does_not_tell_the_tokens_of_a_conversation_is_ended() {
    let fake = FakeCli::new(&stubborn(silent_on("get_context_usage")));
    let app = fake.app_with(deadlines(Deadlines { first_frame: SHORT, idle: LONG, total: LONG })).await;
    let places = free_places(&app).await;
    let begun = Instant::now();
    let response = app.post("/v1/messages/count_tokens").json(&messages::ask("hi")).send().await;
    let outcome = seen::of_messages(response.expect("an answer")).await;
    assert!(fake.heard().contains("get_context_usage"), "it was asked that");
    is_over(&app, &fake, begun, SHORT, places).await;
    let fault = "silent on the request `get_context_usage`, until the deadline for the first frame";
    seen::tell(Class::Hang, fault, Asked::NotStreaming, outcome);
}

/// A call of `f` that waits, and then no word on its result.
#[rstest]
#[tokio::test]
async fn a_cli_that_does_not_go_on_after_the_result_of_a_call_is_ended(#[values(true, false)] stream: bool) {
    let fake = FakeCli::new(&Script::default());
    fake.follow(&Script {
        plays: vec![play("", calls_f())],
        ignores_interrupt: true,
        ignores_end_of_input: true,
        ..Script::default()
    });
    let app = fake
        .app_with(|config| {
            deadlines(Deadlines { first_frame: SHORT, idle: LONG, total: LONG })(config);
            config.claude.keep.processes = 4;
        })
        .await;
    let mut question = with_function("call");
    let (status, called) = app.answer(&question).await;
    let call = called["choices"][0]["message"].clone();
    assert_eq!((status, &call["tool_calls"][0]["function"]["name"]), (200, &json!("f")), "{called}");
    let result = json!({"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": "done"});
    question["messages"].as_array_mut().expect("messages").extend([call, result]);
    let (answer, time) = answer(&app, &question, stream).await;
    assert_eq!(fake.reports().len(), 1, "it went on in its process");
    assert!(fake.heard().contains("mcp_response"), "the result was brought");
    assert_eq!(answer.error().expect("an error")["code"], "timeout");
    fake.gone_within(SOON).await;
    assert!(time >= SHORT && time < SHORT + SOON, "{time:?}");
    let fault = "silent after the result of a call was brought to it (`mcp_message`)";
    seen::tell(Class::Hang, fault, Asked::with(stream), seen::of_answer(&answer));
}

/// The model calls `f`, the CLI asks for that and then waits for ever.
fn calls_f() -> Vec<Step> {
    let event = |event| crate::support::fake_cli::frames::event(&event);
    let block = json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}});
    let delta = json!({"type": "input_json_delta", "partial_json": "{}"});
    let message = json!({
        "jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": {"name": "f", "arguments": {}, "_meta": {"claudecode/toolUseId": "toolu_1"}},
    });
    let frames = vec![
        message_start("msg_1"),
        event(json!({"type": "content_block_start", "index": 0, "content_block": block})),
        event(json!({"type": "content_block_delta", "index": 0, "delta": delta})),
        event(json!({"type": "content_block_stop", "index": 0})),
        message_delta(Some("tool_use"), 5),
        message_stop(),
    ];
    let ask = Step::Ask(json!({"subtype": "mcp_message", "server_name": "couplet", "message": message}));
    vec![Step::Frames(frames), ask, Step::Hang]
}

#[rstest]
#[case("and says nothing", vec![Step::Hang])]
#[case("and writes more than a pipe takes", vec![Step::FloodStdout { bytes: 1024 * 1024, line: 80 }])]
#[tokio::test]
async fn a_cli_that_does_not_read_a_long_question_is_ended(#[case] what: &str, #[case] at_start: Vec<Step>) {
    let fake = FakeCli::new(&stubborn(Script { at_start, ..Script::default() }));
    let app = fake.app_with(deadlines(Deadlines { first_frame: SHORT, idle: LONG, total: LONG })).await;
    let long = "much to say ".repeat(100_000);
    let answer = app.answer(&ask(&long)).await;
    assert_eq!(refused(&answer), (504, "timeout"));
    fake.gone_within(SOON).await;
    fake.follow(&Script::default());
    is_as_before(&app, &fake, 16).await;
    assert_eq!(said(&app.answer(&ask(&long)).await), "fine");
    let fault = format!("it does not read a question of 1.2 MB, {what}");
    seen::tell(Class::Hang, &fault, Asked::NotStreaming, seen::of_whole(&answer));
}

#[rstest]
#[tokio::test]
async fn a_cli_that_stops_in_the_middle_is_ended_with_its_group(#[values(true, false)] stream: bool) {
    let half = Step::Frames(vec![message_start("msg_1"), text("half an ")]);
    let fake = FakeCli::new(&stubborn(silent_after(vec![half])));
    let app = fake.app_with(deadlines(Deadlines { first_frame: LONG, idle: SHORT, total: LONG })).await;
    let places = free_places(&app).await;
    let begun = Instant::now();
    let (answer, _) = answer(&app, &ask("hello"), stream).await;
    assert_eq!(answer.error().expect("an error")["code"], "timeout");
    assert_eq!(answer.contents(), if stream { vec!["half an "] } else { vec![] });
    is_over(&app, &fake, begun, SHORT, places).await;
    let fault = "silent in mid-answer, until the deadline for pauses";
    seen::tell(Class::Hang, fault, Asked::with(stream), seen::of_answer(&answer));
}

#[rstest]
#[tokio::test]
async fn an_answer_without_an_end_is_ended_at_its_total_time(#[values(true, false)] stream: bool) {
    let drop = [Step::Frames(vec![text("drop ")]), Step::Sleep { milliseconds: 20 }];
    let steps =
        [Step::Frames(vec![message_start("msg_1")]), Step::Repeat { times: 6000, steps: drop.into() }];
    let fake = FakeCli::new(&stubborn(Script { plays: vec![play("", steps)], ..Script::default() }));
    let app = fake.app_with(deadlines(Deadlines { first_frame: LONG, idle: LONG, total: 2 * SHORT })).await;
    let places = free_places(&app).await;
    let begun = Instant::now();
    let (answer, _) = answer(&app, &ask("hello"), stream).await;
    assert_eq!(answer.error().expect("an error")["code"], "timeout");
    assert_eq!(answer.contents().len() > 1, stream, "it was under way: {answer:?}");
    is_over(&app, &fake, begun, 2 * SHORT, places).await;
    let fault = "an answer without an end, until the deadline for the whole";
    seen::tell(Class::Hang, fault, Asked::with(stream), seen::of_answer(&answer));
}
