//! What becomes of a process while it waits, with a CLI that misbehaves on command.

use std::time::{Duration, Instant};

use rstest::rstest;
use rustix::process::Signal;
use serde_json::json;

use super::{Dialogue, PATIENCE, health};
use crate::support::app::{TestApp, ask, said};
use crate::support::couplet_process::{CoupletProcess, streamed};
use crate::support::fake_cli::frames::{message_start, text};
use crate::support::fake_cli::script::{Recital, Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, play};

/// Within this a process is gone after its end was decided.
const SOON: Duration = Duration::from_secs(2);

fn recite() -> Vec<Step> {
    vec![Step::Recite("fine".to_owned())]
}

/// One that recites, and does this first where it is asked about that.
fn reciting(asked: &str, steps: Vec<Step>) -> Script {
    Script { plays: vec![play(asked, steps), play("", recite())], ..Script::default() }
}

/// A Couplet that keeps so many.
async fn app_keeping(fake: &FakeCli, processes: usize) -> TestApp {
    fake.app_with(|config| config.claude.keep.processes = processes).await
}

/// Asks, and says which process answered what it holds; the answer must be right.
async fn go_on(app: &TestApp, dialogue: &mut Dialogue, question: &str) -> Recital {
    let (status, answer) = app.answer(&dialogue.asking(question)).await;
    assert_eq!(status, 200, "{answer}");
    let message = &answer["choices"][0]["message"];
    let recital = message["reasoning_content"].as_str().unwrap_or_else(|| panic!("a recital in {answer}"));
    let recital: Recital = serde_json::from_str(recital).expect("a recital");
    dialogue.push("user", question);
    let held: Vec<(String, String)> =
        recital.said.iter().map(|(role, texts)| (role.clone(), texts.concat())).collect();
    assert_eq!(held, super::texts(&dialogue.request));
    dialogue.push("assistant", message["content"].as_str().expect("text"));
    recital
}

async fn live(app: &TestApp, count: u64) {
    let begun = Instant::now();
    while health(app, "/processes/live").await != count {
        assert!(
            begun.elapsed() < PATIENCE,
            "{count} are to wait, not {}",
            health(app, "/processes/live").await
        );
    }
}

#[rstest]
#[case::by_a_signal(Step::Die)]
#[case::by_itself(Step::Exit(0))]
#[case::to_say_anything(Step::CloseStdout)]
#[tokio::test]
async fn a_process_that_ends_while_it_waits_is_noticed_and_its_conversation_laid_down(#[case] end: Step) {
    let fake = FakeCli::new(&Script::default());
    let now = fake.file("now");
    let steps = [recite(), vec![Step::AwaitFile(now.clone()), end, Step::Hang]].concat();
    fake.follow(&reciting("die", steps));
    let app = app_keeping(&fake, 4).await;
    let mut dialogue = Dialogue::new(&json!({}));
    let first = go_on(&app, &mut dialogue, "die").await;
    live(&app, 1).await;
    std::fs::write(now, "").expect("a file");
    live(&app, 0).await;
    fake.gone_within(SOON).await;
    assert_ne!(go_on(&app, &mut dialogue, "and now?").await.process_id, first.process_id);
}

#[rstest]
#[case::without_a_word(vec![Step::Die])]
#[case::by_itself(vec![Step::Exit(0)])]
#[case::with_half_a_line(vec![Step::Bytes(b"{\"type\":\"stream_event\"".to_vec()), Step::Die])]
#[case::with_a_result_of_its_own(vec![Step::Frames(vec![json!({"type": "result", "is_error": false})]), Step::Hang])]
#[tokio::test]
async fn a_process_that_fails_before_its_first_word_is_replaced_unseen(#[case] end: Vec<Step>) {
    let fake = FakeCli::new(&Script::default());
    let once = Step::Once { file: fake.file("once"), steps: end };
    fake.follow(&reciting("die", [vec![once], recite()].concat()));
    let app = app_keeping(&fake, 4).await;
    let mut dialogue = Dialogue::new(&json!({}));
    let first = go_on(&app, &mut dialogue, "hello").await;
    let second = go_on(&app, &mut dialogue, "die").await;
    assert_ne!(second.process_id, first.process_id);
    assert_eq!(go_on(&app, &mut dialogue, "and now?").await.process_id, second.process_id);
    assert_eq!((fake.living().len(), health(&app, "/free_places").await), (1, 16));
}

#[tokio::test]
async fn a_process_that_dies_in_mid_answer_is_an_error_and_the_repeat_is_laid_down() {
    let fake = FakeCli::new(&Script::default());
    let steps = vec![Step::Frames(vec![message_start("msg_1"), text("half an ")]), Step::Die];
    let once = Step::Once { file: fake.file("once"), steps };
    fake.follow(&reciting("die", [vec![once], recite()].concat()));
    let app = app_keeping(&fake, 4).await;
    let mut dialogue = Dialogue::new(&json!({}));
    let first = go_on(&app, &mut dialogue, "hello").await;
    let broken = app.stream(&dialogue.asking("die")).await;
    assert_eq!((broken.contents(), broken.done, broken.finish_reason()), (vec!["half an "], false, None));
    assert_eq!(broken.error().expect("an error")["code"], "upstream_broken");
    assert_ne!(go_on(&app, &mut dialogue, "die").await.process_id, first.process_id);
}

#[tokio::test]
async fn a_process_that_ignores_its_question_is_given_up_at_the_deadline() {
    let fake = FakeCli::new(&reciting("ignore", vec![Step::Hang]));
    let app = fake
        .app_with(|config| {
            config.claude.keep.processes = 4;
            config.claude.deadlines.first_frame = SOON;
        })
        .await;
    let mut dialogue = Dialogue::new(&json!({}));
    let first = go_on(&app, &mut dialogue, "hello").await;
    let (status, answer) = app.answer(&dialogue.asking("ignore")).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (504, Some("timeout")), "{answer}");
    fake.gone_within(SOON).await;
    assert_ne!(go_on(&app, &mut dialogue, "and now?").await.process_id, first.process_id);
}

#[tokio::test]
async fn what_a_process_writes_while_it_waits_is_read_and_dropped() {
    const MIB: usize = 1024 * 1024;
    let fake = FakeCli::new(&Script::default());
    let over = fake.file("over");
    let flood = [Step::FloodStdout { bytes: 200 * MIB, line: 60_000 }, Step::FloodStderr(20 * MIB)];
    let steps = [vec![Step::Answer("fine".to_owned())], flood.into(), vec![Step::MakeFile(over.clone())]];
    fake.follow(&Script { plays: vec![play("flood", steps.concat())], ..Script::default() });
    let couplet = CoupletProcess::start(&fake, &[("COUPLET_MAX_KEPT", "16")]).await;
    let before = couplet.peak_memory();
    let mut dialogue = Dialogue::new(&json!({}));
    for question in ["flood", "and now?"] {
        assert_eq!(said(&couplet.answer(&dialogue.asking(question)).await), "fine");
        dialogue.push("user", question);
        dialogue.push("assistant", "fine");
        eventually(PATIENCE, "all of it was read", || over.exists()).await;
    }
    assert_eq!(fake.reports().len(), 1, "it went on in the same process");
    let growth = couplet.peak_memory() - before;
    assert!(growth < 16 * MIB as u64, "{} MiB", growth / MIB as u64);
}

/// A CLI that asks and asks, and reads no answer: its pipe has room for some 650 of them.
fn deaf(fake: &FakeCli) -> Vec<Step> {
    let request =
        json!({"type": "control_request", "request_id": "r", "request": {"subtype": "can_use_tool"}});
    let asks = Step::Repeat { times: 1000, steps: vec![Step::Frames(vec![request])] };
    vec![Step::StopReading, asks, Step::MakeFile(fake.file("asked"))]
}

#[tokio::test]
async fn a_process_that_asks_and_does_not_listen_holds_up_neither_its_conversation_nor_the_end() {
    let fake = FakeCli::new(&Script::default());
    let steps = [vec![Step::Answer("fine".to_owned())], deaf(&fake), vec![Step::Hang]].concat();
    let script = Script { ignores_end_of_input: true, ..reciting("listen", steps) };
    fake.follow(&script);
    let mut app = app_keeping(&fake, 4).await;
    let mut dialogue = Dialogue::new(&json!({}));
    dialogue.say(&app, "listen").await;
    let mut other = dialogue.clone();
    eventually(PATIENCE, "it has asked", || fake.file("asked").exists()).await;
    go_on(&app, &mut dialogue, "and now?").await;
    other.messages().clear();
    other.say(&app, "listen").await;
    let begun = Instant::now();
    app.shut_down().await;
    assert!(begun.elapsed() < 2 * SOON, "{:?}", begun.elapsed());
    fake.gone_within(SOON).await;
}

#[tokio::test]
async fn a_client_can_leave_a_process_that_does_not_listen() {
    let fake = FakeCli::new(&Script::default());
    fake.follow(&Script {
        plays: vec![play("", [deaf(&fake), vec![Step::Hang]].concat())],
        ..Script::default()
    });
    let app = app_keeping(&fake, 4).await;
    let question = ask("listen");
    tokio::select! {
        answer = app.answer(&question) => panic!("no answer was to come, but {answer:?}"),
        () = eventually(PATIENCE, "it has asked", || fake.file("asked").exists()) => {}
    }
    fake.gone_within(SOON / 2).await;
}

#[tokio::test]
async fn a_process_waits_for_its_time_and_no_longer() {
    let fake = FakeCli::new(&reciting("none", vec![]));
    let app = fake
        .app_with(|config| {
            config.claude.keep.processes = 4;
            config.claude.keep.live = Duration::from_millis(600);
        })
        .await;
    let mut dialogue = Dialogue::new(&json!({}));
    let first = go_on(&app, &mut dialogue, "hello").await;
    // The time begins anew with each turn.
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(350)).await;
        assert_eq!(go_on(&app, &mut dialogue, "on").await.process_id, first.process_id);
    }
    let begun = Instant::now();
    live(&app, 0).await;
    assert!(begun.elapsed() > Duration::from_millis(300), "{:?}", begun.elapsed());
    fake.gone_within(SOON).await;
    assert_ne!(go_on(&app, &mut dialogue, "late").await.process_id, first.process_id);
}

#[tokio::test]
async fn of_too_many_the_one_that_waited_longest_goes() {
    let fake = FakeCli::new(&reciting("none", vec![]));
    let app = app_keeping(&fake, 2).await;
    let mut dialogues = ["a", "b", "c"].map(|_| Dialogue::new(&json!({})));
    let mut processes = Vec::new();
    for (dialogue, name) in dialogues.iter_mut().zip(["a", "b", "c"]) {
        processes.push(go_on(&app, dialogue, name).await.process_id);
    }
    live(&app, 2).await;
    eventually(SOON, "two processes", || fake.living().len() == 2).await;
    for index in [2, 1] {
        assert_eq!(go_on(&app, &mut dialogues[index], "on").await.process_id, processes[index]);
    }
    assert_ne!(go_on(&app, &mut dialogues[0], "on").await.process_id, processes[0]);
    // Now c has waited longest.
    assert_eq!(go_on(&app, &mut dialogues[1], "on").await.process_id, processes[1]);
    assert_ne!(go_on(&app, &mut dialogues[2], "on").await.process_id, processes[2]);
}

#[tokio::test]
async fn processes_at_work_take_the_memory_of_those_that_wait() {
    const OF_ONE: u64 = couplet::claude::memory::OF_A_PROCESS;
    let fake = FakeCli::new(&reciting("work", vec![Step::Hang]));
    let app = fake
        .app_with(|config| {
            config.claude.keep.processes = 4;
            // Two at work; or one, and a small one that waits.
            config.claude.memory_budget = 2 * OF_ONE;
        })
        .await;
    let mut dialogue = Dialogue::new(&json!({}));
    let first = go_on(&app, &mut dialogue, "hello").await;
    let work = ask("work");
    let (one, other) = (app.answer(&work), app.answer(&work));
    tokio::pin!(one, other);
    tokio::select! {
        answer = &mut one => panic!("no answer was to come, but {answer:?}"),
        () = eventually(PATIENCE, "it works", || fake.reports().len() == 2) => {}
    }
    live(&app, 1).await;
    tokio::select! {
        answer = &mut one => panic!("no answer was to come, but {answer:?}"),
        answer = &mut other => panic!("no answer was to come, but {answer:?}"),
        () = eventually(PATIENCE, "both work", || fake.reports().len() == 3) => {}
    }
    live(&app, 0).await;
    assert_ne!(go_on(&app, &mut dialogue, "on").await.process_id, first.process_id);
}

#[rstest]
#[case::where_none_may(|config: &mut couplet::config::Config| config.claude.keep.processes = 0)]
#[case::where_there_is_no_memory(|config: &mut couplet::config::Config| config.claude.memory_budget = 1)]
#[case::where_there_is_no_time(|config: &mut couplet::config::Config| config.claude.keep.live = Duration::ZERO)]
#[tokio::test]
async fn no_process_waits(#[case] change: fn(&mut couplet::config::Config)) {
    let fake = FakeCli::new(&reciting("none", vec![]));
    let app = fake
        .app_with(|config| {
            config.claude.keep.processes = 4;
            change(config);
        })
        .await;
    let mut dialogue = Dialogue::new(&json!({}));
    let first = go_on(&app, &mut dialogue, "hello").await;
    fake.gone_within(SOON).await;
    assert_eq!(health(&app, "/processes/live").await, 0);
    assert_ne!(go_on(&app, &mut dialogue, "on").await.process_id, first.process_id);
}

#[rstest]
#[case::that_end_by_themselves(false)]
#[case::that_do_not(true)]
#[tokio::test]
async fn a_server_with_processes_that_wait_stops_at_once(#[case] stubborn: bool) {
    let fake = FakeCli::new(&Script { ignores_end_of_input: stubborn, ..reciting("none", vec![]) });
    let mut app = fake
        .app_with(|config| {
            config.claude.keep.processes = 8;
            config.shutdown_grace = PATIENCE;
        })
        .await;
    for name in ["a", "b", "c", "d"] {
        go_on(&app, &mut Dialogue::new(&json!({})), name).await;
    }
    assert_eq!(fake.living().len(), 4);
    let begun = Instant::now();
    app.shut_down().await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    fake.gone_within(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn processes_that_wait_do_not_outlive_a_server_that_is_killed() {
    let fake = FakeCli::new(&Script { ignores_end_of_input: true, ..reciting("none", vec![]) });
    let mut couplet = CoupletProcess::start(&fake, &[("COUPLET_MAX_KEPT", "16")]).await;
    for name in ["a", "b", "c"] {
        assert_eq!(said(&couplet.answer(&ask(name)).await), "fine");
    }
    assert_eq!(fake.living().len(), 3);
    couplet.signal(Signal::KILL);
    assert_eq!(couplet.ended_within(SOON).await, None);
    fake.dead_within(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn turns_with_clients_that_leave_at_any_moment_leave_nothing_behind() {
    let fake = FakeCli::new(&Script::default());
    let slowly =
        [Step::Frames(vec![message_start("msg_1"), text("half an ")]), Step::Sleep { milliseconds: 200 }];
    fake.follow(&reciting("slowly", [slowly.into(), recite()].concat()));
    let app = app_keeping(&fake, 4).await;
    for try_number in 0..40 {
        let mut dialogue = Dialogue::new(&json!({}));
        let first = go_on(&app, &mut dialogue, &format!("hello {try_number}")).await;
        let request = streamed(&dialogue.asking("slowly"));
        let leave = tokio::time::sleep(Duration::from_micros(try_number * 700));
        let left = tokio::select! {
            biased;
            answer = async { app.chat(&request).await.bytes().await } => answer.is_err(),
            () = leave => true,
        };
        let second = go_on(&app, &mut dialogue, "and now?").await;
        assert!(left, "it takes 200 ms");
        assert!(second.said.len() == 3 && first.said.len() == 1);
    }
    let begun = Instant::now();
    while health(&app, "/free_places").await != 16 {
        assert!(begun.elapsed() < SOON, "all places are free");
    }
    live(&app, 4).await;
    eventually(SOON, "only those that wait are left", || fake.living().len() == 4).await;
}
