//! The system runs out of memory, and kills.

use std::time::Duration;

use rstest::rstest;

use super::{PATIENCE, broken, is_as_before, refused};
use crate::support::app::ask;
use crate::support::fake_cli::frames::{message_start, text};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, play};
use crate::support::fault_table::{Asked, Class, Tried, saw};

const TIMES: u64 = 4;

/// What the kernel does to a process is no more than this signal: nobody is told of it but its parent.
#[rstest]
#[case::while_it_starts("while it starts", Script { at_start: vec![Step::Die], ..Script::default() })]
#[case::before_its_first_word("before its first word", Script { plays: vec![play("", [Step::Die])], ..Script::default() })]
#[case::in_mid_answer(
    "in mid-answer",
    Script { plays: vec![play("", [Step::Frames(vec![message_start("msg_1"), text("half an ")]), Step::Die])], ..Script::default() }
)]
#[tokio::test]
async fn a_cli_that_is_killed_is_an_error_that_names_memory(#[case] when: &str, #[case] script: Script) {
    let fake = FakeCli::new(&script);
    let app = fake.app().await;
    for _ in 0..TIMES {
        let answer = app.answer(&ask("hello")).await;
        assert_eq!(refused(&answer), (502, "upstream_broken"));
        let sentence = answer.1["error"]["message"].as_str().expect("a sentence");
        assert!(
            sentence.contains("killed by signal 9") && sentence.contains("COUPLET_MEMORY_BUDGET"),
            "{sentence}"
        );
        let streamed = app.stream(&ask("hello")).await;
        assert_eq!(broken(&streamed), "upstream_broken");
        assert!(
            streamed.error().expect("an error")["message"].as_str().is_some_and(|it| it.contains("signal 9"))
        );
    }
    let fault = format!("the system kills the CLI {when}");
    let named = "with a sentence that names memory";
    for stream in [false, true] {
        let how = if stream && when == "in mid-answer" { "error frame" } else { "502" };
        let told = format!("{how} `upstream_broken`, {named}");
        saw(Class::Resources, &fault, Asked::with(stream), &told, Tried::Times(TIMES));
    }
    fake.follow(&Script::default());
    is_as_before(&app, &fake, 16).await;
}

/// One that dies by itself says why on stderr: nothing of that is told, since it may quote what was asked.
#[tokio::test]
async fn a_cli_that_gives_up_for_want_of_memory_is_an_error() {
    let complaint = "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory";
    let half = Step::Frames(vec![message_start("msg_1"), text("half an ")]);
    let steps = [half, Step::Complain(complaint.to_owned()), Step::Exit(134)];
    let fake = FakeCli::that_does(steps);
    let app = fake.app().await;
    let answer = app.answer(&ask("hello")).await;
    assert_eq!(refused(&answer), (502, "upstream_broken"));
    assert!(answer.1["error"]["message"].as_str().is_some_and(|it| it.contains("exit status: 134")));
    let fault = "the CLI gives up in mid-answer for want of memory";
    saw(Class::Resources, fault, Asked::NotStreaming, "502 `upstream_broken`", Tried::Times(1));
    fake.follow(&Script::default());
    is_as_before(&app, &fake, 16).await;
}

/// Those that wait are started again, but not as fast as they are killed.
#[tokio::test]
async fn a_cli_that_is_killed_whenever_it_starts_is_started_less_and_less_often() {
    let fake = FakeCli::new(&Script { at_start: vec![Step::Die], ..Script::default() });
    let app = fake
        .app_with(|config| {
            config.claude.warm.min = 2;
            config.claude.warm.max = 2;
        })
        .await;
    eventually(PATIENCE, "the first one was started", || !fake.reports().is_empty()).await;
    // After the first in vain there is a wait of a second at least, then of two, and of four.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let starts = fake.reports().len();
    assert!((1..=3).contains(&starts), "{starts} starts within five seconds");
    fake.follow(&Script::default());
    let begun = std::time::Instant::now();
    while app.health().await["processes"]["generic"] != 2 {
        assert!(begun.elapsed() < PATIENCE, "they wait again: {}", app.health().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// So that it is a process of the CLI that goes, and not the server with all of them.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_kernel_is_asked_to_kill_the_cli_rather_than_the_server() {
    let score = |id: &str| -> i32 {
        let score = std::fs::read_to_string(format!("/proc/{id}/oom_score_adj")).expect("a score");
        score.trim().parse().expect("a number")
    };
    let fake = FakeCli::that_does([Step::Hang]);
    let app = fake.app().await;
    let asked = tokio::spawn(app.chat_later(&ask("hello")));
    eventually(PATIENCE, "one is there", || fake.reports().len() == 1).await;
    let of_server = score("self");
    assert_eq!(score(&fake.report().process_id.to_string()), of_server.max(500));
    asked.abort();
}
