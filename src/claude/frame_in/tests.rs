use super::*;
use crate::turn::{CallsPerAnswer, ImageFormat, Media, Parameters, Tool, ToolChoice};
use content::command_slash;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

fn line(frame: &FrameIn<'_>) -> String {
    let mut line = Vec::new();
    frame.write_to(&mut line).unwrap();
    String::from_utf8(line).unwrap()
}

fn text(text: &str) -> Vec<UserBlock> {
    vec![UserBlock::Text(text.to_owned())]
}

#[test]
fn frames_are_lines_of_the_cli_s_own_form() {
    let initialize = FrameIn::ControlRequest {
        request_id: "1".to_owned(),
        request: ControlRequest::Initialize { system_prompt: "be brief", servers: &["couplet"] },
    };
    let interrupt =
        FrameIn::ControlRequest { request_id: "2".to_owned(), request: ControlRequest::Interrupt };
    let call = AssistantBlock::ToolUse {
        id: "call_1".to_owned(),
        name: "f".to_owned(),
        input: serde_json::from_str(r#"{"z":1,"a":null}"#).unwrap(),
    };
    let result = |content| UserBlock::ToolResult { call_id: "call_1".to_owned(), content, is_error: false };
    let plain = result(vec![ResultBlock::Text("22".to_owned())]);
    let image = Media::Image { format: ImageFormat::Png, bytes: (&[0xff, 0xef, 1, 2][..]).into() };
    let pdf = Media::Pdf { title: Some("a.pdf".to_owned()), bytes: (&b"%PDF-"[..]).into() };
    let file = Media::Text { title: None, text: "a\nb".to_owned() };
    let url = Media::ImageUrl("https://e.org/x".to_owned());
    let seen = result(vec![ResultBlock::Text("see".to_owned()), ResultBlock::Media(image.clone())]);
    let waiting = WaitingCall {
        request_id: "11".to_owned(),
        rpc_id: json!(2),
        call_id: "toolu_1".to_owned(),
        arguments: serde_json::Map::new(),
    };
    let lines = [
        line(&initialize),
        line(&interrupt),
        line(&FrameIn::history_user(&text("a\nb"))),
        line(&FrameIn::history_assistant(1, &[AssistantBlock::Text("c".to_owned()), call])),
        line(&FrameIn::question(&[plain, UserBlock::Text("and?".to_owned())])),
        line(&FrameIn::question(&[seen, result(Vec::new())])),
        line(&FrameIn::question(&[
            UserBlock::Media(image.clone()),
            UserBlock::Text("/this".to_owned()),
            UserBlock::Media(pdf),
            UserBlock::Media(file),
            UserBlock::Media(url),
        ])),
        line(&FrameIn::question(&text("/help me"))),
        line(&FrameIn::decline("9")),
        line(&FrameIn::mcp_answer("10", &json!({"jsonrpc": "2.0", "id": 0, "result": {}}))),
        line(&FrameIn::call_result(
            &waiting,
            &[ResultBlock::Text("22".to_owned()), ResultBlock::Media(image)],
            false,
        )),
        line(&FrameIn::call_result(&waiting, &[ResultBlock::Text("none".to_owned())], true)),
        line(&FrameIn::question(&[UserBlock::ToolResult {
            call_id: "call_1".to_owned(),
            content: vec![ResultBlock::Text("none".to_owned())],
            is_error: true,
        }])),
    ];
    insta::assert_snapshot!(lines.concat());
}

#[rstest]
#[case("/help", Some(1))]
#[case("//x", Some(2))]
#[case("/", None)]
#[case("// \n", None)]
#[case(" /help", None)]
#[case("a/b", None)]
#[case("", None)]
fn a_command_is_cut_behind_its_slashes(#[case] text: &str, #[case] end: Option<usize>) {
    assert_eq!(command_slash(text), end);
}

#[rstest]
#[case(Parameters::default(), json!({"model": "opus"}))]
#[case(Parameters { effort: Some(Effort::Off), ..Parameters::default() }, json!({"model": "opus", "effortLevel": "low"}))]
#[case(
    Parameters { max_tokens: Some(9), stop: vec!["a\"b".into()], temperature: Some(0.5), top_p: Some(1.0), effort: Some(Effort::Max), ..Parameters::default() },
    json!({"model": "opus", "env": {"CLAUDE_CODE_EXTRA_BODY": r#"{"temperature":0.5,"top_p":1.0,"stop_sequences":["a\"b"]}"#,
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "9"}, "effortLevel": "max"})
)]
#[case(
    Parameters { calls: CallsPerAnswer::One, ..Parameters::default() },
    json!({"model": "opus", "env": {"CLAUDE_CODE_EXTRA_BODY": r#"{"tool_choice":{"type":"auto","disable_parallel_tool_use":true}}"#}})
)]
#[case(
    Parameters { tool_choice: ToolChoice::None, calls: CallsPerAnswer::One, ..Parameters::default() },
    json!({"model": "opus", "env": {"CLAUDE_CODE_EXTRA_BODY": r#"{"tool_choice":{"type":"none"}}"#}})
)]
fn model_and_parameters_become_settings(#[case] parameters: Parameters, #[case] settings: Value) {
    assert_eq!(flag_settings(&turn(parameters)), settings);
}

#[test]
fn without_tools_there_is_no_choice_of_them() {
    let parameters = Parameters { tool_choice: ToolChoice::None, ..Parameters::default() };
    let turn = Turn { tools: Vec::new(), ..turn(parameters) };
    assert_eq!(flag_settings(&turn), json!({"model": "opus"}));
}

#[test]
fn what_a_later_turn_does_not_set_is_taken_back() {
    let before = Parameters { temperature: Some(0.5), effort: Some(Effort::Low), ..Parameters::default() };
    assert_eq!(changed_settings(&before, &turn(before.clone())), None);
    let after = turn(Parameters { max_tokens: Some(7), ..Parameters::default() });
    let env = json!({"CLAUDE_CODE_EXTRA_BODY": "", "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "7"});
    assert_eq!(changed_settings(&before, &after), Some(json!({"env": env, "effortLevel": null})));
}

fn turn(parameters: Parameters) -> Turn {
    Turn {
        model: "opus".to_owned(),
        system: String::new(),
        history: Vec::new(),
        question: text("hi"),
        tools: vec![Tool {
            name: "f".to_owned(),
            description: String::new(),
            schema: serde_json::Map::new(),
        }],
        parameters,
    }
}

proptest! {
    #[test]
    fn the_texts_of_a_user_turn_join_to_what_was_sent(said in "(?s)[ \n/a\u{0}\u{2028}\u{1b}]{0,6}.{0,20}") {
        let blocks = text(&said);
        let frame = line(&FrameIn::question(&blocks));
        prop_assert_eq!(frame.matches('\n').count(), 1, "one frame, one line");
        let frame: Value = serde_json::from_str(&frame).unwrap();
        let joined = match &frame["message"]["content"] {
            Value::String(text) => text.clone(),
            blocks => blocks.as_array().unwrap().iter().map(|block| block["text"].as_str().unwrap()).collect(),
        };
        prop_assert_eq!(joined, said);
    }
}

fn result(call_id: &str) -> UserBlock {
    UserBlock::ToolResult { call_id: call_id.to_owned(), content: Vec::new(), is_error: false }
}

fn call(id: &str) -> AssistantBlock {
    AssistantBlock::ToolUse { id: id.to_owned(), name: "f".to_owned(), input: serde_json::Map::new() }
}

fn said(text: &str) -> AssistantBlock {
    AssistantBlock::Text(text.to_owned())
}

fn image() -> UserBlock {
    UserBlock::Media(Media::ImageUrl("https://e.org/x".to_owned()))
}

fn file() -> UserBlock {
    UserBlock::Media(Media::Text { title: None, text: "a".to_owned() })
}

/// Each case: a history, and the message and block of the mark.
#[rstest]
#[case(vec![Message::User(text("a")), Message::Assistant(vec![said("b")])], Some((1, 0)))]
#[case(vec![Message::User(text("a")), Message::Assistant(vec![said("(no content)")])], Some((1, 1)))]
#[case(vec![Message::User(text("a")), Message::Assistant(vec![said("b"), call("1"), call("2")])], Some((1, 0)))]
#[case(vec![Message::User(text("a")), Message::Assistant(vec![call("1")])], Some((0, 0)))]
#[case(vec![Message::User(text("/help"))], Some((0, 1)))]
#[case(
    vec![
        Message::User(text("a")),
        Message::Assistant(vec![call("1"), call("2")]),
        Message::User(vec![result("1"), result("2")]),
        Message::Assistant(vec![call("3")]),
    ],
    Some((2, 1)),
)]
#[case(vec![Message::User(vec![file(), image()]), Message::Assistant(vec![call("1")])], Some((0, 0)))]
#[case(vec![Message::User(vec![image()]), Message::Assistant(vec![call("1")])], None)]
#[case(Vec::new(), None)]
fn one_block_of_a_history_is_marked_the_last_that_can_be(
    #[case] said_before: Vec<Message>,
    #[case] place: Option<(usize, usize)>,
) {
    let turn = Turn { history: said_before, ..turn(Parameters::default()) };
    let marks = |mark| -> Vec<_> {
        let frames = of_turn(&turn, mark).into_iter().map(|frame| serde_json::to_value(&frame).unwrap());
        let messages = frames.filter(|frame| frame["type"] != "control_request").enumerate();
        let blocks = messages.flat_map(|(message, frame)| {
            let content = frame["message"]["content"].as_array().cloned().unwrap_or_default();
            let marks = content.into_iter().enumerate();
            marks.filter_map(move |(block, content)| {
                Some(((message, block), content.get("cache_control")?.clone()))
            })
        });
        blocks.collect()
    };
    let at = |mark: Value| place.map(|place| (place, mark)).into_iter().collect::<Vec<_>>();
    assert_eq!(marks(Some(CacheTtl::OneHour)), at(json!({"type": "ephemeral", "ttl": "1h"})));
    assert_eq!(marks(Some(CacheTtl::FiveMinutes)), at(json!({"type": "ephemeral"})));
    assert_eq!(marks(None), []);
}
