//! The CLI says nothing, and would do so for ever.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use couplet::claude::conversation::Deadlines;
use couplet::config::Config;
use rstest::rstest;

use super::{SOON, broken, free_places, is_as_before, refused, said};
use crate::support::app::ask;
use crate::support::fake_cli::frames::{message_start, text};
use crate::support::fake_cli::script::{OnControl, Script, Step};
use crate::support::fake_cli::{FakeCli, play};

/// The deadline under test.
const SHORT: Duration = Duration::from_millis(600);

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

#[rstest]
#[case::before_it_reads(silent_at_start())]
#[case::in_initialize(silent_on("initialize"))]
#[case::on_its_settings(silent_on("apply_flag_settings"))]
#[case::before_the_first_frame(silent_after(vec![]))]
#[tokio::test]
async fn a_cli_that_does_not_begin_is_ended_with_its_group(
    #[case] script: Script,
    #[values(true, false)] stream: bool,
) {
    let fake = FakeCli::new(&stubborn(script));
    let app = fake.app_with(deadlines(Deadlines { first_frame: SHORT, idle: LONG, total: LONG })).await;
    let places = free_places(&app).await;
    let begun = Instant::now();
    if stream {
        let answer = app.stream(&ask("hello")).await;
        assert_eq!((answer.status, broken(&answer)), (504, "timeout"));
    } else {
        assert_eq!(refused(&app.answer(&ask("hello")).await), (504, "timeout"));
    }
    assert!(begun.elapsed() >= SHORT, "not before the deadline");
    fake.gone_within(SOON).await;
    assert!(begun.elapsed() < SHORT + SOON, "within a second of the deadline, not {:?}", begun.elapsed());
    fake.follow(&Script::default());
    is_as_before(&app, &fake, places).await;
}

#[rstest]
#[case::and_says_nothing(vec![Step::Hang])]
#[case::and_writes_more_than_a_pipe_takes(vec![Step::FloodStdout { bytes: 1024 * 1024, line: 80 }])]
#[tokio::test]
async fn a_cli_that_does_not_read_a_long_question_is_ended(#[case] at_start: Vec<Step>) {
    let fake = FakeCli::new(&stubborn(Script { at_start, ..Script::default() }));
    let app = fake.app_with(deadlines(Deadlines { first_frame: SHORT, idle: LONG, total: LONG })).await;
    let long = "much to say ".repeat(100_000);
    assert_eq!(refused(&app.answer(&ask(&long)).await), (504, "timeout"));
    fake.gone_within(SOON).await;
    fake.follow(&Script::default());
    is_as_before(&app, &fake, 16).await;
    assert_eq!(said(&app.answer(&ask(&long)).await), "fine");
}

#[rstest]
#[tokio::test]
async fn a_cli_that_stops_in_the_middle_is_ended_with_its_group(#[values(true, false)] stream: bool) {
    let half = Step::Frames(vec![message_start("msg_1"), text("half an ")]);
    let fake = FakeCli::new(&stubborn(silent_after(vec![half])));
    let app = fake.app_with(deadlines(Deadlines { first_frame: LONG, idle: SHORT, total: LONG })).await;
    let places = free_places(&app).await;
    if stream {
        let answer = app.stream(&ask("hello")).await;
        assert_eq!((answer.status, broken(&answer)), (200, "timeout"));
        assert_eq!(answer.contents(), ["half an "]);
    } else {
        assert_eq!(refused(&app.answer(&ask("hello")).await), (504, "timeout"));
    }
    fake.gone_within(SOON).await;
    fake.follow(&Script::default());
    is_as_before(&app, &fake, places).await;
}

#[tokio::test]
async fn an_answer_without_an_end_is_ended_at_its_total_time() {
    let drop = [Step::Frames(vec![text("drop ")]), Step::Sleep { milliseconds: 20 }];
    let steps =
        [Step::Frames(vec![message_start("msg_1")]), Step::Repeat { times: 6000, steps: drop.into() }];
    let fake = FakeCli::new(&stubborn(Script { plays: vec![play("", steps)], ..Script::default() }));
    let app = fake.app_with(deadlines(Deadlines { first_frame: LONG, idle: LONG, total: 2 * SHORT })).await;
    let places = free_places(&app).await;
    let begun = Instant::now();
    let answer = app.stream(&ask("hello")).await;
    assert_eq!(broken(&answer), "timeout");
    assert!(answer.contents().len() > 1, "it was under way: {answer:?}");
    fake.gone_within(SOON).await;
    assert!((2 * SHORT..2 * SHORT + SOON).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    fake.follow(&Script::default());
    is_as_before(&app, &fake, places).await;
}
