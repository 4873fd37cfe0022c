//! The CLI ends before its answer does.

use futures_util::{StreamExt, stream};
use rstest::rstest;
use serde_json::{Value, json};

use super::{SOON, free_places, is_as_before, refused};
use crate::support::app::{Streamed, TestApp, ask, said};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, fixture, play};
use crate::support::fault_table::{Asked, Class};
use crate::support::messages;
use crate::support::seen::{self, Seen};

/// Answers at once in these tests.
const AT_ONCE: usize = 4;

/// How a process ends in the middle of its answer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Death {
    Killed,
    Terminated,
    Exit(i32),
    /// It closes its output, and lives on.
    Silenced,
}

impl Death {
    const ALL: [Self; 5] = [Self::Killed, Self::Terminated, Self::Exit(0), Self::Exit(1), Self::Silenced];

    fn steps(self) -> Vec<Step> {
        match self {
            Self::Killed => vec![Step::Die],
            Self::Terminated => vec![Step::Terminate],
            Self::Exit(code) => vec![Step::Exit(code)],
            Self::Silenced => vec![Step::CloseStdout, Step::Hang],
        }
    }
}

/// A point of a recording where it is cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// So many frames come whole.
    frames: usize,
    /// Whether half of the next comes, too.
    half: bool,
    death: Death,
}

impl Cut {
    fn name(self) -> String {
        let Self { frames, half, death } = self;
        format!("<{frames} {half} {death:?}>")
    }

    fn steps(self, recording: &str) -> Vec<Step> {
        let Self { frames, half, death } = self;
        let replay = Step::Replay { file: fixture(recording), frames, half };
        [vec![replay], death.steps()].concat()
    }
}

/// Where a client asks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wire {
    Chat,
    Messages,
}

/// What followed the last question of a recording.
struct Answer {
    frames: usize,
    /// From so many frames on it is complete, before the CLI says so: it would go on by itself, or wait for results.
    complete: usize,
}

impl Answer {
    fn of(recording: &str) -> Self {
        let recording = std::fs::read_to_string(fixture(recording)).expect("a recording");
        let lines: Vec<Value> =
            recording.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let is_question = |line: &Value| line["dir"] == "in" && line["frame"]["type"] == "user";
        let question = lines.iter().rposition(is_question).expect("a question");
        let frames: Vec<&Value> = lines[question + 1..]
            .iter()
            .filter(|line| line["dir"] == "out")
            .map(|line| &line["frame"])
            .collect();
        let mut has_content = false;
        let ends = |frame: &&Value| {
            has_content |= frame["event"]["type"] == "content_block_start";
            let reason = frame["event"]["delta"]["stop_reason"].as_str();
            reason
                .is_some_and(|reason| !has_content || ["tool_use", "max_tokens", "refusal"].contains(&reason))
        };
        let complete = frames.iter().position(ends).map_or(frames.len(), |at| at + 1);
        Self { frames: frames.len(), complete }
    }
}

/// How often a recording is tried.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Run {
    /// Each point once, and half a line behind each third; the deaths and the wires by turns.
    Ordinary,
    /// Each death at each point, and behind half a line; at `/v1/messages` the deaths by turns.
    Long,
}

impl Run {
    fn cuts(self, frames: usize) -> Vec<Cut> {
        let all = (0..frames).flat_map(|frames| {
            [false, true].into_iter().flat_map(move |half| {
                Death::ALL
                    .into_iter()
                    .enumerate()
                    .map(move |(turn, death)| (turn, Cut { frames, half, death }))
            })
        });
        let is_due = |(turn, cut): &(usize, Cut)| {
            self == Self::Long
                || (*turn == cut.frames % Death::ALL.len() && (!cut.half || cut.frames % 3 == 2))
        };
        all.filter(is_due).map(|(_, cut)| cut).collect()
    }

    /// Whether a cut is tried there.
    fn tries(self, cut: Cut, wire: Wire) -> bool {
        let Cut { frames, half, death } = cut;
        match (self, wire) {
            (_, Wire::Chat) => true,
            (Self::Ordinary, Wire::Messages) => frames % 4 == 1,
            // What is behind the wires is the same.
            (Self::Long, Wire::Messages) => !half && death == Death::ALL[frames % Death::ALL.len()],
        }
    }
}

/// A test of each recording.
macro_rules! of_each_recording {
    ($(#[$attribute:meta])* $test:ident, $run:expr) => {
        #[rstest]
        #[case::cut("cut")]
        #[case::empty("empty")]
        #[case::error_400_too_long("error-400-too-long")]
        #[case::error_401("error-401")]
        #[case::error_403("error-403")]
        #[case::error_404_model("error-404-model")]
        #[case::error_413("error-413")]
        #[case::error_429_burst("error-429-burst")]
        #[case::error_429_usage_limit("error-429-usage-limit")]
        #[case::error_500("error-500")]
        #[case::error_529("error-529")]
        #[case::error_event("error-event")]
        #[case::history("history")]
        #[case::interrupt("interrupt")]
        #[case::length("length")]
        #[case::live("live")]
        #[case::parameters("parameters")]
        #[case::refusal("refusal")]
        #[case::slash_command("slash-command")]
        #[case::stop_sequence("stop-sequence")]
        #[case::text("text")]
        #[case::thinking("thinking")]
        #[case::tool_broken("tool-broken")]
        #[case::tool_call("tool-call")]
        #[case::tool_calls_parallel("tool-calls-parallel")]
        #[case::tool_unknown("tool-unknown")]
        #[case::unicode("unicode")]
        $(#[$attribute])*
        #[tokio::test]
        async fn $test(#[case] name: &str) {
            crash_everywhere(name, $run).await;
        }
    };
}

of_each_recording!(a_crash_at_any_frame_of_a_recording_is_an_error, Run::Ordinary);
of_each_recording!(
    #[ignore = "thousands of processes"]
    every_crash_at_any_frame_of_a_recording_is_an_error,
    Run::Long
);

#[test]
fn every_recording_is_cut() {
    let folder = fixture("text");
    let recordings = std::fs::read_dir(folder.parent().expect("a folder")).expect("a folder");
    let known = include_str!("crashes.rs");
    for recording in recordings {
        let path = recording.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_str().expect("UTF-8");
        assert_eq!(
            known.matches(&format!("(\"{name}\")]")).count(),
            1,
            "{name} is in the list that both tests have"
        );
    }
}

async fn crash_everywhere(name: &str, run: Run) {
    let answer = Answer::of(name);
    let cuts = run.cuts(answer.frames);
    let plays = cuts.iter().map(|cut| play(&cut.name(), cut.steps(name))).collect();
    let fake = FakeCli::new(&Script { plays, ..Script::default() });
    let app = fake.app().await;
    let places = free_places(&app).await;
    for (wire, fault) in [(Wire::Chat, ""), (Wire::Messages, ", at `/v1/messages`")] {
        for stream in [true, false] {
            let cuts: Vec<Cut> = cuts.iter().copied().filter(|cut| run.tries(*cut, wire)).collect();
            let tries = stream::iter(&cuts).map(|cut| crash(&app, *cut, wire, stream));
            let outcomes: Vec<String> = tries.buffered(AT_ONCE).collect().await;
            let (mut broken, mut complete) = (Seen::default(), Seen::default());
            for (cut, outcome) in cuts.iter().zip(outcomes) {
                let is_good = outcome.starts_with("the answer");
                assert_eq!(is_good, cut.frames >= answer.complete, "{name}, {wire:?}: {cut:?}: {outcome}");
                if is_good { complete.note(outcome) } else { broken.note(outcome) }
            }
            let asked = Asked::with(stream);
            let faults = [
                (
                    broken,
                    format!("it ends behind a frame of the recording `{name}`, or within the next{fault}"),
                ),
                (complete, format!("it ends behind the end of the answer in the recording `{name}`{fault}")),
            ];
            for (seen, fault) in faults.into_iter().filter(|(seen, _)| seen.times() > 0) {
                match run {
                    Run::Ordinary => seen.tell(Class::Crash, &fault, asked),
                    Run::Long => seen.tell_of_long_run(Class::Crash, &fault, asked),
                }
            }
        }
    }
    is_as_before(&app, &fake, places).await;
}

async fn crash(app: &TestApp, cut: Cut, wire: Wire, stream: bool) -> String {
    let mut question = if wire == Wire::Chat { ask(&cut.name()) } else { messages::ask(&cut.name()) };
    question["stream"] = json!(stream);
    match wire {
        Wire::Chat => seen::of_answer(&Streamed::read(app.chat(&question).await).await),
        Wire::Messages => {
            seen::of_messages(app.post("/v1/messages").json(&question).send().await.expect("an answer")).await
        }
    }
}

#[rstest]
#[case("it exits with 1", Step::Exit(1))]
#[case("it exits with 0", Step::Exit(0))]
#[case("it is killed", Step::Die)]
#[tokio::test]
async fn what_a_crashed_cli_leaves_behind_goes_with_it(#[case] name: &str, #[case] end: Step) {
    let steps = [Step::StartChild { keeps_output: false }, end];
    let fake = FakeCli::new(&Script { plays: vec![play("crash", steps)], ..Script::default() });
    let app = fake.app().await;
    let answer = app.answer(&ask("crash")).await;
    assert_eq!(refused(&answer), (502, "upstream_broken"));
    fake.gone_within(SOON).await;
    is_as_before(&app, &fake, 16).await;
    let fault = format!("{name} with a child of its own running; the child is gone within 1 s");
    seen::tell(Class::Crash, &fault, Asked::NotStreaming, seen::of_whole(&answer));
}

#[tokio::test]
async fn what_a_cli_leaves_behind_at_the_end_of_its_work_goes_too() {
    let steps = [Step::StartChild { keeps_output: false }, Step::Answer("fine".to_owned())];
    let fake = FakeCli::that_does(steps);
    let app = fake.app().await;
    is_as_before(&app, &fake, 16).await;
    let again = app.answer(&ask("once more")).await;
    assert_eq!(said(&again), "fine");
    fake.gone_within(2 * SOON).await;
    let fault = "it answers and ends, with a child of its own running; the child goes, too";
    seen::tell(Class::Crash, fault, Asked::NotStreaming, seen::of_whole(&again));
}

#[tokio::test]
async fn a_crash_is_told_even_if_a_child_of_the_cli_holds_its_output_open() {
    let steps = [Step::StartChild { keeps_output: true }, Step::Die];
    let fake = FakeCli::new(&Script { plays: vec![play("crash", steps)], ..Script::default() });
    let app = fake.app().await;
    let begun = std::time::Instant::now();
    let answer = app.answer(&ask("crash")).await;
    assert_eq!(refused(&answer), (502, "upstream_broken"));
    assert!(begun.elapsed() < 2 * SOON, "long before any deadline: {:?}", begun.elapsed());
    fake.gone_within(SOON).await;
    let fault = "it is killed, and a child of its own holds its output open";
    seen::tell(Class::Crash, fault, Asked::NotStreaming, seen::of_whole(&answer));
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
    let answer = app.answer(&ask("hello")).await;
    assert_eq!(refused(&answer), (502, "upstream_broken"));
    fake.gone_within(SOON).await;
    let fault = "it closes its output and lives on, deaf to all requests; it is gone within 1 s";
    seen::tell(Class::Crash, fault, Asked::NotStreaming, seen::of_whole(&answer));
}
