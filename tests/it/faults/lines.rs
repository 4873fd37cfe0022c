//! What comes on stdout is not what it should be.

use couplet::claude::line_reader::MAX_LINE;
use serde_json::Value;

use super::{SOON, broken, is_as_before, refused, said};
use crate::support::app::{TestApp, ask};
use crate::support::fake_cli::frames::{message, message_delta, message_start, message_stop, success, text};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, play};

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

#[tokio::test]
async fn line_ends_of_both_kinds_and_empty_lines_do_not_matter() {
    let frames = [message("msg_1", "a\r\nb\n"), vec![success()]].concat();
    let line = |frame: &Value| Step::Bytes(format!("\r\n\n{frame}\r\n\r\n").into_bytes());
    let fake = FakeCli::that_does(frames.iter().map(line).collect::<Vec<_>>());
    let app = fake.app().await;
    assert_eq!(app.stream(&ask("hello")).await.contents(), ["a\r\nb\n"]);
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
    assert_eq!(app.stream(&ask("hello")).await.contents(), [said]);
}

#[tokio::test]
async fn a_line_beyond_the_limit_is_an_error_and_ends_the_cli() {
    let endless = Step::FloodStdout { bytes: 2 * MAX_LINE, line: 0 };
    let begun = Step::Frames(vec![message_start("msg_1"), text("half an ")]);
    let plays =
        vec![play("at once", [endless.clone(), Step::Hang]), play("later", [begun, endless, Step::Hang])];
    let fake = FakeCli::new(&Script { plays, ignores_interrupt: true, ..Script::default() });
    let app = fake.app().await;
    assert_eq!(refused(&app.answer(&ask("at once")).await), (502, "upstream_unexpected"));
    let streamed = app.stream(&ask("later")).await;
    assert_eq!((streamed.contents(), broken(&streamed)), (vec!["half an "], "upstream_unexpected"));
    fake.gone_within(SOON).await;
    is_as_before(&app, &fake, 16).await;
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
    assert_eq!(said(&app.answer(&ask("hello")).await), "unmoved");
}
