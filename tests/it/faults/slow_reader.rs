//! The client reads slowly, or not at all.

use std::time::Duration;

use couplet::claude::conversation::Deadlines;
use couplet::config::Config;
use rstest::rstest;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::{SOON, ask_unread, is_as_before, stalled};
use crate::support::fake_cli::frames::{message_delta, message_start, message_stop, success};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, play};
use crate::support::fault_table::{Asked, Class};
use crate::support::seen;

/// The pieces of the answer: much more than all buffers on the way take.
const PIECES: usize = 1500;

/// The size of a piece, in bytes.
const SIZE: usize = 16 * 1024;

/// How long the reader may be behind.
const SHORT: Duration = Duration::from_millis(500);

/// A time that is not to be reached.
const LONG: Duration = Duration::from_secs(60);

/// A long answer, and a file that is made once the CLI is rid of it.
fn long_answer(stubborn: bool) -> FakeCli {
    let fake = FakeCli::new(&Script::default());
    let steps = vec![
        Step::Frames(vec![message_start("msg_1")]),
        Step::Texts { count: PIECES, size: SIZE },
        Step::Frames(vec![message_delta(Some("end_turn"), 5), message_stop(), success()]),
        Step::MakeFile(fake.file("all-said")),
    ];
    fake.follow(&Script {
        plays: vec![play("at length", steps)],
        ignores_interrupt: stubborn,
        ignores_end_of_input: stubborn,
        ..Script::default()
    });
    fake
}

fn idle(idle: Duration) -> impl FnOnce(&mut Config) {
    move |config| config.claude.deadlines = Deadlines { first_frame: LONG, idle, total: LONG }
}

/// Reads the rest: the numbers of the pieces, the error, and whether it was told to be complete.
async fn read(mut connection: TcpStream) -> (Vec<usize>, Option<Value>, bool) {
    let mut response = String::new();
    connection.read_to_string(&mut response).await.expect("a response");
    let (mut pieces, mut error, mut done) = (Vec::new(), None, false);
    // The sizes of the chunks stand in lines of their own.
    for data in response.lines().filter_map(|line| line.strip_prefix("data: ")) {
        if data == "[DONE]" {
            done = true;
            continue;
        }
        let data: Value = serde_json::from_str(data).expect("JSON");
        if let Some(text) = data["choices"][0]["delta"]["content"].as_str().filter(|text| !text.is_empty()) {
            assert_eq!(text.len(), SIZE, "whole pieces");
            pieces.push(text[..8].parse().expect("a number"));
        }
        error = data.get("error").cloned().or(error);
    }
    (pieces, error, done)
}

#[tokio::test]
async fn a_reader_that_stops_slows_the_cli_and_misses_nothing_when_it_goes_on() {
    let fake = long_answer(false);
    let app = fake.app_with(idle(LONG)).await;
    let connection = ask_unread(&app, "at length").await;
    stalled(&fake, SHORT).await;
    assert!(!fake.file("all-said").exists(), "it is slowed");
    let (pieces, error, done) = read(connection).await;
    assert_eq!((pieces.len(), error, done), (PIECES, None, true));
    let outcome = format!("the answer, all {} pieces of 16 KiB in order", pieces.len());
    assert!(pieces.into_iter().eq(0..PIECES), "all pieces in their order");
    is_as_before(&app, &fake, 16).await;
    let fault = "it stops reading and goes on before the deadline for pauses; the CLI waits for it";
    seen::tell(Class::Client, fault, Asked::Streaming, outcome);
}

#[rstest]
#[case("a CLI that follows its interrupt", false)]
#[case("a CLI that does not care", true)]
#[tokio::test]
async fn a_reader_that_stops_for_too_long_gets_an_error_and_the_cli_is_ended(
    #[case] cli: &str,
    #[case] stubborn: bool,
) {
    let fake = long_answer(stubborn);
    let app = fake.app_with(idle(SHORT)).await;
    let connection = ask_unread(&app, "at length").await;
    let since = stalled(&fake, SHORT / 2).await;
    fake.gone_within(SHORT + SOON).await;
    assert!(since.elapsed() < SHORT + SOON, "within a second of the deadline, not {:?}", since.elapsed());
    fake.follow(&Script::default());
    is_as_before(&app, &fake, 16).await;
    let (pieces, error, done) = read(connection).await;
    assert!(pieces.len() < PIECES && !done, "the answer is not complete");
    assert!(pieces.iter().copied().eq(0..pieces.len()), "what came is in order");
    let error = error.expect("an error at the end");
    assert_eq!(error["code"], "timeout", "{error}");
    let code = error["code"].as_str().expect("a code");
    let fault =
        format!("it stops reading beyond the deadline for pauses, from {cli}; the group is gone within 1 s");
    seen::tell(
        Class::Client,
        &fault,
        Asked::Streaming,
        format!("what came until then, in order; error frame `{code}`"),
    );
}
