//! The server is told to stop.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rstest::rstest;
use tokio::io::AsyncReadExt;

use super::{PATIENCE, SOON, ask_unread, broken, refused, said, stalled};
use crate::support::app::{Streamed, TestApp, ask};
use crate::support::couplet_process::streamed;
use crate::support::fake_cli::frames::{message, message_start, success, text};
use crate::support::fake_cli::script::{Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, play};

/// How long open answers are given.
const GRACE: Duration = Duration::from_millis(400);

async fn is_ready(app: &TestApp) -> bool {
    let status = app.get("/health/ready").send().await.expect("an answer").status();
    assert!(matches!(status.as_u16(), 200 | 503), "{status}");
    status == 200
}

#[tokio::test]
async fn open_answers_end_well_within_the_grace_time_and_new_ones_are_refused() {
    let fake = FakeCli::new(&Script::default());
    let rest = fake.file("go-on");
    let whole = message("msg_1", "the answer");
    let steps = [
        Step::Frames(whole[..3].to_vec()),
        Step::MakeFile(fake.file("begun")),
        Step::AwaitFile(rest.clone()),
        Step::Frames([&whole[3..], &[success()]].concat()),
    ];
    fake.follow(&Script { plays: vec![play("slowly", steps)], ..Script::default() });
    let mut app = fake.app_with(|config| config.shutdown_grace = PATIENCE).await;
    assert!(is_ready(&app).await);
    let open = app.chat(&streamed(&ask("slowly"))).await;
    eventually(PATIENCE, "it has begun", || fake.file("begun").exists()).await;

    app.begin_shutdown();
    let begun = Instant::now();
    while is_ready(&app).await {
        assert!(begun.elapsed() < PATIENCE);
    }
    let refusal = app.answer(&ask("too late")).await;
    assert_eq!(refused(&refusal), (503, "shutting_down"));
    assert_eq!(broken(&app.stream(&ask("too late")).await), "shutting_down");
    std::fs::write(rest, "").expect("a file");
    let answer = Streamed::read(open).await;
    assert_eq!((answer.contents(), answer.finish_reason()), (vec!["the answer"], Some("stop")));
    assert!(answer.done);
    app.shut_down().await;
    fake.gone_within(SOON).await;
    assert_eq!(fake.reports().len(), 1, "none was started for those who came too late");
}

#[rstest]
#[case::before_the_first_frame(vec![], None)]
#[case::in_the_middle(vec![message_start("msg_1"), text("half an ")], Some("half an "))]
#[tokio::test]
async fn answers_that_do_not_end_in_time_end_with_an_error(
    #[case] frames: Vec<serde_json::Value>,
    #[case] shown: Option<&str>,
) {
    let fake = FakeCli::new(&Script::default());
    let steps = vec![
        Step::StartChild { keeps_output: true },
        Step::Frames(frames),
        Step::MakeFile(fake.file("begun")),
        Step::Hang,
    ];
    let script = Script {
        plays: vec![play("", steps)],
        ignores_interrupt: true,
        ignores_end_of_input: true,
        ..Script::default()
    };
    fake.follow(&script);
    let mut app = fake
        .app_with(|config| {
            config.shutdown_grace = GRACE;
            config.claude.max_concurrency = 2;
        })
        .await;
    let stop = async {
        eventually(PATIENCE, "both have begun", || fake.reports().len() == 2).await;
        eventually(PATIENCE, "one is asked", || fake.file("begun").exists()).await;
        app.begin_shutdown();
    };
    // The places are taken by the first two; the others wait in the queue.
    let question = ask("hello");
    let whole = join_all([app.answer(&question), app.answer(&question), app.answer(&question)]);
    let (streamed, whole, ()) = tokio::join!(app.stream(&question), whole, stop);
    let begun = Instant::now();
    assert_eq!(broken(&streamed), "shutting_down");
    if streamed.status == 200 {
        assert_eq!(streamed.contents(), Vec::from_iter(shown));
    }
    for answer in &whole {
        assert_eq!(refused(answer), (503, "shutting_down"));
    }
    app.shut_down().await;
    fake.gone_within(SOON).await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn no_process_is_started_to_list_models_any_more() {
    let fake = FakeCli::new(&Script { at_start: vec![Step::Hang], ..Script::default() });
    let mut app = fake.app_with(|config| config.shutdown_grace = GRACE).await;
    let question = ask("hello");
    let work = async {
        eventually(PATIENCE, "one is starting", || fake.reports().len() == 1).await;
        app.begin_shutdown();
        while is_ready(&app).await {}
        assert_eq!(app.get("/v1/models").send().await.expect("an answer").status(), 503);
    };
    let (answer, ()) = tokio::join!(app.answer(&question), work);
    assert_eq!(refused(&answer), (503, "shutting_down"));
    app.shut_down().await;
    assert_eq!(fake.reports().len(), 1);
}

#[tokio::test]
async fn a_server_at_rest_stops_at_once() {
    let fake = FakeCli::new(&Script::default());
    let mut app = fake.app_with(|config| config.shutdown_grace = PATIENCE).await;
    assert_eq!(said(&app.answer(&ask("hello")).await), "fine");
    let begun = Instant::now();
    app.shut_down().await;
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_client_that_does_not_read_cannot_keep_the_server_from_stopping() {
    let texts = Step::Texts { count: 4000, size: 16 * 1024 };
    let fake = FakeCli::that_does([Step::Frames(vec![message_start("msg_1")]), texts]);
    let mut app = fake.app_with(|config| config.shutdown_grace = GRACE).await;
    let mut unread = ask_unread(&app, "hello").await;
    stalled(&fake, Duration::from_millis(250)).await;
    let (begun, url) = (Instant::now(), app.url.clone());
    app.shut_down().await;
    // The grace time, and the time for last words.
    assert!(begun.elapsed() < GRACE + Duration::from_secs(3), "{:?}", begun.elapsed());
    fake.gone_within(SOON).await;
    assert!(reqwest::get(format!("{url}/health")).await.is_err(), "nobody listens any more");
    let mut rest = String::new();
    let read = tokio::time::timeout(PATIENCE, unread.read_to_string(&mut rest)).await.expect("an end");
    assert!(read.is_err() || !rest.ends_with("\r\n0\r\n\r\n"), "the connection was closed in the middle");
}
