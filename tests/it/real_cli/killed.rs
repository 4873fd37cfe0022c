//! The real CLI is killed, or stopped for ever, in the middle of a turn.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::app::{Builder, Streamed, ask, said};
use crate::support::fake_cli::eventually;
use crate::support::fault_table::{Asked, Class};
use crate::support::real_cli::real_cli;
use crate::support::seen;

/// Within this a thing happens if it happens at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long an answer may pause, and how long the model may take to begin.
const SHORT: Duration = Duration::from_secs(8);

/// The processes whose environment leads to that folder.
fn processes_of(state: &Path) -> Vec<Pid> {
    let state = state.as_os_str().as_encoded_bytes();
    let ids = fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let of_ours = |id: &i32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.windows(state.len()).any(|part| part == state)
    };
    ids.filter(of_ours).filter_map(Pid::from_raw).collect()
}

#[rstest]
#[case("it is killed", Signal::KILL)]
#[case("it gets SIGTERM", Signal::TERM)]
#[case("it is stopped for ever (SIGSTOP), until the deadline", Signal::STOP)]
#[tokio::test]
async fn the_real_cli_is_lost_in_the_middle_of_a_turn(
    #[case] what: &str,
    #[case] signal: Signal,
    #[values(("before the first token", "[[delay 60]]"), ("in mid-answer", "[[words 1000]][[slow 0.05]]"))]
    moment: (&str, &str),
    #[values(true, false)] stream: bool,
) {
    let Some(cli) = real_cli() else { return };
    let deadlines =
        couplet::claude::conversation::Deadlines { first_frame: SHORT, idle: SHORT, total: 10 * SHORT };
    let app = Builder::new(&cli).await.with(|config| config.claude.deadlines = deadlines).start().await;
    let (when, prompt) = moment;
    let mut question = ask(prompt);
    question["stream"] = json!(stream);
    let answer = tokio::spawn(app.chat_later(&question));
    app.upstream.log().wait_for(1, PATIENCE).await.expect("the model is asked");
    // Some words come.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let processes = processes_of(app.state.path());
    assert!(!processes.is_empty(), "it runs");
    let begun = Instant::now();
    for process in processes {
        // One may end with another.
        let _ = kill_process(process, signal);
    }
    let answer = Streamed::read(answer.await.expect("an answer")).await;
    let limit = if signal == Signal::STOP { SHORT + Duration::from_secs(2) } else { Duration::from_secs(2) };
    assert!(begun.elapsed() < limit, "{:?}", begun.elapsed());
    assert!(answer.error().is_some(), "{answer:?}");
    eventually(Duration::from_secs(2), "it is gone", || processes_of(app.state.path()).is_empty()).await;
    assert_eq!(said(&app.answer(&ask("[[words 1]]")).await), "w0");
    let class = if signal == Signal::STOP { Class::Hang } else { Class::Crash };
    let fault = format!("the real CLI: {what}, {when}");
    seen::tell(class, &fault, Asked::with(stream), seen::of_answer(&answer));
}
