//! How it ends, and that nothing of it is left.

use std::time::{Duration, Instant};

use rstest::rstest;
use rustix::process::Signal;

use crate::support::app::{Streamed, ask};
use crate::support::couplet_process::{CoupletProcess, streamed};
use crate::support::fake_cli::frames::{message, message_start, success, text};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, play};

const PATIENCE: Duration = Duration::from_secs(10);

/// A CLI that hangs in the middle of its answer, whatever it is told.
fn hanging() -> Script {
    let steps = [Step::Frames(vec![message_start("msg_1"), text("half an ")]), Step::Hang];
    let plays = vec![play("", steps)];
    Script { plays, ignores_interrupt: true, ignores_end_of_input: true, ..Script::default() }
}

#[tokio::test]
async fn killed_it_takes_the_cli_with_it_within_two_seconds() {
    let fake = FakeCli::new(&Script::default());
    let couplet = CoupletProcess::start(&fake, &[]).await;
    fake.follow(&hanging());
    let mut answer = couplet.chat(&streamed(&ask("hello"))).await;
    answer.chunk().await.expect("a chunk").expect("not the end");
    assert!(!fake.living().is_empty());
    couplet.signal(Signal::KILL);
    fake.dead_within(Duration::from_secs(2)).await;
}

#[rstest]
#[tokio::test]
async fn told_to_end_it_ends_open_answers_after_the_grace_time(
    #[values(Signal::TERM, Signal::INT)] signal: Signal,
) {
    let fake = FakeCli::new(&Script::default());
    let mut couplet = CoupletProcess::start(&fake, &[("COUPLET_SHUTDOWN_GRACE", "0.5")]).await;
    fake.follow(&hanging());
    let mut answer = couplet.chat(&streamed(&ask("hello"))).await;
    answer.chunk().await.expect("a chunk").expect("not the end");
    let begun = Instant::now();
    couplet.signal(signal);
    let answer = Streamed::read(answer).await;
    assert!(!answer.done && answer.finish_reason().is_none(), "{answer:?}");
    assert_eq!(answer.error().expect("an error frame")["code"], "shutting_down");
    assert_eq!(couplet.ended_within(PATIENCE).await, Some(0));
    assert!(begun.elapsed() >= Duration::from_millis(500), "it waited for the answer");
    assert!(begun.elapsed() < Duration::from_secs(3), "but not much longer: {:?}", begun.elapsed());
    fake.dead_within(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn told_to_end_it_lets_open_answers_end() {
    let fake = FakeCli::new(&Script::default());
    let go_on = fake.file("go-on");
    let whole = message("msg_1", "the answer");
    let steps = [
        Step::Frames(whole[..3].to_vec()),
        Step::AwaitFile(go_on.clone()),
        Step::Frames([&whole[3..], &[success()]].concat()),
    ];
    fake.follow(&Script { plays: vec![play("", steps)], ..Script::default() });
    let mut couplet = CoupletProcess::start(&fake, &[]).await;
    let answer = couplet.chat(&streamed(&ask("hello"))).await;
    couplet.signal(Signal::TERM);
    eventually(PATIENCE, "it is told", || couplet.running.said().contains("shutting down")).await;
    std::fs::write(go_on, "").expect("a file");
    let answer = Streamed::read(answer).await;
    assert_eq!((answer.contents(), answer.done), (vec!["the answer"], true));
    assert_eq!(couplet.ended_within(PATIENCE).await, Some(0));
    fake.dead_within(Duration::from_secs(1)).await;
}
