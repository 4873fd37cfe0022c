//! The CLI ends before its answer does.

use futures_util::{StreamExt, stream};
use rstest::rstest;

use super::{SOON, broken, free_places, is_as_before, refused};
use crate::support::app::{TestApp, ask};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, fixture, play};
use crate::support::fault_table::{self, Asked, Class, Tried};

/// Answers at once in these tests.
const AT_ONCE: usize = 4;

/// How a process ends in the middle of its answer, by turns.
fn end(cut: usize) -> Step {
    if cut.is_multiple_of(2) { Step::Die } else { Step::Exit(1) }
}

/// The frames that followed the last question of a recording.
fn frames_of(name: &str) -> usize {
    let recording = std::fs::read_to_string(fixture(name)).expect("a recording");
    let lines: Vec<&str> = recording.lines().collect();
    let is_question = |line: &&str| line.starts_with(r#"{"dir":"in","frame":{"type":"user""#);
    let question = lines.iter().rposition(is_question).expect("a question");
    lines[question + 1..].iter().filter(|line| line.starts_with(r#"{"dir":"out""#)).count()
}

/// Recordings with tool calls are left out: today nothing asks for them.
#[rstest]
#[case::error_400_too_long("error-400-too-long")]
#[case::error_401("error-401")]
#[case::error_403("error-403")]
#[case::error_404_model("error-404-model")]
#[case::error_413("error-413")]
#[case::error_429_usage_limit("error-429-usage-limit")]
#[case::error_500("error-500")]
#[case::error_529("error-529")]
#[case::history("history")]
#[case::interrupt("interrupt")]
#[case::parameters("parameters")]
#[case::slash_command("slash-command")]
#[case::text("text")]
#[case::thinking("thinking")]
#[tokio::test]
async fn a_crash_at_any_frame_of_a_recording_is_an_error(#[case] name: &str) {
    let frames = frames_of(name);
    let cut = |cut: usize| {
        let file = fixture(name);
        play(&format!("<{cut}>"), [Step::Replay { file, frames: cut, half: cut % 3 == 2 }, end(cut)])
    };
    let fake = FakeCli::new(&Script { plays: (0..frames).map(cut).collect(), ..Script::default() });
    let app = fake.app().await;
    let places = free_places(&app).await;
    let tries = stream::iter(0..frames).map(|cut| crash_both_ways(&app, cut));
    tries.buffer_unordered(AT_ONCE).collect::<()>().await;
    assert_eq!(fake.reports().len(), 2 * frames);
    is_as_before(&app, &fake, places).await;
    let fault =
        format!("it dies, or exits with 1, behind any frame of the recording `{name}`, or within the next");
    let times = Tried::Times(frames.try_into().expect("a number"));
    let streamed = "error frame `upstream_broken`, or 502 before the first text";
    fault_table::saw(Class::Crash, &fault, Asked::Streaming, streamed, times);
    fault_table::saw(Class::Crash, &fault, Asked::NotStreaming, "502 `upstream_broken`", times);
}

async fn crash_both_ways(app: &TestApp, cut: usize) {
    let question = ask(&format!("<{cut}>"));
    let streamed = app.stream(&question).await;
    assert_eq!(broken(&streamed), "upstream_broken", "cut after {cut} frames: {streamed:?}");
    assert!(matches!(streamed.status, 200 | 502), "cut after {cut} frames: {streamed:?}");
    let whole = app.answer(&question).await;
    assert_eq!(refused(&whole), (502, "upstream_broken"), "cut after {cut} frames");
}

#[rstest]
#[case(Step::Exit(1))]
#[case(Step::Exit(0))]
#[case(Step::Die)]
#[tokio::test]
async fn what_a_crashed_cli_leaves_behind_goes_with_it(#[case] end: Step) {
    let steps = [Step::StartChild { keeps_output: false }, end];
    let fake = FakeCli::new(&Script { plays: vec![play("crash", steps)], ..Script::default() });
    let app = fake.app().await;
    assert_eq!(refused(&app.answer(&ask("crash")).await), (502, "upstream_broken"));
    fake.gone_within(SOON).await;
    is_as_before(&app, &fake, 16).await;
}

#[tokio::test]
async fn what_a_cli_leaves_behind_at_the_end_of_its_work_goes_too() {
    let steps = [Step::StartChild { keeps_output: false }, Step::Answer("fine".to_owned())];
    let fake = FakeCli::that_does(steps);
    let app = fake.app().await;
    is_as_before(&app, &fake, 16).await;
}

#[tokio::test]
async fn a_crash_is_told_even_if_a_child_of_the_cli_holds_its_output_open() {
    let steps = [Step::StartChild { keeps_output: true }, Step::Die];
    let fake = FakeCli::new(&Script { plays: vec![play("crash", steps)], ..Script::default() });
    let app = fake.app().await;
    let begun = std::time::Instant::now();
    assert_eq!(refused(&app.answer(&ask("crash")).await), (502, "upstream_broken"));
    assert!(begun.elapsed() < 2 * SOON, "long before any deadline: {:?}", begun.elapsed());
    fake.gone_within(SOON).await;
}

#[tokio::test]
async fn a_cli_that_closes_its_output_and_lives_on_is_ended() {
    let script = Script {
        plays: vec![play("", [Step::CloseStdout, Step::Hang])],
        ignores_interrupt: true,
        ignores_end_of_input: true,
        ..Script::default()
    };
    let fake = FakeCli::new(&script);
    let app = fake.app().await;
    assert_eq!(refused(&app.answer(&ask("hello")).await), (502, "upstream_broken"));
    fake.gone_within(SOON).await;
}
