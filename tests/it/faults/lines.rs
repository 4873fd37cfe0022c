//! What comes on stdout is not what it should be.

use couplet::claude::line_reader::MAX_LINE;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::{SOON, broken, is_as_before, refused, said};
use crate::support::app::{Streamed, TestApp, ask};
use crate::support::fake_cli::frames::{message, message_delta, message_start, message_stop, success, text};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, play};
use crate::support::fault_table::{Asked, Class};
use crate::support::seen::{self, Seen};

/// Answers at once.
const AT_ONCE: usize = 4;

fn line(frame: &Value) -> Step {
    Step::Bytes(format!("{frame}\n").into_bytes())
}

async fn unknown_frames(app: &TestApp) -> u64 {
    let health: Value = app.health().await;
    health["unknown_frames"].as_u64().expect("a number")
}

#[tokio::test]
async fn lines_that_are_no_known_frames_are_counted_and_skipped() {
    let nonsense: [&[u8]; 8] = [
        b"Warning: something is deprecated\n",
        b"{\"type\":\"tomorrow\",\"event\":7}\n",
        b"{\"type\":\"stream_event\"}\n",
        b"{\"type\":\"assistant\",\"message\":\"what?\"}\n",
        b"[1,2,3]\n",
        b"\xff\xfe not UTF-8\n",
        b"{\"type\":\"stream_event\",\"event\":{\"type\":\"content_block_delta\"\n",
        b"null\n",
    ];
    let steps: Vec<Step> = nonsense.iter().map(|bytes| Step::Bytes(bytes.to_vec())).collect();
    let fake = FakeCli::that_does([steps, vec![Step::Answer("unmoved".to_owned())]].concat());
    let app = fake.app().await;
    let before = unknown_frames(&app).await;
    assert_eq!(said(&app.answer(&ask("hello")).await), "unmoved");
    // Other tests in the same process count too.
    assert!(unknown_frames(&app).await >= before + nonsense.len() as u64);
}

/// Lines beside an answer that say nothing which could be part of it, by what is odd in them.
fn odd_lines() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let event = |event: &str| {
        format!(r#"{{"type":"stream_event","event":{event},"parent_tool_use_id":null}}"#).into_bytes()
    };
    let deep = |open: &str, close: &str, depth: usize| [open.repeat(depth), close.repeat(depth)].concat();
    let system = |field: &str| format!(r#"{{"type":"system","subtype":"x",{field}}}"#).into_bytes();
    vec![
        ("text that is not JSON", vec![b"Warning: something is deprecated".to_vec(), b"{".to_vec(), b"}".to_vec()]),
        ("JSON that is no frame", vec![b"null".to_vec(), b"7".to_vec(), b"[1,2,3]".to_vec(), br#""text""#.to_vec(), b"{}".to_vec()]),
        ("a frame of an unknown type", vec![br#"{"type":"tomorrow","event":7}"#.to_vec(), br#"{"type":""}"#.to_vec()]),
        ("a frame whose type is no text", vec![br#"{"type":7}"#.to_vec(), br#"{"type":null}"#.to_vec(), br#"{"type":["result"]}"#.to_vec()]),
        ("a known frame in an unknown form", vec![
            br#"{"type":"stream_event"}"#.to_vec(),
            br#"{"type":"stream_event","event":"text"}"#.to_vec(),
            br#"{"type":"assistant","message":"what?"}"#.to_vec(),
            br#"{"type":"control_response"}"#.to_vec(),
            br#"{"type":"control_response","response":{"request_id":7}}"#.to_vec(),
            br#"{"type":"control_request"}"#.to_vec(),
            br#"{"type":"rate_limit_event","rate_limit_info":7}"#.to_vec(),
            br#"{"type":"user","message":7}"#.to_vec(),
            br#"{"type":"result","is_error":"no"}"#.to_vec(),
        ]),
        ("an event of an unknown type", vec![event(r#"{"type":"tomorrow"}"#), event(r#"{"type":"content_block_delta","index":0,"delta":{"type":"tomorrow_delta","tomorrow":1}}"#)]),
        ("an event in an unknown form", vec![
            event(r#"{"type":"message_start"}"#),
            event(r#"{"type":"content_block_delta"}"#),
            event(r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":7}}"#),
            event(r#"{"type":"message_delta","delta":7}"#),
            event("7"),
        ]),
        ("bytes that are not UTF-8", vec![b"\xff\xfe".to_vec(), b"{\"type\":\"\xc3\x28\"}".to_vec(), b"{\"type\":\"system\",\"x\":\"\xed\xa0\x80\"}".to_vec()]),
        ("NUL bytes", vec![b"\0".to_vec(), b"{\"type\":\"system\"}\0".to_vec(), b"{\"type\":\"sys\0tem\"}".to_vec(), br#"{"type":"\u0000"}"#.to_vec()]),
        ("empty lines and CRLF", vec![Vec::new(), b"\r".to_vec(), b"  ".to_vec(), br#"{"type":"keep_alive"}"#.iter().copied().chain(*b"\r").collect()]),
        ("100,000 levels of JSON", vec![
            deep("[", "]", 100_000).into_bytes(),
            system(&format!(r#""x":{}"#, deep("[", "]", 100_000))),
            event(&format!(r#"{{"type":"x","delta":{}1{}}}"#, r#"{"a":"#.repeat(100_000), "}".repeat(100_000))),
            format!(r#"{{"type":"assistant","message":{{"content":{}}}}}"#, deep("[", "]", 100_000)).into_bytes(),
            format!(r#"{{"type":"user","message":{{"content":[{}]}}}}"#, deep("[", "]", 100_000)).into_bytes(),
            format!(r#"{{"type":"result","is_error":false,"modelUsage":{{"m":{}}}}}"#, deep("[", "]", 100_000)).into_bytes(),
            deep("[", "", 1_000_000).into_bytes(),
        ]),
        ("duplicated keys", vec![
            br#"{"type":"system","type":"result","is_error":true}"#.to_vec(),
            event(r#"{"type":"content_block_delta","delta":{"text":"a"},"delta":{"text":"b"}}"#),
        ]),
        ("numbers that no type holds", vec![
            system(r#""x":1e999999"#),
            system(&format!(r#""x":{}"#, "9".repeat(10_000))),
            event(r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":-1}}"#),
            event(r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":99999999999999999999999}}"#),
            event(r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":1e400}}"#),
            br#"{"type":"rate_limit_event","rate_limit_info":{"status":"allowed","resetsAt":-1}}"#.to_vec(),
            br#"{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":18446744073709551615}}"#.to_vec(),
        ]),
        ("lone surrogates", vec![
            system(r#""x":"\ud800""#),
            event(r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\ud83d"}}"#),
            br#"{"type":"\udc00"}"#.to_vec(),
        ]),
        ("frames of a subagent", vec![
            br#"{"type":"stream_event","event":{"type":"content_block_delta","delta":{"type":"text_delta","text":"theirs"}},"parent_tool_use_id":"t"}"#.to_vec(),
            br#"{"type":"assistant","message":{"id":"m","model":"m","content":[{"type":"text","text":"theirs"}]},"parent_tool_use_id":"t"}"#.to_vec(),
        ]),
        ("answers to questions that nobody asked", vec![
            br#"{"type":"control_response","response":{"subtype":"success","request_id":"never","response":{}}}"#.to_vec(),
        ]),
    ]
}

/// In front of an answer, in its text, and behind it.
#[tokio::test]
async fn odd_lines_at_any_place_of_an_answer_are_skipped() {
    let answer = [message("msg_1", "unmoved"), vec![success()]].concat();
    let places = [0, 3, answer.len()];
    for (what, lines) in odd_lines() {
        let questions: Vec<(usize, usize)> =
            (0..lines.len()).flat_map(|number| places.map(|place| (number, place))).collect();
        let name = |(number, place): (usize, usize)| format!("<{number} {place}>");
        let fake = FakeCli::new(&Script::default());
        let file = |number: usize| fake.file(&format!("line-{number}"));
        for (number, line) in lines.iter().enumerate() {
            std::fs::write(file(number), [line.as_slice(), b"\n"].concat()).expect("a file");
        }
        let plays = questions.iter().map(|asked| {
            let (before, behind) = answer.split_at(asked.1);
            let odd = Step::BytesOf(file(asked.0));
            play(&name(*asked), [Step::Frames(before.to_vec()), odd, Step::Frames(behind.to_vec())])
        });
        fake.follow(&Script { plays: plays.collect(), ..Script::default() });
        let app = fake.app().await;
        for stream in [false, true] {
            let ask_it = async |asked: (usize, usize)| {
                let mut question = ask(&name(asked));
                question["stream"] = json!(stream);
                let answer = Streamed::read(app.chat(&question).await).await;
                let text = if stream {
                    answer.contents().concat()
                } else {
                    answer.data[0]["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
                };
                assert_eq!(text, "unmoved", "{what}, {}: {answer:?}", name(asked));
                seen::of_answer(&answer)
            };
            let outcomes: Vec<String> =
                stream::iter(questions.clone()).map(ask_it).buffered(AT_ONCE).collect().await;
            let mut seen = Seen::default();
            for outcome in outcomes {
                seen.note(outcome);
            }
            let fault = format!("{what}, in front of an answer, in its text and behind it");
            seen.tell(Class::Output, &fault, Asked::with(stream));
        }
        is_as_before(&app, &fake, 16).await;
    }
}

#[tokio::test]
async fn line_ends_of_both_kinds_and_empty_lines_do_not_matter() {
    let frames = [message("msg_1", "a\r\nb\n"), vec![success()]].concat();
    let line = |frame: &Value| Step::Bytes(format!("\r\n\n{frame}\r\n\r\n").into_bytes());
    let fake = FakeCli::that_does(frames.iter().map(line).collect::<Vec<_>>());
    let app = fake.app().await;
    let streamed = app.stream(&ask("hello")).await;
    assert_eq!(streamed.contents(), ["a\r\nb\n"]);
    let fault = "CRLF and empty lines around each frame";
    seen::tell(Class::Output, fault, Asked::Streaming, seen::of_answer(&streamed));
}

#[tokio::test]
async fn letters_that_come_in_pieces_arrive_whole() {
    let said = "ä€😀👩‍🚀\u{2028}";
    let bytes = format!("{}\n", text(said)).into_bytes();
    let pieces = bytes.chunks(1).flat_map(|piece| {
        let pause = Step::Sleep { milliseconds: u64::from(!piece[0].is_ascii()) };
        [Step::Bytes(piece.to_vec()), pause]
    });
    let steps = [
        vec![line(&message_start("msg_1"))],
        pieces.collect(),
        vec![line(&message_delta(Some("end_turn"), 1)), line(&message_stop()), line(&success())],
    ];
    let fake = FakeCli::that_does(steps.concat());
    let app = fake.app().await;
    let streamed = app.stream(&ask("hello")).await;
    assert_eq!(streamed.contents(), [said]);
    let fault = "letters of several bytes, each byte by itself";
    seen::tell(Class::Output, fault, Asked::Streaming, seen::of_answer(&streamed));
}

#[tokio::test]
async fn a_line_beyond_the_limit_is_an_error_and_ends_the_cli() {
    let endless = Step::FloodStdout { bytes: 4 * MAX_LINE, line: 0 };
    let begun = Step::Frames(vec![message_start("msg_1"), text("half an ")]);
    let plays =
        vec![play("at once", [endless.clone(), Step::Hang]), play("later", [begun, endless, Step::Hang])];
    let fake = FakeCli::new(&Script { plays, ignores_interrupt: true, ..Script::default() });
    let app = fake.app().await;
    let whole = app.answer(&ask("at once")).await;
    assert_eq!(refused(&whole), (502, "upstream_unexpected"));
    fake.gone_within(SOON).await;
    let streamed = app.stream(&ask("later")).await;
    assert_eq!((streamed.contents(), broken(&streamed)), (vec!["half an "], "upstream_unexpected"));
    fake.gone_within(SOON).await;
    is_as_before(&app, &fake, 16).await;
    let fault = "a line beyond the limit of 16 MiB; the group is gone within 1 s";
    seen::tell(Class::Output, fault, Asked::NotStreaming, seen::of_whole(&whole));
    seen::tell(Class::Output, fault, Asked::Streaming, seen::of_answer(&streamed));
}

#[tokio::test]
async fn a_line_within_the_limit_is_read_however_long() {
    let long = [
        Step::Bytes(br#"{"type":"system","subtype":"long","padding":""#.to_vec()),
        // Written in pieces of 64 KiB.
        Step::FloodStdout { bytes: MAX_LINE - 128 * 1024, line: 0 },
        Step::Bytes(b"\"}\n".to_vec()),
    ];
    let fake = FakeCli::that_does([long.to_vec(), vec![Step::Answer("unmoved".to_owned())]].concat());
    let app = fake.app().await;
    let whole = app.answer(&ask("hello")).await;
    assert_eq!(said(&whole), "unmoved");
    let fault = "a line just within the limit of 16 MiB";
    seen::tell(Class::Output, fault, Asked::NotStreaming, seen::of_whole(&whole));
}
